//! (being written)

use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn new(_arguments: Arguments) -> Result<(), Failure> {
    Err(Failure::Usage(anyhow::anyhow!("not written yet")))
}
