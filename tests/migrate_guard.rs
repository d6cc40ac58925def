//! `monolite migrate -- COMMAND` and the migrate command of `run`: the trap as
//! real Rails, real Django and plain SQL commit it, and what becomes of it.

mod frameworks;
mod in_run;
mod life;
mod place;
mod tools;
mod turn;
