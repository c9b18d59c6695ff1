//! JSON kept as the text that was received.
//!
//! Parsing and writing again would change numbers beyond 2^53, lone surrogates, key order and
//! duplicate keys, so values are checked once and then carried as text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::JSON_DEPTH_MAX;

/// The text of one JSON value, exactly as it was received.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// The value `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Checks that `text` is one JSON value.
    ///
    /// # Errors
    /// What the parser found wrong with it.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(Self::from)
    }

    /// Takes text that this crate wrote itself.
    pub(crate) fn from_trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RawValue> for JsonText {
    fn from(raw: &RawValue) -> Self {
        Self(raw.get().into())
    }
}

/// Whether `json` nests deeper than [`JSON_DEPTH_MAX`]. Right for valid JSON; for any other bytes
/// it ends with some answer.
#[must_use]
pub fn nests_too_deep(json: &[u8]) -> bool {
    // Few values have that many brackets at all, and counting them is one vectorised pass.
    let brackets = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    brackets > JSON_DEPTH_MAX && depth(json) > JSON_DEPTH_MAX
}

fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        if escaped {
            escaped = false;
        } else if in_string {
            match byte {
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends `number` in decimal.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    // By hand, because formatting costs more than the rest of a short message.
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_to_the_letter() {
        for text in [
            r#""\u0000""#,
            r#""\ud800""#,
            "1e400",
            "9223372036854775808",
            r#"{"b":1,"a":2,"b":3,"__proto__":null}"#,
            "[1, 2 ]",
        ] {
            assert_eq!(JsonText::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "x", "{", "01", "'a'", "[1,]", "1 2"] {
            assert!(JsonText::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_strings_only() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!nests_too_deep(nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(nests_too_deep(nested(JSON_DEPTH_MAX + 1).as_bytes()));
        assert!(!nests_too_deep(format!("\"\\\"{}\"", "[".repeat(200)).as_bytes()));
        assert!(!nests_too_deep("[],".repeat(200).as_bytes()));
    }

    #[test]
    fn written_strings_read_back() {
        for text in ["", "plain", "a\"b\\c\nd\u{1}\u{7f}é日\u{2028}"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
