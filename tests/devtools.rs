//! A browser to look through: Chromium, driven over its DevTools protocol.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;

use monolite_testkit::{PATIENCE, Process, Signal, disk_dir, wait_until};
use rustix::process::{Pid, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// What else it would do by itself: talk to its maker, mostly.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // One that is free; told in the first line of the output.
    "--remote-debugging-port=0",
];

/// A browser of its own, ended with all its processes when dropped.
pub(crate) struct Chromium {
    browser: Connection,
    /// `127.0.0.1:PORT`.
    address: String,
    process: Process,
    _profile: TempDir,
}

impl Chromium {
    pub(crate) fn start(program: &Path) -> Self {
        let profile = disk_dir();
        let mut arguments: Vec<_> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let process = Process::start(program, arguments, |command| {
            command.process_group(0);
        });
        let line = process.line("DevTools listening on ws://");
        let (_, url) = line.split_once("ws://").expect("an address");
        let (address, path) = url.split_once('/').expect("a path");
        Self {
            browser: Connection::open(address, path),
            address: address.into(),
            process,
            _profile: profile,
        }
    }

    /// A tab in a window of its own: one behind another would count as hidden.
    pub(crate) fn tab(&mut self, url: &str) -> Tab {
        let wanted = json!({ "url": "about:blank", "newWindow": true });
        let made = self.browser.call("Target.createTarget", wanted);
        let id = made["targetId"].as_str().expect("a tab");
        let path = format!("devtools/page/{id}");
        let mut tab = Tab(Connection::open(&self.address, &path));
        // Before the page is there, so that nothing it says is missed.
        for domain in ["Log", "Runtime", "Page"] {
            tab.0.call(&format!("{domain}.enable"), json!({}));
        }
        tab.0.call("Page.navigate", json!({ "url": url }));
        wait_until(&format!("{url} is loaded"), || {
            tab.eval("location.href != 'about:blank' && document.readyState == 'complete'") == true
        });
        tab
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.pid())
            .ok()
            .and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A page as a person sees it.
pub(crate) struct Tab(Connection);

impl Tab {
    /// The value of a JavaScript expression in the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let wanted = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut answer = self.0.call("Runtime.evaluate", wanted);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression holds.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        wait_until(expression, || self.eval(expression) == true);
    }

    /// Puts the cursor into the field `id` and types.
    pub(crate) fn type_into(&mut self, id: &str, text: &str) {
        let focused =
            format!("document.getElementById('{id}').focus() ?? document.activeElement.id");
        assert_eq!(self.eval(&focused), id, "cannot be typed into");
        self.0.call("Input.insertText", json!({ "text": text }));
    }

    /// What the browser has to complain about in this page: exceptions, what
    /// its console shows as an error or a warning, what its policy forbids.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What was said before this answer has arrived with it.
        self.eval("1");
        let bad = |level: &Value| {
            ["error", "warning", "assert"]
                .iter()
                .any(|bad| level == bad)
        };
        let said = self.0.events.iter().filter(|event| {
            let params = &event["params"];
            match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => bad(&params["type"]),
                Some("Log.entryAdded") => bad(&params["entry"]["level"]),
                _ => false,
            }
        });
        said.map(|event| event["params"].to_string()).collect()
    }
}

struct Connection {
    socket: WebSocket<TcpStream>,
    calls: u64,
    /// All that came unasked.
    events: Vec<Value>,
}

impl Connection {
    fn open(address: &str, path: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let url = format!("ws://{address}/{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("DevTools");
        Self {
            socket,
            calls: 0,
            events: Vec::new(),
        }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let call = json!({ "id": self.calls, "method": method, "params": params });
        let sent = self.socket.send(Message::text(call.to_string()));
        sent.expect("the browser is there");
        loop {
            let message = self.socket.read().expect("the browser answers");
            let Message::Text(text) = message else {
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }
}
