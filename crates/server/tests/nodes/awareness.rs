use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use synckit_testkit::Redis;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, PATIENCE};
use crate::community::{Community, Storage};
use crate::random::say;

/// How long a client whose connection was lost counts as present.
const GRACE: Duration = Duration::from_secs(3);

/// Within this the clients of a node that died are gone on the others.
const DEAD_NODE_BOUND: Duration = Duration::from_secs(15);

/// The word of another node counts for 35 s, and some of those may have just begun.
const LOST_GOODBYE_BOUND: Duration = Duration::from_secs(40);

/// With everything up, for what is told at once. Far above what it takes on a busy machine.
const BOUND: Duration = Duration::from_secs(2);

/// Says that a client is here, or with no state that it leaves.
async fn say_awareness(client: &mut Client, state: Value, clock: u64) {
    let message = json!({
        "type": "awareness_update", "documentId": "doc", "clientId": client.name,
        "state": state, "clock": clock,
    });
    client.send(&message).await;
}

/// Everybody who is here, as a node tells who asks.
async fn asked(client: &mut Client) -> BTreeSet<String> {
    client.send(&json!({ "type": "awareness_subscribe", "documentId": "doc" })).await;
    let answer = client.expect("who is here", |message| message["type"] == "awareness_state").await;
    let states = answer["states"].as_array().expect("states are a list");
    states.iter().map(|state| state["clientId"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn watcher(address: &str) -> Client {
    let mut watcher = Client::connect(address).await;
    asked(&mut watcher).await;
    watcher
}

/// Asks a node again and again, over one more connection, until exactly these are here.
async fn until_here(address: &str, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    let mut client = Client::connect(address).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let here = asked(&mut client).await;
        if here == wanted {
            return;
        }
        assert!(Instant::now() < end, "{here:?} are here on {address}, not {wanted:?}");
    }
}

async fn expect_gone(watcher: &mut Client, name: &str) {
    let what = format!("that {name} is gone");
    watcher.expect(&what, |message| is_gone(message, name)).await;
}

fn is_gone(message: &Value, name: &str) -> bool {
    message["type"] == "awareness_update"
        && message["clientId"] == *name
        && message["state"].is_null()
}

async fn expect_state(watcher: &mut Client, name: &str, state: &Value) {
    let what = format!("{name} with {state}");
    let is_it = |message: &Value| {
        message["type"] == "awareness_update"
            && message["clientId"] == *name
            && message["state"] == *state
    };
    watcher.expect(&what, is_it).await;
}

#[tokio::test]
async fn every_node_knows_who_is_on_the_others() {
    let community = Community::start(Redis::shared().await, Storage::Memory, 3).await;
    let mut clients = Vec::new();
    for node in 0..3 {
        let mut client = Client::connect(community.address(node)).await;
        say_awareness(&mut client, json!({ "on": node }), 1).await;
        clients.push(client);
    }
    let names: Vec<String> = clients.iter().map(|client| client.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for node in 0..3 {
        until_here(community.address(node), &names).await;
    }
    say_awareness(&mut clients[0], json!({ "cursor": 7 }), 2).await;
    for client in &mut clients[1..] {
        expect_state(client, names[0], &json!({ "cursor": 7 })).await;
    }
}

#[tokio::test]
async fn who_leaves_is_gone_everywhere_at_once() {
    let community = Community::start(Redis::shared().await, Storage::Memory, 2).await;
    let mut stays = watcher(community.address(1)).await;
    say_awareness(&mut stays, json!({}), 1).await;
    let mut leaves = Client::connect(community.address(0)).await;
    say_awareness(&mut leaves, json!({}), 1).await;
    let name = leaves.name.clone();
    expect_state(&mut stays, &name, &json!({})).await;
    let left = Instant::now();
    say_awareness(&mut leaves, Value::Null, 2).await;
    expect_gone(&mut stays, &name).await;
    let after = left.elapsed();
    assert!(after <= BOUND, "gone after {after:?}");
    for address in community.addresses() {
        until_here(&address, &[&stays.name]).await;
    }
    say(&format!("leaving: recovered in {} ms", after.as_millis()));
}

#[tokio::test]
async fn who_loses_the_connection_is_gone_after_the_grace() {
    let community = Community::start(Redis::shared().await, Storage::Memory, 2).await;
    let mut near = watcher(community.address(0)).await;
    let mut far = watcher(community.address(1)).await;
    let mut lost = Client::connect(community.address(0)).await;
    say_awareness(&mut lost, json!({}), 1).await;
    let name = lost.name.clone();
    expect_state(&mut near, &name, &json!({})).await;
    expect_state(&mut far, &name, &json!({})).await;
    let begun = Instant::now();
    drop(lost);
    for watcher in [&mut near, &mut far] {
        expect_gone(watcher, &name).await;
        let after = begun.elapsed();
        assert!(after >= GRACE, "gone after {after:?} already");
        assert!(after <= GRACE + BOUND, "gone after {after:?} only");
        say(&format!("lost connection: recovered in {} ms", after.as_millis()));
    }
}

#[tokio::test]
async fn who_comes_back_to_another_node_was_never_gone() {
    let community = Community::start(Redis::shared().await, Storage::Memory, 3).await;
    let mut watchers = Vec::new();
    for address in community.addresses() {
        watchers.push(watcher(&address).await);
    }
    let mut moves = Client::connect(community.address(0)).await;
    say_awareness(&mut moves, json!({ "at": 0 }), 5).await;
    let name = moves.name.clone();
    for watcher in &mut watchers {
        expect_state(watcher, &name, &json!({ "at": 0 })).await;
    }
    for (at, node) in [1, 2, 0, 1].into_iter().enumerate() {
        // Another client is lost a moment later and stays away: when that shows, the time of the
        // one that comes back would have been over too.
        let mut stays_away = Client::connect(community.address((node + 2) % 3)).await;
        say_awareness(&mut stays_away, json!({ "round": at }), 1).await;
        let other = stays_away.name.clone();
        for watcher in &mut watchers {
            expect_state(watcher, &other, &json!({ "round": at })).await;
        }
        drop(moves);
        drop(stays_away);
        moves = Client::connect(community.address(node)).await;
        moves.name.clone_from(&name);
        // A client that starts anew counts from the beginning.
        let clock = if at % 2 == 0 { 1 } else { 9 };
        say_awareness(&mut moves, json!({ "at": at + 1 }), clock).await;
        for watcher in &mut watchers {
            expect_state(watcher, &name, &json!({ "at": at + 1 })).await;
            expect_gone(watcher, &other).await;
            let unread = watcher.take_unread();
            let flaps: Vec<_> = unread.iter().filter(|message| is_gone(message, &name)).collect();
            assert!(flaps.is_empty(), "round {at}: {flaps:?}");
        }
    }
    for address in community.addresses() {
        until_here(&address, &[&name]).await;
    }
}

#[tokio::test]
async fn the_clients_of_a_killed_node_are_gone_soon_and_back_when_they_are() {
    let redis = Redis::shared().await;
    let mut community = Community::start(redis, Storage::Memory, 3).await;
    let mut watchers = [watcher(community.address(0)).await, watcher(community.address(1)).await];
    let mut lost = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(community.address(2)).await;
        say_awareness(&mut client, json!({}), 1).await;
        for watcher in &mut watchers {
            expect_state(watcher, &client.name, &json!({})).await;
        }
        lost.push(client);
    }
    let begun = Instant::now();
    community.nodes[2].kill9().await;
    // One comes back to another node at once, and is never gone.
    let mut returns = Client::connect(community.address(0)).await;
    returns.name.clone_from(&lost[0].name);
    say_awareness(&mut returns, json!({ "back": true }), 1).await;
    for watcher in &mut watchers {
        expect_gone(watcher, &lost[1].name).await;
        expect_gone(watcher, &lost[2].name).await;
        let after = begun.elapsed();
        assert!(after <= DEAD_NODE_BOUND, "gone after {after:?}");
        say(&format!("presence of a killed node: recovered in {} ms", after.as_millis()));
        let unread = watcher.take_unread();
        assert!(!unread.iter().any(|message| is_gone(message, &returns.name)), "{unread:?}");
    }
    for address in community.addresses() {
        until_here(&address, &[&returns.name]).await;
    }
    community.nodes[2].start().await;
    until_here(community.address(2), &[&returns.name]).await;
}

#[tokio::test]
async fn the_clients_of_a_node_that_stops_are_gone_before_it_would_seem_dead() {
    let community = Community::start(Redis::shared().await, Storage::Memory, 2).await;
    let mut watcher = watcher(community.address(0)).await;
    let mut client = Client::connect(community.address(1)).await;
    say_awareness(&mut client, json!({}), 1).await;
    expect_state(&mut watcher, &client.name, &json!({})).await;
    let begun = Instant::now();
    community.nodes[1].server().signal_terminate();
    expect_gone(&mut watcher, &client.name).await;
    let after = begun.elapsed();
    assert!(after >= GRACE, "gone after {after:?} already");
    assert!(after <= GRACE + BOUND, "gone after {after:?}");
}

#[tokio::test]
async fn awareness_is_whole_again_after_redis_was_away() {
    let mut redis = Redis::start_private().await;
    let community = Community::start(&redis, Storage::Memory, 2).await;
    let mut stays = watcher(community.address(0)).await;
    say_awareness(&mut stays, json!({ "v": 1 }), 1).await;
    let mut leaves = watcher(community.address(0)).await;
    say_awareness(&mut leaves, json!({}), 1).await;
    until_here(community.address(1), &[&stays.name, &leaves.name]).await;
    let mut far = watcher(community.address(1)).await;
    redis.kill9().await;
    say_awareness(&mut leaves, Value::Null, 2).await;
    let mut comes = watcher(community.address(1)).await;
    say_awareness(&mut comes, json!({}), 1).await;
    until_here(community.address(1), &[&stays.name, &leaves.name, &comes.name]).await;
    redis.start_again().await;
    let begun = Instant::now();
    expect_state(&mut stays, &comes.name, &json!({})).await;
    say(&format!("presence after Redis: recovered in {} ms", begun.elapsed().as_millis()));
    // Nobody says again that a client is gone: the others notice that nobody says it is here.
    let gone = async {
        while !is_gone(&far.receive().await.expect("the connection lasts"), &leaves.name) {}
    };
    timeout_at(begun + LOST_GOODBYE_BOUND, gone).await.expect("a lost goodbye is made good");
    say(&format!("absence after Redis: recovered in {} ms", begun.elapsed().as_millis()));
    for address in community.addresses() {
        until_here(&address, &[&stays.name, &comes.name]).await;
    }
}
