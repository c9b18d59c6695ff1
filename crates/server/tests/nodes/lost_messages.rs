//! Messages between nodes are lost, repeated, late or out of order, while Redis is up.

use std::time::Duration;

use serde_json::json;
use synckit_testkit::{MessageDirection, PassingMessage, Redis, Verdict};
use tokio::time::{Instant, timeout};

use crate::client::{Client, PATIENCE};
use crate::community::{Community, Storage};
use crate::crew::Crew;
use crate::random::{Random, say};

/// From the last acknowledgement, though the fault goes on.
const BOUND: Duration = Duration::from_secs(2);

/// Messages that a fault meets on each node before the writers stop.
const HITS: u64 = 40;

fn is_edit(message: &PassingMessage<'_>) -> bool {
    message.channel.contains(":delta:")
}

/// Writes before, during and after a fault that decides about every message between nodes.
async fn survive(
    test: &str,
    what: &str,
    judge: impl Fn(&mut Random, &PassingMessage<'_>) -> Verdict + Clone + Send + 'static,
) {
    let random = Random::announced(test);
    let storage = Storage::postgres().await;
    let community = Community::start(Redis::shared().await, storage, 2).await;
    let mut crew = Crew::new(&community, 3, &random);
    crew.all_subscribed().await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    for (number, node) in (1_000..).zip(&community.nodes) {
        let (mut random, judge) = (random.part(number), judge.clone());
        node.proxy.judge(move |message| judge(&mut random, message));
    }
    for node in &community.nodes {
        let hit = timeout(PATIENCE, node.proxy.until_hits(HITS)).await;
        assert!(hit.is_ok(), "{} of {HITS} messages met", node.proxy.hits());
    }
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, what, BOUND).await;
    let hits: Vec<u64> = community.nodes.iter().map(|node| node.proxy.hits()).collect();
    say(&format!("{what}: {hits:?} messages met"));
    community.nodes.iter().for_each(|node| node.proxy.pass_all());
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, &format!("after: {what}"), BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_dropped_are_made_good() {
    let judge = |random: &mut Random, message: &PassingMessage<'_>| {
        if is_edit(message) && random.one_in(3) { Verdict::Drop } else { Verdict::Pass }
    };
    survive("messages_that_are_dropped_are_made_good", "messages dropped", judge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_come_twice_change_nothing() {
    let judge = |random: &mut Random, message: &PassingMessage<'_>| {
        let is_hit = message.direction == MessageDirection::Delivered && random.one_in(2);
        if is_hit { Verdict::Repeat } else { Verdict::Pass }
    };
    survive("messages_that_come_twice_change_nothing", "messages repeated", judge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_come_late_find_their_place() {
    let judge = |random: &mut Random, message: &PassingMessage<'_>| {
        let is_hit = message.direction == MessageDirection::Delivered && random.one_in(2);
        let late = Verdict::Delay(Duration::from_secs(3));
        if is_hit && is_edit(message) { late } else { Verdict::Pass }
    };
    survive("messages_that_come_late_find_their_place", "messages delayed by 3 s", judge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_out_of_order_find_their_place() {
    let judge = |random: &mut Random, message: &PassingMessage<'_>| {
        if message.direction == MessageDirection::Published {
            return Verdict::Pass;
        }
        Verdict::Delay(Duration::from_millis(random.below(300)))
    };
    survive("messages_out_of_order_find_their_place", "messages reordered", judge).await;
}

/// One edit, its message lost, and nothing more happens that could show it.
async fn lose_the_last(direction: MessageDirection, what: &str) {
    let storage = Storage::postgres().await;
    let community = Community::start(Redis::shared().await, storage, 2).await;
    let mut writer = Client::connect(community.address(0)).await;
    let mut reader = Client::connect(community.address(1)).await;
    writer.subscribe("doc").await;
    reader.subscribe("doc").await;
    writer.set("doc", "field", json!("before")).await;
    reader.expect_change("doc", "field", &json!("before")).await;
    // Whatever it is about: nothing that the writer's node says comes through.
    let node = if direction == MessageDirection::Published { 0 } else { 1 };
    community.nodes[node].proxy.judge(move |message| {
        if message.direction == direction { Verdict::Drop } else { Verdict::Pass }
    });
    for round in 0..5 {
        writer.set("doc", "field", json!(round)).await;
        let acknowledged = Instant::now();
        reader.expect_change("doc", "field", &json!(round)).await;
        let after = acknowledged.elapsed();
        say(&format!("{what}: recovered in {} ms (bound {BOUND:?})", after.as_millis()));
        assert!(after <= BOUND, "seen after {after:?}");
    }
    assert!(community.nodes[node].proxy.hits() >= 5, "nothing was lost");
}

#[tokio::test]
async fn the_last_message_lost_on_its_way_to_redis_is_missed_for_two_seconds_at_most() {
    lose_the_last(MessageDirection::Published, "last message dropped on its way in").await;
}

#[tokio::test]
async fn the_last_message_lost_on_its_way_to_a_node_is_missed_for_two_seconds_at_most() {
    lose_the_last(MessageDirection::Delivered, "last message dropped on its way out").await;
}
