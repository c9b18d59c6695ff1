//! A Redis Cluster for tests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PROBE_DEADLINE, Redis, START_DEADLINE, START_POLL};
use crate::{Error, free_port};

/// The smallest number that Redis Cluster works with.
const PRIMARIES: u16 = 3;

const SLOTS: u16 = 16_384;

/// Servers of one cluster hear of each other within this; it also bounds how long a lost one is
/// not noticed.
const NODE_TIMEOUT_MS: &str = "1000";

/// Three primaries without replicas on ports of their own, all slots served.
pub struct RedisCluster {
    primaries: Vec<Redis>,
}

impl RedisCluster {
    /// # Panics
    /// When the servers cannot be started or do not become a cluster.
    pub async fn start() -> Self {
        Self::try_start().await.unwrap_or_else(|error| panic!("no Redis Cluster: {error}"))
    }

    async fn try_start() -> Result<Self, Error> {
        let mut primaries = Vec::new();
        let mut bus_ports = Vec::new();
        for _ in 0..PRIMARIES {
            let bus_port = free_port();
            let settings = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus_port.to_string(),
                "--cluster-node-timeout",
                NODE_TIMEOUT_MS,
            ];
            primaries.push(Redis::try_start_private(&settings.map(Into::into)).await?);
            bus_ports.push(bus_port);
        }
        let cluster = Self { primaries };
        cluster.join_up(&bus_ports).await?;
        Ok(cluster)
    }

    async fn join_up(&self, bus_ports: &[u16]) -> Result<(), Error> {
        for (index, primary) in (0..PRIMARIES).zip(&self.primaries) {
            // The last one takes what the division leaves over.
            let share = SLOTS / PRIMARIES;
            let first = index * share;
            let last = if index + 1 == PRIMARIES { SLOTS - 1 } else { first + share - 1 };
            // Different ones from the start, so that they need not settle a tie.
            expect_ok(primary, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)).await?;
            expect_ok(primary, &format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await?;
        }
        for (primary, bus_port) in self.primaries.iter().zip(bus_ports).skip(1) {
            let address = primary.address().replace(':', " ");
            expect_ok(&self.primaries[0], &format!("CLUSTER MEET {address} {bus_port}")).await?;
        }
        let ready = async {
            let mut poll = tokio::time::interval(START_POLL);
            for primary in &self.primaries {
                while !knows_all(primary).await? {
                    poll.tick().await;
                }
            }
            Ok(())
        };
        tokio::time::timeout(START_DEADLINE, ready)
            .await
            .unwrap_or_else(|_| Err(Error::new("the servers did not become a cluster")))
    }

    /// `host:port` of every primary, in the order of their slots.
    pub fn addresses(&self) -> Vec<String> {
        self.primaries.iter().map(|primary| primary.address().to_owned()).collect()
    }

    /// The primaries, which may be killed and started again.
    pub fn primaries(&mut self) -> &mut [Redis] {
        &mut self.primaries
    }
}

async fn knows_all(primary: &Redis) -> Result<bool, Error> {
    let info = ask(primary.address(), "CLUSTER INFO").await?;
    let slots = ask(primary.address(), "CLUSTER SLOTS").await?;
    let shards = slots.starts_with(&format!("*{PRIMARIES}\r\n"));
    Ok(info.contains("cluster_state:ok") && shards)
}

async fn expect_ok(primary: &Redis, command: &str) -> Result<(), Error> {
    let reply = ask(primary.address(), command).await?;
    if reply == "+OK\r\n" {
        return Ok(());
    }
    Err(Error::new(format!("{command} on {}: {reply}", primary.address())))
}

/// The reply to one command, as Redis sends it.
pub(super) async fn ask(address: &str, command: &str) -> Result<String, Error> {
    let reply = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        // Redis ends the connection after the reply, so that the end shows. A sentinel has no QUIT.
        stream.shutdown().await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    match tokio::time::timeout(PROBE_DEADLINE, reply).await {
        Ok(reply) => reply.map_err(Error::while_doing("ask a server of Redis")),
        Err(_) => Err(Error::new(format!("no answer from {address} to {command}"))),
    }
}
