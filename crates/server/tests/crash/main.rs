//! What an acknowledgement is worth when processes are killed, and what happens around an upgrade.
//!
//! - [`kills`]: rounds of load and kill -9, of the server and of PostgreSQL
//! - [`upgrades`]: the command `migrate`, and servers that are older than the schema
//!
//! And what they are made of: [`writer`] is one client with its edits, [`crew`] all of them,
//! [`ground`] a store with the servers on it, [`check`] what must hold afterwards, [`random`] seeds.
//!
//! A binary of its own because its length is chosen: `scripts/crash-test --rounds 100`.

mod check;
mod crew;
mod ground;
mod kills;
mod random;
mod upgrades;
mod writer;
