//! The store against its contract and against the ways in which a database fails.
//!
//! - [`memory`]: the contract, in memory
//! - [`postgres`]: the contract, in PostgreSQL, each test in a database of its own
//! - [`migrations`]: which schemas are brought up to date and which are refused
//! - [`sqlite`]: the contract, in a SQLite file, and which files are refused
//! - [`sqlite_failures`]: a process that is killed while it writes, and a disk without room
//! - [`outages`]: a database that dies, comes back, or never answers

mod memory;
mod migrations;
mod outages;
mod postgres;
mod sqlite;
mod sqlite_failures;
