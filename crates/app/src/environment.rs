//! The environment variables of the process, as its `main` has read them, and what they say about
//! the machine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use monolite_gate::TrustedProxies;
use monolite_volume::Volume;

use crate::Settings;
use crate::settings::Error;

/// Variables of platforms on whose machines the root disk is empty after each deploy.
const PLATFORMS: &[(&str, &str)] = &[
    ("FLY_MACHINE_ID", "Fly.io"),
    ("RENDER", "Render"),
    ("DYNO", "Heroku"),
    ("RAILWAY_ENVIRONMENT_NAME", "Railway"),
    ("K_SERVICE", "Cloud Run"),
];
/// Where platforms mount a volume.
const MOUNT: &str = "/data";
/// The data directory where there is no such mount, in the current directory.
const LOCAL: &str = "data";
const PORT: u16 = 8080;

/// Environment variables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Environment {
    /// The value of a variable. One that is set to nothing is not set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// As [`get`](Self::get), as text.
    ///
    /// # Errors
    /// The value is not UTF-8. It is not shown: it may be a secret.
    pub fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(Error::new(format!("{name}: its value is not UTF-8"))),
        }
    }

    /// All variables, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let all = self.0.iter();
        all.map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// All variables, but one.
    pub(crate) fn without(&self, name: &str) -> Vec<(OsString, OsString)> {
        let all = self.0.iter().filter(|(of, _)| *of != name);
        all.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// The data directory of the settings, and what is known of it.
pub fn volume(settings: &Settings, environment: &Environment) -> Volume {
    let (dir, named) = data_directory(settings.data.as_deref(), environment, Path::new(MOUNT));
    let platform = PLATFORMS
        .iter()
        .find(|(variable, _)| environment.get(variable).is_some());
    let mut volume = Volume::new(std::path::absolute(&dir).unwrap_or(dir));
    volume.named = named;
    volume.container = monolite_volume::container_marker();
    volume.ephemeral_platform = platform.map(|(_, name)| (*name).to_owned());
    volume
}

/// The directory, and whether somebody chose it.
fn data_directory(
    named: Option<&Path>,
    environment: &Environment,
    mount: &Path,
) -> (PathBuf, bool) {
    if let Some(dir) = named {
        return (dir.into(), true);
    }
    if let Some(dir) = environment.get("LITESTACK_DATA_PATH") {
        return (dir.into(), true);
    }
    match mount.is_dir() {
        true => (mount.into(), false),
        false => (LOCAL.into(), false),
    }
}

/// The public address; `default` is the IP address if none is set.
///
/// # Errors
/// The variable `PORT` is no port number.
pub fn listen(
    settings: &Settings,
    environment: &Environment,
    default: Ipv4Addr,
) -> Result<SocketAddr, Error> {
    let port = match settings.port {
        Some(port) => port,
        None => match environment.text("PORT")? {
            Some(port) => port
                .parse()
                .map_err(|_| Error::new(format!("PORT is `{port}`, which is not a port number")))?,
            None => PORT,
        },
    };
    let ip = settings.bind.unwrap_or(IpAddr::V4(default));
    Ok(SocketAddr::new(ip, port))
}

/// The proxies in front where the settings name none: those of the platform.
pub(crate) fn proxies(environment: &Environment) -> TrustedProxies {
    let mut proxies = TrustedProxies::default();
    if environment.get("FLY_MACHINE_ID").is_some() {
        // It is a known word.
        let _ = proxies.add("fly");
    }
    proxies
}

/// The directory of the files that hold long bodies.
pub(crate) fn buffer_dir(settings: &Settings, environment: &Environment) -> PathBuf {
    let set = settings.buffer_dir.clone();
    let system = || environment.get("TMPDIR").map(PathBuf::from);
    set.or_else(system).unwrap_or_else(|| "/tmp".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxies_of_the_platform_are_trusted() {
        let here = proxies(&environment(&[]));
        assert_eq!(here, "private".parse().unwrap());
        let mut fly = here.clone();
        fly.add("fly").unwrap();
        assert_eq!(proxies(&environment(&[("FLY_MACHINE_ID", "1")])), fly);
        assert_ne!(fly, here);
    }

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set() {
        let environment = environment(&[("A", ""), ("B", "b")]);
        assert_eq!(environment.text("A"), Ok(None));
        assert_eq!(environment.text("B"), Ok(Some("b".into())));
        assert_eq!(environment.text("C"), Ok(None));
        assert_eq!(environment.without("A"), [("B".into(), "b".into())]);
    }

    #[test]
    fn the_data_directory_is_named_or_found() {
        let dir = tempfile::tempdir().unwrap();
        let litestack = environment(&[("LITESTACK_DATA_PATH", "/litestack")]);
        let none = environment(&[]);
        let (mount, no_mount) = (dir.path(), dir.path().join("none"));
        let named = Some(Path::new("/named"));
        for (named, environment, mount, found) in [
            (named, &litestack, mount, ("/named".into(), true)),
            (None, &litestack, mount, ("/litestack".into(), true)),
            (None, &none, mount, (mount.to_owned(), false)),
            (None, &none, no_mount.as_path(), ("data".into(), false)),
        ] {
            assert_eq!(data_directory(named, environment, mount), found);
        }
    }

    #[test]
    fn the_port_is_set_or_the_platforms() {
        let mut settings = Settings::default();
        let port = |settings: &Settings, pairs: &[(&str, &str)]| {
            listen(settings, &environment(pairs), Ipv4Addr::LOCALHOST)
        };
        let error = port(&settings, &[("PORT", "http")])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "PORT is `http`, which is not a port number");
        let address = |text: &str| Ok(text.parse().unwrap());
        assert_eq!(port(&settings, &[]), address("127.0.0.1:8080"));
        assert_eq!(
            port(&settings, &[("PORT", "3000")]),
            address("127.0.0.1:3000")
        );
        settings.port = Some(4000);
        settings.bind = Some(Ipv4Addr::UNSPECIFIED.into());
        assert_eq!(
            port(&settings, &[("PORT", "http")]),
            address("0.0.0.0:4000")
        );
    }

    #[test]
    fn a_platform_is_known_by_its_variable() {
        let platform = |pairs: &[(&str, &str)]| {
            volume(&Settings::default(), &environment(pairs)).ephemeral_platform
        };
        assert_eq!(platform(&[("DYNO", "web.1")]).as_deref(), Some("Heroku"));
        assert_eq!(platform(&[("HOME", "/")]), None);
    }
}
