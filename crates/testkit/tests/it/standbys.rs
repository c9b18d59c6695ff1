use std::time::Duration;

use synckit_testkit::{Database, FaultProxy, Postgres};
use tokio::time::timeout;

async fn numbers(database: &Database) -> Vec<String> {
    database.rows("SELECT number FROM kept ORDER BY number").await.concat()
}

async fn keep(database: &Database, number: u8) {
    database.execute(&format!("INSERT INTO kept VALUES ({number})")).await;
}

/// A primary with one number, and a standby that shows it.
async fn pair() -> (Postgres, Postgres, Database) {
    let primary = Postgres::start_private().await;
    let database = primary.create_database().await;
    database.execute("CREATE TABLE kept (number int); INSERT INTO kept VALUES (1)").await;
    let standby = primary.start_standby("one").await;
    standby.caught_up_with(&primary).await;
    (primary, standby, database)
}

#[tokio::test]
async fn a_promoted_standby_has_what_it_heard_and_the_old_primary_may_come_back() {
    let (primary, standby, database) = pair().await;
    let there = database.on(&standby);
    assert_eq!(numbers(&there).await, ["1"]);

    standby.stop_receiving().await;
    keep(&database, 2).await;
    primary.kill9().await;
    standby.promote().await;
    assert_eq!(numbers(&there).await, ["1"]);
    keep(&there, 3).await;

    // Two primaries, each with a history of its own.
    primary.start_again().await;
    assert_eq!(numbers(&database).await, ["1", "2"]);
    keep(&database, 4).await;
    assert_eq!(numbers(&there).await, ["1", "3"]);

    primary.kill9().await;
    primary.start_again_as_standby(&standby, "two").await;
    primary.caught_up_with(&standby).await;
    assert_eq!(numbers(&database).await, ["1", "3"]);
}

#[tokio::test]
async fn a_standby_lags_while_its_replay_is_paused_and_catches_up() {
    let (primary, standby, database) = pair().await;
    let there = database.on(&standby);
    standby.pause_replay().await;
    keep(&database, 2).await;
    assert_eq!(numbers(&there).await, ["1"]);
    standby.resume_replay().await;
    standby.caught_up_with(&primary).await;
    assert_eq!(numbers(&there).await, ["1", "2"]);

    standby.stop_receiving().await;
    keep(&database, 3).await;
    standby.follow(&primary, "one").await;
    standby.caught_up_with(&primary).await;
    assert_eq!(numbers(&there).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_commit_waits_for_a_synchronous_standby() {
    let (primary, standby, database) = pair().await;
    primary.wait_for_standbys("one").await;
    keep(&database, 2).await;

    standby.freeze().await;
    let stuck = timeout(Duration::from_millis(300), keep(&database, 3)).await;
    assert!(stuck.is_err(), "a commit without its standby");
    standby.thaw().await;
    keep(&database, 4).await;
    standby.caught_up_with(&primary).await;
    assert_eq!(numbers(&database.on(&standby)).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn one_address_leads_to_the_new_primary() {
    let (primary, standby, database) = pair().await;
    let proxy = FaultProxy::start(primary.server_address()).await;
    let url = database.url_at_port(proxy.port());
    let in_recovery = async || {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let asked = client.query_one("SELECT pg_is_in_recovery(), inet_server_port()", &[]);
        let row = tokio::select! { row = asked => row.unwrap(), _ = connection => unreachable!() };
        (row.get::<_, bool>(0), row.get::<_, i32>(1))
    };
    assert_eq!(in_recovery().await, (false, primary.port().into()));
    proxy.lead_to(standby.server_address());
    assert_eq!(in_recovery().await, (true, standby.port().into()));
    primary.kill9().await;
    standby.promote().await;
    assert_eq!(in_recovery().await, (false, standby.port().into()));
}
