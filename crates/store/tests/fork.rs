//! A store in a process that was forked from the one that opened it.

#![allow(unsafe_code)]

use monolite_store::{Error, Options, Store};

#[test]
fn a_forked_child_is_told_instead_of_waiting_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sqlite3");
    let store = Store::open(&path, Options::new()).unwrap();
    store
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")?))
        .unwrap();
    // SAFETY: the child makes no call that takes a lock another thread of the
    // parent may hold: each of these is refused before it comes to one.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let write = matches!(store.write_blocking(|_| Ok(())), Err(Error::Forked));
        let read = matches!(store.read_blocking(|_| Ok(())), Err(Error::Forked));
        let watch = matches!(store.watch(), Err(Error::Forked));
        let told = write && read && watch;
        // SAFETY: ends the child at once, without destructors.
        unsafe { libc::_exit(i32::from(!told)) }
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child was not refused");
    // The parent's locks and threads are as they were.
    store
        .write_blocking(|tx| Ok(tx.execute_batch("INSERT INTO t VALUES (2)")?))
        .unwrap();
    store.close_blocking();
}
