use std::process::Stdio;
use std::time::Duration;

use synckit_testkit::Postgres;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_postgres::NoTls;

use crate::client::PATIENCE;
use crate::setup::{raw_command, terminate, until};

/// From the signal to the end, on a busy machine. Well below the time that any call may take.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The lock that migrations are made under.
const MIGRATIONS: i64 = 0x5379_6e63_4b69_7401;

/// Who waits for such a lock in this database.
const WAITING: &str = "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database \
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()";

fn start(arguments: &[&str], url: &str) -> Child {
    let mut command = raw_command(arguments);
    command.env("DATABASE_URL", url).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

/// Waits until SIGTERM has a handler: then it reaches the first process of a container too, which
/// the default way of the system does not.
async fn until_it_hears(child: &Child) {
    let path = format!("/proc/{}/status", child.id().expect("it runs"));
    until("SIGTERM is handled", || async {
        let status = std::fs::read_to_string(&path).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
        (caught & (1 << 14) != 0).then_some(())
    })
    .await;
}

async fn assert_ends_at_once(mut child: Child, code: i32) {
    until_it_hears(&child).await;
    let signalled = Instant::now();
    terminate(&child);
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it has a status");
    assert_eq!(status.code(), Some(code), "{status}");
    let took = signalled.elapsed();
    assert!(took < AT_ONCE, "it ended after {took:?}");
}

#[tokio::test]
async fn a_start_that_waits_for_a_silent_database_ends_at_the_signal() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://nobody@{}/none", silent.local_addr().unwrap());
    let child = start(&["--urls", "http://127.0.0.1:0"], &url);
    let (_held, _) = timeout(PATIENCE, silent.accept()).await.expect("it connects").unwrap();
    assert_ends_at_once(child, 0).await;
}

#[tokio::test]
async fn a_start_and_a_migrate_that_wait_for_the_migrations_of_another_end_at_the_signal() {
    for (arguments, code) in [(&["--urls", "http://127.0.0.1:0"][..], 0), (&["migrate"], 1)] {
        let database = Postgres::shared().await.create_database().await;
        let (other, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        other.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATIONS})")).await.unwrap();
        let child = start(arguments, &database.url());
        until("it waits for the lock", || async {
            let waiting = other.query(WAITING, &[]).await.unwrap();
            (!waiting.is_empty()).then_some(())
        })
        .await;
        assert_ends_at_once(child, code).await;
    }
}
