//! (being written)

use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Up {}

pub(crate) fn up(_arguments: Up) -> Result<(), Failure> {
    Err(Failure::Usage(anyhow::anyhow!("not written yet")))
}

#[derive(clap::Args)]
pub(crate) struct Baseline {}

pub(crate) fn baseline(_arguments: Baseline) -> Result<(), Failure> {
    Err(Failure::Usage(anyhow::anyhow!("not written yet")))
}

#[derive(clap::Args)]
pub(crate) struct Redo {}

pub(crate) fn redo(_arguments: Redo) -> Result<(), Failure> {
    Err(Failure::Usage(anyhow::anyhow!("not written yet")))
}
