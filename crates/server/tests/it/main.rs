//! The server as a process, with clients, a database and a network that misbehave:
//!
//! - [`outages`]: the database dies, stops, hangs and comes back, under load
//! - [`readiness`]: what keeps edits from being stored is told, and that it is over
//! - [`crowds`]: more edits and documents at once than the database takes
//! - [`lost_replies`]: the database stores, and the network loses its answer
//! - [`starting`]: a start that waits for others, and one that may not change the schema
//! - [`two_servers`]: two servers write the same documents of one database
//! - [`shutdown`]: SIGTERM under load, with edits under way, with a client that never reads
//! - [`calm_stops`]: what a stop spares clients and load balancers
//! - [`early_signals`]: SIGTERM before the server is ready
//! - [`slow_readers`]: a client that reads nothing of what is written
//! - [`pauses`]: a process that stood still
//! - [`connections`]: how many may come, and how long a silent one may stay
//! - [`cors`]: which web pages may read the answers
//! - [`credentials`]: a password, or a right, that is taken away under a running server
//! - [`documents`]: one that everybody left, whose stored data makes no sense, whose row another holds
//! - [`gone_back`]: a standby that lacks something takes over, a backup is put back
//! - [`compaction`]: snapshots replace deltas under load, and under kill -9
//! - [`operators`]: commands beside a running server, and what is done to its tables by hand
//! - [`hostile`]: bytes that are no protocol
//! - [`embedding`]: two servers in one process
//! - [`logging`]: a log that nobody reads
//! - [`applications`]: the client that applications use
//!
//! And what they are made of: [`client`] is one connection, [`messages`] what goes over it, [`load`]
//! clients that write all the time, [`stored`] what the database has in the end, [`setup`] servers
//! and their HTTP side, [`random`] seeds.

mod applications;
mod calm_stops;
mod client;
mod compaction;
mod connections;
mod cors;
mod credentials;
mod crowds;
mod documents;
mod early_signals;
mod embedding;
mod gone_back;
mod hostile;
mod load;
mod logging;
mod lost_replies;
mod messages;
mod operators;
mod outages;
mod pauses;
mod random;
mod readiness;
mod setup;
mod shutdown;
mod slow_readers;
mod starting;
mod stored;
mod two_servers;
