use synckit_store::memory::{MemoryProvider, MemoryStore};
use synckit_store::{DocumentStore, Durability, StorageProvider};

struct Opened(MemoryStore);

impl Opened {
    fn store(&self) -> &dyn DocumentStore {
        &self.0
    }

    fn other(&self) -> &dyn DocumentStore {
        &self.0
    }
}

async fn open() -> Opened {
    Opened(MemoryStore::new())
}

synckit_store::conformance_tests!(open);

#[tokio::test]
async fn the_provider_says_what_it_is() {
    let provider = MemoryProvider::new();
    provider.initialize().await.unwrap();
    provider.check_health().await.unwrap();
    assert_eq!(provider.name(), "inmemory");
    assert_eq!(provider.documents().durability(), Durability::Process);
}
