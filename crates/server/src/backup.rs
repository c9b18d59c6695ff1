//! The command `backup`: copies the file of the provider sqlite, also while a server uses it.

use std::path::PathBuf;

use synckit_store::OpenError;
use synckit_store::sqlite::backup::backup;

use crate::config::StorageProvider;

/// Copies the configured file to `to`; what there is to say.
///
/// # Errors
/// [`OpenError`]; then there is no copy.
pub async fn run(config: &StorageProvider, to: PathBuf) -> Result<String, OpenError> {
    let path = match config {
        StorageProvider::Sqlite(path) => path.clone(),
        StorageProvider::PostgreSql(_) => {
            let text = "storage.provider is postgresql: use pg_dump, or the backups of your \
                database service";
            return Err(OpenError::Configuration(text.to_owned()));
        }
        StorageProvider::InMemory => {
            let text = "storage.provider is inmemory: there is no file to copy";
            return Err(OpenError::Configuration(text.to_owned()));
        }
    };
    let name = to.display().to_string();
    let bytes = backup(path, to).await?;
    Ok(format!("{name}: {bytes} bytes\n"))
}
