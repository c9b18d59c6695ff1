//! One link to Redis: a connection to the server, or to every primary of a cluster. It is never
//! mended: whatever goes wrong with one connection ends the link, and another one is made.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, ServerErrorKind, TlsCertificates, Value,
};
use tokio::time::{Instant, timeout};

use super::options::{BusError, RedisOptions};
use super::publish_queue::Outgoing;
use super::topics::Changes;
use super::wire::{self, Names};
use crate::config::RedisEndpoint;

/// A server in reach accepts a connection within milliseconds, one across a region within 200.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Silence after which a server counts as gone: shorter than what people notice, longer than a
/// slow command of somebody else.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(3);

/// Commands that may wait for the writing side of a connection; more wait in their own tasks.
const COMMANDS_WAITING_MAX: usize = 64;

/// Most of the text of an error that is passed on.
const REASON_CHARS_MAX: usize = 200;

/// Why there is no link.
#[derive(Debug, Clone)]
pub(super) enum LinkError {
    /// It can be there the next moment.
    Down(String),
    /// It answered, and will give the same answer the next time.
    Refused(BusError),
}

impl LinkError {
    fn down(reason: impl Into<String>) -> Self {
        Self::Down(reason.into())
    }
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Down(reason) => f.write_str(reason),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

/// What the connections of a link report by themselves; called from within them.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// `host` and `port` of a server.
pub(super) type Address = (String, u16);

/// See the module.
#[derive(Clone)]
pub(super) struct Link {
    connections: Vec<Connection>,
    /// Of a cluster: which connection serves the slots up to and including the first number.
    slots: Option<Arc<[(u16, usize)]>>,
    names: Names,
}

#[derive(Clone)]
struct Connection {
    address: Address,
    redis: MultiplexedConnection,
}

/// The slots of one primary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shard {
    first: u16,
    last: u16,
    address: Address,
}

impl Link {
    /// Connects to the first of `seeds` that answers, and hears what is about the nodes.
    pub(super) async fn establish(
        options: &RedisOptions,
        names: &Names,
        seeds: &[Address],
        on_push: &OnPush,
    ) -> Result<Self, LinkError> {
        let mut failure = LinkError::down("no address is known");
        for seed in seeds {
            match Self::establish_from(options, names, seed, on_push).await {
                Ok(link) => return Ok(link),
                // The configured one comes first, and its failure is the one to tell.
                Err(error) if std::ptr::eq(seed, &raw const seeds[0]) => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn establish_from(
        options: &RedisOptions,
        names: &Names,
        seed: &Address,
        on_push: &OnPush,
    ) -> Result<Self, LinkError> {
        let mut first = connect(options, seed, on_push).await?;
        let mut link = if is_cluster(&mut first).await? {
            let shards = shards(&mut first).await?;
            let mut addresses: Vec<&Address> = Vec::new();
            for shard in &shards {
                if !addresses.contains(&&shard.address) {
                    addresses.push(&shard.address);
                }
            }
            let index = |address: &Address| addresses.iter().position(|it| *it == address);
            let slots = shards.iter().filter_map(|it| Some((it.last, index(&it.address)?)));
            let slots = Some(slots.collect());
            let connections =
                try_join_all(addresses.iter().map(|address| connect(options, address, on_push)));
            Self { connections: connections.await?, slots, names: names.clone() }
        } else {
            Self { connections: vec![first], slots: None, names: names.clone() }
        };
        link.rehearse().await?;
        Ok(link)
    }

    /// Where the servers are.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.connections.iter().map(|connection| connection.address.clone()).collect()
    }

    /// How many servers there are, if it is a cluster.
    pub(super) fn cluster_size(&self) -> Option<usize> {
        self.slots.as_ref().map(|_| self.connections.len())
    }

    /// Does once everything that the bus does, so that a missing permission shows at the start.
    async fn rehearse(&mut self) -> Result<(), LinkError> {
        let mut commands = Vec::new();
        for name in self.names.of_nothing() {
            commands.push((self.verb("PUBLISH"), name.to_owned(), Some(&b""[..])));
        }
        commands.push((self.verb("SUBSCRIBE"), self.names.nodes().to_owned(), None));
        commands.push((self.verb("UNSUBSCRIBE"), self.names.of_nothing()[0].to_owned(), None));
        self.run(commands).await?;
        self.ping().await.map(drop)
    }

    /// Makes the changes; returns when all of them are in force.
    pub(super) async fn change(&self, changes: &Changes) -> Result<(), LinkError> {
        let names = |document| self.names.of_document(document);
        let (join, leave) = (self.verb("SUBSCRIBE"), self.verb("UNSUBSCRIBE"));
        let joined = changes.subscribe.iter().flat_map(names).map(|name| (join, name, None));
        let left = changes.unsubscribe.iter().flat_map(names).map(|name| (leave, name, None));
        self.run(joined.chain(left).collect()).await
    }

    /// Sends messages, which are already in the form for Redis.
    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Result<(), LinkError> {
        let verb = self.verb("PUBLISH");
        let commands =
            batch.iter().map(|it| (verb, self.names.of(&it.channel), Some(&*it.payload)));
        self.run(commands.collect()).await
    }

    /// The time of a round trip to the slowest server.
    pub(super) async fn ping(&self) -> Result<Duration, LinkError> {
        let start = Instant::now();
        let pings = self.connections.iter().map(|connection| async {
            let mut redis = connection.redis.clone();
            let ping = redis::cmd("PING");
            let reply = timeout(REPLY_TIMEOUT, redis.send_packed_command(&ping)).await;
            let seconds = REPLY_TIMEOUT.as_secs();
            match reply.map_err(|_| LinkError::down(format!("no answer for {seconds} seconds")))? {
                Ok(Value::ServerError(error)) => Err(refusal(&error.into())),
                Ok(_) => Ok(()),
                Err(error) => Err(refusal(&error)),
            }
        });
        try_join_all(pings).await?;
        Ok(start.elapsed())
    }

    /// Fails when the slots of the cluster moved since the link was made.
    pub(super) async fn check_topology(&self) -> Result<(), LinkError> {
        let Some(slots) = &self.slots else { return Ok(()) };
        let Some(first) = self.connections.first() else { return Ok(()) };
        let shards = shards(&mut first.clone()).await?;
        let is_same = shards.len() == slots.len()
            && shards.iter().zip(slots.iter()).all(|(shard, (last, index))| {
                shard.last == *last && shard.address == self.connections[*index].address
            });
        if is_same { Ok(()) } else { Err(LinkError::down("the slots of the cluster moved")) }
    }

    /// In a cluster channels belong to slots, since others go to all its servers.
    fn verb(&self, verb: &'static str) -> &'static str {
        match (verb, self.slots.is_some()) {
            ("PUBLISH", true) => "SPUBLISH",
            ("SUBSCRIBE", true) => "SSUBSCRIBE",
            ("UNSUBSCRIBE", true) => "SUNSUBSCRIBE",
            _ => verb,
        }
    }

    /// Sends every command to the server of its channel, all at once, and awaits all replies.
    ///
    /// Subscribing is one command for each channel: to a command with several Redis gives several
    /// replies, or a single one when it refuses, which a pipeline cannot tell apart.
    async fn run(&self, commands: Vec<(&str, String, Option<&[u8]>)>) -> Result<(), LinkError> {
        let mut pipelines: Vec<Pipeline> = self.connections.iter().map(|_| redis::pipe()).collect();
        for (verb, channel, payload) in commands {
            let command = redis::cmd(verb).arg(&channel).arg(payload).to_owned();
            pipelines[self.connection_of(&channel)].add_command(command);
        }
        let busy = self.connections.iter().zip(&pipelines).filter(|(_, it)| !it.is_empty());
        try_join_all(busy.map(|(connection, pipeline)| async {
            let mut redis = connection.redis.clone();
            let replies = redis.send_packed_commands(pipeline, 0, pipeline.len()).await;
            for reply in replies.map_err(|error| refusal(&error))? {
                if let Value::ServerError(error) = reply {
                    return Err(refusal(&error.into()));
                }
            }
            Ok(())
        }))
        .await?;
        Ok(())
    }

    fn connection_of(&self, channel: &str) -> usize {
        let Some(slots) = &self.slots else { return 0 };
        let slot = wire::slot(channel);
        // A slot beyond the last shard is nobody's: any server answers that it is not served.
        slots.iter().find(|(last, _)| slot <= *last).map_or(0, |(_, index)| *index)
    }
}

async fn connect(
    options: &RedisOptions,
    address: &Address,
    on_push: &OnPush,
) -> Result<Connection, LinkError> {
    let RedisEndpoint { user, password, .. } = &options.endpoint;
    let mut login =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    match (user, password) {
        (_, Some(password)) => login = login.set_password(password.expose()),
        // Without a password the crate would not log in at all, and be the default user.
        (Some(_), None) => login = login.set_password(""),
        (None, None) => {}
    }
    let client = client_of(options, address, login)?;
    let on_push = Arc::clone(on_push);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(REPLY_TIMEOUT))
        .set_pipeline_buffer_size(COMMANDS_WAITING_MAX)
        .set_push_sender(move |info| {
            on_push(info);
            Ok::<(), redis::aio::SendError>(())
        });
    let redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| refusal(&error))?;
    Ok(Connection { address: address.clone(), redis })
}

/// What connects to a server; connects to nothing yet.
pub(super) fn client_of(
    options: &RedisOptions,
    address: &Address,
    login: RedisConnectionInfo,
) -> Result<Client, LinkError> {
    let tls = options.endpoint.tls;
    let (host, port) = address.clone();
    let place = if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let info = place.into_connection_info().map_err(|error| refusal(&error))?;
    let info = info.set_redis_settings(login);
    match &options.roots_pem {
        Some(pem) if tls => {
            let root_cert = Some(pem.clone());
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
                .map_err(|error| LinkError::Refused(BusError::Roots(reason(&error))))
        }
        _ => Client::open(info).map_err(|error| refusal(&error)),
    }
}

/// Asks the server what it is. This takes no permission, which `INFO` and `CLUSTER INFO` do.
async fn is_cluster(connection: &mut Connection) -> Result<bool, LinkError> {
    let about = connection.ask(&redis::cmd("HELLO")).await?;
    let Value::Map(entries) = about else {
        return Err(LinkError::down("the answer to HELLO is of no known form"));
    };
    let entry = |name| {
        entries.iter().find(|(key, _)| text(key) == Some(name)).and_then(|(_, value)| text(value))
    };
    let is_cluster = entry("mode") == Some("cluster");
    // What is published to a replica reaches nobody who listens to its primary.
    if !is_cluster && entry("role").is_some_and(|role| role != "master") {
        return Err(LinkError::down("the server is a replica"));
    }
    Ok(is_cluster)
}

/// The primaries of a cluster in the order of their slots.
async fn shards(connection: &mut Connection) -> Result<Vec<Shard>, LinkError> {
    let answer = connection.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?;
    let own = &connection.address;
    let shards: Option<Vec<Shard>> = match answer {
        Value::Array(shards) => shards.iter().map(|it| shard(it, own)).collect(),
        _ => None,
    };
    let mut shards =
        shards.ok_or_else(|| LinkError::down("the answer to CLUSTER SLOTS is of no known form"))?;
    shards.sort_by_key(|shard| shard.first);
    let mut next = 0;
    for shard in &shards {
        if shard.first != next || shard.last < shard.first {
            return Err(LinkError::down("slots of the cluster are not served"));
        }
        next = shard.last + 1;
    }
    if next != wire::SLOTS {
        return Err(LinkError::down("slots of the cluster are not served"));
    }
    Ok(shards)
}

fn shard(answer: &Value, own: &Address) -> Option<Shard> {
    let Value::Array(parts) = answer else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &parts[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &primary[..] else { return None };
    // A server that doesn't know its own name leaves it out: then it is the one that was asked.
    let host = text(host).filter(|host| !matches!(*host, "" | "?")).unwrap_or(&own.0);
    let address = (host.to_owned(), u16::try_from(*port).ok()?);
    let last = u16::try_from(*last).ok().filter(|last| *last < wire::SLOTS)?;
    Some(Shard { first: u16::try_from(*first).ok()?, last, address })
}

impl Connection {
    async fn ask(&mut self, command: &redis::Cmd) -> Result<Value, LinkError> {
        match self.redis.send_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(refusal(&error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(refusal(&error)),
        }
    }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Sorts out the answers that stay the same however often one asks.
pub(super) fn refusal(error: &redis::RedisError) -> LinkError {
    let said = reason(error);
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            LinkError::Refused(BusError::Login(said))
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
            LinkError::Refused(BusError::Permission(said))
        }
        (ErrorKind::RESP3NotSupported, _) => LinkError::Refused(BusError::TooOld),
        _ => LinkError::Down(said),
    }
}

/// What the server or the operating system said, which holds no password: neither knows ours in
/// plain text at that time. Bounded, since servers quote what they were sent.
fn reason(error: &redis::RedisError) -> String {
    error.to_string().chars().take(REASON_CHARS_MAX).collect()
}
