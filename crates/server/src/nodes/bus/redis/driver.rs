//! The task that holds the link: makes it, watches it, and makes the next one.

use std::sync::Arc;
use std::time::Duration;

use redis::PushInfo;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::link::{Address, Link, LinkError, OnPush, REPLY_TIMEOUT};
use super::options::BusError;
use super::sentinel;
use super::shared::{LinkState, Shared};
use crate::nodes::bus::BusEvent;

/// How often the server is asked for a sign of life. With [`REPLY_TIMEOUT`] a link that died
/// silently is given up after four seconds.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Pings after which a cluster is asked where its slots are, and sentinels who is the primary. A move shows by itself; this is for
/// one that did not.
const PINGS_PER_TOPOLOGY_CHECK: u32 = 10;

/// First pause after a lost link: a server that restarted is not missed for long.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest pause: what people wait for after Redis came back.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What making a link may take in all, with every server of a cluster: some round trips.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shutdown waits for what is queued, by the contract of the bus.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A link, and the sign that it is lost.
pub(super) struct Held {
    link: Link,
    lost: Arc<Notify>,
}

/// Makes the first link before the bus is used, so that mistakes in the configuration show.
pub(super) async fn connect_first(shared: &Arc<Shared>) -> Result<Option<Held>, BusError> {
    match establish(shared, &[]).await {
        Ok(held) => {
            shared.topics.start_over();
            take_up(shared, &held);
            Ok(Some(held))
        }
        Err(LinkError::Refused(error)) => Err(error),
        Err(LinkError::Down(reason)) => {
            tracing::warn!(%reason, "Redis is not reachable, trying again in the background");
            *shared.state.lock() = LinkState::Down(reason);
            Ok(None)
        }
    }
}

/// What holds the link.
pub(super) struct Driver {
    shared: Arc<Shared>,
    first: Option<Held>,
    is_first_run: bool,
    /// Whoever waits for the end of the bus waits for nothing else.
    _closed: DropGuard,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, first: Option<Held>) -> Self {
        let closed = shared.closed.clone().drop_guard();
        Self { shared, first, is_first_run: true, _closed: closed }
    }

    /// Runs until the bus is closed.
    pub(super) async fn run(&mut self) {
        if !std::mem::take(&mut self.is_first_run) {
            lose(&self.shared, &LinkError::Down("the task that held the link failed".to_owned()));
        }
        run(&self.shared, self.first.take()).await;
    }
}

async fn run(shared: &Arc<Shared>, first: Option<Held>) {
    let mut known = Vec::new();
    let mut pause = BACKOFF_MIN;
    let mut is_resumed = first.is_none();
    let mut held = first;
    while !shared.closing.is_cancelled() {
        let current = match held.take() {
            Some(held) => Ok(held),
            None => establish(shared, &known).await,
        };
        let since = Instant::now();
        let error = match current {
            Ok(held) => {
                known = held.link.addresses();
                match hold(shared, &held, is_resumed).await {
                    Ok(()) => break,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        is_resumed = true;
        lose(shared, &error);
        // A link that comes and goes must not be made as fast as one that held.
        if since.elapsed() >= BACKOFF_MAX {
            pause = BACKOFF_MIN;
        }
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            () = shared.closing.cancelled() => {}
        }
        pause = (pause * 2).min(BACKOFF_MAX);
    }
    shared.topics.close();
    let unsent = shared.queue.clear();
    shared.drop_messages(unsent);
    // The last one who holds the link: its connections end, and with them their subscriptions.
    *shared.state.lock() = LinkState::Down("the bus is closed".to_owned());
}

async fn establish(shared: &Arc<Shared>, known: &[Address]) -> Result<Held, LinkError> {
    let lost = Arc::new(Notify::new());
    let on_push: OnPush = {
        // Weak, since the state holds the link and the link holds this.
        let (shared, lost) = (Arc::downgrade(shared), Arc::clone(&lost));
        Arc::new(move |push: PushInfo| {
            if let Some(shared) = shared.upgrade() {
                shared.receive(push, &lost);
            }
        })
    };
    let endpoint = &shared.options.endpoint;
    let link = async {
        let seeds = match &endpoint.sentinels {
            Some(sentinels) => vec![sentinel::primary(&shared.options, sentinels).await?],
            None => {
                let first = (endpoint.host.clone(), endpoint.port);
                let others = known.iter().filter(|it| **it != first).cloned();
                [first.clone()].into_iter().chain(others).collect()
            }
        };
        Link::establish(&shared.options, &shared.names, &seeds, &on_push).await
    };
    let link = tokio::select! {
        link = timeout(ESTABLISH_TIMEOUT, link) => link,
        () = shared.closing.cancelled() => return Err(LinkError::Down("closing".to_owned())),
    };
    let link = link.map_err(|_| {
        LinkError::Down(format!("no answer for {} seconds", ESTABLISH_TIMEOUT.as_secs()))
    })??;
    Ok(Held { link, lost })
}

/// Uses the link until it is lost, or until the bus is closed and all is sent.
async fn hold(shared: &Shared, held: &Held, is_resumed: bool) -> Result<(), LinkError> {
    if is_resumed {
        shared.topics.start_over();
        tokio::select! {
            result = settle(shared, &held.link) => result?,
            () = held.lost.notified() => return Err(lost()),
            () = shared.closing.cancelled() => return Ok(()),
        }
        take_up(shared, held);
    }
    let cluster_size = held.link.cluster_size();
    tracing::info!(cluster_size, "linked to the other nodes through Redis");
    tokio::select! {
        result = publish(shared, &held.link) => result,
        result = subscribe(shared, &held.link) => result,
        result = watch(shared, &held.link) => result,
        () = held.lost.notified() => Err(lost()),
        () = announce(shared, is_resumed) => Ok(()),
        () = expired(&shared.closing) => Ok(()),
    }
}

fn lost() -> LinkError {
    LinkError::Down("Redis ended the connection or a subscription".to_owned())
}

/// Subscribes to everything that is asked for.
async fn settle(shared: &Shared, link: &Link) -> Result<(), LinkError> {
    while !shared.topics.is_settled() {
        let changes = shared.topics.take();
        link.change(&changes).await?;
        shared.topics.confirm(&changes);
    }
    Ok(())
}

fn take_up(shared: &Shared, held: &Held) {
    shared.topics.is_settled();
    *shared.state.lock() = LinkState::Up(held.link.clone());
    shared.queue.open();
}

fn lose(shared: &Shared, error: &LinkError) {
    let unsent = shared.queue.clear();
    shared.drop_messages(unsent);
    shared.topics.lose();
    let reason = error.to_string();
    let previous = std::mem::replace(&mut *shared.state.lock(), LinkState::Down(reason.clone()));
    if !matches!(&previous, LinkState::Down(previous) if *previous == reason) {
        tracing::warn!(%reason, unsent, "the link to the other nodes through Redis is down");
    }
}

/// Sends what waits; returns when the bus is closed and nothing is left.
async fn publish(shared: &Shared, link: &Link) -> Result<(), LinkError> {
    loop {
        let batch = shared.queue.take();
        if batch.is_empty() {
            if shared.closing.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = shared.queue.filled() => {}
                () = shared.closing.cancelled() => shared.queue.shut(),
            }
            continue;
        }
        if let Err(error) = link.publish(&batch).await {
            shared.drop_messages(batch.len());
            return Err(error);
        }
    }
}

/// Follows what the rooms ask for, many requests at a time.
async fn subscribe(shared: &Shared, link: &Link) -> Result<(), LinkError> {
    loop {
        let changes = shared.topics.take();
        if changes.subscribe.is_empty() && changes.unsubscribe.is_empty() {
            shared.topics.changed().await;
            continue;
        }
        link.change(&changes).await?;
        shared.topics.confirm(&changes);
    }
}

/// Returns when the server does not answer.
async fn watch(shared: &Shared, link: &Link) -> Result<(), LinkError> {
    let mut ticks = interval(PING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pings: u32 = 0;
    loop {
        ticks.tick().await;
        link.ping().await?;
        pings = pings.wrapping_add(1);
        if pings.is_multiple_of(PINGS_PER_TOPOLOGY_CHECK) {
            link.check_topology().await?;
            sentinel::check(&shared.options, &link.addresses()).await?;
        }
    }
}

/// Says that messages may have been missed. This one waits for its place, since nobody would say it
/// again; meanwhile the link is used. Never returns.
async fn announce(shared: &Shared, is_resumed: bool) {
    if is_resumed {
        // Fails when nobody listens any more, and then nobody misses it.
        let _ = shared.events.send(BusEvent::Resumed).await;
    }
    std::future::pending().await
}

/// Returns when a closed bus has had its time to send what waits.
async fn expired(closing: &CancellationToken) {
    closing.cancelled().await;
    sleep(FLUSH_TIMEOUT).await;
}

/// Between half of it and all of it, so that the nodes of a community do not return together.
fn jittered(pause: Duration) -> Duration {
    let [.., random] = *uuid::Uuid::new_v4().as_bytes();
    pause.mul_f64(0.5 + f64::from(random) / 512.0)
}

const _: () = assert!(REPLY_TIMEOUT.as_secs() >= PING_INTERVAL.as_secs());
