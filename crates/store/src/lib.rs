//! Where documents live: the store contract, its back ends, and the suite that holds each back
//! end to the contract.
//!
//! Reading order: [`contract`] (what every store promises, S1–S10), [`error`], [`memory`],
//! [`stream`], [`migrations`], [`postgres`], [`sqlite`], [`conformance`], [`faulty`].
#![deny(missing_docs)]

pub mod conformance;
pub mod contract;
pub mod error;
pub mod faulty;
pub mod memory;
pub mod migrations;
pub mod postgres;
mod sql;
pub mod sqlite;
pub mod stream;

pub use contract::{
    Append, Appended, Delivery, DeltaPage, DocumentRecord, DocumentStore, Durability, Health,
    Identity, NumberedDelta, StorageProvider, StoredSnapshot,
};
pub use error::{Cause, OpenError, StoreError, Unavailable};
