//! A whole run with a real app and fake services. One test, since a run has the signals and the
//! children of its process for itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use monolite_gate::Gate;
use monolite_supervisor::{Config, Error, Run, Service, Started, run};

struct Fake {
    name: &'static str,
    log: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn note(&self, what: &str) {
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {what}", self.name));
    }
}

#[async_trait(?Send)]
impl Service for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&mut self, _: &mut Run) -> Result<Started, Error> {
        self.note("starts");
        Ok(Started::Yes)
    }

    async fn while_paused(&self) {
        self.note("may work");
    }

    async fn stop(&mut self) {
        self.note("stops");
    }
}

#[tokio::test]
async fn an_app_that_dies_is_started_again_and_given_up_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::<Mutex<Vec<String>>>::default();
    let sink = log.clone();
    let command = ["sh", "-c", "echo app $MONOLITE_DATA; exit 7"];
    let mut config = Config::new(command.map(Into::into).to_vec(), dir.path().into());
    config.output = Arc::new(move |_, bytes| {
        let text = String::from_utf8_lossy(bytes).trim().to_owned();
        sink.lock().unwrap().push(text);
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    config.environment = vec![("PATH".into(), path)];
    let fake = |name| {
        let log = log.clone();
        Box::new(Fake { name, log }) as Box<dyn Service>
    };
    let gate = Gate::new(monolite_gate::Config::default());
    let error = run(config, gate, vec![fake("a"), fake("b")])
        .await
        .unwrap_err();
    assert_eq!(error.code(), 7);
    assert_eq!(
        error.to_string(),
        "the app exited with code 7, 5 times in a row; giving up"
    );
    let line = format!("app {}", dir.path().display());
    assert_eq!(error.tail(), Some(line.as_str()));
    let life = ["b may work", "a may work", line.as_str()];
    let expected = [
        &["a starts", "b starts"][..],
        &life.repeat(5),
        &["b stops", "a stops"],
    ]
    .concat();
    assert_eq!(*log.lock().unwrap(), expected);
}
