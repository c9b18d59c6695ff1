//! The client from outside. Against a real server it is tested beside the server, whose tests have
//! the binary.
//!
//! - [`connection`]: one WebSocket, to a server that is not ours
//! - [`vectors`]: the golden frames of the protocol
#![expect(clippy::unwrap_used, reason = "in a test a panic with a line number is the report")]

mod connection;
mod vectors;
