//! Several server processes that are one community: on one Redis, and on one PostgreSQL or none.
//!
//! - [`together`]: what is sent to one node appears on the others
//! - [`health`]: what a node says of its link
//! - [`awareness`]: who is here, on whatever node
//! - [`lost_messages`]: messages between nodes that are lost, repeated, late or out of order
//! - [`lost_links`]: Redis dies, hangs, forgets; the way to it is cut
//! - [`lost_nodes`]: a node hangs or dies, or PostgreSQL does
//! - [`strangers`]: nodes of another community on the same channels
//!
//! And what they are made of: [`community`] are the nodes with what lies under them, [`crew`]
//! clients on all of them, [`editor`] one such client, [`truth`] what all must show in the end,
//! [`random`] seeds.

#[path = "../it/client.rs"]
#[allow(dead_code, reason = "shared with the tests of one server, which use more of it")]
mod client;
#[path = "../it/messages.rs"]
#[allow(dead_code, reason = "shared with the tests of one server, which use more of it")]
mod messages;
#[path = "../it/setup.rs"]
#[allow(dead_code, reason = "shared with the tests of one server, which use more of it")]
mod setup;

mod awareness;
mod community;
mod crew;
mod editor;
mod health;
mod lost_links;
mod lost_messages;
mod lost_nodes;
mod random;
mod strangers;
mod together;
mod truth;
