//! The members of a JSON object, each kept as its raw text and read as the type that is wanted,
//! so that an error can name the member and say what it should be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::EDIT_NUMBER_MAX;

macro_rules! members {
    ($($member:ident = $name:literal,)*) => {
        /// A member that some message has. Others are passed over.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Member {
            $($member,)*
        }

        impl Member {
            const ALL: &[Self] = &[$(Self::$member,)*];

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$member => $name,)* }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$member),)* _ => None }
            }
        }
    };
}

members! {
    Type = "type",
    Id = "id",
    Timestamp = "timestamp",
    Payload = "payload",
    Token = "token",
    DocumentId = "documentId",
    Field = "field",
    Value = "value",
    Delta = "delta",
    Deltas = "deltas",
    Clock = "clock",
    VectorClock = "vectorClock",
    ClientId = "clientId",
    MessageId = "messageId",
    State = "state",
    Operation = "operation",
    ChunkId = "chunkId",
    TotalChunks = "totalChunks",
    ChunkIndex = "chunkIndex",
    Data = "data",
}

/// The known members of a message. One that comes twice counts the last time, as in JavaScript.
#[derive(Debug, Default)]
pub(super) struct Members<'a>([Option<&'a RawValue>; Member::ALL.len()]);

impl<'a> Members<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, String> {
        let mut members = Self::default();
        for_each_member(json, |name, raw| {
            if let Some(slot) = Member::from_name(&name).and_then(|member| members.slot(member)) {
                *slot = Some(raw);
            }
        })?;
        Ok(members)
    }

    fn slot(&mut self, member: Member) -> Option<&mut Option<&'a RawValue>> {
        self.0.get_mut(member as usize)
    }

    /// The raw text of a member; `null` counts as missing.
    pub(super) fn raw(&self, member: Member) -> Option<&'a RawValue> {
        self.raw_or_null(member).filter(|raw| raw.get() != "null")
    }

    pub(super) fn raw_or_null(&self, member: Member) -> Option<&'a RawValue> {
        self.0.get(member as usize).copied().flatten()
    }

    pub(super) fn string(&self, member: Member) -> Result<Option<Cow<'a, str>>, String> {
        self.raw(member).map(|raw| string(raw, member.name())).transpose()
    }

    /// A string or a number, as text: some clients number their messages.
    pub(super) fn label(&self, member: Member) -> Result<Option<Cow<'a, str>>, String> {
        match self.raw(member) {
            Some(raw) if is_number(raw) => Ok(Some(Cow::Borrowed(raw.get()))),
            Some(raw) => string(raw, member.name()).map(Some),
            None => Ok(None),
        }
    }

    /// A time in milliseconds; what is no positive integer counts as missing.
    pub(super) fn timestamp(&self) -> Option<u64> {
        let time = self.raw(Member::Timestamp)?.get().parse().ok()?;
        Some(time).filter(|ms| (1..=i64::MAX as u64).contains(ms))
    }

    pub(super) fn number(&self, member: Member) -> Result<Option<u64>, String> {
        self.raw(member).map(|raw| number(raw, member.name())).transpose()
    }

    /// An object with names of the client's choice.
    pub(super) fn entries(&self, member: Member) -> Result<Option<Entries<'a>>, String> {
        let Some(raw) = self.raw(member) else { return Ok(None) };
        let mut entries = Vec::new();
        for_each_member(raw.get(), |name, raw| entries.push((name, raw)))
            .map_err(|_| format!("\"{}\" must be an object", member.name()))?;
        Ok(Some(entries))
    }

    pub(super) fn array(&self, member: Member) -> Result<Option<Vec<&'a RawValue>>, String> {
        self.raw(member)
            .map(|raw| {
                serde_json::from_str(raw.get())
                    .map_err(|_| format!("\"{}\" must be an array", member.name()))
            })
            .transpose()
    }

    /// Takes a nested payload's members as its own, where it has them.
    pub(super) fn flatten(&mut self) -> Result<(), String> {
        if let Some(slot) = self.slot(Member::Type) {
            *slot = None;
        }
        let Some(payload) = self.raw(Member::Payload) else { return Ok(()) };
        let inner = Members::parse(payload.get())
            .map_err(|_| "\"payload\" must be an object".to_owned())?;
        for (outer, inner) in self.0.iter_mut().zip(inner.0) {
            *outer = inner.or(*outer);
        }
        Ok(())
    }
}

/// Names and raw values, in order, repeats included.
pub(super) type Entries<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

fn for_each_member<'a>(
    json: &'a str,
    take: impl FnMut(Cow<'a, str>, &'a RawValue),
) -> Result<(), String> {
    let mut parser = serde_json::Deserializer::from_str(json);
    serde::Deserializer::deserialize_map(&mut parser, EachMember(take))
        .and_then(|()| parser.end())
        .map_err(|error| format!("not a JSON object: {error}"))
}

fn is_number(raw: &RawValue) -> bool {
    raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

pub(super) fn string<'a>(raw: &'a RawValue, name: &str) -> Result<Cow<'a, str>, String> {
    let text = raw.get();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        _ => serde_json::from_str::<String>(text)
            .map(Cow::Owned)
            .map_err(|_| format!("\"{name}\" must be a string of Unicode text")),
    }
}

pub(super) fn number(raw: &RawValue, name: &str) -> Result<u64, String> {
    raw.get()
        .parse()
        .ok()
        .filter(|count| *count <= EDIT_NUMBER_MAX)
        .ok_or_else(|| format!("{name:?} must be an integer from 0 to 2^53 - 1"))
}

struct EachMember<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for EachMember<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            (self.0)(name, map.next_value()?);
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
