use synckit_testkit::{Postgres, Redis};

#[tokio::test]
async fn what_postgresql_committed_survives_a_kill() {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    database.execute("CREATE TABLE kept (number int); INSERT INTO kept VALUES (7)").await;

    postgres.kill9().await;
    postgres.start_again().await;
    database.execute("DO $$ BEGIN ASSERT (SELECT number FROM kept) = 7; END $$").await;

    postgres.restart().await;
    database.execute("DO $$ BEGIN ASSERT (SELECT number FROM kept) = 7; END $$").await;
}

#[tokio::test]
async fn two_databases_of_one_server_know_nothing_of_each_other() {
    let postgres = Postgres::start().await;
    let [first, second] = [postgres.create_database().await, postgres.create_database().await];
    assert_ne!(first.url(), second.url());
    first.execute("CREATE TABLE mine ()").await;
    second.execute("CREATE TABLE mine ()").await;
}

#[tokio::test]
async fn a_dropped_database_is_gone_even_with_a_connection_to_it() {
    let postgres = Postgres::start().await;
    let database = postgres.create_database().await;
    let (client, connection) =
        tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    let connection = std::pin::pin!(connection);
    let name = database.name().to_owned();
    drop(database);
    assert!(connection.await.is_err(), "the server cut the connection");
    drop(client);

    let observer = postgres.create_database().await;
    let check = format!(
        "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}'); END $$"
    );
    observer.execute(&check).await;
}

#[tokio::test]
async fn redis_comes_back_on_its_port_after_a_kill() {
    let mut redis = Redis::start_private().await;
    let address = redis.address().to_owned();
    assert_eq!(redis.url(), format!("redis://{address}"));

    redis.kill9().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());

    redis.start_again().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_ok());
}
