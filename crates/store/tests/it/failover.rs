//! Several servers in one connection string: which of them is used, and how long a change takes.

use std::time::{Duration, Instant};

use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{Cause, Delivery, OpenError, StorageProvider};
use synckit_testkit::{Database, Postgres};
use tokio::net::TcpListener;

use crate::outages::{append_until_stored, edit};

/// How long a write may take to find another server after one that says nothing: the deadline of the
/// call that meets it, and what lies between two hosts.
const SILENT_BOUND: Duration = Duration::from_secs(7);

/// The same after one that refuses connections, a repeated try included.
const GONE_BOUND: Duration = Duration::from_secs(2);

struct Pair {
    primary: Postgres,
    standby: Postgres,
    database: Database,
}

impl Pair {
    async fn start() -> Self {
        let primary = Postgres::start_private().await;
        let database = primary.create_database().await;
        let standby = primary.start_standby("one").await;
        standby.caught_up_with(&primary).await;
        Self { primary, standby, database }
    }

    /// Names the servers in this order, in one form or the other.
    fn provider(&self, servers: [&Postgres; 2], is_url: bool) -> PostgresProvider {
        let [first, second] = servers.map(Postgres::server_address);
        let name = self.database.name();
        let text = match is_url {
            true => format!("postgres://synckit@{first},{second}/{name}"),
            false => format!("Host={first},{second};Database={name};Username=synckit"),
        };
        provider(&text)
    }
}

fn provider(text: &str) -> PostgresProvider {
    let options = PostgresOptions::new(text.parse().expect("a connection string"));
    PostgresProvider::new(&options).expect("valid options")
}

/// Repeats what a server would, and says how long it took.
async fn stored(provider: &PostgresProvider, counter: u64) -> (Delivery, Duration) {
    let start = Instant::now();
    let delivery = append_until_stored(provider.documents(), &edit("doc", counter)).await;
    (delivery, start.elapsed())
}

async fn heads(database: &Database) -> Vec<String> {
    database.rows("SELECT head_seq FROM documents").await.concat()
}

#[tokio::test]
async fn a_standby_is_passed_over_until_it_is_promoted_and_the_old_primary_is_then() {
    let pair = Pair::start().await;
    let Pair { primary, standby, database } = &pair;
    let provider = pair.provider([standby, primary], true);
    provider.initialize().await.unwrap();
    stored(&provider, 1).await;
    assert_eq!(heads(database).await, ["1"]);
    standby.caught_up_with(primary).await;

    primary.kill9().await;
    standby.promote().await;
    let (_, time) = stored(&provider, 2).await;
    assert!(time < GONE_BOUND, "{time:?} after a kill and a promotion");
    eprintln!("killed, promoted: {time:?}");
    assert_eq!(heads(&database.on(standby)).await, ["2"]);

    // A second primary, and it stands first.
    let other = pair.provider([primary, standby], false);
    other.initialize().await.unwrap();
    primary.start_again().await;
    standby.restart().await;
    stored(&other, 3).await;
    assert_eq!(heads(&database.on(standby)).await, ["3"], "who used the new one stays with it");
    assert_eq!(heads(database).await, ["1"]);

    primary.stop().await;
    primary.start_again_as_standby(standby, "two").await;
    let again = pair.provider([primary, standby], false);
    again.initialize().await.unwrap();
    stored(&again, 4).await;
    assert_eq!(heads(&database.on(standby)).await, ["4"]);
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_nobody_up() {
    let pair = Pair::start().await;
    let Pair { primary, standby, database } = &pair;
    let provider = pair.provider([primary, standby], false);
    provider.initialize().await.unwrap();
    stored(&provider, 1).await;
    standby.caught_up_with(primary).await;

    primary.freeze().await;
    standby.promote().await;
    let (_, time) = stored(&provider, 2).await;
    assert!(time < SILENT_BOUND, "{time:?} after a promotion");
    eprintln!("frozen, promoted: {time:?}");
    let start = Instant::now();
    let other = pair.provider([primary, standby], true);
    other.initialize().await.unwrap();
    let time = start.elapsed();
    assert!(time < GONE_BOUND, "{time:?} to start beside a silent server");
    assert_eq!(heads(&database.on(standby)).await, ["2"]);
    primary.thaw().await;
    stored(&provider, 3).await;
    assert_eq!(heads(&database.on(standby)).await, ["3"], "who used the new one stays with it");
}

#[tokio::test]
async fn what_accepts_and_says_nothing_is_no_end() {
    let database = Postgres::shared().await.create_database().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent, real) = (silent.local_addr().unwrap(), database.server_address());
    let name = database.name();
    let text = format!("postgres://synckit@{silent},{real}/{name}?target_session_attrs=any");
    let provider = provider(&text);
    let start = Instant::now();
    provider.initialize().await.unwrap();
    assert!(start.elapsed() < GONE_BOUND, "{:?}", start.elapsed());
}

#[tokio::test]
async fn without_a_primary_writes_are_retryable_and_the_cause_is_named() {
    let pair = Pair::start().await;
    let provider = pair.provider([&pair.standby, &pair.primary], true);
    provider.initialize().await.unwrap();
    stored(&provider, 1).await;
    pair.primary.kill9().await;
    let batch = edit("doc", 2);
    // The first one may still meet the connection that broke.
    let _ = provider.documents().append(&batch).await;
    let error = provider.documents().append(&batch).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::ReadOnly), "{error}");
    let error = pair.provider([&pair.standby, &pair.primary], false).initialize().await;
    let error = error.unwrap_err();
    assert!(matches!(&error, OpenError::Unavailable(it) if it.cause == Cause::ReadOnly), "{error}");
    pair.primary.start_again().await;
    assert_eq!(stored(&provider, 2).await.0, Delivery::Stored(synckit_engine::position::Seq(2)));
}

#[tokio::test]
async fn what_a_synchronous_standby_has_confirmed_is_there_after_the_failover() {
    let pair = Pair::start().await;
    let Pair { primary, standby, database } = &pair;
    let provider = pair.provider([primary, standby], true);
    provider.initialize().await.unwrap();
    primary.wait_for_standbys("one").await;
    for counter in 1..=20 {
        stored(&provider, counter).await;
    }
    standby.freeze().await;
    let error = provider.documents().append(&edit("doc", 21)).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Timeout), "nobody says that it is stored: {error}");
    standby.thaw().await;

    primary.kill9().await;
    standby.promote().await;
    let head: u64 = heads(&database.on(standby)).await[0].parse().unwrap();
    assert!(head >= 20, "{head} is less than what was confirmed");
    let (delivery, _) = stored(&provider, 20).await;
    assert_eq!(delivery, Delivery::Repeated(synckit_engine::position::Seq(20)));
    stored(&provider, 21).await;
}
