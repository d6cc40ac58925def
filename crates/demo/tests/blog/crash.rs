//! A process that is killed, and what it had promised.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use monolite::rusqlite::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::background::told;
use crate::{Blog, until};

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut command = crate::process("crash::serve_until_killed", data);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ports = lines.filter_map(|line| line.unwrap().split_once("port ")?.1.parse().ok());
        let port = ports.next().expect("it listens");
        Self { child, port }
    }

    /// Comments, and answers with the number of the comment once it is there.
    async fn comment(&self) -> i64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = "POST /posts/2/comments HTTP/1.0\r\nhost: localhost\r\n\
            accept: application/json\r\ncontent-length: 13\r\n\
            content-type: application/x-www-form-urlencoded\r\n\r\nname=a&body=b";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 201"), "{answer}");
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        let said: serde_json::Value = serde_json::from_str(json).unwrap();
        said["id"].as_i64().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[tokio::test]
#[ignore = "a process of its own, to be killed"]
async fn serve_until_killed() {
    let Some(data) = crate::data() else { return };
    let app = crate::open(&data).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nport {}", listener.local_addr().unwrap().port());
    app.serve(listener, std::future::pending()).await.unwrap();
}

/// However soon it is killed: here, always before the job has begun.
#[tokio::test]
async fn what_was_answered_is_told_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let files = monolite::Monolite::open(dir.path()).await.unwrap();
    files.jobs().pause("default").await.unwrap();
    let comment = server.comment().await;
    server.kill();
    let read = move |conn: &Connection| told(comment)(conn);
    assert_eq!(files.db().read(read).await.unwrap(), None);

    let _blog = Blog::at(dir).await;
    files.jobs().resume("default").await.unwrap();
    until(&files, told(comment)).await;
}

/// And at whatever moment: before it, in the middle of it, after it.
#[tokio::test]
async fn a_kill_at_any_moment_loses_no_notification() {
    let dir = tempfile::tempdir().unwrap();
    let mut comments = Vec::new();
    for round in 0..4 {
        let server = Server::start(dir.path());
        for _ in 0..=round {
            comments.push(server.comment().await);
        }
        server.kill();
    }
    let blog = Blog::at(dir).await;
    let files = blog.files().await;
    for comment in comments {
        until(&files, told(comment)).await;
    }
}
