//! What the tasks of rooms need.

use std::sync::Arc;

use synckit_engine::limits::Limits;
use synckit_engine::room::RecentBudget;
use synckit_store::StorageProvider;

use super::committer::Committer;
use super::compactor::Compactor;
use super::hub::Hub;
use crate::nodes::Peers;
use crate::shutdown::Shutdown;

/// One for all rooms of a node.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) hub: Hub,
    pub(crate) provider: Arc<dyn StorageProvider>,
    pub(crate) committer: Committer,
    pub(crate) compactor: Compactor,
    pub(crate) peers: Arc<Peers>,
    /// What rooms may keep of the newest edits.
    pub(crate) recent: Arc<RecentBudget>,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
}
