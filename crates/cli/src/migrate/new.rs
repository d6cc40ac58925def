//! `monolite migrate new`: begin a migration file.

use std::path::PathBuf;

use clap::Args;
use monolite_migrate::files::{self, Error};
use serde::Serialize;

use super::{Common, target};
use crate::{Failure, print};

#[derive(Args)]
#[command(
    after_help = "Example:\n  monolite migrate new add posts             # migrations/0001_add_posts.sql\n\n\
        Exit code: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// What it does, in a few words
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    file: PathBuf,
}

pub(crate) fn new(arguments: &Arguments, common: &Common) -> Result<(), Failure> {
    let words = arguments.words.join(" ");
    let file = match files::new(&target::dir(&common.flags.settings()?), &words) {
        Err(error @ Error::Words { .. }) => return Err(Failure::Usage(error.into())),
        other => other?,
    };
    match common.json {
        true => print::json(&Report { file }),
        false => print::lines([file.display().to_string()]),
    }
}
