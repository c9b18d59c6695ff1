//! The command `restored`: tells the configured storage that it was put back from a backup.

use synckit_store::OpenError;

use crate::config::{StorageConfig, StorageProvider};
use crate::storage;

/// Begins another history of the database; what there is to say.
///
/// # Errors
/// [`OpenError`]; nothing is changed then.
pub async fn run(config: &StorageConfig) -> Result<String, OpenError> {
    if !matches!(config.provider, StorageProvider::PostgreSql(_)) {
        let text = "nothing to do: this storage is read whole when a server starts, and no server \
            can have run while it was put back\n";
        return Ok(text.to_owned());
    }
    let checking = StorageConfig { migrates: false, ..config.clone() };
    let provider = storage::from_config(&checking)?.provider;
    provider.initialize().await?;
    let before = provider.identity().await?;
    provider.begin_history(before.history).await?;
    Ok("another history of the database begins: servers that run read every document anew, and \
        store nothing again that was lost\n"
        .to_owned())
}
