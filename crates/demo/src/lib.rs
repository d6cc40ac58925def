//! The bundled app: a small live blog on one SQLite volume.
//!
//! It shows what [`Monolite`] brings an app. Posts and comments are rows; a
//! comment committed by any process appears in every open page at once, by
//! pub/sub over Server-Sent Events. Its author is told by a background job
//! that is enqueued in the comment's own transaction; a recurring job counts
//! what is discussed; the front page is cached. The pages work without
//! JavaScript and load nothing from elsewhere.
//!
//! A comment inserted by another program, the `sqlite3` shell for example, is
//! published by a trigger and appears as quickly. It enqueues no job: nobody
//! is told of it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = monolite_demo::Config::new("/data");
//! let app = monolite_demo::app(config).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! app.serve(listener, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod assets;
mod comment;
mod discussed;
mod draft;
mod error;
mod facts;
mod failure;
mod front;
mod guard;
mod live;
mod loss;
mod moment;
mod notification;
mod pages;
mod post;
mod prose;
mod routes;
mod schema;
mod stream;
mod work;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::serve::ListenerExt;
use monolite::{Monolite, Worker, rusqlite};
use tokio::net::TcpListener;

pub use crate::error::Error;

use crate::facts::Origin;
use crate::live::Live;
use crate::loss::Loss;
use crate::routes::Site;

/// The database in the directory.
const FILE: &str = monolite_volume::layout::APP;

/// How long requests and jobs that have begun may take to end once the app is
/// told to stop. Streams are ended at once and do not count.
const DRAIN: Duration = Duration::from_secs(10);

/// Where the blog is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory, which must exist. `app.sqlite3` in it is created and
    /// seeded when it is not there; the cache and the messages are beside it.
    pub data: PathBuf,
    /// The folder of a replica that whoever runs this restores the database
    /// from when its file is gone. With one, every page has a button that
    /// deletes the database.
    pub replica: Option<PathBuf>,
}

impl Config {
    /// A blog in `data`, without a replica.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            replica: None,
        }
    }
}

/// The running blog.
pub struct App {
    site: Site,
    worker: Worker,
}

/// Opens the files, creating the tables and first posts if they are missing,
/// and starts working on jobs. Must be called on a tokio runtime.
///
/// # Errors
/// The files cannot be opened, or the database belongs to another app or was
/// made by a newer version. It is left as it was then.
pub async fn app(config: Config) -> Result<App, Error> {
    let path = config.data.join(FILE);
    let check = tokio::task::spawn_blocking(move || schema::check(&path));
    check.await.map_err(Error::Runtime)??;
    let app = Monolite::open(&config.data).await?;
    schema::prepare(&app).await?;
    let loss = match config.replica {
        Some(replica) => {
            let loss = Loss::look(&app, &config.data, replica).await;
            Some(loss?)
        }
        None => None,
    };
    let origin = Origin {
        process: std::process::id(),
        file: FILE.into(),
        sqlite: rusqlite::version(),
        started: Instant::now(),
    };
    let worker = work::start(&app).await.map_err(monolite::Error::from)?;
    let live = Live::start(app, origin, loss)?;
    Ok(App {
        site: Site { live },
        worker,
    })
}

impl App {
    /// The routes. Clones of it share the database and the live streams, and
    /// work until [`App::serve`] ends or the last is dropped.
    pub fn router(&self) -> axum::Router {
        routes::router(self.site.clone())
    }

    /// Serves until `shutdown` completes: then takes no new connections, ends
    /// the live streams, waits at most 10 s for requests and jobs that have
    /// begun, and closes the files. Jobs that have not ended go to another
    /// process, or wait for the next.
    ///
    /// # Errors
    /// The listener fails. The files are closed then, too.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let live = Arc::clone(&self.site.live);
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let shutdown = async move {
            shutdown.await;
            live.stop();
            let _ = stopping.send(Instant::now() + DRAIN);
        };
        // A comment is one small packet, and should not wait for a second.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(shutdown);
        let mut deadline = None;
        let overtime = async {
            match stopped.await {
                Ok(until) => {
                    deadline = Some(until);
                    tokio::time::sleep_until(until.into()).await;
                }
                Err(_) => std::future::pending().await,
            }
        };
        let served = tokio::select! {
            served = server => served.map_err(Error::Serve),
            () = overtime => Ok(()),
        };
        self.site.live.stop();
        let left = deadline.map_or(DRAIN, |until| {
            until.saturating_duration_since(Instant::now())
        });
        self.worker.shutdown(left).await;
        self.site.live.app.clone().close().await;
        served
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let app = &self.site.live.app;
        f.debug_struct("App")
            .field("app", app)
            .finish_non_exhaustive()
    }
}
