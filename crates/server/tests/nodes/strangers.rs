use serde_json::json;
use synckit_testkit::{Postgres, Redis};

use crate::client::Client;
use crate::community::{Community, Storage};

/// Staging beside production by a mistake in the configuration.
async fn two_communities_on_one_prefix() -> (Redis, Community, Community) {
    let redis = Redis::start_private().await;
    let production = Community::start(&redis, Storage::postgres().await, 2).await;
    let mut staging = Community {
        storage: Storage::postgres_of(Postgres::shared().await).await,
        prefix: production.prefix.clone(),
        nodes: Vec::new(),
    };
    staging.add_node(&redis).await;
    (redis, production, staging)
}

#[tokio::test]
async fn what_another_community_writes_is_neither_shown_here_nor_hides_anything() {
    let (_redis, production, staging) = two_communities_on_one_prefix().await;
    let address = |community: &Community, at: usize| {
        community.nodes[at].home.borrow().clone().expect("the node runs")
    };
    let mut here = Client::connect(&address(&production, 0)).await;
    let mut there = Client::connect(&address(&production, 1)).await;
    let mut stranger = Client::connect(&address(&staging, 0)).await;
    for client in [&mut here, &mut there, &mut stranger] {
        client.subscribe("doc").await;
    }
    for round in 0..10 {
        stranger.set("doc", "field", json!(format!("staging {round}"))).await;
        here.set("doc", "field", json!(format!("production {round}"))).await;
        there.expect_change("doc", "field", &json!(format!("production {round}"))).await;
    }
    for client in [&mut here, &mut there] {
        let seen = client.take_unread();
        let is_strange = |message: &&serde_json::Value| message.to_string().contains("staging");
        assert_eq!(seen.iter().find(is_strange), None);
        assert_eq!(client.sync("doc").await.fields, json!({ "field": "production 9" }));
    }
}
