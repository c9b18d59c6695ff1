//! Frames that come in pieces.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::limits::{CHUNKED_BYTES_MAX, CHUNKED_FRAMES_MAX, CHUNKED_WITHIN_MS, CHUNKS_MAX};

fn chunk(frame: &str, total: usize, index: usize, data: &[u8]) -> String {
    let data = BASE64_STANDARD.encode(data);
    format!(
        r#"{{"type":"delta_batch_chunk","chunkId":"{frame}","totalChunks":{total},"chunkIndex":{index},"data":"{data}"}}"#
    )
}

fn batch() -> Vec<u8> {
    let payload = r#"{"documentId":"doc","deltas":[{"type":"set","field":"x","value":1}]}"#;
    binary(MessageType::DeltaBatch, payload)
}

#[test]
fn the_pieces_of_a_frame_make_it_whole_in_any_order_and_however_often_they_come() {
    let frame = batch();
    let pieces: Vec<_> = frame.chunks(30).collect();
    let mut it = anonymous();
    for at in (1..pieces.len()).rev().chain(1..pieces.len()) {
        assert_eq!(it.hears(&chunk("c", pieces.len(), at, pieces[at])), []);
    }
    assert_eq!(it.drafts_of(&chunk("c", pieces.len(), 0, pieces[0])).len(), 1);
    assert_eq!(it.hears(&chunk("c", pieces.len(), 0, pieces[0])), [], "a new frame of that name");
}

#[test]
fn pieces_that_do_not_fit_are_refused_with_what_would() {
    for (total, index) in [(0, 0), (2, 2), (CHUNKS_MAX + 1, 0)] {
        refused_with(
            ErrorCode::InvalidOperation,
            &anonymous().hears(&chunk("c", total, index, b"")),
        );
    }
    let mut it = anonymous();
    it.hears(&chunk("c", 2, 0, b"x"));
    refused_with(ErrorCode::InvalidOperation, &it.hears(&chunk("c", 3, 1, b"x")));
    let no_base64 = chunk("c", 1, 0, b"").replace(r#""data":"""#, r#""data":"?""#);
    refused_with(ErrorCode::InvalidMessage, &anonymous().hears(&no_base64));
}

#[test]
fn only_an_edit_comes_in_pieces() {
    let subscribe = binary(MessageType::Subscribe, r#"{"documentId":"doc"}"#);
    refused_with(ErrorCode::InvalidMessage, &anonymous().hears(&chunk("c", 1, 0, &subscribe)));
    let nested = chunk("d", 1, 0, &batch());
    refused_with(
        ErrorCode::InvalidMessage,
        &anonymous().hears(&chunk("c", 1, 0, nested.as_bytes())),
    );
    refused_with(ErrorCode::InvalidMessage, &anonymous().hears(&chunk("c", 1, 0, b"no frame")));
}

#[test]
fn a_connection_holds_no_more_pieces_than_the_bounds() {
    let mut it = anonymous();
    for n in 0..CHUNKED_FRAMES_MAX {
        assert_eq!(it.hears(&chunk(&n.to_string(), 2, 0, b"x")), []);
    }
    refused_with(ErrorCode::LimitExceeded, &it.hears(&chunk("more", 2, 0, b"x")));
    it.wait(CHUNKED_WITHIN_MS);
    assert_eq!(it.hears(&chunk("more", 2, 0, b"x")), [], "the others were given up");

    let mut it = anonymous();
    let half = vec![b'x'; CHUNKED_BYTES_MAX / 2];
    assert_eq!(it.hears(&chunk("c", 4, 0, &half)), []);
    assert_eq!(it.hears(&chunk("c", 4, 1, &half)), []);
    refused_with(ErrorCode::LimitExceeded, &it.hears(&chunk("c", 4, 2, b"x")));
    assert_eq!(it.hears(&chunk("c", 4, 0, &half)), [], "what was held of it is gone");
}
