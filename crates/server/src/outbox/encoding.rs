//! Messages as frames, encoded once for all who read the same.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use synckit_engine::wire::{
    Framing, Outgoing, ServerMessage, encode, encode_answer_end, encode_answer_start,
};

use super::frames::{Frames, HEADER_BYTES_MAX, finish_frame};
use crate::time::now_millis;

/// Frames that are queued as one. More together would make nothing cheaper, and what a slow reader
/// is spared when it is closed comes in such pieces.
const RUN_BYTES_MAX: usize = 64 << 10;

/// A whole WebSocket frame.
pub(crate) fn encode_frame(message: &ServerMessage, framing: Framing) -> Bytes {
    with_frame(message, framing, Bytes::copy_from_slice)
}

/// The frames of several messages, in as few pieces as is sensible.
fn encode_run(messages: &[ServerMessage], framing: Framing) -> Vec<Bytes> {
    if let [one] = messages {
        return vec![encode_frame(one, framing)];
    }
    let mut pieces = Vec::new();
    let mut run = Vec::new();
    for message in messages {
        with_frame(message, framing, |frame| {
            if !run.is_empty() && run.len() + frame.len() > RUN_BYTES_MAX {
                pieces.push(Bytes::from(std::mem::take(&mut run)));
            }
            run.extend_from_slice(frame);
        });
    }
    pieces.push(run.into());
    pieces
}

fn with_frame<T>(message: &ServerMessage, framing: Framing, take: impl FnOnce(&[u8]) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    /// What a thread keeps; a whole state may have been megabytes.
    const SCRATCH_BYTES: usize = 64 << 10;

    SCRATCH.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.resize(HEADER_BYTES_MAX, 0);
        encode(message, framing, about(), buffer);
        let start = finish_frame(framing, buffer, 0);
        let taken = take(&buffer[start..]);
        buffer.shrink_to(SCRATCH_BYTES);
        taken
    })
}

fn about() -> Outgoing {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    Outgoing { now: now_millis(), serial: SERIAL.fetch_add(1, Ordering::Relaxed) }
}

/// Messages for many clients, encoded once for each framing that any of them reads.
#[derive(Debug)]
pub(crate) struct Shared {
    messages: Vec<ServerMessage>,
    binary: Option<Vec<Bytes>>,
    json: Option<Vec<Bytes>>,
}

impl Shared {
    pub(crate) fn new(messages: Vec<ServerMessage>) -> Self {
        Self { messages, binary: None, json: None }
    }

    /// The frames for one reader.
    pub(crate) fn into_frames(self, framing: Framing) -> impl Iterator<Item = Frames> {
        encode_run(&self.messages, framing).into_iter().map(Frames::Whole)
    }

    pub(crate) fn into_messages(self) -> Vec<ServerMessage> {
        self.messages
    }

    pub(crate) fn frames(&mut self, framing: Framing) -> impl Iterator<Item = Frames> {
        let encoded = match framing {
            Framing::Binary => &mut self.binary,
            Framing::Json => &mut self.json,
        };
        let frames = encoded.get_or_insert_with(|| encode_run(&self.messages, framing));
        frames.iter().cloned().map(Frames::Whole)
    }
}

/// The answer to a subscription, of which all who join before the document changes share all but
/// the first bytes.
#[derive(Debug)]
pub(crate) struct SharedAnswer {
    message: ServerMessage,
    end: Bytes,
    /// The fields that follow the state, for those who ask for them.
    fields: Option<Shared>,
}

impl SharedAnswer {
    pub(crate) fn new(message: &ServerMessage) -> Self {
        let mut end = Vec::new();
        encode_answer_end(message, &mut end);
        Self { message: without_request(message), end: end.into(), fields: None }
    }

    /// Whether this message is the same answer, to whatever request. A room gives everybody the
    /// same text until the document changes, which is seen without reading it.
    pub(crate) fn is_of(&self, message: &ServerMessage) -> bool {
        self.message == without_request(message)
    }

    /// The state as the answer to one request.
    pub(crate) fn state(&self, request_id: &str, framing: Framing) -> Frames {
        let mut start = vec![0; HEADER_BYTES_MAX];
        encode_answer_start(request_id, self.end.len(), framing, about(), &mut start);
        let begin = finish_frame(framing, &mut start, self.end.len());
        Frames::Split(Box::new([Bytes::from(start).slice(begin..), self.end.clone()]))
    }

    /// The fields that follow it.
    pub(crate) fn fields(
        &mut self,
        messages: Vec<ServerMessage>,
        framing: Framing,
    ) -> impl Iterator<Item = Frames> {
        if self.fields.as_ref().is_none_or(|fields| fields.messages != messages) {
            self.fields = None;
        }
        self.fields.get_or_insert_with(|| Shared::new(messages)).frames(framing)
    }
}

fn without_request(message: &ServerMessage) -> ServerMessage {
    let mut message = message.clone();
    if let ServerMessage::SyncResponse { request_id, .. } = &mut message {
        request_id.clear();
    }
    message
}

#[cfg(test)]
mod tests {
    use synckit_engine::delta::Change;
    use synckit_engine::ids::{DocumentId, FieldName};
    use synckit_engine::json::JsonText;

    use super::*;

    fn json(text: &str) -> JsonText {
        JsonText::parse(text).unwrap()
    }

    fn answer() -> ServerMessage {
        ServerMessage::SyncResponse {
            request_id: "request".to_owned(),
            document: DocumentId::new("doc").unwrap(),
            state: json(r#"{"field":"value"}"#),
            clock: json(r#"{"server":1}"#),
            text: None,
        }
    }

    fn value(text: &str) -> ServerMessage {
        ServerMessage::Delta {
            document: DocumentId::new("doc").unwrap(),
            field: FieldName::new("field").unwrap(),
            value: Change::Set(json(text)),
            clock: json(r#"{"server":1}"#),
        }
    }

    /// What stands behind the id, which no two frames share.
    fn behind_id(frame: &[u8]) -> &str {
        let at = frame.windows(3).position(|bytes| bytes == b"\",\"").unwrap();
        std::str::from_utf8(&frame[at..]).unwrap()
    }

    #[test]
    fn an_answer_in_two_pieces_is_the_frame_that_one_piece_would_be() {
        let shared = SharedAnswer::new(&answer());
        for framing in [Framing::Binary, Framing::Json] {
            let whole = encode_frame(&answer(), framing);
            let Frames::Split(pieces) = shared.state("request", framing) else { panic!() };
            let joined = pieces.concat();
            // The ids count up, so the lengths may differ by a digit.
            assert_eq!(behind_id(&joined).len(), behind_id(&whole).len());
            assert_eq!(joined[0], whole[0]);
            assert!(joined.ends_with(b"\"clock\":{\"server\":1}}"));
            let length = usize::from(u16::from_be_bytes([joined[2], joined[3]]));
            assert_eq!((joined[1], length), (126, joined.len() - 4), "length of the frame");
            if framing == Framing::Binary {
                let length = u32::from_be_bytes([joined[13], joined[14], joined[15], joined[16]]);
                assert_eq!(length as usize, joined.len() - 4 - 13, "length of the payload");
            }
        }
    }

    #[test]
    fn a_run_is_cut_between_frames_where_it_grows_too_long() {
        let long = format!("{:?}", "x".repeat(RUN_BYTES_MAX / 2));
        let messages = vec![value("1"), value(&long), value("2"), value(&long), value("3")];
        let pieces = encode_run(&messages, Framing::Binary);
        assert_eq!(pieces.len(), 2);
        assert!(pieces.iter().all(|piece| piece[0] == 0x82), "each begins with a frame");
        let frames = messages.iter().map(|message| encode_frame(message, Framing::Binary).len());
        let bytes = pieces.iter().map(Bytes::len).sum::<usize>();
        assert!(frames.sum::<usize>().abs_diff(bytes) <= messages.len());
    }
}
