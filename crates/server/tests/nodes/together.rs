use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use synckit_testkit::{Postgres, Redis, ServerCommand, ServerProcess};
use uuid::Uuid;

use crate::client::Client;
use crate::community::{Community, Storage};
use crate::crew::Crew;
use crate::messages::tombstone;
use crate::random::Random;

/// From the last acknowledgement, with everything up.
const BOUND: Duration = Duration::from_secs(2);

/// An instance as validation 2 of the storage phase starts it, with channels of its own.
async fn start_instance(redis: &Redis, prefix: &str, storage: &[(&str, &str)]) -> ServerProcess {
    let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
        .env("SYNCKIT_AUTH_REQUIRED", "false")
        .env("STORAGE__REDIS__ENABLED", "true")
        .env("STORAGE__REDIS__CONNECTIONSTRING", redis.address())
        .env("STORAGE__REDIS__CHANNELPREFIX", prefix);
    let command = storage.iter().fold(command, |command, (name, value)| command.env(name, value));
    command.start().await
}

/// Deltas sent to instance 1 appear on instance 2, and the other way round.
async fn deltas_appear(storage: &[(&str, &str)]) {
    let redis = Redis::shared().await;
    let prefix = format!("test-{}:", Uuid::new_v4().simple());
    let first = start_instance(redis, &prefix, storage).await;
    let second = start_instance(redis, &prefix, storage).await;
    let mut here = Client::connect(first.address()).await;
    let mut there = Client::connect(second.address()).await;
    here.subscribe("doc").await;
    there.subscribe("doc").await;
    for round in 0..5 {
        here.set("doc", "from-1", json!(round)).await;
        there.expect_change("doc", "from-1", &json!(round)).await;
        there.set("doc", "from-2", json!(round)).await;
        here.expect_change("doc", "from-2", &json!(round)).await;
    }
    here.set("doc", "from-2", tombstone()).await;
    there.expect_change("doc", "from-2", &tombstone()).await;
    for address in [first.address(), second.address()] {
        let mut late = Client::connect(address).await;
        assert_eq!(late.subscribe("doc").await.fields, json!({ "from-1": 4 }));
    }
}

#[tokio::test]
async fn deltas_sent_to_instance_1_appear_on_instance_2_with_postgresql() {
    let database = Postgres::shared().await.create_database().await;
    let connection_string = database.connection_string();
    deltas_appear(&[
        ("STORAGE__PROVIDER", "postgresql"),
        ("STORAGE__POSTGRESQL__CONNECTIONSTRING", &connection_string),
    ])
    .await;
}

#[tokio::test]
async fn deltas_sent_to_instance_1_appear_on_instance_2_without_a_database() {
    deltas_appear(&[("STORAGE__PROVIDER", "inmemory")]).await;
}

async fn three_agree(storage: Storage, test: &str) {
    let random = Random::announced(test);
    let community = Community::start(Redis::shared().await, storage, 3).await;
    let mut crew = Crew::new(&community, 2, &random);
    crew.all_subscribed().await;
    crew.write();
    crew.more_acks(&[0, 1, 2], 300).await;
    crew.converge_in_silence(&community, "no fault", BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_all_write_agree_with_postgresql() {
    let storage = Storage::postgres().await;
    three_agree(storage, "three_nodes_that_all_write_agree_with_postgresql").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_all_write_agree_without_a_database() {
    three_agree(Storage::Memory, "three_nodes_that_all_write_agree_without_a_database").await;
}

#[tokio::test]
async fn a_node_that_opens_a_document_later_gets_what_its_peers_hold() {
    let redis = Redis::shared().await;
    let mut community = Community::start(redis, Storage::Memory, 2).await;
    let mut here = Client::connect(community.address(0)).await;
    let mut there = Client::connect(community.address(1)).await;
    here.subscribe("doc").await;
    there.subscribe("doc").await;
    let older = here.edit("doc", "deleted", json!("older"));
    here.set("doc", "deleted", json!("once")).await;
    here.set("doc", "kept", json!("here")).await;
    there.expect_change("doc", "kept", &json!("here")).await;
    there.set("doc", "deleted", tombstone()).await;
    here.expect_change("doc", "deleted", &tombstone()).await;

    community.add_node(redis).await;
    let mut late = Client::connect(community.address(2)).await;
    late.subscribe("doc").await;
    let state = late.until_it_shows("doc", "kept", &json!("here")).await;
    assert_eq!(state.fields, json!({ "kept": "here" }));
    // Only one who knows of the deletion refuses what is older than it.
    let message_id = late.send_edit(&older).await;
    late.expect_ack(&message_id).await;
    late.set("doc", "kept", json!("there")).await;
    here.expect_change("doc", "kept", &json!("there")).await;
    for address in community.addresses() {
        let mut reader = Client::connect(&address).await;
        let state = reader.until_it_shows("doc", "kept", &json!("there")).await;
        assert_eq!(state.fields, json!({ "kept": "there" }), "on {address}");
    }
}

#[tokio::test]
async fn communities_with_other_prefixes_hear_nothing_of_each_other() {
    let redis = Redis::shared().await;
    let ours = Community::start(redis, Storage::Memory, 2).await;
    let others = Community::start(redis, Storage::Memory, 1).await;
    let mut here = Client::connect(ours.address(0)).await;
    let mut there = Client::connect(ours.address(1)).await;
    let mut stranger = Client::connect(others.address(0)).await;
    for client in [&mut here, &mut there, &mut stranger] {
        client.subscribe("doc").await;
    }
    here.set("doc", "ours", json!(1)).await;
    there.expect_change("doc", "ours", &json!(1)).await;
    stranger.set("doc", "theirs", json!(2)).await;
    here.set("doc", "ours", json!(3)).await;
    there.expect_change("doc", "ours", &json!(3)).await;
    let mut fields = BTreeSet::new();
    for client in [&mut here, &mut there, &mut stranger] {
        fields.insert(client.sync("doc").await.fields.to_string());
    }
    let wanted = [r#"{"ours":3}"#, r#"{"theirs":2}"#].map(str::to_owned);
    assert_eq!(fields, BTreeSet::from(wanted));
}

/// Longer than what nodes send each other: the others are told where to read it.
const LONG_VALUE_BYTES: usize = 300_000;

#[tokio::test]
async fn a_value_too_long_for_a_message_is_read_from_the_store() {
    let community = Community::start(Redis::shared().await, Storage::postgres().await, 2).await;
    let mut here = Client::connect(community.address(0)).await;
    let mut there = Client::connect(community.address(1)).await;
    here.subscribe("doc").await;
    there.subscribe("doc").await;
    let value = json!("x".repeat(LONG_VALUE_BYTES));
    here.set("doc", "long", value.clone()).await;
    there.expect_change("doc", "long", &value).await;
}
