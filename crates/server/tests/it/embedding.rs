use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use synckit_server::config::{Config, ConfigFlags};
use synckit_server::server::{Error, Server};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::setup::http_get;

async fn start_in_memory() -> Server {
    let none = std::iter::empty();
    let mut config = Config::load(&ConfigFlags::default(), none).expect("the defaults are valid");
    config.listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    Server::start(config).await.expect("it starts")
}

#[tokio::test]
async fn two_servers_of_one_process_share_nothing() {
    let servers = [start_in_memory().await, start_in_memory().await];
    let [here, there] = servers.each_ref().map(|server| server.addresses()[0].to_string());
    assert_ne!(here, there);
    let stops = [CancellationToken::new(), CancellationToken::new()];
    let mut running = JoinSet::<Result<(), Error>>::new();
    for (server, stop) in servers.into_iter().zip(&stops) {
        running.spawn(server.run(stop.clone()));
    }

    let mut client = Client::connect(&here).await;
    let mut other = Client::connect(&there).await;
    other.subscribe("doc").await;
    client.set("doc", "field", json!("here")).await;
    other.ping().await;
    assert!(other.take_unread().is_empty());
    let state = other.sync("doc").await;
    assert_eq!((state.fields, state.stamp), (json!({}), 0));
    for address in [&here, &there] {
        let health = http_get(address, "/health").await.body;
        assert_eq!(health["connections"]["totalConnections"], 1, "{health}");
        assert_eq!(health["documents"]["totalDocuments"], 1, "{health}");
    }

    let [stop_here, stop_there] = stops;
    stop_here.cancel();
    assert_eq!(client.until_closed().await.code, Some(1001));
    running.join_next().await.unwrap().unwrap().expect("it ends in time");
    other.set("doc", "field", json!("there")).await;
    assert_eq!(other.sync("doc").await.fields, json!({ "field": "there" }));
    assert_eq!(http_get(&there, "/health/ready").await.status, 200);

    stop_there.cancel();
    assert_eq!(other.until_closed().await.code, Some(1001));
    running.join_next().await.unwrap().unwrap().expect("it ends in time");
}
