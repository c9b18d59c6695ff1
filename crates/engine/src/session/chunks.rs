//! Frames that come in pieces.

use crate::limits::{CHUNKED_BYTES_MAX, CHUNKED_FRAMES_MAX, CHUNKED_WITHIN_MS};
use crate::time::Moment;
use crate::wire::message::Chunk;
use crate::wire::{ErrorCode, ErrorReply};

/// The frames of one connection some of whose pieces are here.
#[derive(Debug, Default)]
pub(super) struct Chunks(Vec<Partial>);

#[derive(Debug)]
struct Partial {
    frame: String,
    since: Moment,
    pieces: Vec<Option<Vec<u8>>>,
}

impl Partial {
    fn bytes(&self) -> usize {
        self.pieces.iter().flatten().map(Vec::len).sum()
    }
}

impl Chunks {
    /// Takes a piece; the frame, if it was the last that was missing.
    ///
    /// # Errors
    /// When the piece does not fit those before, or too much is held; its frame is given up.
    pub(super) fn take(
        &mut self,
        now: Moment,
        chunk: Chunk,
    ) -> Result<Option<Vec<u8>>, ErrorReply> {
        self.0.retain(|partial| now.since(partial.since) < CHUNKED_WITHIN_MS);
        let Chunk { frame, total, index, data } = chunk;
        let at = self.0.iter().position(|partial| partial.frame == frame);
        let mut partial = match at {
            Some(at) => self.0.swap_remove(at),
            None => Partial { frame, since: now, pieces: vec![None; total] },
        };
        if partial.pieces.len() != total {
            return Err(ErrorReply::new(ErrorCode::InvalidOperation)
                .because("the chunks of a frame must agree on \"totalChunks\""));
        }
        if let Some(piece) = partial.pieces.get_mut(index) {
            *piece = Some(data);
        }
        if partial.pieces.iter().all(Option::is_some) {
            return Ok(Some(partial.pieces.into_iter().flatten().flatten().collect()));
        }
        let held: usize = self.0.iter().chain([&partial]).map(Partial::bytes).sum();
        if self.0.len() >= CHUNKED_FRAMES_MAX || held > CHUNKED_BYTES_MAX {
            return Err(ErrorReply::new(ErrorCode::LimitExceeded).because(format!(
                "a connection sends at most {CHUNKED_FRAMES_MAX} frames in pieces at once, \
                 of {CHUNKED_BYTES_MAX} bytes together"
            )));
        }
        self.0.push(partial);
        Ok(None)
    }
}
