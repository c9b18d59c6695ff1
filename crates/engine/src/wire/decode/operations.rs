//! The operations of a batch that are no writes of fields.

use serde_json::value::RawValue;

use crate::delta::{Changes, SetChange};
use crate::json::JsonText;
use crate::limits::COUNT_MAX;
use crate::text::TextState;
use crate::wire::error::{ErrorCode, ErrorReply};
use crate::wire::members::{Member, Members};

use super::{Read, malformed, refused, value};

/// What the operation `raw` of type `name` does.
pub(super) fn changes(name: &str, raw: &RawValue, members: &Members<'_>) -> Read<Changes> {
    let operation = || {
        let operation = members.string(Member::Operation).map_err(malformed)?;
        operation.ok_or_else(|| refused(format!("a {name} operation needs an \"operation\"")))
    };
    let unknown = |known: &str| refused(format!("the \"operation\" of a {name} is {known}"));
    match name {
        "text-state" => text(members),
        "counter" => {
            let amount = amount(members)?;
            match &*operation()? {
                "increment" => Ok(Changes::Count(amount)),
                "decrement" => Ok(Changes::Count(-amount)),
                _ => Err(unknown("increment or decrement")),
            }
        }
        "set" => Ok(Changes::Set(match &*operation()? {
            "add" => SetChange::Add(element(members)?),
            "remove" => SetChange::Remove(element(members)?),
            "clear" => SetChange::Clear,
            _ => {
                return Err(unknown(
                    "add, remove or clear; a write of a field names its \"field\"",
                ));
            }
        })),
        "richtext" => match &*operation()? {
            "format" => value(raw).map(Changes::Format),
            _ => Err(unknown("format")),
        },
        "text" => Err(unsupported("positions in a text can't be stored: send its \"text-state\"")),
        _ => Err(unsupported(&format!("operations of type {name:?} are not known here"))),
    }
}

fn unsupported(reason: &str) -> ErrorReply {
    ErrorReply::new(ErrorCode::UnsupportedOperation).because(reason)
}

fn text(members: &Members<'_>) -> Read<Changes> {
    let state = members.string(Member::State).map_err(malformed)?;
    let state = state.ok_or_else(|| refused("a text-state operation needs a \"state\""))?;
    TextState::parse(&state).map(Changes::Text).map_err(refused)
}

fn amount(members: &Members<'_>) -> Read<i64> {
    members
        .raw(Member::Value)
        .and_then(|raw| raw.get().parse().ok())
        .filter(|amount| (-COUNT_MAX..=COUNT_MAX).contains(amount))
        .ok_or_else(|| refused("the \"value\" of a counter operation is an integer within 2^53"))
}

fn element(members: &Members<'_>) -> Read<JsonText> {
    let raw = members.raw_or_null(Member::Value);
    value(raw.ok_or_else(|| refused("the set operation needs a \"value\""))?)
}
