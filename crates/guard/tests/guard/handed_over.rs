//! What `monolite migrate up` asks of the guard besides: allowances handed over by the command, and
//! a migration that begins from a copy of an earlier one.

use std::path::Path;

use monolite_guard::{Error, Guard, Interrupted, Options, Verdict, earlier_copies, hand_over};
use rusqlite::Connection;

use super::common::{LOSES, begin, count, rolled_back, volume};

#[test]
fn what_the_command_hands_over_is_allowed_once() {
    let (_dir, volume) = volume();
    let all = count(&volume.path.join("app.sqlite3"), "comments");
    let none = hand_over(&volume.path, Path::new("app.sqlite3"), &["comments".into()]);
    assert!(
        matches!(none, Err(Error::File { .. })),
        "no migration is under way"
    );
    for (names, is_accepted) in [
        (vec!["rows:comments=1".to_owned()], false),
        (
            vec!["rows:posts".into(), format!("rows:comments={all}")],
            true,
        ),
    ] {
        let active = begin(&volume);
        hand_over(&volume.path, Path::new("app.sqlite3"), &names).unwrap();
        volume.run("app.sqlite3", LOSES);
        let verdict = active.finish(true).unwrap();
        let accepted = matches!(verdict, Verdict::Accepted { .. });
        assert_eq!(accepted, is_accepted, "{names:?}: {verdict:?}");
    }
    // The next migration knows nothing of it.
    volume.run(
        "app.sqlite3",
        "INSERT INTO comments (post_id) SELECT id FROM posts LIMIT 1",
    );
    let active = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    rolled_back(active.finish(true).unwrap());
}

#[test]
fn what_is_handed_over_is_for_one_database_and_stays() {
    let (_dir, volume) = volume();
    let (app, other) = (Path::new("app.sqlite3"), Path::new("sub/other.db"));
    let takes = |names: &[(&Path, &str)]| {
        let active = begin(&volume);
        for (database, name) in names {
            hand_over(&volume.path, database, &[(*name).to_owned()]).unwrap();
        }
        volume.run("sub/other.db", "DELETE FROM t WHERE id = 1");
        volume.run("app.sqlite3", "DELETE FROM comments WHERE id = 1");
        active.finish(true).unwrap()
    };
    // Of the same name in another database, or of the other database only.
    rolled_back(takes(&[(app, "rows:t"), (app, "rows:comments")]));
    rolled_back(takes(&[(other, "rows:t"), (other, "rows:comments")]));
    rolled_back(takes(&[(other, "rows:t")]));
    // A second one for the same database does not take back the first.
    let verdict = takes(&[
        (other, "rows:t"),
        (app, "rows:comments"),
        (app, "rows:posts"),
    ]);
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
}

/// A migration that is accepted and keeps its copy, as one that makes a table.
fn keeping(volume: &super::volume::Volume, sql: &str) {
    let guard = Guard::enter(volume.host(), "up").unwrap();
    let active = guard.begin(Options::new().keep_copy(true)).unwrap();
    volume.run("app.sqlite3", sql);
    assert!(matches!(
        active.finish(true).unwrap(),
        Verdict::Accepted { .. }
    ));
}

fn restore(live: &Path, copy: &Path) {
    let from = Connection::open(copy).unwrap();
    let mut to = Connection::open(live).unwrap();
    let backup = rusqlite::backup::Backup::new(&from, &mut to).unwrap();
    backup.step(-1).unwrap();
}

#[test]
fn a_migration_begins_from_an_earlier_copy_and_keeps_what_was_there() {
    let (_dir, volume) = volume();
    let live = volume.path.join("app.sqlite3");
    let name = Path::new("app.sqlite3");
    assert!(earlier_copies(&volume.path, name).is_empty());
    keeping(&volume, "CREATE TABLE a (x)");
    let copies = earlier_copies(&volume.path, name);
    let [copy] = copies.as_slice() else {
        panic!("{copies:?}");
    };
    volume.run("app.sqlite3", "INSERT INTO a VALUES ('typed in since')");
    let again = |finishes: bool| {
        let guard = Guard::enter(volume.host(), "up --redo").unwrap();
        guard.recover(Interrupted::default()).unwrap();
        let copy = earlier_copies(&volume.path, name).remove(0);
        let mut active = guard.begin(Options::new().keep_copy(true)).unwrap();
        let kept = active.start_from(name, &copy).unwrap();
        assert_eq!(count(&kept, "a"), 1, "as it was");
        restore(&live, &copy);
        volume.run("app.sqlite3", "CREATE TABLE a (x, y)");
        match finishes {
            true => Some(active.finish(true).unwrap()),
            false => None,
        }
    };
    // Judged by the copy: what was typed in is not among what was there.
    let verdict = again(true).unwrap();
    assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
    assert_eq!(count(&live, "a"), 0);
    assert!(!copy.exists(), "one copy is kept, the newest");
    assert_eq!(earlier_copies(&volume.path, name).len(), 1);
    // Who fails or dies meanwhile: what is put back is what was there, not the copy.
    volume.run("app.sqlite3", "INSERT INTO a VALUES (1, 2)");
    let failing = |sql: &str, succeeded: bool| {
        let guard = Guard::enter(volume.host(), "up --redo").unwrap();
        let copy = earlier_copies(&volume.path, name).remove(0);
        let mut active = guard.begin(Options::new().keep_copy(true)).unwrap();
        active.start_from(name, &copy).unwrap();
        restore(&live, &copy);
        volume.run("app.sqlite3", sql);
        rolled_back(active.finish(succeeded).unwrap());
        assert_eq!(count(&live, "a"), 1, "{sql}");
    };
    // The live file is the very copy then.
    failing("", false);
    failing("CREATE TABLE a (x, y)", false);
    failing(LOSES, true);
    again(false);
    let guard = Guard::enter(volume.host(), "the next").unwrap();
    guard
        .recover(Interrupted::RollBack)
        .unwrap()
        .expect("it was interrupted");
    assert_eq!(count(&live, "a"), 1);
    drop(guard);
    // Nothing was restored yet: the database is what it was.
    let guard = Guard::enter(volume.host(), "up --redo").unwrap();
    let copy = earlier_copies(&volume.path, name).remove(0);
    let mut active = guard.begin(Options::new().keep_copy(true)).unwrap();
    active.start_from(name, &copy).unwrap();
    active.finish(false).unwrap();
    assert_eq!(count(&live, "a"), 1);
}
