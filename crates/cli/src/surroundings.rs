//! What the environment tells of the place we run in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use monolite_volume::Volume;

use crate::settings::Settings;

/// Variables that only machines have whose root disk is made anew at each
/// deploy, and their platforms.
const PLATFORMS: &[(&str, &str)] = &[
    ("FLY_MACHINE_ID", "Fly.io"),
    ("RENDER", "Render"),
    ("DYNO", "Heroku"),
    ("RAILWAY_ENVIRONMENT_NAME", "Railway"),
    ("K_SERVICE", "Cloud Run"),
];

/// The data directory and what is known of it.
pub(crate) fn place(settings: &Settings) -> Volume {
    let (dir, named) = data_directory(settings.data.as_deref());
    let platform = PLATFORMS
        .iter()
        .find(|(variable, _)| std::env::var_os(variable).is_some());
    let mut place = Volume::new(std::path::absolute(&dir).unwrap_or(dir));
    place.named = named;
    place.container = monolite_volume::container_marker();
    place.ephemeral_platform = platform.map(|(_, name)| (*name).to_owned());
    place
}

/// The directory, and whether somebody chose it.
fn data_directory(named: Option<&Path>) -> (PathBuf, bool) {
    if let Some(dir) = named {
        return (dir.into(), true);
    }
    if let Some(dir) = std::env::var_os("LITESTACK_DATA_PATH") {
        return (dir.into(), true);
    }
    let volume = Path::new("/data");
    if volume.is_dir() {
        return (volume.into(), false);
    }
    ("data".into(), false)
}

/// The public address.
pub(crate) fn listen(settings: &Settings, default: Ipv4Addr) -> anyhow::Result<SocketAddr> {
    let port = match (settings.port, std::env::var("PORT")) {
        (Some(port), _) => port,
        (None, Ok(port)) => port
            .parse()
            .map_err(|_| anyhow::anyhow!("PORT is `{port}`, which is not a port number"))?,
        (None, Err(_)) => 8080,
    };
    Ok(SocketAddr::new(
        settings.bind.unwrap_or(IpAddr::V4(default)),
        port,
    ))
}
