//! Keep-alive requests through the gate, through nginx, and straight to the app.

use std::time::Duration;

use crate::gate::front::Front;
use crate::gate::nginx;
use crate::gate::wrk::{self, Load};
use crate::place;
use crate::report::Report;
use crate::rounds::{Pace, Samples};

const LOADS: [Load; 4] = [
    Load {
        name: "GET 1 KB, 32 connections",
        connections: 32,
        body_bytes: 0,
    },
    Load {
        name: "POST 10 KB, 32 connections",
        connections: 32,
        body_bytes: 10 << 10,
    },
    Load {
        name: "GET 1 KB, 4 connections",
        connections: 4,
        body_bytes: 0,
    },
    // One request at a time: no waiting for a core, so that what is added is
    // the proxy's own.
    Load {
        name: "GET 1 KB, 1 connection",
        connections: 1,
        body_bytes: 0,
    },
];

#[derive(Default)]
struct Score {
    per_second: Samples,
    p50_us: Samples,
    p99_us: Samples,
}

pub(crate) fn run(pace: Pace, report: &mut Report, front: &Front) -> anyhow::Result<()> {
    let dir = place::scratch()?;
    let dir = dir.path();
    let served = front.serve_nginx(dir)?;
    let (_proxy, proxy_port) = nginx::start_proxy(&dir.join("proxy"), served.upstream)?;
    let ports = [served.port, proxy_port, served.upstream];

    for load in LOADS {
        let mut scores: [Score; 3] = Default::default();
        for port in ports {
            // Opens the connections to the app.
            wrk::run(dir, load, port, Duration::from_secs(1))?;
        }
        for _ in 0..pace.rounds {
            for (port, score) in ports.into_iter().zip(&mut scores) {
                let answered = wrk::run(dir, load, port, pace.load)?;
                score.per_second.push(answered.per_second);
                score.p50_us.push(answered.p50_us);
                score.p99_us.push(answered.p99_us);
            }
        }
        tell(report, load, &scores);
    }
    Ok(())
}

fn tell(report: &mut Report, load: Load, [gate, nginx, direct]: &[Score; 3]) {
    let name = load.name;
    let peer = "nginx as a proxy";
    report
        .versus(
            name,
            "requests/s",
            gate.per_second.median(),
            peer,
            nginx.per_second.median(),
        )
        .wanted(">= 0.7, goal 1.0");
    report.versus(
        name,
        "requests/s",
        gate.per_second.median(),
        "no proxy",
        direct.per_second.median(),
    );
    for (what, of) in [
        ("p50", (|score| score.p50_us.median()) as fn(&Score) -> f64),
        ("p99", |score| score.p99_us.median()),
    ] {
        report.versus(
            format!("{name}, {what} (lower is better)"),
            "us",
            of(gate),
            peer,
            of(nginx),
        );
        report.versus(
            format!("{name}, added {what} (lower is better)"),
            "us",
            of(gate) - of(direct),
            peer,
            of(nginx) - of(direct),
        );
    }
}
