//! Whose turn it is: our own verbs beside guarded migrations.

use monolite_testkit::{Process, Signal};

use super::place::{Place, SQL, ended, has};

#[test]
fn other_verbs_leave_an_interrupted_migration_alone() {
    let place = Place::with_blog();
    let never = place.path("never");
    let run = place.migrate(
        place.dir.path(),
        &[],
        &[
            "env",
            "DATABASE_PASSWORD=hunter2",
            "python3",
            "-c",
            SQL,
            never.to_str().unwrap(),
        ],
        "DELETE FROM comments;",
    );
    run.line("ran");
    run.signal(Signal::KILL);
    ended(run);
    let note = std::fs::read_to_string(place.path(".monolite/migrating/intent.json")).unwrap();
    let lock = std::fs::read_to_string(place.path(".monolite/migrating.lock")).unwrap();
    assert!(
        !note.contains("hunter2") && !lock.contains("hunter2"),
        "{note}{lock}"
    );
    let migrations = place.path("migrations");
    std::fs::create_dir(&migrations).unwrap();
    std::fs::write(migrations.join("0001_more.sql"), "CREATE TABLE more (x);").unwrap();
    let verb = |arguments: &[&str]| {
        let run = Process::start(env!("CARGO_BIN_EXE_monolite"), arguments, |command| {
            command.current_dir(place.dir.path());
        });
        ended(run)
    };
    let data = place.dir.path().to_str().unwrap();
    let (code, output) = verb(&["migrate", "up", "--baseline", "--data", data]);
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "a migration (`env`) was interrupted",
            "--interrupted put-back",
        ],
    );
    assert_eq!(
        place.number("SELECT count(*) FROM sqlite_schema WHERE name = 'more'"),
        0
    );
    // `up` puts it back before it begins, as the guard of any migration does.
    let (code, output) = verb(&["migrate", "up", "--data", data]);
    assert_eq!(code, 0, "{output}");
    has(&output, &["put back as it was before: app.sqlite3"]);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    // Under the guard they have its turn.
    std::fs::write(
        migrations.join("0002_even_more.sql"),
        "CREATE TABLE even (x);",
    )
    .unwrap();
    let own = env!("CARGO_BIN_EXE_monolite");
    let (code, output) = verb(&[
        "migrate", "--data", data, "--", own, "migrate", "up", "--data", data,
    ]);
    assert_eq!(code, 0, "{output}");
    assert_eq!(place.number("SELECT count(*) FROM even"), 0);
}

/// A volume with one file to apply, and how a verb is run in it.
fn with_a_file() -> (Place, impl Fn(&[&str]) -> Process) {
    let place = Place::with_blog();
    let migrations = place.path("migrations");
    std::fs::create_dir(&migrations).unwrap();
    std::fs::write(migrations.join("0001_more.sql"), "CREATE TABLE more (x);").unwrap();
    let dir = place.dir.path().to_owned();
    let verb = move |arguments: &[&str]| {
        Process::start(env!("CARGO_BIN_EXE_monolite"), arguments, |command| {
            command.current_dir(&dir);
        })
    };
    (place, verb)
}

#[test]
fn a_command_without_the_environment_has_its_guards_turn() {
    let (place, verb) = with_a_file();
    let (data, own) = (
        place.dir.path().to_str().unwrap(),
        env!("CARGO_BIN_EXE_monolite"),
    );
    let script = "exec env -i \"$0\" migrate up --data \"$1\"";
    let (code, output) = ended(verb(&[
        "migrate", "--data", data, "--", "sh", "-c", script, own, data,
    ]));
    assert_eq!(code, 0, "{output}");
    assert_eq!(place.number("SELECT count(*) FROM more"), 0);
}

#[test]
fn who_waits_says_so_and_not_for_ever() {
    let (place, verb) = with_a_file();
    let data = place.dir.path().to_str().unwrap();
    let never = place.path("never");
    let command = ["python3", "-c", SQL, never.to_str().unwrap()];
    let guarded = place.migrate(place.dir.path(), &[], &command, "");
    guarded.line("ran");
    // By its path, it is the volume's database all the same.
    let waits = verb(&[
        "migrate",
        "up",
        "--data",
        data,
        "--database",
        "./app.sqlite3",
    ]);
    waits.line("waiting for `python3`");
    waits.signal(Signal::TERM);
    let (code, output) = ended(waits);
    assert_eq!(code, 1, "{output}");
    let waits = verb(&["migrate", "up", "--data", data]);
    waits.line("waiting for `python3`");
    guarded.signal(Signal::TERM);
    ended(guarded);
    let (code, output) = ended(waits);
    assert_eq!(code, 0, "{output}");
    assert_eq!(place.number("SELECT count(*) FROM more"), 0);
}
