//! The task around one room: it loads the document, feeds the room, and does what the room says.

mod failing;
mod history;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use synckit_engine::ids::DocumentId;
use synckit_engine::limits::Limits;
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Delivery, Position};
use synckit_engine::room::{Command, Effect, Input, Room, TicketId};
use synckit_store::{Cause, StoreError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::committer::Ticket;
use super::fan_out::{self, FanOut};
use super::hub::RoomQueues;
use super::input::RoomInput;
use super::loader::{Loaded, Missing, Tail};
use super::mailbox::{Arrival, RoomMessage};
use super::opening::Early;
use super::reply::Reply;
use super::services::Services;
use super::windows::Windows;
use crate::heavy;
use crate::nodes::Heard;
use crate::outbox::Outbox;
use crate::supervision::panicked;
use crate::time::{instant, moment};

/// How long a room stays after the last connection has left: a reload of the page should find
/// the document in memory.
const IDLE_RELEASE: Duration = Duration::from_secs(30);

/// How long a room waits for what other nodes hold of its document, where no store is shared.
const PEERS_ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// How long a load waits for its subscription, which takes a round trip.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(1);

/// Commands taken from the mailbox before the outboxes are woken.
const COMMANDS_AT_ONCE: usize = 256;

/// What may be left to do before no more commands are taken: one who joins a document of many
/// fields is sent each of them.
const EFFECTS_AT_ONCE: usize = 1_024;

/// Answers that no ticket waits for: the one read that may be under way.
const OTHER_ANSWERS: usize = 1;

/// One room with its queues.
#[derive(Debug)]
pub(super) struct RoomTask {
    services: Arc<Services>,
    document: DocumentId,
    queues: RoomQueues,
    answers: mpsc::Receiver<RoomInput>,
    answer_to: mpsc::Sender<RoomInput>,
    lane: mpsc::Sender<Ticket>,
    /// What was stored since the last snapshot that was asked for.
    tail: Tail,
    fan_out: FanOut,
    windows: Windows,
    /// What came before the document was there.
    early: Early,
    /// When the edits came that are to be given to the lane, in their order.
    arrivals: VecDeque<(TicketId, Arrival)>,
    /// Who sent the command that the room works on.
    in_hand: Option<Arc<Outbox>>,
    /// A read of the room did not come to its end.
    failed: CancellationToken,
}

impl RoomTask {
    pub(super) fn new(services: Arc<Services>, document: DocumentId, queues: RoomQueues) -> Self {
        let Limits { edits_in_flight_max, .. } = services.limits;
        let (answer_to, answers) = mpsc::channel(edits_in_flight_max + OTHER_ANSWERS);
        let lane = services.committer.lane(&document);
        Self {
            services,
            document,
            queues,
            answers,
            answer_to,
            lane,
            tail: Tail::default(),
            fan_out: FanOut::default(),
            windows: Windows::default(),
            early: Early::default(),
            arrivals: VecDeque::new(),
            in_hand: None,
            failed: CancellationToken::new(),
        }
    }

    /// Hears the other nodes first: what they store while the document is read must not be missed.
    async fn load(&mut self) -> Result<Room<Arc<Outbox>>, StoreError> {
        let subscribe = self.services.peers.bus().subscribe(&self.document);
        if !matches!(tokio::time::timeout(SUBSCRIBE_DEADLINE, subscribe).await, Ok(true)) {
            tracing::debug!(document.id = %self.document, "opened without hearing other nodes");
        }
        let Services { loads, gate, write_hold, .. } = &*self.services;
        let mailbox = &mut self.queues.mailbox;
        let loaded = tokio::select! {
            biased;
            loaded = loads.load(&self.document) => loaded,
            () = self.early.refuse_old(&self.document, mailbox, gate, *write_hold) => return Err(
                StoreError::unavailable(Cause::Interrupted, "opening ended")
            ),
        };
        let Loaded { snapshot, tail } = loaded?;
        self.tail = tail;
        self.offer_compaction();
        let limits = self.services.limits.clone();
        let room = Room::new(self.document.clone(), snapshot, limits)
            .remembering(Arc::clone(&self.services.recent));
        Ok(if self.services.peers.is_alone() { room.alone() } else { room })
    }

    /// Brings a room up to what the other nodes hold, as far as they say so in time.
    async fn ask_peers(&mut self, room: &mut Room<Arc<Outbox>>, effects: &mut Vec<Effect>) {
        if self.services.peers.is_store_shared() || self.services.peers.is_alone() {
            return;
        }
        self.services.peers.ask_for(&self.document);
        let mut silent = self.services.peers.known();
        let end = Instant::now() + PEERS_ANSWER_WITHIN;
        while silent > 0 || room.awaits_store() {
            let input = tokio::select! {
                Some(input) = self.answers.recv() => input,
                Some(heard) = self.queues.heard.recv() => {
                    let is_last = matches!(
                        &heard,
                        Heard::Said { message: PeerMessage::DocumentHeld { is_last: true, .. }, .. }
                    );
                    silent = silent.saturating_sub(is_last.into());
                    heard.into()
                }
                () = tokio::time::sleep_until(end) => return,
            };
            room.handle(input, effects);
            self.perform(room, effects).await;
        }
    }

    /// Counts what was stored, and asks for a snapshot when it has become much.
    fn note_stored(&mut self, input: &RoomInput) {
        let Input::Stored { edits, .. } = input else { return };
        for (delta, delivery) in edits.iter().flat_map(|edit| &edit.deltas) {
            if matches!(delivery, Delivery::Stored(_)) {
                self.tail.add(delta);
            }
        }
        self.offer_compaction();
    }

    fn offer_compaction(&mut self) {
        if self.services.compactor.wants(self.tail) {
            self.services.compactor.offer(&self.document);
            self.tail = Tail::default();
        }
    }

    /// Gives the room what came over a connection, and notes when that was.
    fn take(
        &mut self,
        room: &mut Room<Arc<Outbox>>,
        message: RoomMessage,
        effects: &mut Vec<Effect>,
    ) {
        let known = effects.len();
        self.in_hand = Some(Arc::clone(&message.outbox));
        let (arrival, input) = message.into_input();
        handle(room, input, effects);
        self.in_hand = None;
        let ticket = |effect: &Effect| match effect {
            Effect::Append { ticket, .. } => Some(*ticket),
            _ => None,
        };
        if let Some(ticket) = effects.iter().skip(known).find_map(ticket) {
            self.arrivals.push_back((ticket, arrival));
        }
    }

    /// When an edit came. One of another node comes now.
    fn arrival(&mut self, of: TicketId) -> Arrival {
        let next = self.arrivals.pop_front_if(|(ticket, _)| *ticket == of);
        next.map_or_else(Arrival::now, |(_, arrival)| arrival)
    }

    async fn perform(&mut self, room: &mut Room<Arc<Outbox>>, effects: &mut Vec<Effect>) {
        let mut effects = effects.drain(..).peekable();
        while let Some(effect) = effects.next() {
            match effect {
                Effect::Send(session, message) => {
                    let messages = fan_out::sent_to(session, message, &mut effects);
                    if let Some(outbox) = room.handle_of(session) {
                        self.fan_out.send(outbox, messages);
                    }
                }
                Effect::Broadcast(message) => {
                    let messages = fan_out::broadcast(message, &mut effects);
                    self.fan_out.broadcast(room.subscribers(), messages).await.note(room);
                }
                Effect::Relay(client, message) => {
                    self.fan_out.relay(room.others(&client), message);
                }
                Effect::Open(window, ms) => self.windows.open(window, ms),
                Effect::BroadcastAwareness(message) => {
                    let messages = fan_out::broadcast_awareness(message, &mut effects);
                    self.fan_out.broadcast(room.watchers(), messages).await.note(room);
                }
                Effect::Append { ticket, deltas } => {
                    let Arrival { since, place } = self.arrival(ticket);
                    let ticket = Ticket {
                        document: self.document.clone(),
                        deltas,
                        since,
                        place,
                        reply: Reply::new(ticket, self.answer_to.clone()),
                    };
                    // Lanes outlive rooms; a lane that is gone shows as edits without answer.
                    let _ = self.lane.send(ticket).await;
                }
                Effect::Fetch(position) => self.read(Some(position)),
                Effect::Reload => self.read(None),
                Effect::Publish(message) => self.services.peers.tell(&self.document, message),
                Effect::HistoryChanged { from, to, stored_again } => {
                    self.report_history(from, to, stored_again);
                }
            }
        }
        self.fan_out.wake();
    }

    /// Reads on from a position, or the whole document, as often as it takes while the room lives.
    fn read(&self, after: Option<Position>) {
        let (services, document) = (Arc::clone(&self.services), self.document.clone());
        let answer_to = self.answer_to.downgrade();
        // Else the room would wait for this for ever.
        let failed = self.failed.clone().drop_guard();
        self.services.shutdown.rooms.spawn(async move {
            let mut backoff = Backoff::new();
            while answer_to.strong_count() > 0 && !services.shutdown.drain.is_cancelled() {
                let loads = &services.loads;
                let read = match after {
                    Some(after) => loads.missing(&document, after).await,
                    None => loads
                        .whole(&document)
                        .await
                        .map(|loaded| Missing::Document(loaded.snapshot)),
                };
                let input = match read {
                    Ok(Missing::Deltas(deltas)) => Input::Fetched(deltas),
                    Ok(Missing::Document(loaded)) => Input::Reloaded(loaded),
                    Err(error) => {
                        if error.is_unavailable() {
                            // The gate sees to it that this is not too often.
                            tracing::debug!(document.id = %document, error = %error, "read failed");
                            Backoff::new().pause().await;
                        } else {
                            tracing::warn!(document.id = %document, error = %error, "read failed");
                            backoff.pause().await;
                        }
                        continue;
                    }
                };
                if let Some(answer_to) = answer_to.upgrade() {
                    // Its place is kept free by OTHER_ANSWERS.
                    let _ = answer_to.try_send(input);
                }
                break;
            }
            failed.disarm();
        });
    }
}

/// Runs a room until nobody needs it any more. A panic is the end of this room and of nothing else:
/// whoever waits for it is told.
pub(super) async fn run(mut task: RoomTask) {
    let mut loaded =
        Err(StoreError::unavailable(Cause::Interrupted, "loading the document failed"));
    panicked(async { loaded = task.load().await }).await;
    let mut room = match loaded {
        Ok(room) => room,
        Err(error) => return task.refuse_all(&error).await,
    };
    let mut end = End::Failed;
    panicked(async { end = serve(&mut task, &mut room).await }).await;
    if let End::Failed = end {
        task.fail(&room).await;
    }
}

/// Why a room is not served any longer.
enum End {
    /// Nobody needs it, or the server stops.
    Released,
    /// It can't go on.
    Failed,
}

async fn serve(task: &mut RoomTask, room: &mut Room<Arc<Outbox>>) -> End {
    let drain = task.services.shutdown.drain.clone();
    let failed = task.failed.clone();
    let mut effects = Vec::new();
    task.ask_peers(room, &mut effects).await;
    room.handle(Input::Resumed, &mut effects);
    task.perform(room, &mut effects).await;
    let mut answers = Vec::new();
    let mut idle_since = Instant::now();
    loop {
        if !room.is_idle() {
            idle_since = Instant::now();
        }
        task.queues.standing.set(room.position());
        let has_commands = !task.queues.mailbox.is_empty() || !task.early.is_empty();
        if drain.is_cancelled() && !has_commands && !room.awaits_store() {
            return End::Released;
        }
        tokio::select! {
            biased;
            count = task.answers.recv_many(&mut answers, COMMANDS_AT_ONCE) => {
                debug_assert!(count > 0, "the room holds a sender itself");
                for input in answers.drain(..) {
                    task.note_stored(&input);
                    handle(room, input, &mut effects);
                }
            }
            Some(window) = task.windows.over() => {
                handle(room, Input::Over(window), &mut effects);
            }
            Some(message) = task.early.next(&mut task.queues.mailbox), if room.has_room() => {
                task.take(room, message, &mut effects);
                for _ in 1..COMMANDS_AT_ONCE {
                    if !room.has_room() || effects.len() >= EFFECTS_AT_ONCE {
                        break;
                    }
                    let next = task.early.take().or_else(|| task.queues.mailbox.try_recv().ok());
                    let Some(message) = next else { break };
                    task.take(room, message, &mut effects);
                }
            }
            Some(heard) = task.queues.heard.recv(), if room.has_room() => {
                handle(room, heard.into(), &mut effects);
            }
            () = maybe_at(room.next_tick().map(instant)) => {
                room.handle(Input::Tick(moment()), &mut effects);
            }
            () = tokio::time::sleep_until(idle_since + IDLE_RELEASE), if room.is_idle() => {
                if task.services.hub.release(&task.document, &task.queues.mailbox) {
                    task.services.compactor.offer_released(&task.document, task.tail);
                    return End::Released;
                }
                idle_since = Instant::now();
            }
            () = maybe_at(task.fan_out.answer_kept_until()) => {
                task.fan_out.forget_answer();
                room.forget_state();
            }
            () = drain.cancelled(), if !drain.is_cancelled() => {}
            () = failed.cancelled() => return End::Failed,
        }
        task.perform(room, &mut effects).await;
    }
}

/// Gives the room an input. Every change of a text is made and shown on the whole of it.
fn handle(room: &mut Room<Arc<Outbox>>, input: RoomInput, effects: &mut Vec<Effect>) {
    let added = match &input {
        Input::Command { command: Command::Edit { drafts, .. }, .. } => {
            drafts.iter().map(|draft| draft.changes.size()).sum()
        }
        _ => 0,
    };
    let bytes = added.max(room.document().collections().text().size());
    heavy::work(bytes, || room.handle(input, effects));
}

/// Waits until a moment; for ever without one.
async fn maybe_at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
