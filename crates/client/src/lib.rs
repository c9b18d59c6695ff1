//! A client of the protocol, written from `docs/protocol.md` and from nothing else: it shares no
//! code with the server, so that each tests the page.
//!
//! From the bottom up, each layer of use without those above it:
//!
//! - [`websocket`]: frames of RFC 6455, without IO; [`handshake`]: how a connection becomes one
//! - [`framing`]: the header and the type codes of the protocol
//! - [`message`]: what clients and the server say, as types
//! - [`connection`]: one WebSocket, which looks at no JSON
//! - [`replica`]: documents, the queue of own edits and awareness, without IO, clocks and randomness
//! - [`reconnect`]: whether to come back, and when
//! - [`client`]: all of it together, for applications
//!
//! Documents of fields, and awareness. Texts, counters, sets and formats can be sent and read as
//! messages; the replica passes them over.

pub mod client;
pub mod connection;
pub mod framing;
pub mod handshake;
pub mod message;
pub mod reconnect;
pub mod replica;
mod time;
pub mod websocket;

pub use client::{Client, Document, Options};
pub use time::now_millis;
