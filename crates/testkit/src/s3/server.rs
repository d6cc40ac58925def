//! The server: its thread, its port, its end.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::api::Api;
use super::content::Content;
use super::faults::Faults;
use super::front::Front;
use super::listing::{View, Wanted};
use super::objects::{Condition, Object, Objects};
use super::options::S3Options;
use super::traffic::{Counts, Logged};
use super::wire::{Reset, Wire};

/// A running server, on a port of its own of 127.0.0.1; ends when dropped.
pub struct S3Server {
    address: SocketAddr,
    options: S3Options,
    objects: Arc<Mutex<Objects>>,
    front: Front,
    listening: Mutex<Option<Listening>>,
}

struct Listening {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts one with the options' defaults.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        Self::start_with(S3Options::default())
    }

    /// Starts one.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start_with(options: S3Options) -> Self {
        let mut objects = Objects::default();
        objects.create(&options.bucket);
        let objects = Arc::new(Mutex::new(objects));
        let mut service = S3ServiceBuilder::new(Api {
            objects: Arc::clone(&objects),
            clock: Arc::clone(&options.clock),
            page: options.page,
        });
        service.set_auth(SimpleAuth::from_single(
            options.access_key.as_str(),
            options.secret_key.as_str(),
        ));
        // The clock is checked in front, where it can be set wrong.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let front = Front {
            service: service.build(),
            faults: Faults::default(),
            traffic: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the S3 server");
        let server = Self {
            address: listener.local_addr().expect("its address"),
            objects,
            front,
            listening: Mutex::new(None),
            options,
        };
        server.listen(listener);
        server
    }

    /// Where it is, for a client that puts the bucket into the path:
    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bucket it started with.
    pub fn bucket(&self) -> &str {
        &self.options.bucket
    }

    /// The access key it knows.
    pub fn access_key(&self) -> &str {
        &self.options.access_key
    }

    /// The access key's secret.
    pub fn secret_key(&self) -> &str {
        &self.options.secret_key
    }

    /// The region clients sign for; any other is as good.
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    /// The variables that lead a program there.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.options.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.options.secret_key.clone()),
            ("AWS_REGION", self.region().to_owned()),
            ("AWS_ENDPOINT_URL_S3", self.url()),
        ]
    }

    /// Leads a program there, whatever this process's own variables say of S3.
    pub fn lead(&self, program: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("LITESTREAM_") {
                program.env_remove(name);
            }
        }
        program.envs(self.variables());
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.front.faults
    }

    /// What was asked of it.
    pub fn counts(&self) -> Counts {
        self.front.traffic.counts()
    }

    /// The last requests (10,000 at most), the oldest first, in the order in
    /// which their heads came.
    pub fn log(&self) -> Vec<Logged> {
        self.front.traffic.log()
    }

    /// Counts from zero, with an empty log.
    pub fn reset_counts(&self) {
        self.front.traffic.reset();
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        usize::try_from(self.front.traffic.connections(0)).unwrap_or(0)
    }

    /// Ends every connection and refuses new ones, as a server that is down.
    /// What it holds stays.
    pub fn down(&self) {
        drop(self.listening().take());
    }

    /// Listens again, on the same port, after [`S3Server::down`].
    ///
    /// # Panics
    /// If the port is taken by now.
    pub fn up(&self) {
        if self.listening().is_none() {
            self.listen(TcpListener::bind(self.address).expect("the server's port again"));
        }
    }

    /// Makes a bucket; one that is there stays.
    pub fn create_bucket(&self, name: &str) {
        self.objects().create(name);
    }

    /// The keys in the bucket that start with `prefix`, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let wanted = Wanted {
            prefix,
            delimiter: None,
            after: "",
            most: usize::MAX,
            view: View::Now,
        };
        let page = self.objects().list(&self.options.bucket, &wanted);
        let objects = page.expect("the bucket").objects;
        objects.into_iter().map(|(key, _)| key).collect()
    }

    /// What is stored under a key.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.objects().get(&self.options.bucket, key).ok()?;
        Some(object.content.pieces.concat())
    }

    /// The user metadata (`x-amz-meta-NAME`) of what is stored under a key.
    pub fn metadata(&self, key: &str, name: &str) -> Option<String> {
        let object = self.objects().get(&self.options.bucket, key).ok()?;
        object.metadata.get(name).cloned()
    }

    /// Stores an object past all requests; one that is there keeps its
    /// metadata.
    ///
    /// # Panics
    /// Never: the bucket is there.
    pub fn put(&self, key: &str, body: impl Into<Bytes>) {
        let mut objects = self.objects();
        let before = objects.get(&self.options.bucket, key).ok();
        let mut object = Object::new(Content::of(body.into()), (self.options.clock)());
        if let Some(before) = before {
            object.metadata.clone_from(&before.metadata);
        }
        objects
            .put(&self.options.bucket, key, object, &Condition::None)
            .expect("the bucket");
    }

    /// Removes an object past all requests: was it there?
    pub fn remove(&self, key: &str) -> bool {
        let mut objects = self.objects();
        let there = objects.get(&self.options.bucket, key).is_ok();
        let _ = objects.delete(&self.options.bucket, key, &Condition::None);
        there
    }

    /// Uploads in parts that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.objects().uploads()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects
            .lock()
            .expect("nobody panicked over the objects")
    }

    fn listening(&self) -> MutexGuard<'_, Option<Listening>> {
        self.listening.lock().expect("nobody panicked listening")
    }

    fn listen(&self, listener: TcpListener) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(self.options.threads.max(1))
            .thread_name("s3-server")
            .enable_all()
            .build()
            .expect("the S3 server's runtime");
        let (stop, stopped) = oneshot::channel();
        let front = self.front.clone();
        let thread = std::thread::spawn(move || serve(runtime, listener, front, stopped));
        *self.listening() = Some(Listening {
            stop: Some(stop),
            thread: Some(thread),
        });
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.down();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    runtime: Runtime,
    listener: TcpListener,
    front: Front,
    mut stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async move {
        listener.set_nonblocking(true).expect("a listener");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = &mut stopped => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            let _ = stream.set_nodelay(true);
            let reset = Reset::default();
            let wire = Wire::new(stream, Arc::clone(&front.traffic), reset.clone());
            let front = front.clone();
            let answer = service_fn(move |request| front.clone().answer(request, reset.clone()));
            tokio::spawn(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(None)
                    .serve_connection(TokioIo::new(wire), answer),
            );
        }
    });
    // Connections end here: their tasks are dropped.
    runtime.shutdown_timeout(Duration::from_secs(5));
}
