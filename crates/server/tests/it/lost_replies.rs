use std::time::Duration;

use serde_json::{Value, json};
use synckit_testkit::{Database, FaultProxy, Postgres};
use tokio::time::timeout;

use crate::client::Client;
use crate::load::{Load, Plan, Writer};
use crate::random::Random;
use crate::setup::{start_server, until};
use crate::stored::{acknowledged, assert_shows_all, assert_stored_once, fresh_states};

/// Much longer than a commit takes.
const ANSWER_LOST_WITHIN: Duration = Duration::from_millis(500);

/// Deltas that are stored, of all documents.
async fn count_stored(database: &Database) -> u64 {
    let rows = database.rows("SELECT coalesce(sum(head_seq), 0) FROM documents").await;
    rows[0][0].parse().expect("a count")
}

fn changes<'m>(messages: &'m [Value], field: &str) -> Vec<&'m Value> {
    let of_field = |message: &&Value| message["type"] == "delta" && message["field"] == *field;
    messages.iter().filter(of_field).map(|message| &message["value"]).collect()
}

#[tokio::test]
async fn an_edit_whose_commit_was_not_answered_is_stored_and_acknowledged_once() {
    let database = Postgres::shared().await.create_database().await;
    let proxy = FaultProxy::start(database.server_address()).await;
    // The one connection that writes has prepared its statements when the first edit is stored.
    let settings = ["storage.postgresql.pool_max=2"];
    let server = start_server(&database.url_at_port(proxy.port()), &settings).await;
    let mut reader = Client::connect(server.address()).await;
    reader.subscribe("doc").await;
    let mut writer = Client::connect(server.address()).await;
    let mut edits = vec![writer.set("doc", "field", json!("first")).await];

    proxy.lose_answers();
    let edit = writer.edit("doc", "field", json!("second"));
    let message_id = writer.send_edit(&edit).await;
    until("the edit is stored", || async { (count_stored(&database).await == 2).then_some(()) })
        .await;
    writer.ping().await;
    let early = writer.take_unread();
    assert!(!early.iter().any(|message| message["messageId"] == *message_id), "{early:?}");

    proxy.cut();
    writer.expect_ack(&message_id).await;
    reader.expect_change("doc", "field", &json!("second")).await;
    edits.push(edit);
    edits.push(writer.set("doc", "field", json!("third")).await);
    reader.expect_change("doc", "field", &json!("third")).await;
    reader.ping().await;
    writer.ping().await;

    let acks = writer.take_unread();
    assert!(!acks.iter().any(|message| message["type"] == "ack"), "one too many: {acks:?}");
    let read = reader.take_unread();
    assert_eq!(changes(&read, "field"), ["first"], "once each: {read:?}");
    assert_stored_once(&database, &edits).await;
    assert_eq!(fresh_states(&database, &["doc"]).await, [reader.sync("doc").await]);
}

#[tokio::test]
async fn under_load_no_lost_answer_stores_or_acknowledges_anything_twice() {
    let mut random = Random::announced(
        "lost_replies::under_load_no_lost_answer_stores_or_acknowledges_anything_twice",
    );
    let database = Postgres::shared().await.create_database().await;
    let proxy = FaultProxy::start(database.server_address()).await;
    let server = start_server(&database.url_at_port(proxy.port()), &[]).await;
    let plan = Plan { window: 4, ..Plan::default() };
    let load = Load::start(Writer::several(3, server.address(), &plan).await);

    for _ in 0..12 {
        load.more_acks(random.between(1, 60)).await;
        match random.between(0, 4) {
            0 => {}
            1 => proxy.delay_answers(Duration::from_millis(random.between(1, 20))),
            _ => {
                proxy.lose_answers();
                // Until an answer was lost, or all wait for answers to something else.
                let stored_more = until("more is stored than acknowledged", || async {
                    (count_stored(&database).await > load.acks()).then_some(())
                });
                let _ = timeout(ANSWER_LOST_WITHIN, stored_more).await;
            }
        }
        proxy.cut();
    }
    load.more_acks(20).await;

    let writers = load.finish().await;
    assert_stored_once(&database, &acknowledged(&writers)).await;
    let fresh = fresh_states(&database, plan.documents).await;
    let mut reader = Client::connect(server.address()).await;
    for (document, fresh) in plan.documents.iter().zip(fresh) {
        assert_shows_all(&fresh, document, &writers);
        assert_eq!(reader.sync(document).await, fresh);
    }
}
