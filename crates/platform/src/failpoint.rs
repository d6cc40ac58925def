//! Named points in the code at which a test ends the process.
//!
//! Between any two of them the process may die; what the code around them
//! promises must hold all the same. A crate calls [`reached`] where that
//! matters, and its tests enable the feature `failpoints` of this crate as a
//! dev-dependency, so that no product is built with it:
//!
//! ```toml
//! [dev-dependencies]
//! monolite-platform = { workspace = true, features = ["failpoints"] }
//! ```
//!
//! Invariant: without the feature, [`reached`] is an empty inline function and
//! there is nothing that could be hooked.
//!
//! Names are `area.what-has-just-happened`, as `backup.renamed`.

#[cfg(any(test, feature = "failpoints"))]
static HOOK: std::sync::OnceLock<fn(&'static str)> = std::sync::OnceLock::new();

/// Has `hook` called with the name of each point that is reached, from then on
/// and for the whole process. Only with the feature `failpoints`; the first hook
/// stays.
#[cfg(any(test, feature = "failpoints"))]
pub fn observe(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}

/// Says that the point `name` is reached.
#[inline]
pub fn reached(name: &'static str) {
    #[cfg(any(test, feature = "failpoints"))]
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
    #[cfg(not(any(test, feature = "failpoints")))]
    let _ = name;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static SEEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    #[test]
    fn the_first_hook_sees_each_point() {
        reached("before");
        observe(|name| SEEN.lock().unwrap().push(name));
        observe(|_| unreachable!("the first hook stays"));
        reached("failpoint.test");
        assert!(SEEN.lock().unwrap().contains(&"failpoint.test"));
        assert!(!SEEN.lock().unwrap().contains(&"before"));
    }
}
