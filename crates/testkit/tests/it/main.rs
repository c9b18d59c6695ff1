//! The test environment keeps its own promises.
//!
//! - `services`: PostgreSQL and Redis start, survive a kill with or without their data, and never outlive
//!   the process they were started for
//! - `server`: a server process is found ready, watched, and stopped
//! - `with_services`: the command line tool

mod server;
mod services;
mod with_services;
