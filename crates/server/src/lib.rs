//! The IO shell of the sync server: sockets, tasks, storage and configuration around the logic
//! of `synckit-engine`.
//!
//! Reading order: `server` (start and stop), `http`, `connection`, `hub`, `mailbox`, `room_task`,
//! `peers`, `bus`, `committer`, `storage`, `config`, `cli`, `migrate`, `bench`.

pub mod bench;
mod bus;
pub mod cli;
mod committer;
mod compactor;
pub mod config;
mod connection;
mod heavy;
mod http;
mod hub;
mod loader;
mod mailbox;
pub mod migrate;
mod peers;
mod room_task;
pub mod server;
mod shutdown;
mod storage;
pub mod telemetry;
mod time;
