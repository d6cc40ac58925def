//! The app's own database, chosen once all that a replica has is on the volume.

use async_trait::async_trait;
use monolite_supervisor::{Error, Run, Service, Started, is_framework};

use crate::database_choice::choose_database;

pub(crate) struct DatabaseChoice {
    /// Somebody named it.
    pub(crate) is_named: bool,
}

#[async_trait(?Send)]
impl Service for DatabaseChoice {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        if self.is_named {
            return Ok(Started::Yes);
        }
        match choose_database(&run.config().data) {
            Ok(database) => {
                if database != crate::DATABASE {
                    tracing::info!(database, "the app is given the database that is here");
                }
                run.set_database(database);
            }
            // Such an app opens what it is given, and would come up empty.
            Err(several) if is_framework(&run.config().app_dir) => {
                return Err(Error::service("database", several));
            }
            Err(several) => tracing::warn!("{several}"),
        }
        Ok(Started::Yes)
    }
}
