//! Named steps, so that a test can end the process at each of them.
//!
//! Between any two steps the process may die; what the modules promise must
//! hold all the same. Nothing happens at a step unless a test set a hook.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// Has `hook` called with the name of each step that is reached, from then on
/// and for the whole process. For tests; the first hook stays.
pub fn observe(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}

pub(crate) fn reached(step: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(step);
    }
}
