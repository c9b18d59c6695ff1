//! The store against its contract and against the ways in which a database fails.
//!
//! - [`memory`]: the contract, in memory
//! - [`failover`]: several servers, of which one is the primary, and another one after that
//! - [`faults`]: the contract, on every back end, for a caller whose calls fail
//! - [`streams`]: reading everything, page by page
//! - [`postgres`]: the contract, in PostgreSQL, each test in a database of its own
//! - [`postgres_full`]: a database without room for its tables, or for its log
//! - [`postgres_operators`]: what operators change under a running server
//! - [`postgres_waits`]: appends that meet another transaction
//! - [`migrations`]: which schemas are brought up to date and which are refused
//! - [`schema_access`]: roles with few rights, search paths that change, tables that others hold
//! - [`schemas`]: data of earlier versions, and schemas of later ones
//! - [`sqlite`]: the contract, in a SQLite file, and which files are refused
//! - [`sqlite_failures`]: a process that is killed while it writes, and a disk without room
//! - [`tls`]: which servers are believed, and what is encrypted
//! - [`pgbouncer`]: the contract, through a pooler that hands connections out by the transaction
//! - [`outages`]: a database that dies, comes back, or never answers

mod failover;
mod faults;
mod memory;
mod migrations;
mod outages;
mod pgbouncer;
mod postgres;
mod postgres_full;
mod postgres_operators;
mod postgres_waits;
mod schema_access;
mod schemas;
mod sqlite;
mod sqlite_failures;
mod streams;
mod tls;
