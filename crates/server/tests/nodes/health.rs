//! What a node says of its link to the others.

use serde_json::Value;
use synckit_testkit::{Redis, ServerProcess};

use crate::community::{Community, Storage};
use crate::setup::{HttpAnswer, http_get, until};

/// Waits until `/health/ready` names this status.
async fn until_status_is(server: &ServerProcess, status: &str) -> HttpAnswer {
    until(&format!("the status is {status}"), || async {
        let answer = http_get(server.address(), "/health/ready").await;
        (answer.body["status"] == status).then_some(answer)
    })
    .await
}

fn description(answer: &HttpAnswer) -> &str {
    answer.body["results"]["redis"]["description"].as_str().expect("a description")
}

#[tokio::test]
async fn a_dead_redis_degrades_a_node_whose_truth_is_in_postgresql() {
    let mut redis = Redis::start_private().await;
    let community = Community::start(&redis, Storage::postgres().await, 1).await;
    let node = community.nodes[0].server();
    let answer = until_status_is(node, "Healthy").await;
    assert_eq!(answer.status, 200);
    let results = &answer.body["results"];
    for dependency in ["postgresql", "redis"] {
        assert_eq!(results[dependency]["status"], "Healthy");
        assert!(results[dependency]["latencyMs"].is_number(), "{results}");
    }
    redis.kill9().await;
    let answer = until_status_is(node, "Degraded").await;
    assert_eq!(answer.status, 200, "edits are still stored");
    let results = &answer.body["results"];
    assert_eq!(results["postgresql"]["status"], "Healthy");
    assert_eq!(results["redis"]["status"], "Degraded");
    assert_eq!(results["redis"]["latencyMs"], Value::Null);
    assert!(description(&answer).contains("edits are stored and acknowledged"), "{answer:?}");
    redis.start_again().await;
    until_status_is(node, "Healthy").await;
}

#[tokio::test]
async fn without_a_shared_store_a_dead_redis_makes_a_node_unhealthy() {
    let mut redis = Redis::start_private().await;
    let community = Community::start(&redis, Storage::Memory, 1).await;
    let node = community.nodes[0].server();
    until_status_is(node, "Healthy").await;
    redis.kill9().await;
    let answer = until_status_is(node, "Unhealthy").await;
    assert_eq!(answer.status, 503);
    assert!(description(&answer).contains("stay on it"), "{answer:?}");
}
