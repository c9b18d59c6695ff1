//! One connection: what it may say, what it is answered at once, and what goes to which document.
//!
//! Synchronous and without IO: bytes come in, [`Effect`]s go out. It knows neither sockets nor
//! documents' content.

mod allowance;
mod chunks;

use std::collections::BTreeSet;

use crate::delta::DeltaId;
use crate::ids::{ClientId, DocumentId, Millis, SessionId};
use crate::limits::{BROKEN_FRAMES_MAX, HELD_BYTES_MAX, HELD_MESSAGES_MAX, Limits};
use crate::room::{Command, Draft};
use crate::time::Now;
use crate::wire::message::Permissions;
use crate::wire::{
    ClientMessage, CloseCode, Edit, ErrorCode, ErrorReply, FrameKind, Framing, Incoming,
    ServerMessage, decode,
};
use allowance::Allowance;
use chunks::Chunks;

/// Who a connection is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// What it may do.
    pub permissions: Permissions,
}

impl Identity {
    /// Everybody, where authentication is switched off: may read and write all documents.
    #[must_use]
    pub fn anonymous() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            user: "anonymous".to_owned(),
            permissions: Permissions { can_read: all(), can_write: all(), is_admin: false },
        }
    }
}

impl Permissions {
    fn allow(&self, list: &[String], document: &DocumentId) -> bool {
        self.is_admin || list.iter().any(|entry| entry == "*" || entry == document.as_str())
    }

    /// Whether the document may be read.
    #[must_use]
    pub fn may_read(&self, document: &DocumentId) -> bool {
        self.allow(&self.can_read, document)
    }

    /// Whether the document may be written.
    #[must_use]
    pub fn may_write(&self, document: &DocumentId) -> bool {
        self.allow(&self.can_write, document)
    }
}

/// What the shell does for a session, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send it to this client.
    Reply(ServerMessage),
    /// Give it to the document's room.
    Forward {
        /// Which document.
        document: DocumentId,
        /// What it should do.
        command: Command,
    },
    /// Find out who shows this token, and tell by [`Session::authenticated`].
    Authenticate {
        /// The token; none: whoever comes without one.
        token: Option<String>,
    },
    /// Close the connection, after everything before was sent.
    Close {
        /// Which band of reasons.
        code: CloseCode,
        /// For a person.
        reason: &'static str,
    },
}

/// Before authentication messages are held, because clients send subscriptions and edits first.
#[derive(Debug)]
enum Phase {
    Held { messages: Vec<Incoming>, bytes: usize },
    Open(Identity),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    /// Stands in for a client id where an edit has none; no other connection ever has it.
    name: ClientId,
    limits: Limits,
    phase: Phase,
    framing: Framing,
    documents: BTreeSet<DocumentId>,
    allowance: Allowance,
    chunks: Chunks,
    broken_frames: u32,
    serial: u64,
}

impl Session {
    /// A connection that just opened. With an identity it is open from the start; without, it
    /// must authenticate first.
    #[must_use]
    pub fn new(id: SessionId, name: ClientId, identity: Option<Identity>, limits: Limits) -> Self {
        let phase = match identity {
            Some(identity) => Phase::Open(identity),
            None => Phase::Held { messages: Vec::new(), bytes: 0 },
        };
        Self {
            id,
            name,
            phase,
            framing: Framing::Binary,
            documents: BTreeSet::new(),
            allowance: Allowance::new(limits.messages_per_minute),
            limits,
            chunks: Chunks::default(),
            broken_frames: 0,
            serial: 0,
        }
    }

    /// Which connection this is.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// How to answer: in the framing of the last frame that was heard.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Takes one WebSocket message.
    pub fn receive(&mut self, now: Now, kind: FrameKind, bytes: &[u8], effects: &mut Vec<Effect>) {
        self.framing = Framing::of(kind, bytes);
        match decode(self.framing, bytes) {
            Ok(incoming) => {
                self.broken_frames = 0;
                self.take(now, incoming, bytes.len(), effects);
            }
            Err(error) => {
                // A message that can be read and is refused is no sign of a client that can't speak.
                if error.code == ErrorCode::InvalidMessage {
                    self.broken_frames += 1;
                }
                effects.push(Effect::Reply(ServerMessage::Error(*error)));
                if self.broken_frames >= BROKEN_FRAMES_MAX {
                    let reason = "Too many invalid messages";
                    effects.push(Effect::Close { code: CloseCode::PolicyViolation, reason });
                }
            }
        }
    }

    /// Takes the answer to [`Effect::Authenticate`]; none: the credentials were refused.
    pub fn authenticated(
        &mut self,
        now: Now,
        identity: Option<Identity>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(identity) = identity else {
            let reason = "Authentication failed";
            effects.push(Effect::Reply(ServerMessage::AuthError(reason.to_owned())));
            effects.push(Effect::Close { code: CloseCode::PolicyViolation, reason });
            return;
        };
        effects.push(Effect::Reply(ServerMessage::AuthSuccess {
            user: identity.user.clone(),
            permissions: identity.permissions.clone(),
        }));
        self.leave_forbidden(&identity, effects);
        if let Phase::Held { messages, .. } =
            std::mem::replace(&mut self.phase, Phase::Open(identity))
        {
            for message in messages {
                self.take(now, message, 0, effects);
            }
        }
    }

    /// Someone who shows another token may lose documents that are open.
    fn leave_forbidden(&mut self, identity: &Identity, effects: &mut Vec<Effect>) {
        self.documents.retain(|document| {
            let stays = identity.permissions.may_read(document);
            if !stays {
                let document = document.clone();
                effects.push(Effect::Forward { document, command: Command::Leave });
            }
            stays
        });
    }

    fn take(&mut self, now: Now, incoming: Incoming, bytes: usize, effects: &mut Vec<Effect>) {
        match incoming.message {
            ClientMessage::Ping => effects.push(Effect::Reply(ServerMessage::Pong)),
            ClientMessage::Ack | ClientMessage::Pong | ClientMessage::Connect => {}
            ClientMessage::Disconnect => {
                effects.push(Effect::Close { code: CloseCode::Normal, reason: "Goodbye" });
            }
            ClientMessage::Auth { token } => effects.push(Effect::Authenticate { token }),
            _ => match &mut self.phase {
                Phase::Open(_) => {
                    let message_id = incoming.id.clone();
                    if let Err(error) = self.open(now, incoming, effects) {
                        let error = if error.message_id.is_some() {
                            error
                        } else {
                            error.answering(message_id.as_deref())
                        };
                        effects.push(Effect::Reply(ServerMessage::Error(error)));
                    }
                }
                Phase::Held { messages, bytes: held } => {
                    *held += bytes;
                    if messages.len() >= HELD_MESSAGES_MAX || *held > HELD_BYTES_MAX {
                        let error = ErrorReply::new(ErrorCode::AuthRequired);
                        let reason = "Authentication required";
                        effects.push(Effect::Reply(ServerMessage::Error(error)));
                        effects.push(Effect::Close { code: CloseCode::PolicyViolation, reason });
                    } else {
                        messages.push(incoming);
                    }
                }
            },
        }
    }

    /// What only an authenticated connection may say.
    fn open(
        &mut self,
        now: Now,
        incoming: Incoming,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorReply> {
        let id = incoming.id;
        let (document, command) = match incoming.message {
            ClientMessage::Subscribe(document) => {
                self.may_follow(&document)?;
                let request_id = id.unwrap_or_else(|| self.generate_id());
                (document, Command::Subscribe { request_id, replay: true })
            }
            ClientMessage::SyncRequest(document) => {
                self.may_follow(&document)?;
                let request_id = id.unwrap_or_else(|| self.generate_id());
                (document, Command::Subscribe { request_id, replay: false })
            }
            ClientMessage::Unsubscribe(document) => {
                if !self.documents.remove(&document) {
                    return Ok(());
                }
                (document, Command::Leave)
            }
            ClientMessage::SyncStep1(document) => {
                self.may_read(&document)?;
                effects.push(Effect::Reply(ServerMessage::SyncStep2(document)));
                return Ok(());
            }
            ClientMessage::Edit(edit) => self.edit(now, incoming.timestamp, edit)?,
            ClientMessage::AwarenessSubscribe(document) => {
                self.may_follow(&document)?;
                (document, Command::AwarenessSubscribe)
            }
            ClientMessage::AwarenessUpdate { document, client, state, clock } => {
                self.may_follow(&document)?;
                self.allowance.spend(now.moment)?;
                (document, Command::AwarenessUpdate { client, state, clock })
            }
            ClientMessage::Chunk(chunk) => {
                let Some(frame) = self.chunks.take(now.moment, chunk)? else { return Ok(()) };
                return self.open_chunked(now, &frame, effects);
            }
            // Answered before authentication was asked for.
            ClientMessage::Auth { .. }
            | ClientMessage::Ack
            | ClientMessage::Ping
            | ClientMessage::Pong
            | ClientMessage::Connect
            | ClientMessage::Disconnect => return Ok(()),
        };
        effects.push(Effect::Forward { document, command });
        Ok(())
    }

    /// Takes a frame that came in pieces as if it had come whole.
    fn open_chunked(
        &mut self,
        now: Now,
        frame: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorReply> {
        let incoming =
            decode(Framing::of(FrameKind::Binary, frame), frame).map_err(|error| *error)?;
        match incoming.message {
            ClientMessage::Edit(_) => self.open(now, incoming, effects),
            _ => Err(ErrorReply::new(ErrorCode::InvalidMessage)
                .because("the chunks together must be the frame of a delta_batch or delta")),
        }
    }

    fn edit(
        &mut self,
        now: Now,
        sent_at: Option<Millis>,
        edit: Edit,
    ) -> Result<(DocumentId, Command), ErrorReply> {
        let document = edit.document;
        let message_id = edit.message_id.unwrap_or_else(|| self.generate_id());
        let fail = |error: ErrorReply| error.on(&document).answering(Some(&message_id));
        if !self.permissions().is_some_and(|allowed| allowed.may_write(&document)) {
            return Err(fail(ErrorReply::new(ErrorCode::PermissionDenied)));
        }
        self.allowance.spend(now.moment).map_err(fail)?;
        self.remember(&document).map_err(fail)?;
        let mut drafts = Vec::with_capacity(edit.operations.len());
        for operation in edit.operations {
            let changes = operation.changes;
            let written_at = operation.timestamp.or(sent_at).unwrap_or(now.wall);
            let client = operation.client.unwrap_or_else(|| self.name.clone());
            let id = match operation.number {
                Some(number) => DeltaId::derive(&client, number, written_at, &changes),
                // Without a number a retry looks like a new edit; it must not look like an old one.
                None => {
                    let serial = self.next_serial();
                    DeltaId::new(&format!("{}-{serial}", self.name))
                }
            };
            let latest = now.wall.saturating_add(self.limits.clock_skew_max_ms);
            let earliest = now.wall.saturating_sub(self.limits.tombstone_horizon_ms);
            let timestamp = if written_at > latest { now.wall } else { written_at.max(earliest) };
            drafts.push(Draft { id, client, number: operation.number, timestamp, changes });
        }
        let follow = self.permissions().is_some_and(|allowed| allowed.may_read(&document));
        Ok((document, Command::Edit { message_id, drafts, follow }))
    }

    fn permissions(&self) -> Option<&Permissions> {
        match &self.phase {
            Phase::Open(identity) => Some(&identity.permissions),
            Phase::Held { .. } => None,
        }
    }

    fn may_read(&self, document: &DocumentId) -> Result<(), ErrorReply> {
        if self.permissions().is_some_and(|allowed| allowed.may_read(document)) {
            Ok(())
        } else {
            Err(ErrorReply::new(ErrorCode::PermissionDenied).on(document))
        }
    }

    fn may_follow(&mut self, document: &DocumentId) -> Result<(), ErrorReply> {
        self.may_read(document)?;
        self.remember(document).map_err(|error| error.on(document))
    }

    /// Counts a document as open on this connection.
    fn remember(&mut self, document: &DocumentId) -> Result<(), ErrorReply> {
        let most = self.limits.subscriptions_max;
        if self.documents.len() >= most && !self.documents.contains(document) {
            return Err(ErrorReply::new(ErrorCode::LimitExceeded)
                .because(format!("a connection follows at most {most} documents")));
        }
        self.documents.insert(document.clone());
        Ok(())
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn generate_id(&mut self) -> String {
        format!("m-{}", self.next_serial())
    }
}

#[cfg(test)]
mod tests;
