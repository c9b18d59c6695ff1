//! The client that applications use, whose connections and servers end under it.

use std::time::Duration;

use serde_json::{Value, json};
use synckit_client::client::{EditError, Receipt, Status};
use synckit_client::{Client as Application, Document, Options};
use synckit_testkit::{FaultProxy, ServerCommand, ServerProcess};
use tokio::time::timeout;

use crate::client::{Client, PATIENCE};
use crate::setup::memory_server_command;

const DOC: &str = "doc";

fn application(address: &str) -> Application {
    Application::connect(&Options::new(format!("ws://{address}/ws"))).expect("a good URL")
}

/// Makes one edit for each number, in a field of its own.
fn write(document: &Document, numbers: std::ops::RangeInclusive<u64>) -> Vec<Receipt> {
    let write = |number| document.set(&format!("f{number}"), &number);
    numbers.map(|number| write(number).expect("there is room")).collect()
}

async fn all_stored(receipts: Vec<Receipt>) {
    for receipt in receipts {
        let stored = timeout(PATIENCE, receipt).await.expect("an answer in time");
        stored.expect("no edit is refused");
    }
}

/// Waits until the document shows what is wanted.
async fn until_it_shows(document: &mut Document, wanted: &Value) {
    let shown = async {
        while serde_json::to_value(document.fields()).expect("fields are JSON") != *wanted {
            document.changed().await;
        }
    };
    let in_time = timeout(PATIENCE, shown).await.is_ok();
    assert!(in_time, "never shows {wanted}, but {:?}", document.fields());
}

fn fields(numbers: std::ops::RangeInclusive<u64>) -> Value {
    numbers
        .map(|number| (format!("f{number}"), json!(number)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The server has these edits, each once: every edit that is stored raises the stamp by one, were
/// it the repeat of another.
async fn assert_stored_once(address: &str, numbers: std::ops::RangeInclusive<u64>) {
    let edits = *numbers.end();
    let state = Client::connect(address).await.sync(DOC).await;
    assert_eq!((state.fields, state.stamp), (fields(numbers), edits));
}

async fn start_again(command: &ServerCommand, address: &str) -> ServerProcess {
    command.clone().args(["--urls", &format!("http://{address}")]).start().await
}

#[tokio::test]
async fn two_applications_see_what_each_other_writes() {
    let server = memory_server_command(&[]).start().await;
    let [one, other] = [application(server.address()), application(server.address())];
    let [mut here, mut there] = [one.open(DOC), other.open(DOC)];
    all_stored(vec![here.set("a", "mine").expect("room")]).await;
    until_it_shows(&mut there, &json!({ "a": "mine" })).await;
    all_stored(vec![there.delete("a").expect("room"), there.set("b", &2).expect("room")]).await;
    until_it_shows(&mut here, &json!({ "b": 2 })).await;
    assert_eq!(here.get::<u64>("b"), Some(2));
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn edits_whose_acknowledgement_was_lost_with_the_connection_are_stored_once() {
    let server = memory_server_command(&[]).start().await;
    let proxy = FaultProxy::start(server.address()).await;
    let client = application(&proxy.address().to_string());
    let mut document = client.open(DOC);
    all_stored(write(&document, 1..=20)).await;

    proxy.lose_answers();
    let unanswered = write(&document, 21..=60);
    let mut beside = Client::connect(server.address()).await;
    beside.until_it_shows(DOC, "f60", &json!(60)).await;
    let made_offline = {
        proxy.cut();
        write(&document, 61..=80)
    };
    all_stored(unanswered).await;
    all_stored(made_offline).await;
    assert_eq!(client.queued(), 0);
    assert_stored_once(server.address(), 1..=80).await;
    until_it_shows(&mut document, &fields(1..=80)).await;
}

#[tokio::test]
async fn edits_survive_a_server_that_is_killed_and_started_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let command = memory_server_command(&[])
        .env("STORAGE__PROVIDER", "sqlite")
        .env("STORAGE__SQLITE__PATH", directory.path().join("documents.db"));
    let server = command.start().await;
    let address = server.address().to_owned();
    let client = application(&address);
    let document = client.open(DOC);
    let mut last = 0;
    let mut server = Some(server);
    for _ in 0..3 {
        let stored = write(&document, last + 1..=last + 50);
        all_stored(stored).await;
        let under_way = write(&document, last + 51..=last + 100);
        server.take().expect("it runs").kill9().await;
        let made_offline = write(&document, last + 101..=last + 120);
        last += 120;
        server = Some(start_again(&command, &address).await);
        all_stored(under_way).await;
        all_stored(made_offline).await;
    }
    assert_stored_once(&address, 1..=last).await;
}

#[tokio::test]
async fn an_edit_that_is_refused_is_reported_and_shown_no_more_and_others_are_stored() {
    let server = memory_server_command(&[]).start().await;
    let client = application(server.address());
    let mut document = client.open(DOC);
    let too_long = "x".repeat(501);
    // Made at once, so that they are sent together.
    let refused = document.set(&too_long, &1).expect("room");
    let beside = write(&document, 1..=3);
    assert_eq!(document.get::<u64>(&too_long), Some(1), "it shows at once");
    let outcome = timeout(PATIENCE, refused).await.expect("an answer in time");
    let Err(EditError::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal.code, "INVALID_OPERATION");
    all_stored(beside).await;
    until_it_shows(&mut document, &fields(1..=3)).await;
}

#[tokio::test]
async fn awareness_is_back_after_a_reconnect() {
    let command = memory_server_command(&[]);
    let server = command.start().await;
    let address = server.address().to_owned();
    let [somebody, watcher] = [application(&address), application(&address)];
    let (here, mut there) = (somebody.open(DOC), watcher.open(DOC));
    there.follow_awareness();
    here.set_awareness(&json!({ "name": "Somebody" })).expect("an object");
    let somebody_is_seen = async |there: &mut Document| {
        let seen = async {
            while !there.awareness().contains_key(&somebody.client_id()) {
                there.changed().await;
            }
        };
        timeout(PATIENCE, seen).await.expect("seen in time");
    };
    somebody_is_seen(&mut there).await;

    server.kill9().await;
    let server = start_again(&command, &address).await;
    // One that was not there before knows what it is told now, and nothing else.
    let newcomer = application(&address);
    let mut there = newcomer.open(DOC);
    there.follow_awareness();
    somebody_is_seen(&mut there).await;

    here.clear_awareness();
    let gone = async {
        while there.awareness().contains_key(&somebody.client_id()) {
            there.changed().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("gone in time");
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_client_that_is_not_wanted_ends_and_one_that_is_turned_away_comes_back() {
    let server = memory_server_command(&["ws.max_connections_per_ip=1"]).start().await;
    let nowhere = Options::new(format!("ws://{}/nowhere", server.address()));
    let lost = Application::connect(&nowhere).expect("a good URL");
    let edit = lost.open(DOC).set("a", &1).expect("room");
    let outcome = timeout(PATIENCE, edit).await.expect("an answer in time");
    assert!(matches!(outcome, Err(EditError::Ended)), "{outcome:?}");
    assert!(matches!(*lost.status().borrow(), Status::Ended(_)));

    let first = Client::connect(server.address()).await;
    let second = application(server.address());
    let mut status = second.status();
    let turned_away = status
        .wait_for(|status| matches!(status, Status::Connecting(reason) if reason.contains("429")));
    timeout(PATIENCE, turned_away).await.expect("in time").expect("the client lives");
    first.close().await;
    let connected = status.wait_for(|status| *status == Status::Connected);
    // The server asks for five seconds.
    let connected = timeout(PATIENCE + Duration::from_secs(5), connected).await;
    connected.expect("in time").expect("the client lives");
}
