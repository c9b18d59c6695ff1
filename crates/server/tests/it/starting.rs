//! A start that takes: who asks is answered, and the schema is changed only where that is wanted.

use synckit_store::migrations::Migration;
use synckit_store::postgres::migrate::MIGRATIONS;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_testkit::{Database, Postgres, free_port};

use crate::client::Client;
use crate::setup::{http_get, server_command, start_server, until, until_ready_is};

async fn migrate_to(database: &Database, known: &'static [Migration]) {
    let options = PostgresOptions::new(database.url().parse().expect("a URL"));
    let provider = PostgresProvider::new(&options).expect("valid options");
    provider.migrator().with_migrations(known).run().await.expect("migrate");
}

#[tokio::test]
async fn a_start_that_waits_for_a_transaction_of_others_answers_that_it_lives_and_why_it_is_not_ready()
 {
    let database = Postgres::shared().await.create_database().await;
    migrate_to(&database, &MIGRATIONS[..1]).await;
    let (other, connection) =
        tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let test = async {
        other.batch_execute("BEGIN; SELECT count(*) FROM deltas").await.unwrap();
        let command = server_command(&database.url(), &[]);
        let command = command.args(["--urls", &format!("http://{address}")]);
        let ask = async {
            until("the address is listened on", || async {
                tokio::net::TcpStream::connect(&address).await.ok()
            })
            .await;
            let answer = until("the start says what it waits for", || async {
                assert_eq!(http_get(&address, "/health/live").await.status, 200);
                let answer = http_get(&address, "/health/ready").await;
                assert_eq!(answer.status, 503, "{answer:?}");
                answer.body.to_string().contains("a transaction holds its tables").then_some(answer)
            })
            .await;
            let check = &answer.body["results"]["postgresql"];
            assert_eq!(check["status"], "Unhealthy", "{answer:?}");
            assert_eq!(http_get(&address, "/ws").await.status, 503);
            other.batch_execute("COMMIT").await.unwrap();
        };
        let (server, ()) = tokio::join!(command.start(), ask);
        until_ready_is(&server, 200).await;
        Client::connect(server.address()).await.set("doc", "field", true.into()).await;
    };
    tokio::select! {
        () = test => {}
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn a_start_that_only_checks_the_schema_says_what_to_run() {
    let database = Postgres::shared().await.create_database().await;
    let check = ["storage.migrate=check"];
    let finished = server_command(&database.url(), &check).finish().await;
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    assert!(finished.stderr.contains("synckit-server migrate"), "{finished:?}");

    let migrate = server_command(&database.url(), &[]).arg("migrate").finish().await;
    assert!(migrate.status.success(), "{migrate:?}");
    let server = start_server(&database.url(), &check).await;
    until_ready_is(&server, 200).await;
}
