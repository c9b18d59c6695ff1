//! The contract of the bus, run against every bus: what it says in `bus.rs` and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use synckit_engine::ids::{DocumentId, NodeId};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Bus, BusEvent, Channel, EVENTS_WAITING_MAX, Events, LinkHealth};

mod grounds;

pub(super) use grounds::{Tls, connect, options};

/// For what happens at once, on a machine that is busy with other tests.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How often something is looked at that cannot be waited for.
const POLL: Duration = Duration::from_millis(5);

/// Enough documents to have some on every server of a cluster: servers don't wait for each other.
const MARKERS: usize = 32;

/// Something that nodes can be linked by.
#[async_trait::async_trait]
trait Ground: Sized + Send + Sync {
    async fn start() -> Self;

    async fn join(&self, node: NodeId, events: Events) -> Arc<dyn Bus>;

    /// Cuts all links for a moment; `false` when there is nothing to cut.
    async fn interrupt(&self) -> bool;
}

/// A node of a test.
pub(super) struct Node {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) events: mpsc::Receiver<BusEvent>,
    pub(super) name: String,
}

pub(super) fn document(name: &str) -> DocumentId {
    DocumentId::new(name).expect("a valid id")
}

fn delta(name: &str) -> Channel {
    Channel::Delta(document(name))
}

/// Waits for what no event announces.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    timeout(DEADLINE, met).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

impl Node {
    async fn join(ground: &impl Ground, name: &str) -> Self {
        Self::join_with_places(ground, name, EVENTS_WAITING_MAX).await
    }

    async fn join_with_places(ground: &impl Ground, name: &str, places: usize) -> Self {
        let (sender, events) = mpsc::channel(places);
        let bus = ground.join(NodeId::new(name), sender).await;
        let node = Self { bus, events, name: name.to_owned() };
        let markers: Vec<_> = (0..MARKERS).map(|it| document(&format!("marker-{it}"))).collect();
        assert!(
            join_all(markers.iter().map(|it| node.bus.subscribe(it))).await.iter().all(|it| *it)
        );
        node
    }

    pub(super) fn publish(&self, channel: Channel, text: &str) {
        self.bus.publish(channel, Bytes::copy_from_slice(text.as_bytes()));
    }

    pub(super) async fn next(&mut self) -> BusEvent {
        timeout(DEADLINE, self.events.recv())
            .await
            .unwrap_or_else(|_| panic!("{} hears nothing", self.name))
            .expect("the bus lives")
    }

    /// The next message, whatever else comes before it.
    pub(super) async fn next_message(&mut self) -> (Channel, String, Bytes) {
        loop {
            if let BusEvent::Message { channel, node, payload } = self.next().await {
                return (channel, node.as_str().to_owned(), payload);
            }
        }
    }

    pub(super) async fn resumed(&mut self) {
        while !matches!(self.next().await, BusEvent::Resumed) {}
    }

    /// Everything that came before what `speaker` publishes now. On each link messages keep their
    /// order, so nothing that was published before is still on its way.
    async fn heard_before_now(&mut self, speaker: &Self) -> Vec<String> {
        for marker in 0..MARKERS {
            speaker.publish(delta(&format!("marker-{marker}")), "marker");
        }
        let (mut heard, mut markers) = (Vec::new(), 0);
        while markers < MARKERS {
            match self.next_message().await {
                (_, _, payload) if &payload[..] == b"marker" => markers += 1,
                (_, _, payload) => heard.push(String::from_utf8_lossy(&payload).into_owned()),
            }
        }
        heard
    }
}

async fn publishing_never_waits(ground: impl Ground) {
    let speaker = Node::join(&ground, "speaker").await;
    let listener = Node::join_with_places(&ground, "listener", 4).await;
    for _ in 0..200 {
        speaker.publish(Channel::Nodes, "hello");
    }
    eventually("what found no place is counted", || listener.bus.dropped() == 196).await;
}

async fn nobody_hears_itself(ground: impl Ground) {
    let mut speaker = Node::join(&ground, "speaker").await;
    let mut listener = Node::join(&ground, "listener").await;
    for node in [&speaker, &listener] {
        assert!(node.bus.subscribe(&document("d")).await);
    }
    speaker.publish(delta("d"), "edit");
    speaker.publish(Channel::Awareness(document("d")), "awareness");
    speaker.publish(Channel::Nodes, "node");
    speaker.publish(delta("not-subscribed"), "nothing");
    let mut heard = listener.heard_before_now(&speaker).await;
    heard.sort();
    assert_eq!(heard, ["awareness", "edit", "node"]);
    assert_eq!(speaker.heard_before_now(&listener).await, [""; 0]);
}

async fn messages_are_whole(ground: impl Ground) {
    let speaker = Node::join(&ground, "node with a name: é").await;
    let mut listener = Node::join(&ground, "listener").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    let long: Vec<u8> = (0..1 << 20).map(|it: u32| it.to_le_bytes()[0]).collect();
    for payload in [&b""[..], b"\r\n$-1\r\n\0\xff", &long] {
        speaker.bus.publish(delta("d"), Bytes::copy_from_slice(payload));
        let (channel, node, heard) = listener.next_message().await;
        assert_eq!((channel, node.as_str()), (delta("d"), "node with a name: é"));
        assert!(heard == payload, "{} bytes of {}", heard.len(), payload.len());
    }
}

async fn subscribed_means_subscribed(ground: impl Ground) {
    let speaker = Node::join(&ground, "speaker").await;
    let mut listener = Node::join(&ground, "listener").await;
    let names: Vec<String> = (0..500).map(|it| format!("document-{it}")).collect();
    let subscriptions = names.iter().map(|name| {
        let (speaker, listener) = (&speaker, &listener);
        async move {
            assert!(listener.bus.subscribe(&document(name)).await);
            speaker.publish(delta(name), name);
        }
    });
    join_all(subscriptions).await;
    let mut heard = listener.heard_before_now(&speaker).await;
    heard.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(heard, expected);
}

async fn a_loss_of_the_link_shows(ground: impl Ground) {
    let mut speaker = Node::join(&ground, "speaker").await;
    let mut listener = Node::join(&ground, "listener").await;
    assert!(listener.bus.subscribe(&document("d")).await);
    for _ in 0..3 {
        if ground.interrupt().await {
            speaker.resumed().await;
            listener.resumed().await;
        }
        speaker.publish(delta("d"), "edit");
        assert_eq!(listener.heard_before_now(&speaker).await, ["edit"]);
        assert!(listener.bus.is_up());
        assert!(matches!(listener.bus.check().await, LinkHealth::Up { .. }));
    }
}

async fn unsubscribed_means_silence(ground: impl Ground) {
    let speaker = Node::join(&ground, "speaker").await;
    let mut listener = Node::join(&ground, "listener").await;
    for round in 0..10 {
        assert!(listener.bus.subscribe(&document("d")).await);
        speaker.publish(delta("d"), &format!("round {round}"));
        assert_eq!(listener.heard_before_now(&speaker).await, [format!("round {round}")]);
        listener.bus.unsubscribe(&document("d"));
        speaker.publish(delta("d"), "too late");
        speaker.publish(Channel::Awareness(document("d")), "too late");
        assert_eq!(listener.heard_before_now(&speaker).await, [""; 0]);
    }
    // Its own change of mind does not count as an unsubscription.
    listener.bus.unsubscribe(&document("d"));
    assert!(listener.bus.subscribe(&document("d")).await);
    speaker.publish(delta("d"), "again");
    assert_eq!(listener.heard_before_now(&speaker).await, ["again"]);
}

async fn closing_ends_it(ground: impl Ground) {
    let speaker = Node::join(&ground, "speaker").await;
    let mut listener = Node::join(&ground, "listener").await;
    let mut witness = Node::join(&ground, "witness").await;
    for number in 0..1000 {
        listener.publish(Channel::Nodes, &number.to_string());
    }
    listener.bus.close().await;
    for number in 0..1000 {
        let (_, _, payload) = witness.next_message().await;
        assert_eq!(payload, number.to_string(), "what was queued is sent");
    }
    while listener.events.try_recv().is_ok() {}
    listener.publish(Channel::Nodes, "from a closed bus");
    assert!(!listener.bus.subscribe(&document("d")).await);
    speaker.publish(delta("d"), "edit");
    speaker.publish(Channel::Nodes, "node");
    assert_eq!(witness.heard_before_now(&speaker).await, ["node"]);
    assert!(listener.events.try_recv().is_err());
    assert!(!listener.bus.is_up());
    listener.bus.close().await;
}

macro_rules! conformance {
    ($($name:ident: $ground:ty;)+) => {
        $(mod $name {
            use super::Ground as _;

            conformance!(@test $ground, publishing_never_waits);
            conformance!(@test $ground, nobody_hears_itself);
            conformance!(@test $ground, messages_are_whole);
            conformance!(@test $ground, subscribed_means_subscribed);
            conformance!(@test $ground, a_loss_of_the_link_shows);
            conformance!(@test $ground, unsubscribed_means_silence);
            conformance!(@test $ground, closing_ends_it);
        })+
    };
    (@test $ground:ty, $rule:ident) => {
        #[tokio::test]
        async fn $rule() {
            super::$rule(<$ground>::start().await).await;
        }
    };
}

conformance! {
    local: super::grounds::Local;
    redis: super::grounds::PlainRedis;
    redis_with_tls: super::grounds::TlsRedis;
    redis_cluster: super::grounds::ClusterRedis;
}
