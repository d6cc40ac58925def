//! What one declaration of a setting becomes, and the macro that does it.

use std::fmt;
use std::path::PathBuf;

use super::value::Kind;

/// One setting, for whoever makes flags, help or documentation of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setting {
    /// The key in `monolite.toml`.
    pub key: &'static str,
    /// The name of the flag, with `_` for `-`: the key, with few exceptions.
    pub flag: Option<&'static str>,
    /// How its value is written.
    pub kind: Kind,
    /// What stands for the value in help and documentation, as `DIR`.
    pub value: &'static str,
    /// What it is if nobody sets it.
    pub default: Default,
    /// What it does, without a full stop.
    pub help: &'static str,
    /// What it is about.
    pub group: Group,
    /// Its value is not for help or logs.
    pub is_secret: bool,
    /// Whether a text can be its value; an error says what is wrong, and not the value.
    pub check: fn(&str) -> Result<(), String>,
}

/// What a setting is if nobody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This value.
    Is(&'static str),
    /// No value; the text says what happens then.
    Unset(&'static str),
}

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Serving the app.
    General,
    /// What a migration may do.
    Migration,
    /// Replicas and snapshots.
    Replication,
    /// A key of the file alone: neither flag nor variable.
    File,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the file, from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// The variable.
    Variable,
    /// The flag.
    Flag,
}

impl Setting {
    /// The flag with its dashes, or the key where there is none.
    pub fn name(&self) -> String {
        match self.flag {
            Some(flag) => format!("--{}", flag.replace('_', "-")),
            None => self.key.into(),
        }
    }

    /// The variable, if it has one.
    pub fn variable(&self) -> Option<String> {
        (self.group != Group::File).then(|| format!("MONOLITE_{}", self.key.to_uppercase()))
    }
}

impl fmt::Display for Default {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(text) | Self::Unset(text) => f.write_str(text),
        }
    }
}

/// Makes `struct Settings` and the table `SETTINGS` of declarations.
macro_rules! settings {
    ($(
        $(#[doc = $help:literal])+
        $key:ident : $type:ty, value $value:literal
        $(, flag $flag:literal)? $(, default $default:literal)? $(, unset $unset:literal)?
        $(, group $group:ident)? $(, secret $secret:literal)? $(, valid $valid:path)?;
    )+) => {
        /// All settings. `Settings::default()` holds the defaults.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Settings {
            $( $(#[doc = $help])+ pub $key: $type, )+
            /// What the file says of the app's processes; no flag and no variable does.
            pub processes: Vec<super::processes::ProcessSetting>,
            /// Those that are not the default, by key.
            pub(super) sources: std::collections::BTreeMap<&'static str, Source>,
        }

        /// All settings, in the order of `--help`.
        pub static SETTINGS: &[Setting] = &[$( Setting {
            key: stringify!($key),
            flag: settings!(@flag $key, $($group)?, $($flag)?),
            kind: <$type as value::Value>::KIND,
            value: $value,
            default: settings!(@default $($default)?, $($unset)?),
            help: concat!($($help),+).trim_ascii(),
            group: settings!(@group $($group)?),
            is_secret: settings!(@secret $($secret)?),
            check: |text| {
                let _value = <$type as value::Value>::parse(&[text])?;
                $( $valid(&_value)?; )?
                Ok(())
            },
        } ),+];

        impl std::default::Default for Settings {
            fn default() -> Self {
                Self {
                    // A test shows that each default is a value.
                    $( $key: value::Value::parse(settings!(@texts $($default)?)).unwrap_or_default(), )+
                    processes: Vec::new(),
                    sources: std::collections::BTreeMap::new(),
                }
            }
        }

        impl Settings {
            /// Takes texts that the setting's `check` accepts.
            pub(super) fn put(&mut self, key: &str, texts: &[&str]) -> Result<(), String> {
                match key {
                    $( stringify!($key) => self.$key = value::Value::parse(texts)?, )+
                    _ => {}
                }
                Ok(())
            }
        }
    };
    (@flag $key:ident, File, ) => { None };
    (@flag $key:ident, $($group:ident)?, $flag:literal) => { Some($flag) };
    (@flag $key:ident, $($group:ident)?, ) => { Some(stringify!($key)) };
    (@default $is:literal, ) => { Default::Is($is) };
    (@default , $unset:literal) => { Default::Unset($unset) };
    (@texts $is:literal) => { &[$is] };
    (@texts) => { &[] };
    (@group) => { Group::General };
    (@group $group:ident) => { Group::$group };
    (@secret) => { false };
    (@secret $secret:literal) => { $secret };
}
pub(super) use settings;
