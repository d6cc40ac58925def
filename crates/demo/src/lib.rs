//! The bundled app: a small live blog on one SQLite file.
//!
//! Posts and comments live in the file; a comment committed by any process
//! appears in every open page at once, over Server-Sent Events. The pages work
//! without JavaScript and load nothing from elsewhere.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = monolite_demo::Config { database: "app.sqlite3".into() };
//! let app = monolite_demo::app(config).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! app.serve(listener, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod assets;
mod comment;
mod draft;
mod error;
mod facts;
mod failure;
mod guard;
mod live;
mod moment;
mod pages;
mod post;
mod prose;
mod routes;
mod schema;
mod stream;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::serve::ListenerExt;
use monolite_store::rusqlite;
use monolite_store::{Options, Store};
use tokio::net::TcpListener;

pub use crate::error::Error;

use crate::facts::Origin;
use crate::live::Live;
use crate::routes::Site;

/// How long a request that has begun may take to end once the app is told to
/// stop. Streams are ended at once and do not count.
const DRAIN: Duration = Duration::from_secs(10);

/// Where the blog is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SQLite file. Created and seeded when it is not there; its directory
    /// must exist.
    pub database: PathBuf,
}

/// The running blog.
pub struct App {
    site: Site,
}

/// Opens the database, creating its tables and first posts if it is empty, and
/// starts following its commits. Must be called on a tokio runtime.
///
/// # Errors
/// The file cannot be opened, belongs to another app, or was made by a newer
/// version. It is left as it was.
pub async fn app(config: Config) -> Result<App, Error> {
    let path = config.database;
    let file = path.file_name().unwrap_or_default();
    let origin = Origin {
        process: std::process::id(),
        file: file.to_string_lossy().into_owned(),
        sqlite: rusqlite::version(),
        started: Instant::now(),
    };
    // Opening waits for the disk and for locks: not on the runtime.
    let open = move || {
        schema::check(&path)?;
        Store::open(path, Options::default()).map_err(Error::Store)
    };
    let store = tokio::task::spawn_blocking(open)
        .await
        .map_err(Error::Runtime)??;
    schema::prepare(&store).await?;
    let live = Live::start(store, origin).await.map_err(Error::Store)?;
    Ok(App {
        site: Site { live },
    })
}

impl App {
    /// The routes. Clones of it share the database and the live streams, and
    /// work until [`App::serve`] ends or the last is dropped.
    pub fn router(&self) -> axum::Router {
        routes::router(self.site.clone())
    }

    /// Serves until `shutdown` completes: then takes no new connections, ends
    /// the live streams, waits at most 10 s for requests that have begun, and
    /// closes the database.
    ///
    /// # Errors
    /// The listener fails. The database is closed then, too.
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
            let _ = stopping.send(());
        };
        // A comment is one small packet, and should not wait for a second.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(shutdown);
        let overtime = async {
            match stopped.await {
                Ok(()) => tokio::time::sleep(DRAIN).await,
                Err(_) => std::future::pending().await,
            }
        };
        let served = tokio::select! {
            served = server => served.map_err(Error::Serve),
            () = overtime => Ok(()),
        };
        self.site.live.stop();
        self.site.live.store.clone().close().await;
        served
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let store = &self.site.live.store;
        f.debug_struct("App").field("store", store).finish()
    }
}
