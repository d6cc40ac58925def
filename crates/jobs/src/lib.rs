//! Durable background jobs in the app's own SQLite file.
