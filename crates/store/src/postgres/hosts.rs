//! Which of several servers a connection leads to.
//!
//! Every address of every host that the connection string names is tried in its order, the one that
//! worked last before the others. One that says nothing holds the next one up for [`NEXT_AFTER`] only,
//! and goes on being tried beside it; the first that lets a connection in is it. All of it stands
//! within the deadline of the call that wants the connection.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error};

use super::failure::{is_read_only_server, is_tls_failure};

/// A server in reach lets a connection in within a few milliseconds, one across an ocean, encrypted,
/// within half a second.
const NEXT_AFTER: Duration = Duration::from_millis(500);

/// What a name service in reach takes at most. A name without an answer is left to the driver.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(1);

/// No group of database servers is larger; it bounds what is opened at once.
pub(super) const TARGETS_MAX: usize = 16;

const PORT_DEFAULT: u16 = 5432;

/// One address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: Host,
    address: Option<IpAddr>,
    port: u16,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Where the newest connection leads.
    last: Mutex<Option<Target>>,
}

impl Hosts {
    /// Opens a connection to one of the servers that `config` names; `open` gets each with its
    /// address alone.
    pub(super) async fn open<T, F>(
        &self,
        config: &Config,
        open: impl Fn(Config) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let targets = self.targets(config).await;
        let mut waiting = targets.iter();
        let mut under_way = FuturesUnordered::new();
        let mut failure: Option<Error> = None;
        loop {
            let next = waiting.next();
            if let Some(target) = next {
                let opening = within_its_time(config, open(config_of(config, target)));
                under_way.push(async move { (target, opening.await) });
            }
            let finished = tokio::select! {
                finished = under_way.next() => finished,
                () = sleep(NEXT_AFTER), if waiting.len() > 0 => continue,
            };
            match finished {
                Some((target, Ok(opened))) => {
                    self.remember(target, targets.len());
                    return Ok(opened);
                }
                Some((_, Err(error))) => {
                    let tells_more = |known: &Error| rank(&error) > rank(known);
                    if failure.as_ref().is_none_or(tells_more) {
                        failure = Some(error);
                    }
                }
                // Nothing is left; without any target there was nothing to fail.
                None => return Err(failure.unwrap_or_else(Error::__private_api_timeout)),
            }
        }
    }

    async fn targets(&self, config: &Config) -> Vec<Target> {
        let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| async move {
            let ports = config.get_ports();
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(PORT_DEFAULT);
            let addresses = match (host, config.get_hostaddrs().get(at)) {
                (_, Some(address)) => vec![*address],
                (Host::Tcp(name), None) => resolve(name, port).await,
                (Host::Unix(_), None) => Vec::new(),
            };
            let target = |address| Target { host: host.clone(), address, port };
            match addresses.is_empty() {
                true => vec![target(None)],
                false => addresses.into_iter().map(|address| target(Some(address))).collect(),
            }
        });
        let mut targets = join_all(hosts).await.concat();
        targets.truncate(TARGETS_MAX);
        if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            let random = RandomState::new();
            targets.sort_by_cached_key(|target| random.hash_one((target.address, target.port)));
        } else if let Some(last) = &*self.last.lock() {
            // Stable: the others stay in their order.
            targets.sort_by_key(|target| target != last);
        }
        targets
    }

    fn remember(&self, target: &Target, targets: usize) {
        let before = self.last.lock().replace(target.clone());
        if targets > 1 && before.as_ref() != Some(target) {
            let Target { host, address, port } = target;
            tracing::info!(?host, ?address, port, "connected to this database server");
        }
    }
}

async fn resolve(name: &str, port: u16) -> Vec<IpAddr> {
    match timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        // The driver asks again, and its error says what is wrong.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// The time to connect that the connection string gives bounds all of it: the driver bounds only
/// what comes before a server says its first word.
async fn within_its_time<T>(
    config: &Config,
    opening: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match config.get_connect_timeout() {
        Some(limit) => {
            timeout(*limit, opening).await.unwrap_or_else(|_| Err(Error::__private_api_timeout()))
        }
        None => opening.await,
    }
}

/// As `config`, for one address.
fn config_of(config: &Config, target: &Target) -> Config {
    let mut one = Config::new();
    match &target.host {
        Host::Tcp(name) => one.host(name),
        Host::Unix(directory) => one.host_path(directory),
    };
    if let Some(address) = target.address {
        one.hostaddr(address);
    }
    one.port(target.port);
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        one.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*limit);
    }
    one.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.channel_binding(config.get_channel_binding());
    one.target_session_attrs(config.get_target_session_attrs());
    one
}

/// Which of several failures to tell: the more, the more an operator has to do about it.
fn rank(error: &Error) -> u8 {
    let starting = Some(&SqlState::CANNOT_CONNECT_NOW);
    match error {
        error if is_tls_failure(error) => 3,
        error if error.as_db_error().is_some() && error.code() != starting => 3,
        error if is_read_only_server(error) => 2,
        error if error.as_db_error().is_some() => 1,
        _ => 0,
    }
}

/// Whether the connection string names more than one server.
pub(super) fn are_several(config: &Config) -> bool {
    config.get_hosts().len() > 1
}

/// What is asked of a server if nothing is said: of several, that it takes writes, since any other
/// is of no use here.
pub(super) fn target_default(config: &Config) -> TargetSessionAttrs {
    if are_several(config) { TargetSessionAttrs::ReadWrite } else { TargetSessionAttrs::Any }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A group of servers, each at a port of its own; notes which are asked, in order.
    #[derive(Default)]
    struct Servers {
        hosts: Hosts,
        asked: Mutex<Vec<u16>>,
    }

    impl Servers {
        /// What comes of it when the servers of `good` let a connection in, those of `silent` say
        /// nothing, and all others refuse.
        async fn open(&self, url: &str, good: &[u16], silent: &[u16]) -> Result<u16, Error> {
            self.asked.lock().clear();
            let config: Config = url.parse().unwrap();
            let open = |one: Config| async move {
                assert_eq!((one.get_hosts().len(), one.get_ports().len()), (1, 1));
                let port = one.get_ports()[0];
                self.asked.lock().push(port);
                if silent.contains(&port) {
                    return std::future::pending().await;
                }
                if good.contains(&port) { Ok(port) } else { Err(Error::__private_api_timeout()) }
            };
            self.hosts.open(&config, open).await
        }
    }

    const URL: &str = "postgres://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/d?connect_timeout=1";

    #[tokio::test]
    async fn servers_are_tried_in_order_and_the_last_good_one_first() {
        let servers = Servers::default();
        assert_eq!(servers.open(URL, &[2, 3], &[]).await.unwrap(), 2);
        assert_eq!(*servers.asked.lock(), [1, 2]);
        assert_eq!(servers.open(URL, &[1, 2, 3], &[]).await.unwrap(), 2);
        assert_eq!(*servers.asked.lock(), [2]);
        assert_eq!(servers.open(URL, &[1], &[]).await.unwrap(), 1);
        assert_eq!(*servers.asked.lock(), [2, 1]);
    }

    #[tokio::test]
    async fn silent_servers_are_passed_over_and_given_up_in_the_end() {
        let servers = Servers::default();
        let start = Instant::now();
        assert_eq!(servers.open(URL, &[3], &[1, 2]).await.unwrap(), 3);
        assert!(start.elapsed() >= 2 * NEXT_AFTER, "each had its time");
        servers.open(URL, &[], &[3]).await.unwrap_err();
        assert_eq!(*servers.asked.lock(), [3, 1, 2], "all were tried");
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_a_server() {
        let addresses = resolve("localhost", 1).await;
        assert!(!addresses.is_empty());
        let servers = Servers::default();
        servers.open("postgres://localhost:1/d", &[], &[]).await.unwrap_err();
        assert_eq!(servers.asked.lock().len(), addresses.len());
        servers.open("postgres://no.such.name.invalid:1/d", &[], &[]).await.unwrap_err();
        assert_eq!(*servers.asked.lock(), [1], "the driver says what is wrong with it");
    }
}
