//! Redis dies, hangs and forgets, or the way to it is cut; PostgreSQL is there all the time.

use std::time::Duration;

use synckit_testkit::{MessageDirection, Redis, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::client::PATIENCE;
use crate::community::{Community, Storage};
use crate::crew::Crew;
use crate::random::{Random, say};

/// From the last acknowledgement, or from the end of a fault.
const BOUND: Duration = Duration::from_secs(2);

/// Longer than every timeout between a node and Redis, and than the time after which a node that
/// says nothing is given up.
const LONG_FAULT: Duration = Duration::from_secs(14);

/// How long Redis hangs; many times every timeout.
const REDIS_PAUSE: Duration = Duration::from_secs(30);

/// In which the nodes must have found each other again.
const LINKED_AGAIN_BOUND: Duration = Duration::from_secs(15);

/// Of one message that fills buffers: less than the limit, so that a node that reads keeps up.
const FILLING_BYTES: usize = 100_000;

/// Waits until an edit comes to every node through Redis. Somebody must be writing.
async fn until_linked(community: &Community, what: &str, since: Instant) {
    for node in &community.nodes {
        let (seen, mut see) = watch::channel(false);
        node.proxy.judge(move |message| {
            let is_delivered = message.direction == MessageDirection::Delivered;
            if is_delivered && message.channel.contains(":delta:") {
                seen.send_replace(true);
            }
            Verdict::Pass
        });
        // What a wait returns locks the value, which the judge is about to change again.
        let is_linked = timeout(PATIENCE, see.wait_for(|seen| *seen)).await.is_ok();
        assert!(is_linked, "{what}: no message within {PATIENCE:?}");
        node.proxy.pass_all();
    }
    let after = since.elapsed();
    say(&format!("{what}: linked again within {} ms", after.as_millis()));
    assert!(after <= LINKED_AGAIN_BOUND, "linked again after {after:?}");
}

/// A community under load, which has written a while.
async fn under_load(redis: &Redis, test: &str) -> (Community, Crew) {
    under_load_on(redis, Storage::postgres().await, test).await
}

async fn under_load_on(redis: &Redis, storage: Storage, test: &str) -> (Community, Crew) {
    let random = Random::announced(test);
    let community = Community::start(redis, storage, 2).await;
    let mut crew = Crew::new(&community, 3, &random);
    crew.all_subscribed().await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    (community, crew)
}

/// A fault that a node did not notice would prove nothing.
fn assert_noticed(community: &Community, nodes: &[usize]) {
    for node in nodes {
        let log = community.nodes[*node].server().stderr();
        assert!(log.contains("the link to the other nodes through Redis is down"), "node {node}");
    }
}

/// After a fault: all converge, messages come again, and all is as before.
async fn recover(
    community: &Community,
    crew: &mut Crew,
    nodes: &[usize],
    what: &str,
    since: Instant,
) {
    crew.converge(community, what, since, BOUND).await;
    crew.write();
    until_linked(community, what, since).await;
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(community, &format!("after: {what}"), BOUND).await;
    assert_noticed(community, nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_died_and_came_back_empty_is_used_again() {
    let mut redis = Redis::start_private().await;
    let test = "a_redis_that_died_and_came_back_empty_is_used_again";
    let (community, mut crew) = under_load(&redis, test).await;
    redis.kill9().await;
    crew.more_acks(&[0, 1], 100).await;
    crew.converge_in_silence(&community, "Redis is dead", BOUND).await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    redis.start_again().await;
    recover(&community, &mut crew, &[0, 1], "Redis killed and restarted", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_share_no_store_tell_each_other_what_they_missed() {
    let mut redis = Redis::start_private().await;
    let test = "nodes_that_share_no_store_tell_each_other_what_they_missed";
    let (community, mut crew) = under_load_on(&redis, Storage::Memory, test).await;
    crew.converge_in_silence(&community, "before: Redis killed, in memory", BOUND).await;
    redis.kill9().await;
    crew.write();
    crew.more_acks(&[0, 1], 100).await;
    redis.start_again().await;
    let since = Instant::now();
    let what = "Redis killed and restarted, in memory";
    crew.converge(&community, what, since, LINKED_AGAIN_BOUND).await;
    crew.write();
    until_linked(&community, what, since).await;
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, &format!("after: {what}"), BOUND).await;
    assert_noticed(&community, &[0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_nobody_up() {
    let mut redis = Redis::start_private().await;
    let (community, mut crew) = under_load(&redis, "a_redis_that_hangs_holds_nobody_up").await;
    redis.freeze();
    let begun = Instant::now();
    crew.more_acks(&[0, 1], 100).await;
    crew.converge_in_silence(&community, "Redis hangs", BOUND).await;
    crew.write();
    sleep(REDIS_PAUSE.saturating_sub(begun.elapsed())).await;
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, "Redis hangs for long", BOUND).await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    redis.thaw();
    recover(&community, &mut crew, &[0, 1], "Redis paused for 30 s", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_dead_and_does_not_know_is_given_up() {
    let test = "a_connection_that_is_dead_and_does_not_know_is_given_up";
    let (community, mut crew) = under_load(Redis::shared().await, test).await;
    community.nodes[1].proxy.make_half_open();
    let begun = Instant::now();
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, "connection half-open", BOUND).await;
    crew.write();
    until_linked(&community, "connection half-open", begun).await;
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, "after: connection half-open", BOUND).await;
    assert_noticed(&community, &[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_are_made_again() {
    let test = "connections_that_are_reset_are_made_again";
    let (community, mut crew) = under_load(Redis::shared().await, test).await;
    for node in [0, 1, 0] {
        crew.more_acks(&[0, 1], 30).await;
        community.nodes[node].proxy.cut();
    }
    recover(&community, &mut crew, &[0, 1], "connections reset", Instant::now()).await;
}

async fn publish(connection: &mut TcpStream, channel: &str, payload: &str) {
    let command = format!(
        "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
        channel.len(),
        payload.len(),
    );
    let published = async {
        connection.write_all(command.as_bytes()).await?;
        // One answer after the other, so that those who read keep up.
        while connection.read_u8().await? != b'\n' {}
        std::io::Result::Ok(())
    };
    timeout(PATIENCE, published).await.expect("an answer in time").expect("Redis answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_redis_threw_out_for_reading_too_slowly_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("redis.log");
    let log_text = log.to_str().expect("a temporary directory has a plain name");
    let limit = ["--client-output-buffer-limit", "pubsub", "262144", "0", "0"];
    let redis = Redis::start_private_with(&[&limit[..], &["--logfile", log_text]].concat()).await;
    let test = "a_node_that_redis_threw_out_for_reading_too_slowly_comes_back";
    let (community, mut crew) = under_load(&redis, test).await;
    community.nodes[1].proxy.stall_deliveries();
    let begun = Instant::now();
    let thrown_out = || {
        let text = std::fs::read_to_string(&log).expect("Redis writes a log");
        text.matches("for overcoming of output buffer limits").count()
    };
    // What sockets hold comes first, which is more than the editors write before the node itself
    // gives the connection up. One more publisher fills it, in a form that nodes don't read.
    let mut publisher = TcpStream::connect(redis.address()).await.expect("Redis listens");
    let channel = format!("{}delta:doc-0", community.prefix);
    while thrown_out() == 0 {
        publish(&mut publisher, &channel, &"x".repeat(FILLING_BYTES)).await;
        assert!(begun.elapsed() < PATIENCE, "Redis still holds what is not read");
    }
    say(&format!("subscriber thrown out after {} ms", begun.elapsed().as_millis()));
    crew.more_acks(&[0, 1], 60).await;
    assert_eq!(thrown_out(), 1, "only the one that does not read");
    community.nodes[1].proxy.go_on();
    recover(&community, &mut crew, &[1], "subscriber thrown out", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_have_only_the_store_in_common_converge_through_it() {
    let test = "nodes_that_have_only_the_store_in_common_converge_through_it";
    let (community, mut crew) = under_load(Redis::shared().await, test).await;
    community.nodes.iter().for_each(|node| node.proxy.stall());
    let begun = Instant::now();
    crew.more_acks(&[0, 1], 100).await;
    crew.converge_in_silence(&community, "partition begins", BOUND).await;
    crew.write();
    sleep(LONG_FAULT.saturating_sub(begun.elapsed())).await;
    crew.more_acks(&[0, 1], 60).await;
    crew.converge_in_silence(&community, "partition lasts", BOUND).await;
    crew.write();
    crew.more_acks(&[0, 1], 60).await;
    community.nodes.iter().for_each(|node| node.proxy.go_on());
    recover(&community, &mut crew, &[0, 1], "partition of 14 s over", Instant::now()).await;
}
