//! The parts of a connection string that say which servers there are, and which of them will do.

use tokio_postgres::config::{LoadBalanceHosts, TargetSessionAttrs};

use super::super::hosts::TARGETS_MAX;
use super::ConnectionStringError;

/// What the form `Host=…;Port=…` says about hosts, to be understood when all of it is read.
#[derive(Default)]
pub(super) struct NamedHosts {
    /// Each with its port, if it has one of its own.
    hosts: Vec<(String, Option<u16>)>,
    ports: Vec<u16>,
}

impl NamedHosts {
    /// Takes `host`, `host:port`, `[ipv6]:port` or a directory, or several with commas.
    pub(super) fn set_hosts(&mut self, value: &str) -> Result<(), &'static str> {
        const EXPECTED: &str =
            "one host name, IP address or socket directory, or up to 16 with commas";
        let hosts: Option<Vec<_>> = value.split(',').map(str::trim).map(host_and_port).collect();
        self.hosts = hosts.filter(|hosts| hosts.len() <= TARGETS_MAX).ok_or(EXPECTED)?;
        Ok(())
    }

    pub(super) fn set_ports(&mut self, value: &str) -> Result<(), &'static str> {
        let ports: Option<Vec<_>> = value.split(',').map(str::trim).map(port).collect();
        self.ports = ports.ok_or("a port from 1 to 65535, or one for each host")?;
        Ok(())
    }

    pub(super) fn apply(
        self,
        config: &mut tokio_postgres::Config,
    ) -> Result<(), ConnectionStringError> {
        if self.ports.len() > 1 && self.ports.len() != self.hosts.len() {
            return Err(ConnectionStringError::Ports);
        }
        for (at, (host, own)) in self.hosts.into_iter().enumerate() {
            config.host(host);
            let shared = self.ports.get(at).or(self.ports.first()).copied();
            config.port(own.or(shared).unwrap_or(5432));
        }
        Ok(())
    }
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if text.is_empty() || text.contains([' ', '=', '@']) {
        return None;
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, own) = match bracketed {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        // An IPv6 address without brackets has no port, and a directory may have a colon.
        None if text.starts_with('/') || text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, own)| (host, Some(own))),
    };
    match own {
        Some(own) => Some((host.to_owned(), Some(port(own)?))),
        None => Some((host.to_owned(), None)),
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// A server that takes no writes is of no use here, so it can't be asked for.
pub(super) fn parse_target(value: &str) -> Result<TargetSessionAttrs, &'static str> {
    match value.replace('_', "-").to_ascii_lowercase().as_str() {
        "any" => Ok(TargetSessionAttrs::Any),
        "read-write" | "readwrite" | "primary" => Ok(TargetSessionAttrs::ReadWrite),
        _ => Err("any, read-write or primary"),
    }
}

pub(super) fn parse_balance(value: &str) -> Result<LoadBalanceHosts, &'static str> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(LoadBalanceHosts::Random),
        "false" => Ok(LoadBalanceHosts::Disable),
        _ => Err("true or false"),
    }
}
