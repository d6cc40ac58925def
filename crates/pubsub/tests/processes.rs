//! What is promised across processes, with processes that are killed. This
//! program starts itself again as the other process; see `child`.

use std::path::Path;
use std::time::{Duration, Instant};

use monolite_pubsub::{
    Event, NewMessage, Opened, PresenceEvent, PubSub, PubSubOptions, Subscriber, outbox,
};
use monolite_store::rusqlite::Connection;
use monolite_store::{Options, Store};
use monolite_testkit::child::Child;

const LONG: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_millis(1500);

fn options() -> PubSubOptions {
    PubSubOptions::new().presence_lease(LEASE)
}

fn app(dir: &Path) -> Store {
    // An optimize commits at times of its own.
    let options = Options::new().optimize_every(None);
    Store::open(dir.join("app.sqlite3"), options).unwrap()
}

fn pubsub(dir: &Path) -> PubSub {
    PubSub::open(dir.join("pubsub.sqlite3"), options()).unwrap()
}

/// Runs only when named by a parent test: does what its standard input says.
#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    let dir = std::env::var("PUBSUB_DIR").unwrap();
    let dir = Path::new(&dir);
    let pubsub = pubsub(dir);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    println!("\nready");
    let mut present = Vec::new();
    for line in std::io::stdin().lines().map(Result::unwrap) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["publish", channel, text, from, to] => {
                for n in from.parse().unwrap()..to.parse::<u64>().unwrap() {
                    pubsub
                        .publish_blocking(channel, format!("{text} {n}"))
                        .unwrap();
                    println!("published {n}");
                }
            }
            ["outbox", channel, from, to] => {
                let app = app(dir);
                let _relay = pubsub.relay_blocking(&app).unwrap();
                println!("relaying");
                for n in from.parse().unwrap()..to.parse::<u64>().unwrap() {
                    let message = NewMessage::new(channel, n.to_string());
                    app.write_blocking(move |tx| {
                        tx.execute("INSERT INTO t VALUES (?1)", [n.cast_signed()])?;
                        outbox::publish(tx, &message).map_err(monolite_store::Error::app)
                    })
                    .unwrap();
                    println!("committed {n}");
                }
            }
            ["join", channel, member] => {
                let joined = runtime.block_on(pubsub.join(channel, member, "there"));
                present.push(joined.unwrap());
                println!("joined");
            }
            ["epoch"] => {
                let bounds = runtime.block_on(pubsub.bounds()).unwrap();
                println!("epoch {} {:?}", bounds.epoch, pubsub.opened());
            }
            _ => panic!("{line}"),
        }
    }
}

/// Another process with the files in `dir`, which is ready.
fn other(dir: &Path) -> Child {
    let child = Child::start("child", [("PUBSUB_DIR", dir)]);
    child.line("ready");
    child
}

/// The next message; nothing may be lost before it.
fn text(subscriber: &mut Subscriber) -> String {
    loop {
        match subscriber.next_blocking(LONG).unwrap() {
            Some(Event::Message(message)) => return message.text().unwrap().into(),
            Some(Event::Lagged { .. }) => {}
            other => panic!("no message: {other:?}"),
        }
    }
}

fn number(text: &str) -> u64 {
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

fn integrity(path: &Path) {
    let conn = Connection::open(path).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn three_processes_publish_and_all_see_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let pubsub = pubsub(dir.path());
    let mut one = pubsub.subscribe_pattern("*").blocking().unwrap();
    let mut two = pubsub.subscribe("a").channel("b").blocking().unwrap();
    let mut others: Vec<_> = (0..3).map(|_| other(dir.path())).collect();
    for (which, other) in others.iter_mut().enumerate() {
        other.send(&format!("publish a {which} 0 300"));
        other.send(&format!("publish b {which} 300 500"));
    }
    let got: Vec<_> = (0..1500).map(|_| text(&mut one)).collect();
    let again: Vec<_> = (0..1500).map(|_| text(&mut two)).collect();
    assert_eq!(got, again);
    for which in 0..3 {
        let own = got
            .iter()
            .filter(|text| text.starts_with(&format!("{which} ")))
            .map(|text| number(text));
        assert!(own.eq(0..500), "{got:?}");
    }
}

#[test]
fn kill_nine_of_a_publisher_loses_nothing_answered_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pubsub = pubsub(dir.path());
    let mut live = pubsub.subscribe("a").blocking().unwrap();
    for round in 0..20_u64 {
        let mut other = other(dir.path());
        other.send(&format!("publish a {round} 0 1000000"));
        other.line(&format!("published {}", 20 + round * 13));
        let answered = other
            .kill()
            .iter()
            .filter(|line| line.starts_with("published"))
            .map(|line| number(line))
            .next_back()
            .unwrap_or(20 + round * 13);
        integrity(&dir.path().join("pubsub.sqlite3"));
        // Ours is behind all of theirs.
        pubsub.publish_blocking("a", "end 0").unwrap();
        let mut got = Vec::new();
        loop {
            let text = text(&mut live);
            if text == "end 0" {
                break;
            }
            assert!(text.starts_with(&format!("{round} ")), "{text}");
            got.push(number(&text));
        }
        let count = got.len() as u64;
        assert!(got.into_iter().eq(0..count), "each once, in order");
        // The one in flight may have been committed and not answered.
        assert!(
            count == answered + 1 || count == answered + 2,
            "{count} of {answered}"
        );
    }
}

#[test]
fn a_transaction_that_is_rolled_back_is_never_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (pubsub, app) = (pubsub(dir.path()), app(dir.path()));
    let relay = pubsub.relay_blocking(&app).unwrap();
    let mut subscriber = pubsub.subscribe("a").blocking().unwrap();
    for n in 0..100 {
        let message = NewMessage::new("a", n.to_string());
        let answer = app.write_blocking(move |tx| {
            outbox::publish(tx, &message).map_err(monolite_store::Error::app)?;
            match n % 3 {
                0 => Err(monolite_store::Error::app("not this one")),
                _ => Ok(()),
            }
        });
        assert_eq!(answer.is_ok(), n % 3 != 0);
    }
    for n in (0..100).filter(|n| n % 3 != 0) {
        assert_eq!(text(&mut subscriber), n.to_string());
    }
    pubsub.publish_blocking("a", "end").unwrap();
    assert_eq!(text(&mut subscriber), "end");
    assert!(relay.error().is_none());
}

#[test]
fn an_app_that_publishes_nothing_makes_no_write_and_few_looks() {
    let dir = tempfile::tempdir().unwrap();
    let (pubsub, app) = (pubsub(dir.path()), app(dir.path()));
    app.write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (n)")?))
        .unwrap();
    let relay = pubsub.relay_blocking(&app).unwrap();
    let version = |path: &str| -> i64 {
        let conn = Connection::open(dir.path().join(path)).unwrap();
        let before = conn.query_row("PRAGMA data_version", [], |row| row.get(0));
        let before: i64 = before.unwrap();
        let started = Instant::now();
        let looks = relay.looks();
        for n in 0..2000 {
            app.write_blocking(move |tx| Ok(tx.execute("INSERT INTO t VALUES (?1)", [n])?))
                .unwrap();
        }
        let looks = relay.looks() - looks;
        let most = started.elapsed().as_millis() as u64 + 3;
        assert!(looks <= most, "{looks} looks in {most} ms");
        let after = conn.query_row("PRAGMA data_version", [], |row| row.get(0));
        let after: i64 = after.unwrap();
        after - before
    };
    assert_eq!(version("pubsub.sqlite3"), 0);
    assert_eq!(relay.relayed(), 0);
}

#[test]
fn kill_nine_of_relays_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    app(dir.path())
        .write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)")?))
        .unwrap();
    let pubsub = pubsub(dir.path());
    let mut live = pubsub.subscribe("a").blocking().unwrap();
    // Two relays at a time, each killed in turn.
    let mut next = 0;
    let mut others: Vec<Child> = Vec::new();
    for round in 0..10 {
        let mut other = other(dir.path());
        other.send(&format!("outbox a {next} {}", next + 100_000));
        other.line("relaying");
        other.line(&format!("committed {}", next + 10 + round * 7));
        next += 100_000;
        others.push(other);
        if others.len() > 1 {
            others.remove(0).kill();
        }
    }
    others.remove(0).kill();
    // The rows of the app say what was committed.
    let app = app(dir.path());
    let relay = pubsub.relay_blocking(&app).unwrap();
    let committed: Vec<u64> = app
        .read_blocking(|conn| {
            let mut rows = conn.prepare("SELECT n FROM t ORDER BY rowid")?;
            let rows = rows.query_map([], |row| row.get::<_, i64>(0))?;
            Ok(rows.map(|n| n.unwrap().cast_unsigned()).collect())
        })
        .unwrap();
    let mut got: Vec<u64> = committed.iter().map(|_| number(&text(&mut live))).collect();
    // Each process' own in order; all of them exactly once.
    for which in 0..10 {
        let own: Vec<_> = got.iter().filter(|n| **n / 100_000 == which).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
    got.sort_unstable();
    assert_eq!(got, committed);
    pubsub.publish_blocking("a", "end").unwrap();
    assert_eq!(text(&mut live), "end");
    let deadline = Instant::now() + LONG;
    let mut watch = app.watch().unwrap();
    let left = || -> i64 {
        let count = |c: &Connection| {
            Ok(c.query_row("SELECT count(*) FROM _monolite_outbox", [], |r| r.get(0))?)
        };
        app.read_blocking(count).unwrap()
    };
    while left() > 0 {
        assert!(Instant::now() < deadline, "{:?}", relay.error());
        watch.changed_blocking(Duration::from_millis(100)).unwrap();
    }
}

#[test]
fn members_of_a_killed_process_disappear_within_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let pubsub = pubsub(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut watch = pubsub.watch_members("room").unwrap();
        watch.next().await.unwrap();
        let _here = pubsub.join("room", "both", ()).await.unwrap();
        assert!(matches!(
            watch.next().await.unwrap(),
            PresenceEvent::Join { .. }
        ));
        let mut other = other(dir.path());
        other.send("join room gone");
        other.send("join room both");
        other.line("joined");
        other.line("joined");
        let joined = watch.next().await.unwrap();
        assert!(matches!(joined, PresenceEvent::Join { .. }), "{joined:?}");
        assert_eq!(pubsub.members("room").await.unwrap().len(), 2);
        other.kill();
        let killed = Instant::now();
        let left = tokio::time::timeout(LONG, watch.next())
            .await
            .unwrap()
            .unwrap();
        let gone = PresenceEvent::Leave {
            member: "gone".into(),
        };
        assert_eq!(left, gone);
        // Far from exact: the machine may be busy.
        assert!(killed.elapsed() < LEASE * 4, "{:?}", killed.elapsed());
        let members = pubsub.members("room").await.unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!((&*members[0].name, members[0].metas.len()), ("both", 1));
    });
}

#[test]
fn processes_that_open_a_broken_file_at_once_end_up_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pubsub.sqlite3");
    for content in [
        &b"no database at all, but long enough to look at"[..],
        &[0; 8192],
    ] {
        std::fs::write(&path, content).unwrap();
        let _ = std::fs::remove_file(dir.path().join("pubsub.sqlite3-use"));
        let mut others: Vec<_> = (0..6)
            .map(|_| Child::start("child", [("PUBSUB_DIR", dir.path())]))
            .collect();
        let answers: Vec<_> = others
            .iter_mut()
            .map(|other| {
                other.line("ready");
                other.send("epoch");
                other.line("epoch ")
            })
            .collect();
        let epoch = |answer: &String| answer.split(' ').nth(1).unwrap().to_owned();
        assert!(
            answers.iter().all(|a| epoch(a) == epoch(&answers[0])),
            "{answers:?}"
        );
        let replaced = answers.iter().filter(|a| !a.contains("Existing"));
        assert_eq!(replaced.count(), 1, "{answers:?}");
        // All of them hear each other.
        let pubsub = pubsub(dir.path());
        assert_eq!(pubsub.opened(), &Opened::Existing);
        let mut subscriber = pubsub.subscribe("a").blocking().unwrap();
        for other in &mut others {
            other.send("publish a x 0 1");
            assert_eq!(text(&mut subscriber), "x 0");
        }
    }
}
