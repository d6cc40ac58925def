//! The life of a served app: guard, migrate, start, open the gate, drain, stop.
