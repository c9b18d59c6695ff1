//! What happens to Redis and on the way there, and what the bus makes of it.

use synckit_engine::ids::{DocumentId, NodeId};
use synckit_testkit::{FaultProxy, Redis, RedisCluster, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::super::conformance::{DEADLINE, Node, Tls, connect, document, eventually, options};
use super::super::{BusEvent, Channel, EVENTS_WAITING_MAX, LinkHealth};
use super::{BusError, RedisBus, RedisOptions, wire};
use crate::config::Secret;
use crate::supervision::Supervisor;

/// Somebody who talks to Redis besides the nodes.
struct Admin(redis::aio::MultiplexedConnection);

impl Admin {
    async fn of(address: &str) -> Self {
        let client = redis::Client::open(format!("redis://{address}")).expect("an address");
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let connection = client.get_multiplexed_async_connection_with_config(&patient).await;
        Self(connection.expect("a connection"))
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().expect("a command"));
        command.arg(words.collect::<Vec<_>>());
        command.query_async(&mut self.0).await.expect("an answer")
    }

    async fn publish(&mut self, channel: &str, message: &[u8]) {
        let publish = redis::cmd("PUBLISH").arg(channel).arg(message).to_owned();
        publish.exec_async(&mut self.0).await.expect("an answer");
    }

    /// Waits until so many connections hear the channel.
    async fn wait_for_listeners(&mut self, channel: &str, expected: u64) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let (_, count): (String, u64) = self.ask(&format!("PUBSUB NUMSUB {channel}")).await;
            if count == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{count} listeners of {channel}");
        }
    }
}

fn delta() -> Channel {
    Channel::Delta(document("d"))
}

async fn down(node: &Node) {
    eventually("the loss is noticed", || !node.bus.is_up()).await;
    assert!(matches!(node.bus.check().await, LinkHealth::Down(_)));
}

/// Asserts that what one publishes comes to the other.
async fn check_hears(listener: &mut Node, speaker: &Node) {
    speaker.publish(delta(), "edit");
    assert_eq!(listener.next_message().await.2, "edit");
}

async fn start(options: &RedisOptions) -> Result<RedisBus, BusError> {
    let (events, _) = mpsc::channel(1);
    let (node, tasks) = (NodeId::new("node"), TaskTracker::new());
    RedisBus::start(options.clone(), node, events, &tasks, &Supervisor::default()).await
}

#[tokio::test]
async fn a_redis_that_restarts_empty_is_subscribed_to_again() {
    let mut redis = Redis::start_private().await;
    let options = options(redis.address());
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    assert!(listener.bus.subscribe(&document("before")).await);
    redis.kill9().await;
    down(&listener).await;
    down(&speaker).await;
    assert!(!listener.bus.subscribe(&document("d")).await);
    speaker.publish(delta(), "lost");
    assert_eq!(speaker.bus.dropped(), 1);
    redis.start_again().await;
    listener.resumed().await;
    speaker.resumed().await;
    check_hears(&mut listener, &speaker).await;
    speaker.publish(Channel::Awareness(document("before")), "awareness");
    assert_eq!(listener.next_message().await.0, Channel::Awareness(document("before")));
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_waited_for() {
    let mut redis = Redis::start_private().await;
    redis.kill9().await;
    let options = options(redis.address());
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    down(&listener).await;
    assert!(!listener.bus.subscribe(&document("d")).await);
    redis.start_again().await;
    listener.resumed().await;
    speaker.resumed().await;
    check_hears(&mut listener, &speaker).await;
}

#[tokio::test]
async fn a_first_link_is_no_resumption() {
    let redis = Redis::shared().await;
    let options = options(redis.address());
    let mut listener = connect(&options, "listener").await;
    let speaker = connect(&options, "speaker").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    speaker.publish(delta(), "edit");
    assert!(matches!(listener.next().await, BusEvent::Message { .. }));
}

#[tokio::test]
async fn a_killed_connection_is_made_again() {
    let redis = Redis::start_private().await;
    let options = options(redis.address());
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    let killed: u64 = Admin::of(redis.address()).await.ask("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 2);
    listener.resumed().await;
    speaker.resumed().await;
    check_hears(&mut listener, &speaker).await;
}

#[tokio::test]
async fn a_paused_redis_counts_as_lost_until_it_answers() {
    let redis = Redis::start_private().await;
    let options = options(redis.address());
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    let _: () = Admin::of(redis.address()).await.ask("CLIENT PAUSE 5000 ALL").await;
    down(&listener).await;
    listener.resumed().await;
    speaker.resumed().await;
    check_hears(&mut listener, &speaker).await;
}

#[tokio::test]
async fn a_frozen_redis_counts_as_lost_until_it_answers() {
    let mut redis = Redis::start_private().await;
    let options = options(redis.address());
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    redis.freeze();
    // The link is believed in until a ping was not answered, so this one waits for that.
    assert!(!listener.bus.subscribe(&document("d")).await);
    down(&listener).await;
    down(&speaker).await;
    redis.thaw();
    listener.resumed().await;
    speaker.resumed().await;
    check_hears(&mut listener, &speaker).await;
}

#[tokio::test]
async fn a_half_open_link_is_noticed_and_made_again() {
    let redis = Redis::shared().await;
    let near = options(redis.address());
    let proxy = FaultProxy::start(redis.address()).await;
    let far = RedisOptions { prefix: near.prefix.clone(), ..options(&proxy.address().to_string()) };
    let speaker = connect(&near, "speaker").await;
    let mut listener = connect(&far, "listener").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    for fault in [FaultProxy::stall, FaultProxy::lose_answers] {
        fault(&proxy);
        down(&listener).await;
        proxy.cut();
        listener.resumed().await;
        check_hears(&mut listener, &speaker).await;
    }
    assert!(speaker.bus.is_up());
}

#[tokio::test]
async fn a_listener_that_redis_gave_up_resumes() {
    let limit = ["--client-output-buffer-limit", "pubsub 1mb 1mb 1"];
    let redis = Redis::start_private_with(&limit).await;
    let near = options(redis.address());
    let proxy = FaultProxy::start(redis.address()).await;
    let far = RedisOptions { prefix: near.prefix.clone(), ..options(&proxy.address().to_string()) };
    let mut listener = connect(&far, "listener").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    proxy.stall();
    // Not a node, whose own link could suffer under so much.
    let mut admin = Admin::of(redis.address()).await;
    let channel = format!("{}delta:d", near.prefix);
    let speaker = NodeId::new("speaker");
    let long = wire::encode(&speaker, &vec![b'x'; 1 << 20]);
    for _ in 0..48 {
        admin.publish(&channel, &long).await;
    }
    admin.wait_for_listeners(&channel, 0).await;
    proxy.heal();
    listener.resumed().await;
    admin.publish(&channel, &wire::encode(&speaker, b"edit")).await;
    assert_eq!(listener.next_message().await.2, "edit");
}

#[tokio::test]
async fn only_what_is_asked_for_is_subscribed_to() {
    let redis = Redis::shared().await;
    let options = options(redis.address());
    let mut admin = Admin::of(redis.address()).await;
    let listener = connect(&options, "listener").await;
    let channels = ["delta:d", "awareness:d"].map(|name| format!("{}{name}", options.prefix));
    let nodes = format!("{}nodes", options.prefix);
    assert!(listener.bus.subscribe(&document("d")).await);
    for channel in &channels {
        admin.wait_for_listeners(channel, 1).await;
    }
    listener.bus.unsubscribe(&document("d"));
    for channel in &channels {
        admin.wait_for_listeners(channel, 0).await;
    }
    admin.wait_for_listeners(&nodes, 1).await;
    listener.bus.close().await;
    admin.wait_for_listeners(&nodes, 0).await;
}

#[tokio::test]
async fn what_others_put_into_the_channels_is_ignored_and_counted() {
    let redis = Redis::shared().await;
    let options = options(redis.address());
    let (events, mut heard) = mpsc::channel(EVENTS_WAITING_MAX);
    let tasks = TaskTracker::new();
    let (node, supervisor) = (NodeId::new("node"), Supervisor::default());
    let bus = RedisBus::start(options.clone(), node, events, &tasks, &supervisor).await;
    let bus = bus.expect("Redis is there");
    let mut admin = Admin::of(redis.address()).await;
    let nodes = format!("{}nodes", options.prefix);
    for broken in [&b""[..], b"hello", b"\x01\xff\xff", b"\x02\0\x01nx"] {
        admin.publish(&nodes, broken).await;
    }
    admin.publish(&nodes, &wire::encode(&NodeId::new("node"), b"own")).await;
    admin.publish(&nodes, &wire::encode(&NodeId::new("other"), b"good")).await;
    match heard.recv().await {
        Some(BusEvent::Message { node, payload, .. }) => {
            assert_eq!((node.as_str(), &payload[..]), ("other", &b"good"[..]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((bus.ignored(), super::Bus::dropped(&bus)), (4, 0));
}

#[tokio::test]
async fn a_login_that_redis_refuses_is_an_error_that_says_so() {
    let redis = Redis::start_private_with(&["--user", "u", "on", ">hush"]).await;
    let mut options = options(redis.address());
    for (user, password) in [("u", Some("hush-hush")), ("nobody", Some("hush")), ("u", None)] {
        options.endpoint.user = Some(user.to_owned());
        options.endpoint.password = password.map(Secret::new);
        match start(&options).await {
            Err(error @ BusError::Login(_)) => assert!(!error.to_string().contains("hush")),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_missing_permission_is_an_error_that_says_so() {
    for missing in ["-publish", "-subscribe", "-unsubscribe", "-ping", "&elsewhere:*"] {
        let user = ["--user", "u", "on", ">hush", "resetchannels", "+@all"];
        let channels = if missing.starts_with('&') { missing } else { "&*" };
        let command = if missing.starts_with('&') { "+ping" } else { missing };
        let redis = Redis::start_private_with(&[&user[..], &[channels, command]].concat()).await;
        let mut options = options(redis.address());
        options.endpoint.user = Some("u".to_owned());
        options.endpoint.password = Some(Secret::new("hush"));
        let error = start(&options).await.expect_err(missing);
        assert!(matches!(error, BusError::Permission(_)), "{missing}: {error}");
    }
}

#[tokio::test]
async fn certificates_are_checked() {
    let server = Tls::start(&[]).await;
    let mut options = options(&server.address);
    options.endpoint.tls = true;
    options.roots_pem = Some(b"nothing of use".to_vec());
    assert!(matches!(start(&options).await, Err(BusError::Roots(_))));
    options.roots_pem = Some(Tls::start(&[]).await.roots_pem);
    let stranger = start(&options).await.expect("a certificate may be renewed");
    assert!(!super::Bus::is_up(&stranger), "a certificate of somebody else is not trusted");
    options.roots_pem = Some(server.roots_pem.clone());
    assert!(super::Bus::is_up(&start(&options).await.expect("trusted")));
    assert_ne!(server.address, server.redis.address());
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_no_error() {
    let bus = start(&options(&format!("127.0.0.1:{}", free_port()))).await.expect("it may come");
    assert!(matches!(super::Bus::check(&bus).await, LinkHealth::Down(_)));
    super::Bus::close(&bus).await;
}

#[tokio::test]
async fn a_replica_is_no_place_to_publish_at() {
    let redis = Redis::start_private_with(&["--replicaof", "127.0.0.1 1"]).await;
    let bus = start(&options(redis.address())).await.expect("it may be promoted");
    let LinkHealth::Down(reason) = super::Bus::check(&bus).await else { panic!("it is up") };
    assert!(reason.contains("is a replica"), "{reason}");
    let _: () = Admin::of(redis.address()).await.ask("REPLICAOF NO ONE").await;
    eventually("the primary is used", || super::Bus::is_up(&bus)).await;
}

#[tokio::test]
async fn a_redis_before_version_6_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let old = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        // Answers whatever it is asked, and then waits for the other side to end.
        let answer = b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
        stream.write_all(answer).await.expect("a reader");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let options = options(&address);
    let (_, started) = tokio::join!(old, start(&options));
    assert!(matches!(started, Err(BusError::TooOld)), "{started:?}");
}

/// A document whose edits belong to the same slot as this text.
fn in_slot(options: &RedisOptions, slots: std::ops::RangeInclusive<u16>) -> DocumentId {
    (0..)
        .map(|it| document(&format!("d{it}")))
        .find(|it| slots.contains(&wire::slot(&format!("{}delta:{it}", options.prefix))))
        .expect("numbers do not end")
}

#[tokio::test]
async fn a_primary_of_a_cluster_that_restarts_is_subscribed_to_again() {
    let mut cluster = RedisCluster::start().await;
    let options = options(&cluster.addresses()[0]);
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    let documents = [0..=5460, 5461..=10_921, 10_922..=16_383].map(|it| in_slot(&options, it));
    for document in &documents {
        assert!(listener.bus.subscribe(document).await);
    }
    for lost in [2, 0] {
        cluster.primaries()[lost].kill9().await;
        down(&listener).await;
        down(&speaker).await;
        cluster.primaries()[lost].start_again().await;
        listener.resumed().await;
        speaker.resumed().await;
        for document in &documents {
            speaker.publish(Channel::Delta(document.clone()), "edit");
            assert_eq!(listener.next_message().await.0, Channel::Delta(document.clone()));
        }
    }
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_listeners_along() {
    let cluster = RedisCluster::start().await;
    let addresses = cluster.addresses();
    let options = options(&addresses[0]);
    let mut speaker = connect(&options, "speaker").await;
    let mut listener = connect(&options, "listener").await;
    let moved = in_slot(&options, 0..=5460);
    let slot = wire::slot(&format!("{}delta:{moved}", options.prefix));
    assert!(listener.bus.subscribe(&moved).await);
    let mut target = Admin::of(&addresses[1]).await;
    let id: String = target.ask("CLUSTER MYID").await;
    for address in [&addresses[1], &addresses[0], &addresses[2]] {
        let _: () =
            Admin::of(address).await.ask(&format!("CLUSTER SETSLOT {slot} NODE {id}")).await;
    }
    listener.resumed().await;
    speaker.publish(Channel::Delta(moved.clone()), "provokes a redirection");
    speaker.resumed().await;
    speaker.publish(Channel::Delta(moved.clone()), "edit");
    while listener.next_message().await.2 != "edit" {}
}
