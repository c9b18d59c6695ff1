//! The engine from outside, through its public interface only:
//!
//! - [`vectors`]: every golden frame of the protocol, in the direction it goes, and the golden
//!   sequences for ordering and the document stamp
//! - [`laws`]: what holds for all inputs: merging, clocks, snapshots, JSON texts, hostile frames
//! - [`text_laws`]: texts against a map of single clusters, for all inputs
//! - [`text_oracle`]: texts against the code that clients run
//! - [`snapshot_fixture`]: a stored snapshot of format version 1, which must load for ever
#![expect(clippy::unwrap_used, reason = "in a test a panic with a line number is the report")]

mod laws;
mod random;
mod snapshot_fixture;
mod text_laws;
mod text_oracle;
mod vectors;
