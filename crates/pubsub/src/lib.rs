//! Publish and subscribe across processes on one SQLite file.
