//! The logic of the sync server as plain data and synchronous state machines.
//!
//! Nothing in this crate does IO, reads a clock, spawns a task or draws randomness: time and ids
//! come in as arguments, what should happen goes out as effects. That is what lets a test replay
//! any interleaving from a seed.
//!
//! Reading order: [`ids`], [`clock`], [`json`], [`text`], [`delta`], [`document`], [`position`],
//! [`snapshot`], [`awareness`], [`wire`], [`session`], [`peer`], [`room`], [`limits`].
#![deny(missing_docs)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

pub mod awareness;
pub mod clock;
pub mod delta;
pub mod document;
pub mod ids;
pub mod json;
pub mod limits;
pub mod peer;
pub mod position;
pub mod room;
pub mod session;
pub mod snapshot;
pub mod text;
pub mod time;
pub mod wire;
