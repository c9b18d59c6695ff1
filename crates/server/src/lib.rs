//! The IO shell of the sync server: sockets, tasks, storage and configuration around the logic
//! of `synckit-engine`.
//!
//! Reading order: `server` (start and stop), `http`, `connection`, `rooms`, `outbox`, `nodes`,
//! `storage`, `config`, `cli`, `migrate`, `bench`. What one folder may import of another, and what
//! not, is held by a test (`crates/tidy`).

pub mod backup;
pub mod bench;
pub mod cli;
pub mod config;
mod connection;
pub mod documents;
mod heavy;
mod http;
pub mod migrate;
mod nodes;
mod outbox;
pub mod restored;
mod rooms;
pub mod server;
mod shutdown;
mod storage;
mod supervision;
pub mod telemetry;
mod time;
