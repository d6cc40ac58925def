use super::normal::{Known, statement};
use super::scratch::Scratch;
use super::wanted::Wanted;
use super::{Error, Result};
use crate::sql::same_name;

/// A virtual table whose module only the app has: it can be compared by its text,
/// and nothing more.
#[derive(Debug, Clone)]
pub(super) struct Foreign {
    pub(super) name: String,
    pub(super) sql: String,
    /// In the wanted schema, from 1.
    pub(super) line: usize,
    /// What SQLite says.
    pub(super) message: String,
}

impl Foreign {
    fn find<'f>(all: &'f [Self], name: &str) -> Option<&'f Self> {
        all.iter().find(|one| same_name(&one.name, name))
    }

    fn words(&self) -> Vec<String> {
        statement(&self.sql, &Known::default())
    }
}

/// They have to be as they are.
pub(super) fn compare(scratch: &mut Scratch, wanted: &Wanted) -> Result<()> {
    for should in &wanted.foreign {
        match Foreign::find(&scratch.foreign, &should.name) {
            Some(is) if is.words() == should.words() => {}
            Some(_) => {
                return Err(Error::Virtual {
                    table: should.name.clone(),
                });
            }
            None => {
                return Err(Error::Module {
                    line: should.line,
                    table: should.name.clone(),
                    message: should.message.clone(),
                });
            }
        }
    }
    for is in &scratch.foreign {
        if Foreign::find(&wanted.foreign, &is.name).is_none() {
            scratch.notes.push(format!(
                "{} is not in the wanted schema and stays; only the app has its module, and can drop it",
                is.name
            ));
        }
    }
    Ok(())
}
