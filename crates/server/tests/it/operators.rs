use std::process::Output;

use serde_json::{Value, json};
use synckit_testkit::{Postgres, ServerProcess};
use tokio::process::Command;

use crate::client::Client;
use crate::setup::{memory_server_command, start_server, until};
use crate::stored::assert_stored_once;

/// Runs the program on a storage, which is named by one setting.
async fn run(setting: (&str, &str), arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_synckit-server"))
        .args(arguments)
        .env(setting.0, setting.1)
        .output();
    output.await.expect("the program runs")
}

fn lines(output: &Output) -> Vec<&str> {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).expect("text").lines().collect()
}

#[tokio::test]
async fn documents_are_listed_shown_and_deleted_beside_a_running_server() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut writer = Client::connect(server.address()).await;
    let mut reader = Client::connect(server.address()).await;
    for document in ["b", "a", "a1", "a-2", "other"] {
        writer.set(document, "field", json!({ "of": document })).await;
    }
    reader.subscribe("a1").await;
    let url = database.url();
    let on = async |arguments: &[&str]| run(("DATABASE_URL", &url), arguments).await;

    assert_eq!(lines(&on(&["documents", "list"]).await), ["a", "a-2", "a1", "b", "other"]);
    let some = ["documents", "list", "--prefix", "a"];
    assert_eq!(lines(&on(&some).await), ["a", "a-2", "a1"]);
    assert_eq!(lines(&on(&[&some[..], &["--limit", "2"]].concat()).await), ["a", "a-2"]);
    let shown = on(&["documents", "show", "a1"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["state"], json!({ "field": { "of": "a1" } }));
    assert_eq!((&shown["id"], &shown["edits"]), (&json!("a1"), &json!(1)));

    let deleted = on(&["documents", "delete", "a1", "nobody"]).await;
    assert_eq!(lines(&deleted), ["deleted a1", "not there: nobody"]);
    let told = reader
        .expect("the empty state", |message| {
            message["type"] == "sync_response" && message["requestId"] == ""
        })
        .await;
    assert_eq!(told["state"], json!({}));
    let absent = on(&["documents", "show", "a1"]).await;
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("there is no document `a1`"));

    // It can live again, and what it was does not come back.
    let edit = writer.set("a1", "other", json!(1)).await;
    reader.expect_change("a1", "other", &json!(1)).await;
    assert_eq!(reader.sync("a1").await.fields, json!({ "other": 1 }));
    database.execute("DELETE FROM documents WHERE id <> 'a1'").await;
    database.execute("DELETE FROM deltas WHERE document_id <> 'a1'").await;
    assert_stored_once(&database, &[edit]).await;
}

#[tokio::test]
async fn a_document_whose_row_an_operator_deleted_lives_again_under_a_running_server() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut writer = Client::connect(server.address()).await;
    let mut reader = Client::connect(server.address()).await;
    reader.subscribe("doc").await;
    writer.set("doc", "old", json!(1)).await;
    database.execute("DELETE FROM documents WHERE id = 'doc'").await;
    let edit = writer.set("doc", "new", json!(2)).await;
    reader.until_it_shows("doc", "new", &json!(2)).await;
    assert_eq!(reader.sync("doc").await.fields, json!({ "new": 2 }));
    assert_stored_once(&database, &[edit]).await;
}

#[tokio::test]
async fn commands_on_documents_name_what_is_wrong_and_change_nothing() {
    let database = Postgres::shared().await.create_database().await;
    let url = database.url();
    for (setting, arguments, expected, code) in [
        (("DATABASE_URL", &*url), &["list"][..], "run `synckit-server migrate`", 2),
        (("DATABASE_URL", &*url), &["show", "no id"], "`no id` is no document id", 2),
        (("DATABASE_URL", &*url), &["delete", "good", "no id"], "`no id` is no document id", 2),
        (("STORAGE__PROVIDER", "inmemory"), &["list"], "can't see them", 2),
    ] {
        let output = run(setting, &[&["documents"], arguments].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    let tables = database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await;
    assert_eq!(tables.concat(), ["0"], "nothing was migrated");
}

#[tokio::test]
async fn a_file_is_copied_beside_the_server_that_writes_to_it_and_the_copy_can_be_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (file, copy) = (path("synckit.db"), path("copy.db"));
    let server = sqlite_server(&file).await;
    let mut client = Client::connect(server.address()).await;
    client.set("doc", "before", json!(1)).await;
    let on = async |arguments: &[&str]| run(("STORAGE__SQLITE__PATH", &file), arguments).await;
    let copied = on(&["backup", &copy]).await;
    assert!(lines(&copied)[0].starts_with(&format!("{copy}: ")), "{copied:?}");
    client.set("doc", "after", json!(2)).await;

    let again = on(&["backup", &copy]).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
    let nowhere = on(&["backup", &path("absent/copy.db")]).await;
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");

    let other = sqlite_server(&copy).await;
    let mut reader = Client::connect(other.address()).await;
    assert_eq!(reader.subscribe("doc").await.fields, json!({ "before": 1 }));
    assert_eq!(client.sync("doc").await.fields, json!({ "before": 1, "after": 2 }));
    reader.set("doc", "other", json!(3)).await;
    let names = std::fs::read_dir(directory.path()).expect("the directory");
    let is_partial = |name: &std::ffi::OsString| name.to_string_lossy().contains("partial");
    let mut names = names.map(|entry| entry.expect("an entry").file_name());
    assert_eq!(names.find(is_partial), None);
}

#[tokio::test]
async fn a_database_that_acknowledges_before_its_disk_has_the_edit_is_warned_of() {
    let database = Postgres::shared().await.create_database().await;
    let warning = "synchronous_commit of the database is off";
    let safe = start_server(&database.url(), &[]).await;
    let name = database.name();
    database.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let unsafe_one = start_server(&database.url(), &[]).await;
    until("it is warned of", async || unsafe_one.stderr().contains(warning).then_some(())).await;
    assert!(!safe.stderr().contains(warning));
}

async fn sqlite_server(path: &str) -> ServerProcess {
    let setting = format!("storage.sqlite.path={path}");
    memory_server_command(&["storage.provider=sqlite", &setting]).start().await
}
