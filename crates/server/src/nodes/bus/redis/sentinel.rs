//! Redis Sentinel: asks which server is the primary. The link is to that one alone; when it is lost,
//! or the sentinels name another, the next link is made to the one that they name then.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use tokio::time::timeout;

use super::link::{Address, LinkError, client_of, refusal, text};
use super::options::RedisOptions;
use crate::config::Sentinels;

/// A sentinel does nothing but answer; one that is gone must not hold up those that are there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The server that most of the sentinels name: one that is cut off from the others may still name
/// the primary of before.
pub(super) async fn primary(
    options: &RedisOptions,
    sentinels: &Sentinels,
) -> Result<Address, LinkError> {
    let asked = sentinels.addresses.iter().map(|address| async move {
        let answer = timeout(ANSWER_TIMEOUT, ask(options, sentinels, address)).await;
        answer.unwrap_or_else(|_| Err(LinkError::Down("no sentinel answers".to_owned())))
    });
    let mut named: Vec<Address> = Vec::new();
    let mut failure = None;
    for answer in join_all(asked).await {
        match answer {
            Ok(address) => named.push(address),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let votes = |address: &Address| named.iter().filter(|other| *other == address).count();
    // The first of those with the most: `max_by_key` takes the last.
    match named.iter().rev().max_by_key(|address| votes(address)) {
        Some(address) => Ok(address.clone()),
        None => Err(failure.unwrap_or_else(|| LinkError::Down("no sentinel is known".to_owned()))),
    }
}

/// Fails when the sentinels name another primary than `address`; not when none answers.
pub(super) async fn check(options: &RedisOptions, address: &[Address]) -> Result<(), LinkError> {
    let Some(sentinels) = &options.endpoint.sentinels else { return Ok(()) };
    match primary(options, sentinels).await {
        Ok(named) if !address.contains(&named) => {
            Err(LinkError::Down("the sentinels name another primary".to_owned()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn ask(
    options: &RedisOptions,
    sentinels: &Sentinels,
    address: &Address,
) -> Result<Address, LinkError> {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = &sentinels.password {
        login = login.set_password(password.expose());
    }
    let client = client_of(options, address, login)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.map_err(|error| refusal(&error))?;
    let question =
        redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&sentinels.service).to_owned();
    let answer = connection.send_packed_command(&question).await;
    let named = match answer.map_err(|error| refusal(&error))? {
        Value::ServerError(error) => return Err(refusal(&error.into())),
        Value::Array(parts) => match &parts[..] {
            [host, port] => text(host).zip(text(port).and_then(|port| port.parse().ok())),
            _ => None,
        }
        .map(|(host, port)| (host.to_owned(), port)),
        _ => None,
    };
    let service = &sentinels.service;
    named.ok_or_else(|| LinkError::Down(format!("the sentinels know no primary `{service}`")))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use synckit_testkit::RedisSentinels;

    use super::super::super::Channel;
    use super::super::super::conformance::{connect, document, options};
    use super::*;

    /// Sentinels of the tests call a server gone after half a second, vote, and promote; then the
    /// nodes must find it.
    const FAILOVER_BOUND: Duration = Duration::from_secs(12);

    fn options_of(sentinels: &RedisSentinels) -> RedisOptions {
        let mut options = options("nowhere:1");
        let text = sentinels.connection_string();
        options.endpoint = crate::config::parse_redis(&text).expect("sentinels");
        options
    }

    #[tokio::test]
    async fn the_nodes_go_where_the_sentinels_send_them() {
        let mut group = RedisSentinels::start().await;
        let options = options_of(&group);
        let mut speaker = connect(&options, "speaker").await;
        let mut listener = connect(&options, "listener").await;
        let delta = Channel::Delta(document("d"));
        assert!(listener.bus.subscribe(&document("d")).await);
        speaker.publish(delta.clone(), "before");
        assert_eq!(listener.next_message().await.2, "before");

        let start = Instant::now();
        group.primary.kill9().await;
        listener.resumed().await;
        speaker.resumed().await;
        let time = start.elapsed();
        println!("killed, promoted, linked again: {time:?}");
        assert!(time < FAILOVER_BOUND, "{time:?}");
        speaker.publish(delta.clone(), "after");
        assert_eq!(listener.next_message().await.2, "after");

        // The old one comes back and is made a replica; nobody goes there.
        group.primary.start_again().await;
        group.kill_one_sentinel().await;
        group.until_replica_of_the_other().await;
        speaker.publish(delta, "still");
        assert_eq!(listener.next_message().await.2, "still");
        let other = connect(&options, "other").await;
        other.publish(Channel::Delta(document("d")), "from a third");
        assert_eq!(listener.next_message().await.2, "from a third");
    }

    #[tokio::test]
    async fn a_service_that_no_sentinel_knows_is_named() {
        let group = RedisSentinels::start().await;
        let mut options = options_of(&group);
        let sentinels = options.endpoint.sentinels.as_mut().expect("sentinels");
        sentinels.service = "unheard-of".to_owned();
        let error = primary(&options, options.endpoint.sentinels.as_ref().unwrap()).await;
        assert_eq!(error.unwrap_err().to_string(), "the sentinels know no primary `unheard-of`");
    }
}
