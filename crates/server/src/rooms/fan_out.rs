//! What a room says on its way to the outboxes: consecutive messages to the same readers are
//! encoded and queued as one.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use synckit_engine::ids::SessionId;
use synckit_engine::room::{Effect, Room};
use synckit_engine::wire::ServerMessage;
use tokio::time::Instant;

use crate::outbox::encoding::{Shared, SharedAnswer};
use crate::outbox::{Outbox, Part};

/// How long an answer is kept for the next one who joins. Those who come back together after a
/// fault come within a moment; the copy is as large as the document.
const ANSWER_KEPT: Duration = Duration::from_secs(1);

/// Outboxes that are filled before other tasks have their turn: some tens of microseconds.
const READERS_AT_ONCE: usize = 256;

/// What was not sent, and to whom.
#[derive(Debug)]
pub(super) struct Missed {
    sessions: Vec<SessionId>,
    messages: Vec<ServerMessage>,
}

impl Missed {
    /// Has the room note it.
    pub(super) fn note(self, room: &mut Room<Arc<Outbox>>) {
        for session in self.sessions {
            for message in &self.messages {
                let is_noted = room.miss(session, message);
                debug_assert!(is_noted, "all that is broadcast has a newer form later");
            }
        }
    }
}

/// Queues what a room says, and wakes writers when everything is queued.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    wake: Vec<Arc<Outbox>>,
    /// What the last one who joined got, and when.
    answer: Option<(SharedAnswer, Instant)>,
}

impl FanOut {
    /// Messages to one connection.
    pub(super) fn send(&mut self, outbox: &Arc<Outbox>, messages: Vec<ServerMessage>) {
        let mut messages = messages.into_iter().peekable();
        while let Some(message) = messages.next() {
            if let ServerMessage::SyncResponse { .. } = message {
                let fields = take_while(&mut messages, is_value);
                self.answer(outbox, &message, fields);
            } else {
                let mut run = vec![message];
                run.extend(take_while(&mut messages, |next| !is_answer(next)));
                let frames = Shared::new(run).into_frames(outbox.framing());
                outbox.push_later(frames, Part::Message, &mut self.wake);
            }
        }
    }

    fn answer(
        &mut self,
        outbox: &Arc<Outbox>,
        message: &ServerMessage,
        fields: Vec<ServerMessage>,
    ) {
        let framing = outbox.framing();
        let kept = self.answer.take().map(|(answer, _)| answer);
        let mut answer = kept
            .filter(|answer| answer.is_of(message))
            .unwrap_or_else(|| SharedAnswer::new(message));
        if let ServerMessage::SyncResponse { request_id, .. } = message {
            outbox.push_later([answer.state(request_id, framing)], Part::Answer, &mut self.wake);
        }
        if !fields.is_empty() {
            let frames = answer.fields(fields, framing);
            outbox.push_later(frames, Part::RestOfAnswer, &mut self.wake);
        }
        self.answer = Some((answer, Instant::now()));
    }

    /// Messages to many connections, but not to those that lag, which are returned.
    pub(super) async fn broadcast<'r>(
        &mut self,
        readers: impl Iterator<Item = &'r Arc<Outbox>>,
        messages: Vec<ServerMessage>,
    ) -> Missed {
        let mut lagging = Vec::new();
        let mut shared = Shared::new(messages);
        for (count, outbox) in readers.enumerate() {
            if count > 0 && count % READERS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            if outbox.is_lagging() {
                lagging.push(outbox.session());
                continue;
            }
            let frames = shared.frames(outbox.framing());
            outbox.push_later(frames, Part::Message, &mut self.wake);
        }
        Missed { sessions: lagging, messages: shared.into_messages() }
    }

    /// Messages that every reader must get, whether it lags or not.
    pub(super) fn relay<'r>(
        &mut self,
        readers: impl Iterator<Item = &'r Arc<Outbox>>,
        message: ServerMessage,
    ) {
        let mut shared = Shared::new(vec![message]);
        for outbox in readers {
            let frames = shared.frames(outbox.framing());
            outbox.push_later(frames, Part::Message, &mut self.wake);
        }
    }

    /// Wakes the writers of what was queued.
    pub(super) fn wake(&mut self) {
        for outbox in self.wake.drain(..) {
            outbox.wake();
        }
        self.wake.shrink_to(READERS_AT_ONCE);
    }

    /// When what is kept for those who join should be forgotten.
    pub(super) fn answer_kept_until(&self) -> Option<Instant> {
        self.answer.as_ref().map(|(_, given)| *given + ANSWER_KEPT)
    }

    pub(super) fn forget_answer(&mut self) {
        self.answer = None;
    }
}

/// Whether it may follow a state as one of its fields.
fn is_value(message: &ServerMessage) -> bool {
    matches!(message, ServerMessage::Delta { .. } | ServerMessage::DeltaBatch { .. })
}

fn is_answer(message: &ServerMessage) -> bool {
    matches!(message, ServerMessage::SyncResponse { .. })
}

/// The next messages of which something holds.
fn take_while(
    messages: &mut Peekable<impl Iterator<Item = ServerMessage>>,
    holds: impl Fn(&ServerMessage) -> bool,
) -> Vec<ServerMessage> {
    std::iter::from_fn(|| messages.next_if(&holds)).collect()
}

/// The rest of a run of messages to one connection.
pub(super) fn sent_to(
    session: SessionId,
    first: ServerMessage,
    effects: &mut Peekable<impl Iterator<Item = Effect>>,
) -> Vec<ServerMessage> {
    let mut run = vec![first];
    while let Some(Effect::Send(_, message)) =
        effects.next_if(|next| matches!(next, Effect::Send(to, _) if *to == session))
    {
        run.push(message);
    }
    run
}

/// The rest of a run of messages to everyone who follows the document.
pub(super) fn broadcast(
    first: ServerMessage,
    effects: &mut Peekable<impl Iterator<Item = Effect>>,
) -> Vec<ServerMessage> {
    let mut run = vec![first];
    while let Some(Effect::Broadcast(message)) =
        effects.next_if(|next| matches!(next, Effect::Broadcast(_)))
    {
        run.push(message);
    }
    run
}

/// The rest of a run of messages to everyone who follows its awareness.
pub(super) fn broadcast_awareness(
    first: ServerMessage,
    effects: &mut Peekable<impl Iterator<Item = Effect>>,
) -> Vec<ServerMessage> {
    let mut run = vec![first];
    while let Some(Effect::BroadcastAwareness(message)) =
        effects.next_if(|next| matches!(next, Effect::BroadcastAwareness(_)))
    {
        run.push(message);
    }
    run
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synckit_engine::delta::Change;
    use synckit_engine::ids::{DocumentId, FieldName};
    use synckit_engine::json::JsonText;

    use super::*;
    use crate::outbox::Next;

    fn json(text: &str) -> JsonText {
        JsonText::parse(text).unwrap()
    }

    fn value(value: &str) -> ServerMessage {
        ServerMessage::Delta {
            document: DocumentId::new("doc").unwrap(),
            field: FieldName::new("field").unwrap(),
            value: Change::Set(json(value)),
            clock: json(r#"{"server":1}"#),
        }
    }

    fn answer(request_id: &str, state: &str) -> ServerMessage {
        ServerMessage::SyncResponse {
            request_id: request_id.to_owned(),
            document: DocumentId::new("doc").unwrap(),
            state: json(state),
            clock: json(r#"{"server":1}"#),
            text: None,
        }
    }

    async fn queued(outbox: &Outbox) -> Vec<Bytes> {
        match outbox.next().await {
            Next::Frames(frames) => frames,
            Next::End => panic!("closed"),
        }
    }

    #[tokio::test]
    async fn those_who_join_the_same_state_share_its_bytes() {
        let mut fan_out = FanOut::default();
        let mut ends = Vec::new();
        for (request_id, state) in [("a", "{}"), ("b", "{}"), ("c", r#"{"field":2}"#)] {
            let outbox = Arc::new(Outbox::new(SessionId(1), 1_000));
            fan_out.send(&outbox, vec![answer(request_id, state), value("1")]);
            let [_, end, fields] = queued(&outbox).await.try_into().unwrap();
            ends.push((end.as_ptr(), fields.as_ptr()));
        }
        assert_eq!(ends[0], ends[1]);
        assert_ne!(ends[1].0, ends[2].0, "another state");
    }

    #[tokio::test]
    async fn a_run_of_messages_is_one_entry_that_all_readers_share() {
        let mut fan_out = FanOut::default();
        let outboxes: Vec<_> =
            (0..600).map(|_| Arc::new(Outbox::new(SessionId(1), 1_000))).collect();
        let missed = fan_out.broadcast(outboxes.iter(), vec![value("1"), value("2")]).await;
        assert!(missed.sessions.is_empty());
        fan_out.wake();
        let mut shared = Vec::new();
        for outbox in &outboxes {
            let [frames] = queued(outbox).await.try_into().unwrap();
            shared.push(frames.as_ptr());
        }
        assert!(shared.iter().all(|pointer| *pointer == shared[0]));
    }
}
