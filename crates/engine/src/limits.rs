//! Every bound of the engine, with its reason. Those an operator may want to move are in
//! [`Limits`]; the rest are constants because another value would break a format or a client.

/// The rule of the protocol; the column that holds it is as wide.
pub const DOCUMENT_ID_BYTES_MAX: usize = 256;

/// Client ids stand in an indexed column and in every clock that is sent.
pub const CLIENT_ID_BYTES_MAX: usize = 255;

/// As wide as the reference schema's column.
pub const FIELD_NAME_BYTES_MAX: usize = 500;

/// The greatest number of an edit, and clock of a text or of awareness, which clients count alike:
/// above it JavaScript clients lose count for good.
pub const EDIT_NUMBER_MAX: u64 = (1 << 53) - 1;

/// As far as a number may jump. Clients count on from the greatest that they see, so one that were
/// at [`EDIT_NUMBER_MAX`] would leave the others none: from here there are as many left as nobody
/// will ever use.
pub const EDIT_NUMBER_JUMP_TO_MAX: u64 = 1 << 48;

/// Beyond that, how far a number may be ahead of the greatest before it: edits made offline.
pub const EDIT_NUMBER_AHEAD_MAX: u64 = 1 << 20;

/// Whether a number may come where the greatest so far is `greatest`.
#[must_use]
pub fn number_may_follow(number: u64, greatest: u64) -> bool {
    number <= EDIT_NUMBER_JUMP_TO_MAX.max(greatest.saturating_add(EDIT_NUMBER_AHEAD_MAX))
}

/// Deeper JSON has no use in a field and would cost every later reader its stack.
pub const JSON_DEPTH_MAX: usize = 64;

/// A value this large is a file; it is sent again to every joiner.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// A text's JSON. It is sent whole with every edit, so one larger could not be worked on.
pub const TEXT_STATE_BYTES_MAX: usize = 64 << 20;

/// Blocks of one text as a client sends it: a keystroke makes one. Each costs the server up to
/// 200 bytes of memory.
pub const TEXT_BLOCKS_MAX: usize = 250_000;

/// One grapheme cluster: a letter with two thousand accents. Longer ones would make pieces of a
/// text that cannot be divided.
pub const TEXT_CLUSTER_BYTES_MAX: usize = 4 << 10;

/// Grapheme clusters kept together in memory. Cutting a run copies it, so this bounds what one
/// deletion inside a large pasted text costs.
pub const TEXT_RUN_CLUSTERS_MAX: u64 = 1 << 10;

/// Clients send at most 50 operations a batch.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;

/// As many fields in one multi-field delta.
pub const DELTA_FIELDS_MAX: usize = 1_000;

/// A clock names the replicas a client has ever heard of.
pub const CLOCK_ENTRIES_MAX: usize = 10_000;

/// Message ids are echoed in acknowledgements and errors.
pub const MESSAGE_ID_BYTES_MAX: usize = 256;

/// Writers named in the clock of a broadcast; the rest catch up by the `server` entry.
pub const FEEDBACK_CLIENTS_MAX: usize = 64;

/// Client ids of one connection in one document that are known to write over it. A counter's
/// operation is kept from its own writer; one that writes as more clients than this counts its own
/// operations twice.
pub const SESSION_WRITERS_MAX: usize = 1_024;

/// The greatest integer that JavaScript clients count exactly.
pub const COUNT_MAX: i64 = (1 << 53) - 1;

/// Operations of a counter whose repetition is recognised after compaction. A client that waits for
/// an acknowledgement repeats within seconds; each takes some 100 bytes of every snapshot.
pub const COUNTED_MAX: usize = 50_000;

/// Bytes of the formats of one text. No client reads them yet, and nothing ever merges two.
pub const FORMAT_BYTES_MAX: usize = 1 << 20;

/// An awareness entry is a cursor and a name, sent to everyone on every change.
pub const AWARENESS_STATE_BYTES_MAX: usize = 64 << 10;

/// Fields that are noted by name for a connection that reads too slowly; past it, it is sent all.
pub const LAG_FIELDS_MAX: usize = 1_000;

/// Awareness entries of one document.
pub const AWARENESS_ENTRIES_MAX: usize = 1_000;

/// Client ids one connection may speak for in one document's awareness.
pub const AWARENESS_CLIENTS_PER_SESSION_MAX: usize = 8;

/// How long changes of awareness are gathered after one was sent, in milliseconds: each client's
/// newest is sent, and all of them in one write to each watcher. Clients send no more often.
pub const AWARENESS_WINDOW_MS: u64 = 100;

/// How long changes of a text are gathered after one was sent, in milliseconds. Every change is
/// sent as the whole text, so a longer text waits longer: a millisecond for each
/// [`TEXT_WINDOW_BYTES`].
pub const TEXT_WINDOW_MS: u64 = 50;

/// See [`TEXT_WINDOW_MS`].
pub const TEXT_WINDOW_BYTES: usize = 16 << 10;

/// How long the word of another node counts for a client's awareness: it repeats it three times in
/// that time, so that one lost message matters to nobody, and a lost goodbye not for long.
pub const AWARENESS_HEARD_FOR_MS: u64 = 35_000;

/// What a session holds of what came before its authentication.
pub const HELD_MESSAGES_MAX: usize = 64;

/// Bytes of the same.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Parts of one frame that is sent in pieces: at 16 KiB each, as much as a frame may hold.
pub const CHUNKS_MAX: usize = 1_024;

/// Frames that one connection may be sending in pieces at once.
pub const CHUNKED_FRAMES_MAX: usize = 4;

/// Bytes of pieces that a session holds.
pub const CHUNKED_BYTES_MAX: usize = 16 << 20;

/// After this long, in milliseconds, a frame whose pieces have not all come is given up.
pub const CHUNKED_WITHIN_MS: u64 = 30_000;

/// Broken frames in a row before the connection is closed: a client that cannot speak the
/// protocol would otherwise be answered for ever.
pub const BROKEN_FRAMES_MAX: u32 = 100;

/// Bounds that an operator may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How far ahead of the server's clock an edit's timestamp may be, in milliseconds. One
    /// further ahead is set to the server's now, so that no wrong clock wins for ever.
    pub clock_skew_max_ms: u64,
    /// How far back an edit's timestamp may be, in milliseconds. One further back is set to that
    /// moment: deletions older than this may have been forgotten, and a write that would lose to
    /// one must not win on one node and lose on another.
    pub tombstone_horizon_ms: u64,
    /// Documents one connection may be subscribed to at once.
    pub subscriptions_max: usize,
    /// Edits of one document on their way to the store at once. Past it the document's mailbox
    /// is not read, and its writers' sockets push back.
    pub edits_in_flight_max: usize,
    /// State-changing messages a connection may send a minute; 0 is no limit.
    pub messages_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clock_skew_max_ms: 300_000,
            tombstone_horizon_ms: 30 * 24 * 3_600_000,
            subscriptions_max: 1_000,
            edits_in_flight_max: 4_096,
            messages_per_minute: 0,
        }
    }
}
