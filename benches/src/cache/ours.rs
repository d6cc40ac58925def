//! Our side of the cache bench, one function a case; a case that is `None` has
//! no row yet. Each opens a cache in the directory it is given, closes it in
//! the end, and measures for about the time given, after a warm-up of a tenth
//! of it.

use std::path::Path;
use std::time::Duration;

use crate::cache::hit_rate::Size;
use crate::cache::load::Load;
use crate::turns::Ours;

type AtLoad = Option<fn(&Path, Load, Duration) -> anyhow::Result<f64>>;

/// Values found per second: keys at random among [`Load::keys`], all there.
pub(crate) const GET: AtLoad = None;
/// Values stored per second: keys at random among [`Load::keys`].
pub(crate) const SET: AtLoad = None;
/// The waits of sets of 1 KB by one caller in a cache that is full.
pub(crate) const SET_WHILE_EVICTING: Ours<crate::contest::histogram::Histogram> = None;
/// The share of hits in percent: [`Size::hits`] with a cache bounded at what
/// `capacity` entries of one size take.
pub(crate) const HITS: Option<fn(&Path, Size) -> anyhow::Result<f64>> = None;
