//! A node hangs or dies, or PostgreSQL does.

use std::time::Duration;

use synckit_testkit::{Postgres, Redis};
use tokio::time::{Instant, sleep};

use crate::community::{Community, Storage};
use crate::crew::Crew;
use crate::random::Random;

/// From the last acknowledgement, with everything up.
const BOUND: Duration = Duration::from_secs(2);

/// From the moment at which a node goes on or is ready: connections are made anew, documents are
/// loaded, and what was not acknowledged is sent again.
const NODE_BOUND: Duration = Duration::from_secs(5);

/// From the moment at which PostgreSQL answers.
const STORE_BOUND: Duration = Duration::from_secs(5);

/// Longer than the time after which a node that says nothing is given up.
const LONG_PAUSE: Duration = Duration::from_secs(14);

async fn under_load(storage: Storage, test: &str) -> (Community, Crew, Random) {
    let random = Random::announced(test);
    let community = Community::start(Redis::shared().await, storage, 2).await;
    let mut crew = Crew::new(&community, 3, &random);
    crew.all_subscribed().await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    (community, crew, random.part(2_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hung_catches_up() {
    let test = "a_node_that_hung_catches_up";
    let (community, mut crew, mut random) = under_load(Storage::postgres().await, test).await;
    let node = community.nodes[1].server();
    // Wherever it is stopped, the others must be able to go on.
    for _ in 0..5 {
        node.pause();
        crew.more_acks(&[0], 20 + usize::try_from(random.below(40)).expect("small")).await;
        node.resume();
        crew.more_acks(&[1], 20).await;
    }
    crew.converge_in_silence(&community, "node paused, shortly", NODE_BOUND).await;
    crew.write();
    crew.more_acks(&[1], 20).await;
    node.pause();
    let begun = Instant::now();
    crew.more_acks(&[0], 100).await;
    sleep(LONG_PAUSE.saturating_sub(begun.elapsed())).await;
    crew.more_acks(&[0], 20).await;
    node.resume();
    crew.converge(&community, "node paused for 14 s", Instant::now(), NODE_BOUND).await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, "after: node paused", BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_comes_back_with_everything() {
    let test = "a_node_that_was_killed_comes_back_with_everything";
    let (mut community, mut crew, mut random) = under_load(Storage::postgres().await, test).await;
    for _ in 0..3 {
        let node = usize::try_from(random.below(2)).expect("small");
        community.nodes[node].kill9().await;
        crew.more_acks(&[1 - node], 60).await;
        community.nodes[node].start().await;
        let ready = Instant::now();
        crew.converge(&community, "node killed and restarted", ready, NODE_BOUND).await;
        crew.write();
        crew.more_acks(&[node], 30).await;
        crew.more_acks(&[1 - node], 30).await;
    }
    crew.converge_in_silence(&community, "after: node killed", BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_was_restarted_has_every_acknowledged_edit() {
    let postgres = Postgres::start_private().await;
    let storage = Storage::postgres_of(&postgres).await;
    let test = "a_postgresql_that_was_restarted_has_every_acknowledged_edit";
    let (community, mut crew, _) = under_load(storage, test).await;
    for _ in 0..3 {
        postgres.restart().await;
        let ready = Instant::now();
        crew.converge(&community, "PostgreSQL restarted", ready, STORE_BOUND).await;
        crew.write();
        crew.more_acks(&[0], 30).await;
        crew.more_acks(&[1], 30).await;
    }
    crew.converge_in_silence(&community, "after: PostgreSQL restarted", BOUND).await;
}
