//! Reads the configuration file, TOML or JSON, into the values of single settings.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{ConfigError, Origin};
use super::setting::{self, About};
use super::suggest;
use super::values::Values;

/// What both formats can say. Own type because the JSON value of serde keeps only the last of two
/// equal keys, and because every number becomes text for the parsers of the table.
enum Node {
    Scalar(String),
    Null,
    List,
    Table(Vec<(String, Node)>),
}

pub(super) fn load(path: &Path, values: &mut Values) {
    let origin = Origin::File(path.to_owned());
    match read(path) {
        Ok(Node::Table(entries)) => {
            for (name, node) in entries {
                collect(&name, node, &origin, values);
            }
        }
        Ok(_) => values.refuse(ConfigError::new(format!("{origin}: expected a table of settings"))),
        Err(message) => values.refuse(ConfigError::new(format!("{origin}: {message}"))),
    }
}

fn read(path: &Path) -> Result<Node, String> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let parse = match extension.to_ascii_lowercase().as_str() {
        "toml" => parse_toml,
        "json" => parse_json,
        _ => return Err("the name must end in .toml or .json".to_owned()),
    };
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    // Editors on Windows put a byte order mark in front.
    parse(text.trim_start_matches('\u{feff}'))
}

/// The message of the parser without its excerpt of the file, which may show a password.
fn parse_toml(text: &str) -> Result<Node, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.matches('\n').count() + 1, error.message())
    })
}

fn parse_json(text: &str) -> Result<Node, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn collect(key: &str, node: Node, origin: &Origin, values: &mut Values) {
    match (setting::find(key), node) {
        (Some(about), Node::Scalar(text)) => values.put(about, origin.clone(), text),
        (Some(about), Node::Null) => values.refuse(wrong_type(about, origin, "is null")),
        (Some(about), Node::List) => values.refuse(wrong_type(about, origin, "is a list")),
        (Some(about), Node::Table(_)) => values.refuse(wrong_type(about, origin, "is a table")),
        (None, Node::Table(entries)) if setting::is_group(key) || !entries.is_empty() => {
            for (name, node) in entries {
                collect(&format!("{key}.{name}"), node, origin, values);
            }
        }
        (None, _) if setting::is_group(key) => {
            let message = "is a single value; expected a table of settings";
            values.refuse(ConfigError::at(key, origin, message));
        }
        (None, _) => values.refuse(unknown_key(key, origin)),
    }
}

fn wrong_type(about: &About, origin: &Origin, what_it_is: &str) -> ConfigError {
    let message = format!("{what_it_is}; expected {}", about.accepts.accepts());
    ConfigError::at(about.key, origin, message)
}

pub(super) fn unknown_key(key: &str, origin: &Origin) -> ConfigError {
    let hint = suggest::hint(key, setting::ALL.iter().map(|about| about.key));
    ConfigError::at(key, origin, format!("unknown setting{hint}"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a setting or a table of settings")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // The `Debug` form keeps the `.0`, so that 2.0 is not taken for a whole number.
        Ok(Node::Scalar(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        while items.next_element::<Node>()?.is_some() {}
        Ok(Node::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            table.push(entry);
        }
        Ok(Node::Table(table))
    }
}
