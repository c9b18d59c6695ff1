//! The test environment keeps its own promises.
//!
//! - `services`: PostgreSQL and Redis start, survive a kill with or without their data, and never outlive
//!   the process they were started for
//! - `fault_proxy`: answers are lost, connections stall and end, as a test says
//! - `server`: a server process is found ready, watched, and stopped
//! - `standbys`: a standby follows, lags, catches up and takes over
//! - `with_services`: the command line tool

mod fault_proxy;
mod server;
mod services;
mod standbys;
mod with_services;
