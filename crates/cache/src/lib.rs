//! A cache on one SQLite file: bounded, tagged, with single flight across processes.
