//! Whether edits can be stored now, and whether other nodes hear of them: asked of each dependency.

use std::time::Duration;

use serde_json::{Value, json};
use synckit_store::{Health, StorageProvider};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::nodes::Peers;
use crate::nodes::bus::LinkHealth;
use crate::rooms::Rooms;

/// How long an answer is given again without asking anybody.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// How long a dependency may take to answer.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The last answer of every dependency, asked for at most once in [`FRESH_FOR`].
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Held while asking, so that many askers cause one question.
    last: Mutex<Option<(Instant, Checks)>>,
}

#[derive(Debug, Clone)]
pub(super) struct Checks {
    pub(super) store: Check,
    /// Where there can be other nodes.
    pub(super) bus: Option<Check>,
}

/// What one dependency answered.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) healthy: bool,
    description: String,
    latency: Option<Duration>,
}

impl Readiness {
    pub(super) async fn check(
        &self,
        provider: &dyn StorageProvider,
        rooms: &Rooms,
        peers: &Peers,
    ) -> Checks {
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return checks.clone();
        }
        let (store, bus) = tokio::join!(check_store(provider, rooms), check_bus(peers));
        let checks = Checks { store, bus };
        *last = Some((Instant::now(), checks.clone()));
        checks
    }
}

impl Check {
    fn failed(description: String) -> Self {
        Self { healthy: false, description, latency: None }
    }

    fn silent() -> Self {
        Self::failed(format!("no answer within {CHECK_DEADLINE:?}"))
    }

    /// `tags`: what the dependency is, and which endpoints ask it.
    pub(super) fn as_json(&self, when_not: &str, tags: [&str; 2]) -> Value {
        let mut result = json!({
            "status": if self.healthy { "Healthy" } else { when_not },
            "tags": tags,
            "description": self.description,
        });
        if let Some(latency) = self.latency {
            result["latencyMs"] = json!(latency.as_secs_f64() * 1_000.0);
        }
        result
    }
}

/// What the last commits came to, and a look that writes nothing.
async fn check_store(provider: &dyn StorageProvider, rooms: &Rooms) -> Check {
    if let Some(complaint) = rooms.complaint() {
        return Check::failed(complaint);
    }
    match tokio::time::timeout(CHECK_DEADLINE, provider.check_health()).await {
        Ok(Ok(Health { writes_refused: Some(refused), .. })) => Check::failed(refused.to_string()),
        Ok(Ok(Health { latency, .. })) => Check {
            healthy: true,
            description: format!("{} answers", provider.name()),
            latency: Some(latency),
        },
        Ok(Err(error)) => Check::failed(error.to_string()),
        Err(_) => Check::silent(),
    }
}

async fn check_bus(peers: &Peers) -> Option<Check> {
    if peers.is_alone() {
        return None;
    }
    Some(match tokio::time::timeout(CHECK_DEADLINE, peers.bus().check()).await {
        Ok(LinkHealth::Up { latency }) => Check {
            healthy: true,
            description: format!("{} answers, {} other nodes", peers.bus().name(), peers.known()),
            latency: Some(latency),
        },
        Ok(LinkHealth::None) => return None,
        Ok(LinkHealth::Down(reason)) => Check {
            healthy: false,
            description: if peers.is_store_shared() {
                format!(
                    "{reason}; edits are stored and acknowledged, other nodes show them later \
                     (they look into the store), presence of other nodes is missing"
                )
            } else {
                format!("{reason}; edits on this node stay on it until the link is back")
            },
            latency: None,
        },
        Err(_) => Check::silent(),
    })
}
