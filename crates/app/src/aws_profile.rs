//! Keys, region and endpoint from the files of Amazon's own tools, `~/.aws/credentials`
//! and `~/.aws/config`: what stands in for variables that are not set.
//!
//! Variables win: where one of them gives a key, or tells where a container gets its
//! keys, the files are asked for keys only if `AWS_PROFILE` names a profile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// Variables that give keys, or tell where keys are.
const KEYS: [&str; 7] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "LITESTREAM_ACCESS_KEY_ID",
    "LITESTREAM_SECRET_ACCESS_KEY",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Variables that a file stands in for, with the name there.
const FROM_FILES: [(&str, &str); 6] = [
    ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
    ("AWS_SESSION_TOKEN", "aws_session_token"),
    ("AWS_REGION", "region"),
    ("AWS_ENDPOINT_URL_S3", "endpoint_url"),
    ("AWS_ENDPOINT_URL", "endpoint_url"),
];
/// Settings of a profile whose keys another program has to fetch.
const FETCHED: [&str; 5] = [
    "credential_process",
    "role_arn",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];
/// A larger file is none of Amazon's.
const FILE_BYTES_MAX: u64 = 1 << 20;

type Section = BTreeMap<String, String>;

/// One profile of the files.
#[derive(Debug, Default)]
pub(crate) struct AwsProfile {
    settings: Section,
    /// Whether its keys are asked for.
    has_keys: bool,
}

impl AwsProfile {
    /// The profile that `AWS_PROFILE` names, else `default`; an empty one if there is none.
    ///
    /// # Errors
    /// The profile that is named is in neither file, or gets its keys in a way that only
    /// Amazon's tools know; or a variable is not UTF-8.
    pub(crate) fn load(environment: &Environment) -> Result<Self, String> {
        let text = |name: &str| -> Result<Option<String>, String> {
            let value = environment.text(name).map_err(|error| error.to_string())?;
            Ok(value
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty()))
        };
        let home = text("HOME")?;
        let file = |variable: &str, name: &str| -> Result<Option<PathBuf>, String> {
            let home = home
                .as_ref()
                .map(|home| Path::new(home).join(".aws").join(name));
            Ok(text(variable)?.map(PathBuf::from).or(home))
        };
        let credentials = sections(file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?);
        let config = sections(file("AWS_CONFIG_FILE", "config")?);
        let named = match text("AWS_PROFILE")? {
            Some(name) => Some(name),
            None => text("AWS_DEFAULT_PROFILE")?,
        };
        let name = named.as_deref().unwrap_or("default");
        let of_config = config.get(&format!("profile {name}"));
        let of_config = of_config.or_else(|| config.get(name).filter(|_| name == "default"));
        let found = [of_config, credentials.get(name)];
        if named.is_some() && found.iter().all(Option::is_none) {
            return Err(format!(
                "AWS_PROFILE names the profile {name}, and neither ~/.aws/credentials nor \
                 ~/.aws/config has it"
            ));
        }
        // What the file of keys says wins.
        let found = found.into_iter().flatten();
        let settings: Section = found.flat_map(Clone::clone).collect();
        let mut is_given = false;
        for variable in KEYS {
            is_given |= text(variable)?.is_some();
        }
        let has_keys = named.is_some() || !is_given;
        let fetched = FETCHED.iter().find(|key| settings.contains_key(**key));
        if let Some(fetched) = fetched
            && named.is_some()
            && !settings.contains_key("aws_access_key_id")
        {
            return Err(format!(
                "the profile {name} gets its keys by {fetched}, which only Amazon's tools do; give \
                 them as variables: eval \"$(aws configure export-credentials --profile {name} \
                 --format env)\""
            ));
        }
        Ok(Self { settings, has_keys })
    }

    /// What stands in for a variable that is not set.
    pub(crate) fn get(&self, variable: &str) -> Option<String> {
        let (_, name) = FROM_FILES.iter().find(|(known, _)| *known == variable)?;
        let is_key = name.starts_with("aws_");
        let value = self
            .settings
            .get(*name)
            .filter(|_| !is_key || self.has_keys);
        value.cloned()
    }

    /// Whether the files can stand in for this variable.
    pub(crate) fn knows(variable: &str) -> bool {
        FROM_FILES.iter().any(|(known, _)| *known == variable)
    }
}

/// The sections of a file; none if it is not there or cannot be read.
fn sections(path: Option<PathBuf>) -> BTreeMap<String, Section> {
    let is_small = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX)
    };
    let text = path
        .filter(is_small)
        .and_then(|path| std::fs::read_to_string(path).ok());
    parse(&text.unwrap_or_default())
}

fn parse(text: &str) -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        // What is indented belongs to a setting above, as of `s3 =`.
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || is_nested {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.split(']').next())
        {
            let words: Vec<&str> = name.split_whitespace().collect();
            current = Some(words.join(" ").replace('"', ""));
            continue;
        }
        if let (Some(section), Some((key, value))) = (&current, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            let section = sections.entry(section.clone()).or_default();
            if !value.is_empty() {
                section.insert(key.trim().to_lowercase(), value.to_owned());
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let credentials = "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key=s1\n\n\
                           # a comment\n[work]\naws_access_key_id=AKWORK\naws_secret_access_key = s2 # old\n\
                           aws_session_token = t\n";
        let config = "[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\n\
                      [profile work]\nregion=eu-north-1\nendpoint_url = https://work.example\n\
                      [profile sso]\nsso_session = x\n";
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        home
    }

    fn load(home: &Path, more: &[(&str, &str)]) -> Result<AwsProfile, String> {
        let home = home.to_str().unwrap().to_owned();
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let all = more.chain([("HOME".to_owned(), home)]);
        AwsProfile::load(&all.collect())
    }

    #[test]
    fn a_profile_stands_in_for_variables() {
        let home = home();
        let profile = load(home.path(), &[]).unwrap();
        assert_eq!(
            profile.get("AWS_ACCESS_KEY_ID").as_deref(),
            Some("AKDEFAULT")
        );
        assert_eq!(profile.get("AWS_REGION").as_deref(), Some("eu-west-1"));
        assert_eq!(profile.get("AWS_SESSION_TOKEN"), None);
        assert_eq!(profile.get("HOME"), None);
        let profile = load(home.path(), &[("AWS_PROFILE", "work")]).unwrap();
        assert_eq!(profile.get("AWS_SECRET_ACCESS_KEY").as_deref(), Some("s2"));
        assert_eq!(profile.get("AWS_SESSION_TOKEN").as_deref(), Some("t"));
        let endpoint = profile.get("AWS_ENDPOINT_URL_S3");
        assert_eq!(endpoint.as_deref(), Some("https://work.example"));
    }

    #[test]
    fn keys_of_variables_are_not_mixed_with_those_of_files() {
        let home = home();
        for variable in KEYS {
            let profile = load(home.path(), &[(variable, "x")]).unwrap();
            assert_eq!(profile.get("AWS_SECRET_ACCESS_KEY"), None, "{variable}");
            assert_eq!(profile.get("AWS_REGION").as_deref(), Some("eu-west-1"));
        }
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let home = home();
        let error = load(home.path(), &[("AWS_PROFILE", "wrk")]).unwrap_err();
        assert!(error.contains("the profile wrk"), "{error}");
        let error = load(home.path(), &[("AWS_PROFILE", "sso")]).unwrap_err();
        assert!(
            error.contains("sso_session") && error.contains("export-credentials"),
            "{error}"
        );
        // No files, no profile.
        let nobody = load(Path::new("/nowhere"), &[]).unwrap();
        assert_eq!(nobody.get("AWS_ACCESS_KEY_ID"), None);
    }
}
