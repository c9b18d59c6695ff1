//! What the servers of one community tell each other.
//!
//! Owns the other nodes (`peers`), who of them belongs to this community (`community`), the way to
//! them (`bus`), how messages are cut to fit it (`parts`), and the `comparison` with the store that
//! they have in common. Must not know connections, sockets, or how a room works: what it needs of the rooms
//! is the port [`OpenRooms`], which they implement.

pub(crate) mod bus;
mod community;
mod comparison;
mod open_rooms;
mod parts;
mod peers;

pub(crate) use open_rooms::{Heard, OpenRooms};
pub(crate) use peers::{AWARENESS_GRACE, Peers};
