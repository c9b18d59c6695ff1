//! What the contract is run against.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use synckit_engine::ids::NodeId;
use synckit_testkit::{FaultProxy, Redis, RedisCluster, free_port};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::super::local::LocalNetwork;
use super::super::redis::{RedisBus, RedisOptions};
use super::super::{Bus, EVENTS_WAITING_MAX, Events};
use super::{Ground, Node};
use crate::config::{RedisEndpoint, Secret};
use crate::supervision::Supervisor;

/// The user of the server with TLS, who may do what the documentation asks for and nothing else.
const USER: &str = "synckit";
const PASSWORD: &str = "open-sesame";

/// Without TLS and without a login; the prefix is one that no other test uses.
pub(in super::super) fn options(address: &str) -> RedisOptions {
    let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
    let endpoint = RedisEndpoint {
        host: host.to_owned(),
        port: port.parse().expect("a port"),
        user: None,
        password: None,
        tls: false,
        database: 0,
        sentinels: None,
    };
    RedisOptions::new(endpoint, format!("test-{}:", uuid::Uuid::new_v4().simple()))
}

/// A node that uses only what its test subscribes to.
pub(in super::super) async fn connect(options: &RedisOptions, name: &str) -> Node {
    let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
    let bus = start(options, NodeId::new(name), sender).await;
    Node { bus, events, name: name.to_owned() }
}

async fn start(options: &RedisOptions, node: NodeId, events: Events) -> Arc<dyn Bus> {
    let (tasks, supervisor) = (TaskTracker::new(), Supervisor::default());
    let bus = RedisBus::start(options.clone(), node, events, &tasks, &supervisor).await;
    Arc::new(bus.expect("the options are good"))
}

pub(super) struct Local(LocalNetwork);

#[async_trait::async_trait]
impl Ground for Local {
    async fn start() -> Self {
        Self(LocalNetwork::new())
    }

    async fn join(&self, node: NodeId, events: Events) -> Arc<dyn Bus> {
        Arc::new(self.0.join(node, events))
    }

    async fn interrupt(&self) -> bool {
        false
    }
}

pub(super) struct PlainRedis {
    proxy: FaultProxy,
    options: RedisOptions,
}

#[async_trait::async_trait]
impl Ground for PlainRedis {
    async fn start() -> Self {
        let proxy = FaultProxy::start(Redis::shared().await.address()).await;
        let options = options(&proxy.address().to_string());
        Self { proxy, options }
    }

    async fn join(&self, node: NodeId, events: Events) -> Arc<dyn Bus> {
        start(&self.options, node, events).await
    }

    async fn interrupt(&self) -> bool {
        self.proxy.cut();
        true
    }
}

/// A server with TLS and a certificate that it signed itself.
pub(in super::super) struct Tls {
    pub(in super::super) redis: Redis,
    pub(in super::super) address: String,
    pub(in super::super) roots_pem: Vec<u8>,
    _files: TempDir,
}

impl Tls {
    /// With these settings besides.
    pub(in super::super) async fn start(settings: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a valid name");
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("write a file");
            path.to_str().expect("a path of this test").to_owned()
        };
        let certificate_file = file("certificate.pem", &certificate);
        let key_file = file("key.pem", &key.serialize_pem());
        let port = free_port().to_string();
        let tls = [
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate_file,
            "--tls-key-file",
            &key_file,
            "--tls-ca-cert-file",
            &certificate_file,
            "--tls-auth-clients",
            "no",
        ];
        let redis = Redis::start_private_with(&[&tls[..], settings].concat()).await;
        let address = format!("127.0.0.1:{port}");
        Self { redis, address, roots_pem: certificate.into_bytes(), _files: files }
    }
}

pub(super) struct TlsRedis {
    _server: Tls,
    proxy: FaultProxy,
    options: RedisOptions,
}

#[async_trait::async_trait]
impl Ground for TlsRedis {
    async fn start() -> Self {
        let password = format!(">{PASSWORD}");
        let user = ["--user", USER, "on", &password, "resetchannels", "&synckit:*"];
        let may = ["-@all", "+publish", "+subscribe", "+unsubscribe", "+ping"];
        let server = Tls::start(&[&user[..], &may].concat()).await;
        let proxy = FaultProxy::start(&server.address).await;
        let mut options = options(&proxy.address().to_string());
        "synckit:".clone_into(&mut options.prefix);
        options.endpoint.tls = true;
        options.endpoint.user = Some(USER.to_owned());
        options.endpoint.password = Some(Secret::new(PASSWORD));
        options.roots_pem = Some(server.roots_pem.clone());
        Self { _server: server, proxy, options }
    }

    async fn join(&self, node: NodeId, events: Events) -> Arc<dyn Bus> {
        start(&self.options, node, events).await
    }

    async fn interrupt(&self) -> bool {
        self.proxy.cut();
        true
    }
}

pub(super) struct ClusterRedis {
    cluster: RedisCluster,
    options: RedisOptions,
}

#[async_trait::async_trait]
impl Ground for ClusterRedis {
    async fn start() -> Self {
        let cluster = RedisCluster::start().await;
        let mut options = options(&cluster.addresses()[0]);
        // A fixed one, so that the same documents are on the same servers every time.
        "synckit:".clone_into(&mut options.prefix);
        Self { cluster, options }
    }

    async fn join(&self, node: NodeId, events: Events) -> Arc<dyn Bus> {
        start(&self.options, node, events).await
    }

    async fn interrupt(&self) -> bool {
        for address in self.cluster.addresses() {
            let client = redis::Client::open(format!("redis://{address}")).expect("an address");
            let mut admin = client.get_multiplexed_async_connection().await.expect("a connection");
            let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).to_owned();
            kill.exec_async(&mut admin).await.expect("kill the connections");
        }
        true
    }
}
