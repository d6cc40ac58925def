//! Migration tools as they are, each with the same three steps: tables with rows, an addition, and a
//! column that goes with its values. The first two are let through, the third is put back; then the
//! second is undone by the tool itself.

use std::path::Path;

use monolite_testkit::provided;

use super::place::{Place, ended, has};

/// What each step does, and what undoes it; a statement a line.
const STEPS: [(&str, &str); 3] = [
    (
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
INSERT INTO posts (title, body) VALUES ('one', 'first'), ('two', 'second');
INSERT INTO comments (post_id) VALUES (1), (2), (2);",
        "DROP TABLE comments;
DROP TABLE posts;",
    ),
    (
        "ALTER TABLE posts ADD COLUMN subtitle TEXT;",
        "ALTER TABLE posts DROP COLUMN subtitle;",
    ),
    (
        "ALTER TABLE posts DROP COLUMN body;",
        "ALTER TABLE posts ADD COLUMN body TEXT;",
    ),
];

/// A tool: how it is set up, how a step is written, and what is run.
struct Tool {
    /// Files that it needs besides.
    files: &'static [(&'static str, &'static str)],
    /// The path of a step's file, and its text, by the number of the step.
    step: fn(usize) -> Vec<(String, String)>,
    up: &'static [&'static str],
    down: &'static [&'static str],
}

/// The program's path, and the words after it with `URL` and `STEP` filled in.
fn command(words: &[&str], place: &Place, step: usize) -> Vec<String> {
    let database = place.path("app.sqlite3").display().to_string();
    let program = provided("MONOLITE_TEST_TOOLS").join("bin").join(words[0]);
    let rest = words[1..].iter().map(|word| {
        let word = word.replace("URL", &format!("sqlite:///{database}"));
        word.replace("STEP", &format!("000{step}"))
    });
    std::iter::once(program.display().to_string())
        .chain(rest)
        .collect()
}

fn write(app: &Path, name: &str, text: &str) {
    let path = app.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[track_caller]
fn runs_through(tool: &Tool) {
    let (place, app) = (Place::new(), tempfile::tempdir().unwrap());
    let app = app.path();
    for (name, text) in tool.files {
        write(app, name, text);
    }
    let run = |options: &[&str], words: &[&str], step: usize| {
        let command = command(words, &place, step);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        ended(place.migrate(app, options, &command, ""))
    };
    let step = |n: usize| {
        for (name, text) in (tool.step)(n) {
            write(app, &name, &text);
        }
        run(&[], tool.up, n)
    };
    for n in 1..=2 {
        let (code, output) = step(n);
        assert_eq!(code, 0, "step {n}: {output}");
        assert_eq!(place.number("SELECT count(*) FROM comments"), 3, "{output}");
    }
    assert_eq!(place.number("SELECT count(subtitle) FROM posts"), 0);
    let (code, output) = step(3);
    assert_eq!(code, 1, "{output}");
    has(&output, &["posts.body", "put back as it was: app.sqlite3"]);
    assert_eq!(place.number("SELECT count(body) FROM posts"), 2);
    // As the report says, it is meant; and nothing else is.
    let allow = output
        .split_whitespace()
        .skip_while(|word| *word != "--allow-loss")
        .nth(1);
    let allow = allow.expect("a name").trim_matches('\'');
    let (code, output) = run(&["--allow-loss", allow], tool.up, 3);
    assert_eq!(code, 0, "{output}");
    // Backwards: the tool's own records go with it.
    for n in [3, 2] {
        let (code, output) = run(&[], tool.down, n);
        assert_eq!(code, 0, "{output}");
    }
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    let columns =
        "SELECT count(*) FROM pragma_table_info('posts') WHERE name IN ('body', 'subtitle')";
    assert_eq!(place.number(columns), 1, "the one of the first step");
}

#[test]
fn dbmate() {
    runs_through(&Tool {
        files: &[],
        step: |n| {
            let (up, down) = STEPS[n - 1];
            let text = format!("-- migrate:up\n{up}\n-- migrate:down\n{down}\n");
            vec![(format!("db/migrations/2026010{n}000000_step.sql"), text)]
        },
        up: &["dbmate", "--no-dump-schema", "up"],
        down: &["dbmate", "--no-dump-schema", "down"],
    });
}

#[test]
fn yoyo() {
    runs_through(&Tool {
        files: &[],
        step: |n| {
            let (up, down) = STEPS[n - 1];
            vec![
                (format!("migrations/000{n}.sql"), up.into()),
                (format!("migrations/000{n}.rollback.sql"), down.into()),
            ]
        },
        up: &[
            "yoyo",
            "apply",
            "--batch",
            "--no-config-file",
            "--database",
            "URL",
            "migrations",
        ],
        down: &[
            "yoyo",
            "rollback",
            "--batch",
            "--no-config-file",
            "--revision",
            "STEP",
            "--database",
            "URL",
            "migrations",
        ],
    });
}

#[test]
fn alembic() {
    runs_through(&Tool {
        files: &[
            ("alembic.ini", "[alembic]\nscript_location = .\n"),
            (
                "env.py",
                "import os, sqlalchemy\nfrom alembic import context\n\
                 with sqlalchemy.create_engine(os.environ['DATABASE_URL']).connect() as connection:\n    \
                 context.configure(connection=connection)\n    \
                 with context.begin_transaction():\n        context.run_migrations()\n",
            ),
        ],
        step: |n| {
            let lines = |sql: &str| -> String {
                let each = sql
                    .lines()
                    .map(|line| format!("    op.execute({line:?})\n"));
                each.collect()
            };
            let (up, down) = STEPS[n - 1];
            let before = match n {
                1 => "None".into(),
                n => format!("'{}'", n - 1),
            };
            let text = format!(
                "from alembic import op\nrevision = '{n}'\ndown_revision = {before}\n\
                 def upgrade():\n{}def downgrade():\n{}",
                lines(up),
                lines(down)
            );
            vec![(format!("versions/{n}.py"), text)]
        },
        up: &["alembic", "upgrade", "head"],
        down: &["alembic", "downgrade", "-1"],
    });
}

#[test]
fn peewee_migrate() {
    runs_through(&Tool {
        files: &[],
        step: |n| {
            let lines = |sql: &str| -> String {
                let each = sql
                    .lines()
                    .map(|line| format!("    migrator.sql({line:?})\n"));
                each.collect()
            };
            let (up, down) = STEPS[n - 1];
            let text = format!(
                "def migrate(migrator, database, *, fake=False):\n{}\
                 def rollback(migrator, database, *, fake=False):\n{}",
                lines(up),
                lines(down)
            );
            vec![(format!("migrations/00{n}_step.py"), text)]
        },
        up: &[
            "pw_migrate",
            "migrate",
            "--database",
            "URL",
            "--directory",
            "migrations",
        ],
        down: &[
            "pw_migrate",
            "rollback",
            "--database",
            "URL",
            "--directory",
            "migrations",
        ],
    });
}

#[test]
fn aerich() {
    runs_through(&Tool {
        files: &[
            (
                "pyproject.toml",
                "[tool.aerich]\ntortoise_orm = 'config.TORTOISE_ORM'\nlocation = './migrations'\nsrc_folder = './.'\n",
            ),
            (
                "config.py",
                "import os\nTORTOISE_ORM = {\n    'connections': {'default': 'sqlite://' + os.environ['DATABASE_PATH']},\n    \
                 'apps': {'models': {'models': ['aerich.models'], 'default_connection': 'default'}},\n}\n",
            ),
        ],
        step: |n| {
            let (up, down) = STEPS[n - 1];
            // As its first migration makes it.
            let own = match n {
                1 => {
                    "CREATE TABLE aerich (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, version VARCHAR(255) NOT NULL, app VARCHAR(100) NOT NULL, content JSON NOT NULL);\n"
                }
                _ => "",
            };
            let text = format!(
                "from tortoise import BaseDBAsyncClient\nRUN_IN_TRANSACTION = True\n\
                 async def upgrade(db: BaseDBAsyncClient) -> str:\n    return \"\"\"{own}{up}\"\"\"\n\
                 async def downgrade(db: BaseDBAsyncClient) -> str:\n    return \"\"\"{down}\"\"\"\n\
                 MODELS_STATE = ''\n"
            );
            vec![(
                format!("migrations/models/{n}_2026010{n}000000_step.py"),
                text,
            )]
        },
        up: &["aerich", "upgrade"],
        down: &["aerich", "downgrade", "--yes"],
    });
}
