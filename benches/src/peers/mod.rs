//! The peers, as far as more than one bench meets them. Each crate that links
//! a SQLite of its own, or that we would rather not lock into our workspace,
//! is a program of its own in `benches/peers`.

pub(crate) mod asked;
pub(crate) mod program;
pub(crate) mod redis;
