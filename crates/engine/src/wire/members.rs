//! The members of a JSON object, each kept as its raw text and read as the type that is wanted,
//! so that an error can name the member and say what it should be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::COUNTER_MAX;

/// Members in order. A name that comes twice counts the last time, as in JavaScript.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, String> {
        let mut parser = serde_json::Deserializer::from_str(json);
        let members = serde::Deserializer::deserialize_map(&mut parser, MembersVisitor)
            .and_then(|members| parser.end().map(|()| members));
        members.map_err(|error| format!("not a JSON object: {error}"))
    }

    /// The raw text of a member; `null` counts as missing.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.raw_or_null(name).filter(|raw| raw.get() != "null")
    }

    pub(super) fn raw_or_null(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(member, _)| member == name).map(|(_, raw)| *raw)
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<Cow<'a, str>>, String> {
        self.raw(name).map(|raw| string(raw, name)).transpose()
    }

    /// A string or a number, as text: some clients number their messages.
    pub(super) fn label(&self, name: &str) -> Result<Option<Cow<'a, str>>, String> {
        match self.raw(name) {
            Some(raw) if is_number(raw) => Ok(Some(Cow::Borrowed(raw.get()))),
            Some(raw) => string(raw, name).map(Some),
            None => Ok(None),
        }
    }

    /// A time in milliseconds; a number that is no positive integer counts as missing.
    pub(super) fn timestamp(&self, name: &str) -> Result<Option<u64>, String> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) if is_number(raw) => {
                Ok(raw.get().parse().ok().filter(|ms| (1..=i64::MAX as u64).contains(ms)))
            }
            Some(_) => Err(format!("\"{name}\" must be a number of milliseconds")),
        }
    }

    pub(super) fn counter(&self, name: &str) -> Result<Option<u64>, String> {
        self.raw(name).map(|raw| counter(raw, name)).transpose()
    }

    /// Another object, as members.
    pub(super) fn object(&self, name: &str) -> Result<Option<Members<'a>>, String> {
        self.raw(name)
            .map(|raw| {
                Members::parse(raw.get()).map_err(|_| format!("\"{name}\" must be an object"))
            })
            .transpose()
    }

    pub(super) fn array(&self, name: &str) -> Result<Option<Vec<&'a RawValue>>, String> {
        self.raw(name)
            .map(|raw| {
                serde_json::from_str(raw.get()).map_err(|_| format!("\"{name}\" must be an array"))
            })
            .transpose()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.0.into_iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds the members of `inner` behind these, so that they win.
    pub(super) fn overlay(&mut self, inner: Members<'a>) {
        self.0.extend(inner.0);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(member, _)| member != name);
    }
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

pub(super) fn counter(raw: &RawValue, name: &str) -> Result<u64, String> {
    raw.get()
        .parse()
        .ok()
        .filter(|count| *count <= COUNTER_MAX)
        .ok_or_else(|| format!("{name:?} must be an integer from 0 to 2^48"))
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(name) = map.next_key_seed(Name)? {
            members.push((name, map.next_value()?));
        }
        Ok(Members(members))
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
