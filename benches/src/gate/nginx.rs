//! nginx, once as the app and once as the peer in front of it, each with its
//! own configuration and directory.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::http::{free_port, wait_for_200};
use crate::process::Running;

#[derive(clap::Args)]
pub(crate) struct UpstreamArguments {
    dir: PathBuf,
}

/// The app of the load bench: answers everything with 1 KB.
pub(crate) fn become_upstream(arguments: &UpstreamArguments) -> anyhow::Result<()> {
    let port = std::env::var("PORT").context("PORT is not set")?;
    let body = "x".repeat(1024);
    let server = format!(
        "server {{
            listen 127.0.0.1:{port} backlog=1024;
            location / {{ return 200 '{body}'; }}
        }}"
    );
    configure(&arguments.dir, &server)?;
    // Last, and whole: who reads it finds the rest in place.
    let unfinished = arguments.dir.join("port.new");
    std::fs::write(&unfinished, &port)?;
    std::fs::rename(unfinished, port_file(&arguments.dir))?;
    Err(command(&arguments.dir).exec().into())
}

/// Where the upstream tells the port it was given.
pub(crate) fn port_file(dir: &Path) -> PathBuf {
    dir.join("port")
}

pub(crate) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("nginx.pid")
}

/// The peer: nginx as a proxy, with the headers a proxy is expected to add.
pub(crate) fn start_proxy(dir: &Path, upstream: u16) -> anyhow::Result<(Running, u16)> {
    let port = free_port()?;
    let server = format!(
        "upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
        server {{
            listen 127.0.0.1:{port} backlog=1024;
            location / {{
                proxy_pass http://app;
                proxy_http_version 1.1;
                proxy_set_header Connection \"\";
                proxy_set_header Host $http_host;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_set_header X-Forwarded-Proto $scheme;
            }}
        }}"
    );
    configure(dir, &server)?;
    let mut proxy = Running::start(&mut command(dir))?.also_ends(pid_file(dir));
    wait_for_200(port, Duration::from_secs(10), || proxy.lives())
        .with_context(|| std::fs::read_to_string(dir.join("error.log")).unwrap_or_default())?;
    Ok((proxy, port))
}

fn configure(dir: &Path, server: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let text = format!(
        "daemon off;
        worker_processes 2;
        pid nginx.pid;
        error_log error.log warn;
        events {{ worker_connections 2048; }}
        http {{
            access_log off;
            # Keep-alive is what is measured: no pause every 1000 requests.
            keepalive_requests 1000000;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            {server}
        }}
        "
    );
    std::fs::write(dir.join("nginx.conf"), text)?;
    Ok(())
}

fn command(dir: &Path) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("nginx");
    command
        .env("PATH", format!("{path}:/usr/sbin"))
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(dir.join("nginx.conf"))
        .arg("-e")
        .arg(dir.join("error.log"));
    command
}
