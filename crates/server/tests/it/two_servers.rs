use serde_json::json;
use synckit_testkit::Postgres;

use crate::client::Client;
use crate::load::{Load, Plan, Writer};
use crate::setup::start_server;
use crate::stored::{acknowledged, assert_shows_all, assert_stored_once, fresh_states};

#[tokio::test]
async fn a_server_that_is_behind_sees_it_by_the_number_of_its_own_write() {
    let database = Postgres::shared().await.create_database().await;
    let [here, there] =
        [start_server(&database.url(), &[]).await, start_server(&database.url(), &[]).await];
    let mut clients = [
        (Client::connect(here.address()).await, Client::connect(here.address()).await),
        (Client::connect(there.address()).await, Client::connect(there.address()).await),
    ];
    for (_, reader) in &mut clients {
        reader.subscribe("doc").await;
    }
    let mut edits = Vec::new();
    for round in 0..6 {
        let [(writer, reader), (other_writer, other_reader)] = &mut clients;
        let (own, foreign) = (json!([round, "own"]), json!([round, "foreign"]));
        edits.push(other_writer.set("doc", &other_writer.name.clone(), foreign.clone()).await);
        other_reader.expect_change("doc", &other_writer.name, &foreign).await;
        edits.push(writer.set("doc", &writer.name.clone(), own.clone()).await);
        reader.expect_change("doc", &other_writer.name, &foreign).await;
        reader.expect_change("doc", &writer.name, &own).await;
        clients.reverse();
    }
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_write_that_is_older_loses_on_both_servers() {
    let database = Postgres::shared().await.create_database().await;
    let [here, there] =
        [start_server(&database.url(), &[]).await, start_server(&database.url(), &[]).await];
    let mut winner = Client::connect(here.address()).await;
    let mut loser = Client::connect(there.address()).await;
    loser.subscribe("doc").await;

    let mut older = loser.edit("doc", "field", json!("older"));
    older.timestamp -= 10_000;
    let won = winner.set("doc", "field", json!("newer")).await;
    let message_id = loser.send_edit(&older).await;
    loser.expect_ack(&message_id).await;
    loser.expect_change("doc", "field", &json!("newer")).await;

    let message_id = winner.send_edit(&older).await;
    winner.expect_ack(&message_id).await;
    let state = winner.until_it_shows("doc", "field", &json!("newer")).await;
    assert_stored_once(&database, &[won, older]).await;
    let fresh = fresh_states(&database, &["doc"]).await;
    assert_eq!(fresh, [loser.sync("doc").await]);
    assert_eq!(fresh[0].fields, state.fields);
}

#[tokio::test]
async fn two_servers_that_wrote_at_the_same_time_agree_with_each_other_and_a_third() {
    let database = Postgres::shared().await.create_database().await;
    let [here, there] =
        [start_server(&database.url(), &[]).await, start_server(&database.url(), &[]).await];
    let plan = Plan { window: 4, ..Plan::default() };
    let mut writers = Writer::several(2, here.address(), &plan).await;
    writers.extend(Writer::several(2, there.address(), &plan).await);
    let load = Load::start(writers);
    load.more_acks(600).await;
    let writers = load.finish().await;

    let mut edits = acknowledged(&writers);
    let [mut reader, mut other_reader] =
        [Client::connect(here.address()).await, Client::connect(there.address()).await];
    let fresh = {
        for document in plan.documents {
            // A repeat adds nothing, and shows the server that repeats it how far it is behind.
            let last = reader.set(document, "last", json!("word")).await;
            let message_id = other_reader.send_edit(&last).await;
            other_reader.expect_ack(&message_id).await;
            edits.push(last);
        }
        fresh_states(&database, plan.documents).await
    };
    assert_stored_once(&database, &edits).await;
    for (document, fresh) in plan.documents.iter().zip(fresh) {
        assert_shows_all(&fresh, document, &writers);
        for reader in [&mut reader, &mut other_reader] {
            let state = reader.until_it_shows(document, "last", &json!("word")).await;
            assert_eq!(state, fresh, "{document}");
        }
    }
}
