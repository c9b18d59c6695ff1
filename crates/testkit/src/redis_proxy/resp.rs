//! As much of RESP2 and RESP3 as it takes to find published messages.

use std::ops::Range;

use super::MessageDirection;

/// Deeper nesting than Redis answers with; what is deeper is passed on unread.
const DEPTH_MAX: usize = 16;

/// The end of the first whole value, of either side; none while it is not whole.
pub(super) fn value_end(bytes: &[u8]) -> Option<usize> {
    end_of(bytes, 0, 0)
}

fn end_of(bytes: &[u8], start: usize, depth: usize) -> Option<usize> {
    let kind = *bytes.get(start)?;
    let line_end = line_end(bytes, start)?;
    let count = || {
        let text = std::str::from_utf8(&bytes[start + 1..line_end - 2]).ok()?;
        text.parse::<i64>().ok()
    };
    match kind {
        b'$' | b'!' | b'=' => match count().and_then(|length| usize::try_from(length).ok()) {
            Some(length) => {
                let end = line_end + length + 2;
                (end <= bytes.len()).then_some(end)
            }
            // RESP2's nothing has the length -1.
            None => Some(line_end),
        },
        b'*' | b'~' | b'>' | b'%' | b'|' if depth < DEPTH_MAX => {
            let count = count().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            // A map counts pairs; attributes are pairs before the value they belong to.
            let values = match kind {
                b'%' => 2 * count,
                b'|' => 2 * count + 1,
                _ => count,
            };
            let mut end = line_end;
            for _ in 0..values {
                end = end_of(bytes, end, depth + 1)?;
            }
            Some(end)
        }
        // Simple values, and what is no RESP at all: a line.
        _ => Some(line_end),
    }
}

fn line_end(bytes: &[u8], start: usize) -> Option<usize> {
    let at = bytes.get(start..)?.windows(2).position(|pair| pair == b"\r\n")?;
    Some(start + at + 2)
}

/// Where in a whole value its channel and payload are, if it carries a message.
pub(super) fn message(
    value: &[u8],
    direction: MessageDirection,
) -> Option<(Range<usize>, Range<usize>)> {
    if !matches!(value.first(), Some(b'*' | b'>')) {
        return None;
    }
    let mut parts: [Range<usize>; 4] = Default::default();
    let mut count = 0;
    let mut at = line_end(value, 0)?;
    while at < value.len() {
        let start = line_end(value, at)?;
        let end = value_end(&value[at..])? + at;
        // Only strings with a length: anything else is no part of a message.
        if value[at] != b'$' || end < start + 2 {
            return None;
        }
        *parts.get_mut(count)? = start..end - 2;
        count += 1;
        at = end;
    }
    let name = value[parts[0].clone()].to_ascii_lowercase();
    let [_, second, third, fourth] = parts;
    match (direction, name.as_slice(), count) {
        (MessageDirection::Published, b"publish" | b"spublish", 3)
        | (MessageDirection::Delivered, b"message" | b"smessage", 3) => Some((second, third)),
        (MessageDirection::Delivered, b"pmessage", 4) => Some((third, fourth)),
        _ => None,
    }
}

/// A command that Redis answers like the publishing it stands for, and nobody hears.
pub(super) fn publish_to_nobody() -> &'static [u8] {
    b"*3\r\n$7\r\nPUBLISH\r\n$20\r\ndropped-by-the-proxy\r\n$0\r\n\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(value: &str, direction: MessageDirection) -> Option<(&str, &str)> {
        let (channel, payload) = message(value.as_bytes(), direction)?;
        Some((&value[channel], &value[payload]))
    }

    #[test]
    fn values_end_where_they_end() {
        for value in [
            "+OK\r\n",
            ":12\r\n",
            "$3\r\na\r\n\r\n",
            "$-1\r\n",
            "_\r\n",
            "*-1\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "%1\r\n+a\r\n$2\r\n\r\n\r\n",
            "|1\r\n+a\r\n+b\r\n:5\r\n",
            ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n",
        ] {
            let followed = format!("{value}+next\r\n");
            assert_eq!(value_end(followed.as_bytes()), Some(value.len()), "{value:?}");
            for cut in 0..value.len() {
                assert_eq!(value_end(&value.as_bytes()[..cut]), None, "{:?}", &value[..cut]);
            }
        }
        assert_eq!(value_end(publish_to_nobody()), Some(publish_to_nobody().len()));
    }

    #[test]
    fn messages_are_found_in_both_protocols() {
        use MessageDirection::{Delivered, Published};
        let publish = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$2\r\n\r\n\r\n";
        assert_eq!(text_of(publish, Published), Some(("c", "\r\n")));
        assert_eq!(text_of(publish, Delivered), None);
        let sharded = ">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\np\r\n";
        assert_eq!(text_of(sharded, Delivered), Some(("c", "p")));
        let pattern = "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$1\r\np\r\n";
        assert_eq!(text_of(pattern, Delivered), Some(("c", "p")));
        let other = ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
        assert_eq!(text_of(other, Delivered), None);
        assert_eq!(text_of("*1\r\n$4\r\nPING\r\n", Published), None);
    }
}
