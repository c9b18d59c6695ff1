//! Names of things. A value of one of these types has already passed its rule.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::{CLIENT_ID_BYTES_MAX, DOCUMENT_ID_BYTES_MAX, FIELD_NAME_BYTES_MAX};

/// Why a name was refused. The text is fit to be shown to the client that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Empty, or a character outside the rule.
    #[error(
        "a document id holds 1 to {DOCUMENT_ID_BYTES_MAX} characters out of a-z A-Z 0-9 _ : and -"
    )]
    DocumentId,
    /// Empty, too long, or with a control character.
    #[error("a client id holds 1 to {CLIENT_ID_BYTES_MAX} bytes and no control characters")]
    ClientId,
    /// Too long, or with a NUL.
    #[error("a field name holds at most {FIELD_NAME_BYTES_MAX} bytes and no NUL")]
    FieldName,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the rule and keeps a copy of the text.
            ///
            /// # Errors
            /// [`InvalidName`] when the text breaks the rule.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidName::$type) }
            }

            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{}", InvalidName::$type)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::new(text).map_err(E::custom)
                    }
                }
                from.deserialize_str(Text)
            }
        }
    };
}

name!(
    /// A document's id: `^[a-zA-Z0-9_:-]{1,256}$`.
    DocumentId,
    |text| {
        (1..=DOCUMENT_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
    }
);
name!(
    /// The replica that made an edit, as it names itself.
    ClientId,
    |text| {
        (1..=CLIENT_ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    }
);
name!(
    /// The name of a top-level field. Any text but NUL: the empty name and `__proto__` are names.
    FieldName,
    |text| text.len() <= FIELD_NAME_BYTES_MAX && !text.contains('\0')
);

impl ClientId {
    /// The name under which the server itself writes; no client may take it.
    #[must_use]
    pub fn server() -> Self {
        Self(SERVER.into())
    }

    /// Whether this is the server's own name.
    #[must_use]
    pub fn is_server(&self) -> bool {
        &*self.0 == SERVER
    }
}

const SERVER: &str = "server";

/// One connection, for as long as this process runs. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One run of one server process. No two runs share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Takes the text that the shell drew for this run.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Milliseconds since 1970, UTC.
pub type Millis = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_ids_follow_the_rule_of_the_protocol() {
        for good in ["doc-1", "room:a_b", "0", &"x".repeat(256)] {
            assert!(DocumentId::new(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "é", "a/b", "a\0", &"x".repeat(257)] {
            assert_eq!(DocumentId::new(bad), Err(InvalidName::DocumentId), "{bad:?}");
        }
    }

    #[test]
    fn any_text_but_nul_names_a_field() {
        for good in ["", "__proto__", "a.b", "日本", &"x".repeat(500)] {
            assert!(FieldName::new(good).is_ok(), "{good}");
        }
        for bad in ["a\0b", &"x".repeat(501)] {
            assert_eq!(FieldName::new(bad), Err(InvalidName::FieldName));
        }
    }

    #[test]
    fn client_ids_have_no_control_characters() {
        assert!(ClientId::new("client-é-1").is_ok());
        for bad in ["", "a\nb", "\u{0}", &"x".repeat(256)] {
            assert_eq!(ClientId::new(bad), Err(InvalidName::ClientId));
        }
    }
}
