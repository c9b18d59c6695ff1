use serde_json::json;
use synckit_testkit::Postgres;

use crate::client::Client;
use crate::setup::start_server;

const REPAIR: &str = "UPDATE documents SET snapshot = NULL, snapshot_clock = NULL, \
                      snapshot_seq = NULL WHERE id = 'damaged'";

#[tokio::test]
async fn a_damaged_document_is_refused_alone_and_works_again_once_it_is_mended() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut client = Client::connect(server.address()).await;
    for document in ["damaged", "sound"] {
        client.set(document, "field", json!("kept")).await;
    }
    let before = client.sync("damaged").await;
    assert!(server.terminate().await.success());
    database
        .execute(
            "UPDATE documents SET snapshot = '\\x00ff17', snapshot_clock = '{}', \
             snapshot_seq = 1 WHERE id = 'damaged'",
        )
        .await;

    let server = start_server(&database.url(), &[]).await;
    let mut client = Client::connect(server.address()).await;
    let edit = client.edit("damaged", "field", json!("new"));
    // The second time over a connection that knows the document already.
    for _ in 0..2 {
        client
            .send(&json!({ "type": "subscribe", "documentId": "damaged", "id": "request" }))
            .await;
        let error = client.expect("a refusal", |message| message["type"] == "error").await;
        assert_eq!(error["details"]["code"], "STORAGE_REFUSED", "{error}");
        assert_eq!(error["details"]["documentId"], "damaged", "{error}");
        let message_id = client.send_edit(&edit).await;
        assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_REFUSED");

        assert_eq!(client.subscribe("sound").await.fields["field"], "kept");
        client.set("sound", "other", json!(1)).await;
    }

    database.execute(REPAIR).await;
    let after = client.subscribe("damaged").await;
    assert_eq!(after, before);
    let message_id = client.send_edit(&edit).await;
    client.expect_ack(&message_id).await;
    client.expect_change("damaged", "field", &json!("new")).await;
}

#[tokio::test]
async fn a_document_that_everybody_left_is_there_for_the_next_one() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut first = Client::connect(server.address()).await;
    first.set("doc", "field", json!("kept")).await;
    let left = first.sync("doc").await;
    first.close().await;
    let mut second = Client::connect(server.address()).await;
    assert_eq!(second.subscribe("doc").await, left);
    second.send(&json!({ "type": "unsubscribe", "documentId": "doc" })).await;
    second.ping().await;
    assert_eq!(second.subscribe("doc").await, left);
}
