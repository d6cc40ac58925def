//! What Monolite's crates need of the operating system, each thing once.
//!
//! | module | what it is | invariant |
//! |---|---|---|
//! | [`durable`] | files that appear whole or not at all | a file has its name only after its content is on the disk |
//! | [`lock`] | an exclusive lock on a file, with its holder written in it | the kernel releases it however the process ends |
//! | [`process`] | other processes, as `/proc` shows them | nothing is opened but files of `/proc`; what the system does not show is an error or `Unknown`, never "no" |
//! | [`listening`] | what processes listen on | nothing is connected to |
//! | [`mapped`] | the files a process has mapped | |
//! | [`mountinfo`] | the mount a path lies on | no line of the table, however broken, hides the others |
//! | [`clock`] | what time it is; a clock that tests steer | time comes in through an argument |
//! | [`cancel`] | a flag that ends blocking work early | once set, it stays set |
//! | [`failpoint`] | named points at which a test ends the process | nothing at all without the feature `failpoints` |
//! | [`path`] | names of files next to a file | |
//!
//! The crate knows no other crate of Monolite, starts no thread and needs no
//! async runtime. It has no wrapper of inotify: the two users (`store` watches
//! one file, `replica` directories) share no more than the calls that
//! `rustix::fs::inotify` already makes safe.
//!
//! `/proc` is read here and not through the crate `procfs`: of its parsers three
//! fields of `stat` and one of `fdinfo` would be used, its mount table leaves the
//! kernel's `\040` escapes in the paths, and it brings three crates into every
//! app that depends on `monolite`.

pub mod cancel;
pub mod clock;
pub mod durable;
pub mod failpoint;
pub mod listening;
pub mod lock;
pub mod mapped;
pub mod mountinfo;
pub mod path;
pub mod process;
