//! `monolite migrate new`: begin a migration file.

use clap::Args;
use monolite_migrate::files::{self, Error};

use super::target::Target;
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

    #[command(flatten)]
    target: Target,
}

pub(crate) fn new(arguments: Arguments) -> Result<(), Failure> {
    let words = arguments.words.join(" ");
    let path = match files::new(&arguments.target.dir()?, &words) {
        Err(error @ Error::Words { .. }) => return Err(Failure::Usage(error.into())),
        other => other?,
    };
    print::lines([path.display().to_string()])
}
