//! A real Django project with its admin: eight people write through its pages
//! while the app is restarted, and while it is killed.
//!
//! Its settings are Django's own: nothing is tuned for SQLite. What keeps its
//! read-then-write transactions from each other is the write lane.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use monolite_testkit::{Answer, Browser, Process, Signal};
use monolite_testkit::{disk_dir, free_port, provided, root, wait_until};
use rusqlite::Connection;
use tempfile::TempDir;

const CLIENTS: usize = 8;
/// Django makes each password slow on purpose, so there are few of them.
const USERS_EACH: usize = 2;
const PASSWORD: &str = "correct-horse-battery-9";

struct Site {
    run: Process,
    port: u16,
    data: TempDir,
}

impl Site {
    fn start() -> Self {
        let (data, port) = (disk_dir(), free_port());
        let bin = provided("MONOLITE_TEST_DJANGO").join("bin");
        let python = bin.join("python").display().to_string();
        let migrate = format!(
            "'{python}' manage.py migrate --noinput && '{python}' manage.py ensure_superuser"
        );
        let options = [
            "--migrate",
            &migrate,
            "--health-path=/admin/login/",
            "--health-host=localhost",
            "--write-concurrency=1",
        ];
        let gunicorn = bin.join("gunicorn").display().to_string();
        let app = [
            &gunicorn,
            "--workers=3",
            "--worker-class=gthread",
            "--threads=2",
            "--bind=127.0.0.1:$PORT",
            "config.wsgi",
        ];
        let binary = env!("CARGO_BIN_EXE_monolite");
        let run = Process::serve(binary, data.path(), port, &options, &app, |command| {
            command
                .current_dir(root().join("tests/fixtures/django"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("DJANGO_SUPERUSER_USERNAME", "admin")
                .env("DJANGO_SUPERUSER_EMAIL", "admin@example.com")
                .env("DJANGO_SUPERUSER_PASSWORD", PASSWORD);
        });
        run.line("app healthy");
        Self { run, port, data }
    }

    /// Stops it all, then reads what is in the file.
    fn stop(self) -> Kept {
        self.run.signal(Signal::TERM);
        let (status, output) = self.run.end();
        assert_eq!(status.code(), Some(0), "{output}");
        let file = self.data.path().join("app.sqlite3");
        let db = Connection::open(file).expect("the app's database");
        let column = |sql: &str| -> Vec<String> {
            let mut statement = db.prepare(sql).expect(sql);
            let rows = statement.query_map([], |row| row.get(0)).expect(sql);
            rows.collect::<Result<_, _>>().expect(sql)
        };
        assert_eq!(column("PRAGMA integrity_check"), ["ok"]);
        Kept {
            rows: column(
                "SELECT 'post ' || title FROM blog_post UNION ALL
                 SELECT 'user ' || username FROM auth_user WHERE NOT is_superuser
                 ORDER BY 1",
            ),
            // Written by the admin in the transaction of what it tells of.
            logged: column(
                "SELECT CASE WHEN model = 'post' THEN 'post ' ELSE 'user ' END || object_repr
                 FROM django_admin_log JOIN django_content_type AS type
                   ON type.id = content_type_id
                 WHERE action_flag = 1 ORDER BY 1",
            ),
        }
    }
}

/// What the database held at the end, sorted.
struct Kept {
    rows: Vec<String>,
    logged: Vec<String>,
}

/// What the clients saw, all together.
#[derive(Default)]
struct Seen {
    /// Forms that are done with, whatever came of them.
    sent: AtomicUsize,
    /// Rows whose form was answered 302: stored.
    acknowledged: Mutex<BTreeSet<String>>,
    /// Rows whose form was answered 502: stored or not.
    in_doubt: Mutex<BTreeSet<String>>,
    /// Pages that broke off half-way and were asked for again.
    broken_off: AtomicUsize,
    /// Anything else.
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn add(to: &Mutex<BTreeSet<String>>, row: &str) {
        to.lock().expect("no client panicked").insert(row.into());
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("no client panicked").push(what);
    }
}

/// A person at the admin's pages.
struct Person<'s> {
    browser: Browser,
    seen: &'s Seen,
}

impl Person<'_> {
    /// Opens the form at `path`, fills it in and sends it.
    fn fill_in(&self, row: &str, path: &str, fields: &[(&str, &str)]) {
        let page = loop {
            match self.browser.get(path) {
                Ok(page) if page.status == 200 => break page,
                // At most once a person: a kill catches each at one request.
                Err(error)
                    if error.to_string().contains("broke off")
                        && self.seen.broken_off.fetch_add(1, Ordering::Relaxed) < CLIENTS => {}
                other => {
                    self.seen.sent.fetch_add(1, Ordering::Relaxed);
                    return self.seen.wrong(format!("GET for {row}: {}", short(other)));
                }
            }
        };
        let token = Browser::hidden(&page.body, "csrfmiddlewaretoken").unwrap_or_default();
        let mut form = vec![("csrfmiddlewaretoken", token.as_str())];
        form.extend(fields);
        match self.browser.post(path, &form) {
            Ok(answer) if answer.status == 302 => Seen::add(&self.seen.acknowledged, row),
            Ok(answer) if answer.status == 502 => Seen::add(&self.seen.in_doubt, row),
            other => self.seen.wrong(format!("POST of {row}: {}", short(other))),
        }
        self.seen.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn log_in(&self) {
        let fields = [("username", "admin"), ("password", PASSWORD)];
        self.fill_in("login", "/admin/login/?next=/admin/", &fields);
    }

    fn write_post(&self, title: &str) {
        let fields = [("title", title), ("body", "Words.\n"), ("author", "1")];
        self.fill_in(&format!("post {title}"), "/admin/blog/post/add/", &fields);
    }

    fn add_user(&self, name: &str) {
        let fields = [
            ("username", name),
            ("usable_password", "true"),
            ("password1", PASSWORD),
            ("password2", PASSWORD),
        ];
        self.fill_in(&format!("user {name}"), "/admin/auth/user/add/", &fields);
    }
}

fn short(answer: Result<Answer, impl std::fmt::Display>) -> String {
    match answer {
        Ok(Answer { status, body, .. }) => {
            // Django's forms tell their complaints in lists of this class.
            let from = body.find("errorlist").unwrap_or(0);
            let text: String = body.chars().skip(from).take(300).collect();
            format!("{status}: {text}")
        }
        Err(error) => error.to_string(),
    }
}

/// Lets the clients write `posts` each, and `meanwhile` do what it does, told
/// how to wait until a percentage of all forms was sent.
fn busy(site: &Site, posts: usize, meanwhile: impl FnOnce(&dyn Fn(usize))) -> Seen {
    let seen = Seen::default();
    let forms = CLIENTS * (1 + posts + USERS_EACH);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let seen = &seen;
            scope.spawn(move || {
                let browser = Browser::new(site.port);
                let person = Person { browser, seen };
                person.log_in();
                for n in 0..posts {
                    if n % (posts / USERS_EACH) == client % (posts / USERS_EACH) {
                        person.add_user(&format!("user-{client}-{n}"));
                    }
                    person.write_post(&format!("Post {n} of client {client}"));
                }
            });
        }
        meanwhile(&|percent| {
            wait_until(&format!("{percent} % of {forms} forms"), || {
                seen.sent.load(Ordering::Relaxed) * 100 >= forms * percent
            });
        });
    });
    let mut seen = seen;
    let acknowledged = seen.acknowledged.get_mut().expect("no client panicked");
    // All of them have logged in, or are told of elsewhere. Not a row.
    acknowledged.remove("login");
    let wrong = seen.wrong.get_mut().expect("no client panicked");
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", site.run.output());
    seen
}

#[test]
fn django_restarted_twice_under_load_refuses_nothing_and_loses_nothing() {
    const POSTS: usize = 40;
    let site = Site::start();
    let seen = busy(&site, POSTS, |wait_for| {
        for (n, percent) in [(2, 25), (3, 60)] {
            wait_for(percent);
            site.run.signal(Signal::USR2);
            site.run.nth_line("app healthy", n);
        }
    });
    let in_doubt = seen.in_doubt.into_inner().expect("no client panicked");
    assert!(in_doubt.is_empty(), "502 for {in_doubt:?}");
    assert_eq!(seen.broken_off.into_inner(), 0, "pages broke off");
    let acknowledged = seen.acknowledged.into_inner().expect("no client panicked");
    assert_eq!(acknowledged.len(), CLIENTS * (POSTS + USERS_EACH));
    let kept = site.stop();
    assert!(kept.rows.iter().eq(&acknowledged), "{:#?}", kept.rows);
    assert_eq!(kept.logged, kept.rows);
}

#[test]
fn django_killed_under_load_keeps_all_it_acknowledged() {
    let site = Site::start();
    let started = site.run.line("app started pid=");
    let pid = started.split("pid=").nth(1).and_then(|rest| {
        let pid = rest.split_whitespace().next()?.parse().ok()?;
        rustix::process::Pid::from_raw(pid)
    });
    let seen = busy(&site, 12, |wait_for| {
        wait_for(50);
        let group = pid.expect("the app's process group in the log");
        rustix::process::kill_process_group(group, Signal::KILL).expect("kill the app");
        site.run.nth_line("app healthy", 2);
    });
    // At most what was inside may have been lost on its way.
    let in_doubt = seen.in_doubt.into_inner().expect("no client panicked");
    assert!(in_doubt.len() <= CLIENTS, "502 for {in_doubt:?}");
    let acknowledged = seen.acknowledged.into_inner().expect("no client panicked");
    let home = Browser::new(site.port).get("/admin/login/");
    assert_eq!(home.expect("an answer").status, 200);
    let kept = site.stop();
    let rows: BTreeSet<_> = kept.rows.iter().cloned().collect();
    assert_eq!(rows.len(), kept.rows.len(), "doubled: {:#?}", kept.rows);
    let lost: Vec<_> = acknowledged.difference(&rows).collect();
    assert!(lost.is_empty(), "acknowledged, then lost: {lost:?}");
    let surplus: Vec<_> = rows.difference(&acknowledged).collect();
    let explained = surplus.iter().all(|row| in_doubt.contains(*row));
    assert!(explained, "never asked for: {surplus:?}");
    assert_eq!(kept.logged, kept.rows);
}
