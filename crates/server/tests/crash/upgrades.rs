//! The command `migrate`, and programs that meet a schema of another age.

use synckit_store::migrations::Migration;
use synckit_store::{StorageProvider, postgres, sqlite};
use synckit_testkit::{Finished, Postgres, ServerCommand, free_port};

use crate::check::check;
use crate::crew::Crew;
use crate::ground::{Compaction, Ground, postgres_provider, shown};
use crate::random::Plan;

/// The name that every refusal of the newer schema must have.
const NEWER: &str = "a_later_program";

/// What a later version may add while this one still runs: columns with defaults, and tables.
const EXPANSION: &str = "ALTER TABLE documents ADD COLUMN note TEXT; \
    ALTER TABLE deltas ADD COLUMN origin TEXT NOT NULL DEFAULT 'unknown'; \
    CREATE TABLE tags (document_id VARCHAR(256) PRIMARY KEY)";

/// The migrations of a program that is one version ahead.
fn ahead_of(known: &[Migration], sql: &'static str) -> &'static [Migration] {
    let version = format!("{:03}_{NEWER}", known.len() + 1);
    let next = Migration { version: version.leak(), sql };
    [known, &[next]].concat().leak()
}

async fn finish(command: ServerCommand, arguments: &[&str]) -> (Option<i32>, Finished) {
    let finished = command.args(arguments).finish().await;
    (finished.status.code(), finished)
}

async fn migrate(ground: &Ground, flags: &[&str]) -> (Option<i32>, Finished) {
    finish(ground.bare_command().arg("migrate"), flags).await
}

/// Asserts the exit code, and the text on the stream that belongs to it.
async fn check_migrate(ground: &Ground, flags: &[&str], code: i32, expected: &str) {
    let (status, finished) = migrate(ground, flags).await;
    assert_eq!(status, Some(code), "{flags:?}: {finished:?}");
    let text = if code == 2 || code == 3 { &finished.stderr } else { &finished.stdout };
    assert!(text.contains(expected), "{flags:?}: {finished:?} lacks {expected:?}");
    if code >= 2 {
        assert_eq!(text.lines().count(), 1, "an error is one line: {text}");
    }
}

/// Every way to start this program says which migration it does not know, or was changed.
async fn check_refused(ground: &Ground, expected: &str) {
    for flags in [&[][..], &["--plan"], &["--status"]] {
        check_migrate(ground, flags, 2, expected).await;
    }
    let (status, finished) = finish(ground.bare_command(), &["--urls", "http://127.0.0.1:0"]).await;
    assert_eq!(status, Some(2), "{finished:?}");
    assert!(finished.stderr.contains(expected), "{finished:?} lacks {expected:?}");
}

async fn check_life_of_a_schema(ground: &Ground, known: &[Migration]) {
    let lines = |what: &str| -> String {
        known.iter().map(|migration| format!("{what} {}\n", migration.version)).collect()
    };
    check_migrate(ground, &["--status"], 1, &lines("pending")).await;
    check_migrate(ground, &["--plan"], 0, &lines("would apply")).await;
    check_migrate(ground, &["--status"], 1, &lines("pending")).await;
    let applied = lines("to apply:") + &lines("applied") + "the schema is up to date\n";
    check_migrate(ground, &[], 0, &applied).await;
    for migration in known {
        let applied = format!("applied {} 2", migration.version);
        check_migrate(ground, &["--status"], 0, &applied).await;
    }
    check_migrate(ground, &["--plan"], 0, "the schema is up to date\n").await;
    check_migrate(ground, &[], 0, "the schema is up to date\n").await;

    let server = ground.command(Compaction::Never).start().await;
    check_migrate(ground, &["--status"], 0, "the schema is up to date\n").await;
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn migrate_on_postgresql_plans_applies_and_tells() {
    let ground = Ground::postgres(Postgres::shared().await).await;
    check_life_of_a_schema(&ground, postgres::migrate::MIGRATIONS).await;
    let Ground::Postgres { database, .. } = &ground else { unreachable!("made as such") };
    database.execute("UPDATE schema_migrations SET checksum = 'other'").await;
    check_refused(&ground, "001_initial_schema was changed after it had been applied").await;
}

#[tokio::test]
async fn migrate_on_sqlite_plans_applies_and_tells() {
    let ground = Ground::sqlite();
    let Ground::Sqlite { directory } = &ground else { unreachable!("made as such") };
    let path = directory.path().join("test.db");
    for flag in ["--plan", "--status"] {
        migrate(&ground, &[flag]).await;
        assert!(!path.try_exists().unwrap(), "{flag} makes no file");
    }
    check_life_of_a_schema(&ground, sqlite::migrate::MIGRATIONS).await;
    let server = ground.command(Compaction::Never).start().await;
    check_migrate(&ground, &[], 2, "another process uses this file; stop that process").await;
    assert!(server.terminate().await.success());
    let file = sqlite::migrate::Migrator::new(&path);
    let newer = ahead_of(sqlite::migrate::MIGRATIONS, "CREATE TABLE tags (id TEXT) STRICT");
    file.with_migrations(newer).run().await.unwrap();
    check_refused(&ground, NEWER).await;
}

#[tokio::test]
async fn migrate_in_memory_has_nothing_to_do_and_says_so() {
    for flag in [&[][..], &["--plan"], &["--status"]] {
        let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
            .env("STORAGE__PROVIDER", "inmemory")
            .arg("migrate");
        let (status, finished) = finish(command, flag).await;
        assert_eq!(status, Some(0));
        assert!(finished.stdout.contains("documents in memory have no schema"), "{finished:?}");
    }
}

#[tokio::test]
async fn migrate_without_a_database_says_so_and_claims_nothing() {
    let url = format!("postgres://nobody@127.0.0.1:{}/nothing", free_port());
    for (flags, code) in [(&["--status"][..], 3), (&["--plan"], 1), (&[], 1)] {
        let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
            .env("DATABASE_URL", &url)
            .arg("migrate");
        let (status, finished) = finish(command, flags).await;
        assert_eq!(status, Some(code), "{finished:?}");
        let line = &finished.stderr;
        assert!(line.starts_with("storage.postgresql.connectionstring: "), "{line}");
        assert!(line.contains("try again") && line.lines().count() == 1, "{line}");
        assert_eq!(finished.stdout, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_goes_on_while_a_later_program_expands_the_schema_and_none_of_its_age_starts() {
    let ground = Ground::postgres(Postgres::shared().await).await;
    let Ground::Postgres { database, .. } = &ground else { unreachable!("made as such") };
    let server = ground.command(Compaction::Often).start().await;
    let plan = Plan::from_environment(1);
    let again = "cargo test -p synckit-server --test crash upgrades::a_server_goes_on";
    println!("again with: SYNCKIT_TEST_CRASH_SEED={} {again}", plan.seed);
    let shift = Crew::new(plan, "upgrade").start(server.address()).await;
    shift.more_acknowledgements(200).await;

    let newer = ahead_of(postgres::migrate::MIGRATIONS, EXPANSION);
    let migrator = postgres_provider(database).migrator().with_migrations(newer);
    let applied = migrator.run().await.unwrap();
    drop(migrator);
    assert_eq!(applied.len(), 1, "while the server writes");
    check_refused(&ground, NEWER).await;

    shift.more_acknowledgements(200).await;
    let crew = shift.finish().await;
    let refusals: u64 = crew.writers.iter().map(|writer| writer.refusals).sum();
    assert_eq!(refusals, 0, "nobody noticed");
    let states = shown(&server).await;
    server.kill9().await;
    ground.until_unused().await;
    let provider = postgres_provider(database);
    let checked = check(provider.documents(), &crew, Compaction::Often, &states).await;
    assert_eq!(checked.acknowledged_edits, crew.edits().1);
}
