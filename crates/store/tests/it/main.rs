//! The store against its contract and against the ways in which a database fails.
//!
//! - [`memory`]: the contract, in memory
//! - [`postgres`]: the contract, in PostgreSQL, each test in a database of its own
//! - [`migrations`]: which schemas are brought up to date and which are refused
//! - [`outages`]: a database that dies, comes back, or never answers

mod memory;
mod migrations;
mod outages;
mod postgres;
