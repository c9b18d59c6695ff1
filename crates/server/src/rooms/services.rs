//! What the tasks of rooms need.

use std::sync::Arc;
use std::time::Duration;

use synckit_engine::limits::Limits;
use synckit_engine::room::RecentBudget;

use super::committer::Committer;
use super::compactor::Compactor;
use super::gate::Gate;
use super::hub::Hub;
use super::loads::Loads;
use crate::nodes::Peers;
use crate::shutdown::Shutdown;

/// One for all rooms of a node.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) hub: Hub,
    pub(crate) gate: Gate,
    pub(crate) loads: Loads,
    pub(crate) committer: Committer,
    /// How long a write is held while the store is away.
    pub(crate) write_hold: Duration,
    pub(crate) compactor: Compactor,
    pub(crate) peers: Arc<Peers>,
    /// What rooms may keep of the newest edits.
    pub(crate) recent: Arc<RecentBudget>,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
}
