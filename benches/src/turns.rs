//! One case: we and our peers take turns at it, and each of them is a row.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::contest::histogram::Histogram;
use crate::place;
use crate::report::{Report, short};
use crate::rounds::Samples;

/// One turn: a directory that is new, and about how long to measure.
type Turn<'a, T> = Box<dyn FnMut(&Path, Duration) -> anyhow::Result<T> + 'a>;

/// A function of ours that measures one case; a case without has no row.
pub(crate) type Ours<T> = Option<fn(&Path, Duration) -> anyhow::Result<T>>;

struct Peer<'a, T> {
    name: &'static str,
    wanted: &'static str,
    turn: Turn<'a, T>,
}

/// `T` is what one turn measures: a rate, or a histogram.
pub(crate) struct Turns<'a, T> {
    case: String,
    /// What our number itself should be, whatever our peers reach.
    wanted: &'static str,
    ours: Option<Turn<'a, T>>,
    peers: Vec<Peer<'a, T>>,
}

/// What everyone reached, round by round.
struct Reached<T> {
    ours: Option<Vec<T>>,
    peers: Vec<(&'static str, &'static str, Vec<T>)>,
}

impl<'a, T> Turns<'a, T> {
    pub(crate) fn new(case: impl Into<String>) -> Self {
        Self {
            case: case.into(),
            wanted: "",
            ours: None,
            peers: Vec::new(),
        }
    }

    /// Our side of it. Until there is one, the peers are measured, and said
    /// on the screen, but the report has no row.
    pub(crate) fn ours(
        mut self,
        turn: Option<impl FnMut(&Path, Duration) -> anyhow::Result<T> + 'a>,
    ) -> Self {
        self.ours = turn.map(|turn| Box::new(turn) as Turn<'a, T>);
        self
    }

    /// What our number should be, where there is no peer.
    pub(crate) fn wanted(mut self, wanted: &'static str) -> Self {
        self.wanted = wanted;
        self
    }

    /// A peer, and what our ratio to it should be.
    pub(crate) fn peer(
        mut self,
        name: &'static str,
        wanted: &'static str,
        turn: impl FnMut(&Path, Duration) -> anyhow::Result<T> + 'a,
    ) -> Self {
        let turn = Box::new(turn);
        self.peers.push(Peer { name, wanted, turn });
        self
    }

    fn take(self, rounds: usize, time: Duration) -> anyhow::Result<Reached<T>> {
        let (mut ours, mut peers) = (self.ours, self.peers);
        let mut reached = Reached {
            ours: ours.is_some().then(Vec::new),
            peers: peers
                .iter()
                .map(|peer| (peer.name, peer.wanted, Vec::new()))
                .collect(),
        };
        for _ in 0..rounds {
            if let (Some(turn), Some(reached)) = (&mut ours, &mut reached.ours) {
                let dir = place::scratch()?;
                reached.push(turn(dir.path(), time).with_context(|| self.case.clone())?);
            }
            for (peer, (.., reached)) in peers.iter_mut().zip(&mut reached.peers) {
                let dir = place::scratch()?;
                let value = (peer.turn)(dir.path(), time);
                reached.push(value.with_context(|| format!("{}: {}", self.case, peer.name))?);
            }
        }
        Ok(reached)
    }
}

impl Turns<'_, f64> {
    /// One row a peer; `unit` is a number of things per second.
    pub(crate) fn rates(
        self,
        unit: &'static str,
        (rounds, time): (usize, Duration),
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (case, wanted) = (self.case.clone(), self.wanted);
        let reached = self.take(rounds, time)?;
        let ours = reached
            .ours
            .as_deref()
            .map(|ours| median(ours, |rate| *rate));
        for (name, wanted, rates) in &reached.peers {
            let peer = median(rates, |rate| *rate);
            row(report, case.clone(), unit, ours, Some((name, peer)), wanted);
        }
        if reached.peers.is_empty() {
            row(report, case, unit, ours, None, wanted);
        }
        Ok(())
    }
}

impl Turns<'_, Histogram> {
    /// The half and the last hundredth of the waits, each beside each peer;
    /// `wanted` is what these two should be.
    pub(crate) fn waits(
        self,
        wanted: [&'static str; 2],
        (rounds, time): (usize, Duration),
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let case = self.case.clone();
        let reached = self.take(rounds, time)?;
        for (name, share, wanted) in [("p50", 0.50, wanted[0]), ("p99", 0.99, wanted[1])] {
            let case = format!("{case}, {name} (lower is better)");
            let quantile = |waits: &[Histogram]| {
                median(waits, |waits: &Histogram| waits.quantile_us(share) as f64)
            };
            let ours = reached.ours.as_deref().map(quantile);
            for (peer, _, waits) in &reached.peers {
                let peer = Some((*peer, quantile(waits)));
                row(report, case.clone(), "us", ours, peer, wanted);
            }
            if reached.peers.is_empty() {
                row(report, case, "us", ours, None, wanted);
            }
        }
        Ok(())
    }
}

fn median<T>(values: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut samples = Samples::default();
    values.iter().for_each(|value| samples.push(of(value)));
    samples.median()
}

fn row(
    report: &mut Report,
    case: String,
    unit: &'static str,
    ours: Option<f64>,
    peer: Option<(&str, f64)>,
    wanted: &'static str,
) {
    match (ours, peer) {
        (Some(ours), Some((name, peer))) => {
            report.versus(case, unit, ours, name, peer).wanted(wanted);
        }
        (Some(ours), None) => report.alone(case, unit, ours).wanted(wanted),
        (None, Some((name, peer))) => eprintln!("  {case}: {name}: {} {unit}", short(Some(peer))),
        (None, None) => {}
    }
}
