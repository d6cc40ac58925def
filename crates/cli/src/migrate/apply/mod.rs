//! `up`, `baseline` and `redo`.

mod baseline;
mod kept;
mod redo;
mod up;

pub(crate) use self::baseline::{Baseline, baseline};
pub(crate) use self::redo::{Redo, redo};
pub(crate) use self::up::{Up, up};
