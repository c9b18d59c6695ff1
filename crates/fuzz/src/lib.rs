//! Fuzz targets of the engine. Each takes any bytes and panics when a promise is broken.
//!
//! - [`binary_frame`], [`json_frame`]: what a client sends, in either framing
//! - [`stored`]: snapshots, messages between nodes, and the data of deltas
//! - [`text`]: the lattice of texts: what clients send of them, and its laws
//! - [`connection`]: the bytes are a plan: connections, rooms and a model of the store, step by step
//!
//! `scripts/fuzz` searches for inputs that break them; the tests of this crate replay those kept in
//! `corpus/` and `crashes/`.
#![deny(missing_docs)]

mod connection;
mod frames;
mod input;
mod stored;
mod text;

pub use connection::connection;
pub use frames::{binary_frame, json_frame};
pub use stored::stored;
pub use text::text;

/// A function that takes any bytes and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name that its folders and its program carry.
pub const TARGETS: [(&str, Target); 5] = [
    ("binary_frame", binary_frame),
    ("json_frame", json_frame),
    ("stored", stored),
    ("text", text),
    ("connection", connection),
];
