//! A volume that is not replicated: the log and the health page say so.

use std::path::PathBuf;

use async_trait::async_trait;
use monolite_gate::health::Severity;
use monolite_supervisor::{Error, Run, Service, Started};

use crate::database_filter::find;
use crate::replication::health;

pub(crate) struct NoReplica {
    pub(crate) volume: PathBuf,
}

#[async_trait(?Send)]
impl Service for NoReplica {
    fn name(&self) -> &'static str {
        "no replica"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        run.gate()
            .health()
            .register("replica", Severity::Advisory, health::none);
        let find = find(&self.volume, &[]);
        let found = tokio::task::spawn_blocking(move || find().len()).await;
        let databases = found.unwrap_or_default();
        if databases > 0 {
            tracing::warn!(
                databases,
                "no replica: the databases exist on this volume only, and are lost with it. Set --replica s3://BUCKET/PREFIX, or --replica none if that is meant"
            );
        }
        Ok(Started::Yes)
    }
}
