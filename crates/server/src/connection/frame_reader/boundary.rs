//! Where messages end in a stream of frames, found without keeping any of it.

/// Two bytes, then at most eight of length and four of mask.
const HEADER_BYTES_MAX: usize = 14;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0F;
/// Control frames, which may stand between the frames of one message, have this bit.
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;

/// Follows the frames of one client.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// A header that has arrived in part.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: u8,
    /// Bytes of the current frame that are still to come.
    payload_left: u64,
    /// Whether the current message has more frames.
    is_fragmented: bool,
}

impl Boundary {
    /// Passes over bytes as they arrive.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let there = bytes.len() as u64;
                let skipped = usize::try_from(self.payload_left.min(there)).unwrap_or(bytes.len());
                self.payload_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[usize::from(self.header_bytes)] = bytes[0];
            self.header_bytes += 1;
            bytes = &bytes[1..];
            if self.header_bytes >= 2 && self.header_bytes == self.header_length() {
                self.begin_frame();
            }
        }
    }

    /// Whether all that has passed were whole messages.
    pub(super) fn is_between_messages(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0 && !self.is_fragmented
    }

    fn header_length(&self) -> u8 {
        let length = match self.header[1] & LENGTH {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & MASKED == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn begin_frame(&mut self) {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        self.payload_left = match second & LENGTH {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => u64::from(short),
        };
        if first & OPCODE & CONTROL == 0 {
            self.is_fragmented = first & FINAL == 0;
        }
        self.header_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of unmasked and masked frames, with the bytes that follow each.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match u16::try_from(length) {
            Ok(short @ 0..=125) => frame.push(MASKED | short.to_be_bytes()[1]),
            Ok(medium) => {
                frame.push(MASKED | 126);
                frame.extend(medium.to_be_bytes());
            }
            Err(_) => {
                frame.push(MASKED | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + 4 + length, 0xFF);
        frame
    }

    #[test]
    fn a_message_ends_with_its_last_byte_and_not_before() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut boundary = Boundary::default();
            let bytes = frame(FINAL | 1, length);
            let (last, before) = bytes.split_last().unwrap();
            for part in before.chunks(7) {
                boundary.pass(part);
                assert!(!boundary.is_between_messages(), "{length}");
            }
            boundary.pass(&[*last]);
            assert!(boundary.is_between_messages(), "{length}");
        }
    }

    #[test]
    fn a_message_in_several_frames_ends_with_the_final_one_whatever_stands_between() {
        let mut boundary = Boundary::default();
        for (first, ends) in
            [(1, false), (0, false), (FINAL | 9, false), (FINAL, true), (FINAL | 9, true)]
        {
            boundary.pass(&frame(first, 3));
            assert_eq!(boundary.is_between_messages(), ends);
        }
    }
}
