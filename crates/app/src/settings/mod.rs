//! The settings, each declared once in `list.rs`; where their values come from, and how they are
//! written.

mod declaration;
mod file;
mod list;
mod processes;
mod resolve;
mod valid;
mod value;

pub use self::declaration::{Default, Group, Setting, Source};
pub use self::file::{FILE_NAME, File};
pub use self::list::{SETTINGS, Settings, setting};
pub(crate) use self::processes::check_name;
pub use self::processes::{ProcessCommand, ProcessSetting, RestartPolicy};
pub use self::resolve::Flag;
pub use self::valid::{Error, nearest};
pub use self::value::{Kind, LogFormat, MigrateCheck, Trust, parse_duration};

#[cfg(test)]
mod tests;
