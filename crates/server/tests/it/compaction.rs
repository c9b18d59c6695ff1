use synckit_testkit::{Database, Postgres};

use crate::client::Client;
use crate::load::{Load, Plan, Writer};
use crate::random::Random;
use crate::setup::{start_server, until};
use crate::stored::{acknowledged, assert_shows_all, assert_stored_once, fresh_states};

/// The smallest that there is.
const SETTING: &str = "storage.snapshot_deltas=10";

/// What is stored of a document: last number, deltas that are left, last number in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct History {
    head: u64,
    deltas: u64,
    covered: u64,
}

async fn history(database: &Database, document: &str) -> History {
    let sql = format!(
        "SELECT head_seq, (SELECT count(*) FROM deltas WHERE document_id = documents.id), \
         coalesce(snapshot_seq, 0) FROM documents WHERE id = '{document}'"
    );
    let rows = database.rows(&sql).await;
    let [head, deltas, covered] = [0, 1, 2].map(|at| rows[0][at].parse().expect("a number"));
    History { head, deltas, covered }
}

#[tokio::test]
async fn snapshots_replace_deltas_while_clients_write() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[SETTING]).await;
    let plan = Plan::default();
    let load = Load::start(Writer::several(3, server.address(), &plan).await);
    load.more_acks(300).await;
    for document in plan.documents {
        let first = until("deltas are replaced by a snapshot", || async {
            let now = history(&database, document).await;
            (now.covered > 0 && now.deltas < now.head).then_some(now)
        })
        .await;
        load.more_acks(100).await;
        until("the next snapshot", || async {
            (history(&database, document).await.covered > first.covered).then_some(())
        })
        .await;
    }
    let writers = load.finish().await;
    assert_eq!(writers.iter().map(|writer| writer.refusals).sum::<u64>(), 0);

    let fresh = fresh_states(&database, plan.documents).await;
    let mut reader = Client::connect(server.address()).await;
    for (document, fresh) in plan.documents.iter().zip(fresh) {
        assert_shows_all(&fresh, document, &writers);
        assert_eq!(reader.sync(document).await, fresh, "{document}");
        let History { head, deltas, covered } = history(&database, document).await;
        assert!(head - covered <= deltas && deltas < head, "{deltas} of {head}, {covered}");
    }
}

#[tokio::test]
async fn a_history_that_is_kept_for_ever_keeps_its_deltas_under_snapshots() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[SETTING, "storage.history=forever"]).await;
    let plan = Plan { edits_max: 100, ..Plan::default() };
    let load = Load::start(Writer::several(2, server.address(), &plan).await);
    let writers: Vec<_> = load.ended().await.into_iter().map(|(writer, _)| writer).collect();
    for document in plan.documents {
        until("a snapshot", || async {
            (history(&database, document).await.covered > 0).then_some(())
        })
        .await;
        let History { head, deltas, .. } = history(&database, document).await;
        assert_eq!((head, deltas), (100, 100), "{document}");
    }
    assert_stored_once(&database, &acknowledged(&writers)).await;
    let states = fresh_states(&database, plan.documents).await;
    for (document, state) in plan.documents.iter().zip(states) {
        assert_shows_all(&state, document, &writers);
    }
}

#[tokio::test]
async fn a_server_killed_while_it_compacts_has_every_acknowledged_edit_when_it_is_back() {
    let mut random = Random::announced(
        "compaction::a_server_killed_while_it_compacts_has_every_acknowledged_edit_when_it_is_back",
    );
    let database = Postgres::shared().await.create_database().await;
    let plan = Plan { window: 8, ..Plan::default() };
    let mut server = start_server(&database.url(), &[SETTING]).await;
    let mut writers = Writer::several(3, server.address(), &plan).await;
    for _ in 0..8 {
        let load = Load::start(writers);
        load.more_acks(random.between(1, 150)).await;
        server.kill9().await;
        // As if the time were over for which the killed server has claimed its work.
        database.execute("DELETE FROM compaction_claims").await;
        writers = load.ended().await.into_iter().map(|(writer, _)| writer).collect();
        server = start_server(&database.url(), &[SETTING]).await;
        for writer in &mut writers {
            writer.reconnect(server.address()).await;
        }
    }
    let load = Load::start(writers);
    load.more_acks(50).await;
    let writers = load.finish().await;

    let fresh = fresh_states(&database, plan.documents).await;
    let mut reader = Client::connect(server.address()).await;
    for (document, fresh) in plan.documents.iter().zip(fresh) {
        assert_shows_all(&fresh, document, &writers);
        assert_eq!(reader.sync(document).await, fresh, "{document}");
        let History { head, deltas, covered } = history(&database, document).await;
        assert!(covered > 0 && deltas < head, "{deltas} of {head}, {covered} covered");
    }
}
