//! Whole communities in one thread: nodes with the engine's real rooms and sessions, a shared
//! store, a bus and clients, every event chosen by a seed, and all of it allowed to fail.
//!
//! - [`plan`]: what a run is made of and what may fail in it
//! - [`world`]: the steps; [`shell`]: what the server does around a room; [`upkeep`]: what it does
//!   for rooms now and then; [`faults`]: what breaks; [`takeover`]: a store that goes back
//! - [`store`], [`bus`], [`node`], [`client`]: the parts
//! - [`rest`]: everything is healed and must come to rest; [`check`]: what must hold
//! - [`runs`]: many seeds, and the report of one that failed
//! - [`sabotage`]: proof that breaking any of it is seen
//!
//! `SYNCKIT_SIM_SEED=7` repeats one run and `SYNCKIT_SIM_STEPS=60` makes it shorter;
//! `SYNCKIT_SIM_SEEDS=5000` tries more than the usual number, from `SYNCKIT_SIM_FIRST` on.
//! `SYNCKIT_SIM_TRACE=500` prints more of the events before a failure.
#![expect(clippy::unwrap_used, reason = "in a test a panic with a line number is the report")]

mod bus;
mod check;
mod client;
mod faults;
mod node;
mod plan;
#[path = "../it/random.rs"]
#[allow(dead_code, reason = "shared with the other tests, which draw their seeds")]
mod random;
mod rest;
mod runs;
mod sabotage;
mod shell;
mod store;
mod takeover;
mod upkeep;
mod world;

use plan::Faults;

#[test]
fn replicas_converge_over_a_bus_that_loses_repeats_and_reorders() {
    runs::all_hold(Faults::Bus, "over_a_bus");
}

#[test]
fn replicas_converge_on_a_store_that_fails_and_loses_replies() {
    runs::all_hold(Faults::Store, "on_a_store");
}

#[test]
fn replicas_converge_while_nodes_crash_and_rooms_panic() {
    runs::all_hold(Faults::Nodes, "while_nodes_crash");
}

#[test]
fn replicas_converge_when_everything_fails_at_once() {
    runs::all_hold(Faults::All, "everything_fails");
}
