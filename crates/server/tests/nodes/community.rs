//! Nodes, with Redis and the store under them.

use synckit_testkit::{Database, Postgres, Redis, RedisProxy, ServerCommand, ServerProcess};
use tokio::sync::watch;
use uuid::Uuid;

/// What the nodes keep documents in.
pub(crate) enum Storage {
    Postgres(Box<Database>),
    /// Each has its own, and Redis is all that connects them.
    Memory,
}

impl Storage {
    /// A database of its own in the server that the tests share.
    pub(crate) async fn postgres() -> Self {
        Self::postgres_of(Postgres::shared().await).await
    }

    pub(crate) async fn postgres_of(postgres: &Postgres) -> Self {
        Self::Postgres(Box::new(postgres.create_database().await))
    }
}

/// The nodes of one test, which hear only each other.
pub(crate) struct Community {
    pub(crate) storage: Storage,
    /// Of all channels.
    pub(crate) prefix: String,
    pub(crate) nodes: Vec<Node>,
}

/// One node and its way to Redis.
pub(crate) struct Node {
    command: ServerCommand,
    server: Option<ServerProcess>,
    pub(crate) proxy: RedisProxy,
    /// Where clients find it; none while it is away.
    pub(crate) home: watch::Sender<Option<String>>,
}

impl Community {
    /// Starts so many nodes, each with a proxy of its own before Redis.
    pub(crate) async fn start(redis: &Redis, storage: Storage, count: usize) -> Self {
        let prefix = format!("test-{}:", Uuid::new_v4().simple());
        let mut community = Self { storage, prefix, nodes: Vec::new() };
        for _ in 0..count {
            community.add_node(redis).await;
        }
        community
    }

    pub(crate) async fn add_node(&mut self, redis: &Redis) {
        let proxy = RedisProxy::start(redis.address()).await;
        let command = self.command(&proxy.address());
        let mut node = Node { command, server: None, proxy, home: watch::Sender::new(None) };
        node.start().await;
        self.nodes.push(node);
    }

    fn command(&self, redis: &str) -> ServerCommand {
        let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
            .env("SYNCKIT_AUTH_REQUIRED", "false")
            .env("STORAGE__REDIS__ENABLED", "true")
            .env("STORAGE__REDIS__CONNECTIONSTRING", redis)
            .env("STORAGE__REDIS__CHANNELPREFIX", &self.prefix);
        match &self.storage {
            Storage::Memory => command.env("STORAGE__PROVIDER", "inmemory"),
            // All deltas stay, so that each can be looked for.
            Storage::Postgres(database) => command
                .env("STORAGE__PROVIDER", "postgresql")
                .env("STORAGE__POSTGRESQL__CONNECTIONSTRING", database.connection_string())
                .args(["--set", "storage.history=forever"]),
        }
    }

    pub(crate) fn address(&self, node: usize) -> &str {
        self.nodes[node].server().address()
    }

    /// Of the nodes that run.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter_map(|node| Some(node.server.as_ref()?.address().to_owned()))
            .collect()
    }
}

impl Node {
    pub(crate) fn server(&self) -> &ServerProcess {
        self.server.as_ref().expect("the node runs")
    }

    /// Starts it, or starts it again: then at another address.
    pub(crate) async fn start(&mut self) {
        let server = self.command.start().await;
        self.home.send_replace(Some(server.address().to_owned()));
        self.server = Some(server);
    }

    pub(crate) async fn kill9(&mut self) {
        self.home.send_replace(None);
        self.server.take().expect("the node runs").kill9().await;
    }
}
