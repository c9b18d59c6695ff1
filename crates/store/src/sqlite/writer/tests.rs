use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Changes, Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};

use super::super::{SqliteOptions, SqliteProvider};
use super::*;
use crate::contract::{Append, StorageProvider as _};

/// Fails in the middle of a transaction, as no call should.
struct Panics;

impl Work for Panics {
    type Output = ();

    fn run(&self, _: &mut Group<'_>) -> Result<(), StoreError> {
        panic!("on purpose");
    }
}

fn edit(number: u64) -> Append {
    let client = ClientId::new("client").unwrap();
    let id = DeltaId::new(&format!("delta-{number}"));
    let (number, changes) = (EditNumber(number), Changes::Count(1));
    let delta = Delta { id, client, number, timestamp: 1, changes };
    Append { document: DocumentId::new("doc").unwrap(), deltas: vec![delta] }
}

#[tokio::test]
async fn a_call_that_panics_is_told_to_come_again_and_the_writer_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let provider = SqliteProvider::new(SqliteOptions::new(directory.path().join("test.db")));
    provider.initialize().await.unwrap();
    for number in 1..=3 {
        let writer = &provider.documents.opened().unwrap().writer;
        let error = writer.run(Panics).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        provider.check_health().await.unwrap();
        let appended = provider.documents().append(&[edit(number)]).await.unwrap();
        assert_eq!(appended.len(), 1);
    }
    let head = provider.documents().get(&edit(1).document).await.unwrap().unwrap().head;
    assert_eq!(head.seq.0, 3, "what failed left nothing behind");
}
