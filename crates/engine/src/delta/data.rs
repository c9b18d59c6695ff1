//! The stored form of what an edit does. Databases hold it, so it must not change.

use std::fmt;

use serde::de::Error;
use serde_json::value::RawValue;

use crate::ids::FieldName;
use crate::json::{JsonText, write_string};

use super::{Change, Changes, SetChange};

/// Stored data that is none of the forms of [`super::Delta::data`].
#[derive(Debug, thiserror::Error)]
#[error("a delta's data is a JSON object of field changes or an array of an operation: {0}")]
pub struct InvalidData(#[from] serde_json::Error);

pub(super) fn write(changes: &Changes) -> String {
    match changes {
        Changes::Fields(fields) => write_fields(fields),
        // A text has no part that JSON can't hold.
        Changes::Text(text) => {
            format!("[\"text\",{}]", serde_json::to_string(text).unwrap_or_default())
        }
        Changes::Count(amount) => format!("[\"counter\",{amount}]"),
        Changes::Set(SetChange::Add(value)) => format!("[\"set\",\"add\",{}]", value.as_str()),
        Changes::Set(SetChange::Remove(value)) => {
            format!("[\"set\",\"remove\",{}]", value.as_str())
        }
        Changes::Set(SetChange::Clear) => "[\"set\",\"clear\"]".to_owned(),
        Changes::Format(operation) => format!("[\"richtext\",{}]", operation.as_str()),
    }
}

fn write_fields(fields: &[(FieldName, Change)]) -> String {
    let mut out = Vec::with_capacity(64);
    out.push(b'{');
    for (at, (field, change)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(&mut out, field.as_str());
        out.push(b':');
        out.extend_from_slice(change.as_json().as_bytes());
    }
    out.push(b'}');
    // Made of str parts and ASCII only.
    String::from_utf8(out).unwrap_or_default()
}

pub(super) fn parse(data: &str) -> Result<Changes, InvalidData> {
    if data.trim_start().starts_with('[') {
        return Ok(parse_operation(data)?);
    }
    let mut parser = serde_json::Deserializer::from_str(data);
    let fields = serde::Deserializer::deserialize_map(&mut parser, Fields)?;
    parser.end()?;
    Ok(Changes::Fields(fields))
}

fn parse_operation(data: &str) -> Result<Changes, serde_json::Error> {
    let parts: Vec<&RawValue> = serde_json::from_str(data)?;
    let texts: Vec<&str> = parts.iter().map(|part| part.get()).collect();
    let value = |at: usize| parts.get(at).map_or_else(JsonText::null, |raw| JsonText::from(*raw));
    Ok(match texts.as_slice() {
        ["\"text\"", text] => Changes::Text(serde_json::from_str(text)?),
        ["\"counter\"", amount] => Changes::Count(serde_json::from_str(amount)?),
        ["\"set\"", "\"add\"", _] => Changes::Set(SetChange::Add(value(2))),
        ["\"set\"", "\"remove\"", _] => Changes::Set(SetChange::Remove(value(2))),
        ["\"set\"", "\"clear\""] => Changes::Set(SetChange::Clear),
        ["\"richtext\"", _] => Changes::Format(value(1)),
        _ => return Err(serde_json::Error::custom("an operation that this program does not know")),
    })
}

struct Fields;

impl<'de> serde::de::Visitor<'de> for Fields {
    type Value = Vec<(FieldName, Change)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A>(self, mut map: A) -> Result<Self::Value, A::Error>
    where
        A: serde::de::MapAccess<'de>,
    {
        let mut fields = Vec::new();
        while let Some((field, value)) = map.next_entry::<FieldName, &RawValue>()? {
            fields.push((field, Change::from_json(value.into())));
        }
        Ok(fields)
    }
}
