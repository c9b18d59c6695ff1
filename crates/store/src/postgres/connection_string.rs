//! Reads the two written forms of a PostgreSQL address: a `postgresql://` URL, and the
//! `Host=…;Port=…;Database=…` form of Npgsql, which existing deployments carry.
//!
//! Strict on purpose: a keyword that is not understood is an error, because most of them change
//! what the connection promises. Errors name keywords and never repeat a value, since any value
//! may be a password, or a piece of one that was not quoted. Nothing here opens a connection.

mod hosts;
mod items;

use std::error::Error as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::SslNegotiation;

use super::hosts::target_default;
use super::tls::{SslMode, TlsSettings};
use hosts::NamedHosts;
use items::{canonical_keyword, take_value};

/// What a connection string means; its `Debug` form hides the password.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Address, credentials and timeouts. Its own mode of TLS counts for nothing.
    pub config: tokio_postgres::Config,
    /// How the connection is encrypted.
    pub tls: TlsSettings,
    /// Where the tables are looked for, in the form of PostgreSQL's `search_path`; what the role
    /// and the database have set if this is none.
    pub search_path: Option<String>,
}

impl FromStr for ConnectionSettings {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        parse(text)
    }
}

/// The name under which the server appears in `pg_stat_activity` unless the string gives one.
pub const DEFAULT_APPLICATION_NAME: &str = "synckit-server";

/// Why a connection string was refused. No variant carries a value of the string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// The text is in neither form.
    #[error("neither a postgresql:// URL nor the form Host=…;Port=…;Database=…")]
    UnknownForm,
    /// The keyword is not one that this server understands.
    #[error("unknown keyword `{keyword}`; accepted are {accepted}")]
    UnknownKeyword {
        /// The keyword as it was written.
        keyword: String,
        /// The keywords of the form in use.
        accepted: &'static str,
    },
    /// The item, counted from 1, is no `keyword=value`; it may be the rest of a password.
    #[error("item {0} is not keyword=value; put a value that contains `;` in quotes")]
    NotAnItem(usize),
    /// A quoted value does not end, or is followed by something else than `;`.
    #[error("the quoted value of `{0}` is not closed; inside it a quote is written twice")]
    Quote(String),
    /// The same thing is said twice, possibly by two names of one keyword.
    #[error("`{0}` repeats a keyword")]
    Repeated(String),
    /// The value of the keyword cannot be used.
    #[error("the value of `{keyword}` must be {expected}")]
    Value {
        /// The keyword as it was written.
        keyword: String,
        /// What would be right.
        expected: &'static str,
    },
    /// There is no host to connect to.
    #[error("the host is missing")]
    MissingHost,
    /// Which port belongs to which host can't be told.
    #[error("give one port for all hosts, or one for each")]
    Ports,
    /// A root certificate that would verify nothing, or not what its name says.
    #[error("a root certificate verifies nothing unless the SSL mode is {0}")]
    RootCertificate(&'static str),
    /// A certificate of this side without its key, or the other way round.
    #[error("the client certificate and its key are given together or not at all")]
    ClientCertificate,
    /// More than one `@` in a URL: a part of the password would be taken for the host.
    #[error("the URL has more than one `@`; write `%40` for an `@` in the user or the password")]
    UnescapedAt,
    /// The URL parser refused; its messages name options only.
    #[error("{0}")]
    Url(String),
}

const ACCEPTED_KEYWORDS: &str = "Host, Port, Database, Username, Password, SSL Mode, \
    Root Certificate, SSL Certificate, SSL Key, Timeout, Keepalive, Application Name, Search Path, \
    Target Session Attributes, Load Balance Hosts (and, without effect, settings of Npgsql's own pool and buffers)";

const ACCEPTED_PARAMETERS: &str = "host, hostaddr, port, user, password, dbname, sslmode, \
    sslrootcert, sslcert, sslkey, application_name, options, connect_timeout, tcp_user_timeout, keepalives, keepalives_idle, \
    keepalives_interval, keepalives_retries, target_session_attrs, load_balance_hosts, search_path, \
    channel_binding, sslnegotiation";

/// Keywords that tune the .NET client itself and mean nothing to the database or to durability.
/// The size of this server's pool has settings of its own.
const WITHOUT_EFFECT: &str = "autoprepareminusages, connectionidlelifetime, connectionlifetime, \
    connectionpruninginterval, enlist, includeerrordetail, loadtablecomposites, logparameters, \
    maxautoprepare, maximumpoolsize, minimumpoolsize, multiplexing, noresetonclose, \
    persistsecurityinfo, pooling, readbuffersize, trustservercertificate, writebuffersize";

/// Reads either form; the result has a host, and what it says about TLS fits together.
pub fn parse(text: &str) -> Result<ConnectionSettings, ConnectionStringError> {
    let text = text.trim();
    let mut settings = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        parse_url(text)?
    } else if text.split('=').next().is_some_and(|start| start.contains("://")) {
        return Err(ConnectionStringError::UnknownForm);
    } else {
        parse_keywords(text)?
    };
    let ConnectionSettings { config, tls, .. } = &mut settings;
    if config.get_hosts().is_empty() {
        // A certificate may be for an address as well as for a name.
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    if config.get_hosts().is_empty() {
        return Err(ConnectionStringError::MissingHost);
    }
    if config.get_application_name().is_none() {
        config.application_name(DEFAULT_APPLICATION_NAME);
    }
    check_tls(tls)?;
    Ok(settings)
}

/// As libpq: `system` means the platform's certificates, and a root certificate that is given is
/// used by the mode `require` too. Where libpq would ignore one, the string is refused.
fn check_tls(tls: &mut TlsSettings) -> Result<(), ConnectionStringError> {
    let verifies = matches!(tls.mode, SslMode::VerifyCa | SslMode::VerifyFull);
    match &tls.root_certificate {
        // Anybody can have a certificate of a public authority.
        Some(file) if file.as_os_str() == "system" && !verifies => {
            return Err(ConnectionStringError::RootCertificate("verify-ca or verify-full"));
        }
        Some(file) if file.as_os_str() == "system" => tls.root_certificate = None,
        Some(_) if tls.mode == SslMode::Require => tls.mode = SslMode::VerifyCa,
        Some(_) if !verifies => {
            return Err(ConnectionStringError::RootCertificate(
                "require, verify-ca or verify-full",
            ));
        }
        _ => {}
    }
    if tls.client_certificate.is_some() != tls.client_key.is_some() {
        return Err(ConnectionStringError::ClientCertificate);
    }
    Ok(())
}

fn parse_url(text: &str) -> Result<ConnectionSettings, ConnectionStringError> {
    let authority = text.find('@').map_or(0, |at| at + 1);
    if text[authority..].contains('@') {
        return Err(ConnectionStringError::UnescapedAt);
    }
    let (address, query) = match text[authority..].find('?') {
        Some(mark) => (&text[..authority + mark], &text[authority + mark + 1..]),
        None => (text, ""),
    };
    // What tokio-postgres doesn't know is taken out here: it has no certificates, and three of the
    // six modes.
    let mut tls = TlsSettings::default();
    let (mut search_path, mut target) = (None, None);
    let mut passed_on = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !lists(ACCEPTED_PARAMETERS, name) {
            return Err(ConnectionStringError::UnknownKeyword {
                keyword: name.to_owned(),
                accepted: ACCEPTED_PARAMETERS,
            });
        }
        match name {
            "sslmode" => tls.mode = parse_ssl_mode(name, value)?,
            "target_session_attrs" => target = Some(parse_as(name, value, hosts::parse_target)?),
            "search_path" => search_path = decode(name, value, "a list of schemas")?,
            "sslrootcert" => tls.root_certificate = parse_path(name, value)?,
            "sslcert" => tls.client_certificate = parse_path(name, value)?,
            "sslkey" => tls.client_key = parse_path(name, value)?,
            _ => passed_on.push(parameter),
        }
    }
    let url = format!("{address}?{}", passed_on.join("&"));
    let mut config: tokio_postgres::Config =
        url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            ConnectionStringError::Url(cause)
        })?;
    if config.get_ssl_negotiation() == SslNegotiation::Direct {
        let (keyword, expected) = ("sslnegotiation".to_owned(), "postgres");
        return Err(ConnectionStringError::Value { keyword, expected });
    }
    let ports = config.get_ports().len();
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    if ports > 1 && ports != hosts {
        return Err(ConnectionStringError::Ports);
    }
    config.target_session_attrs(target.unwrap_or_else(|| target_default(&config)));
    Ok(ConnectionSettings { config, tls, search_path })
}

/// The path of a file in a parameter of a URL.
fn parse_path(keyword: &str, value: &str) -> Result<Option<PathBuf>, ConnectionStringError> {
    Ok(decode(keyword, value, "the path of a file")?.map(PathBuf::from))
}

/// The text in a parameter of a URL, if there is any.
fn decode(
    keyword: &str,
    value: &str,
    expected: &'static str,
) -> Result<Option<String>, ConnectionStringError> {
    let text = percent_decode_str(value).decode_utf8();
    let text =
        text.map_err(|_| ConnectionStringError::Value { keyword: keyword.to_owned(), expected })?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

fn parse_as<T>(
    keyword: &str,
    value: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, ConnectionStringError> {
    let keyword = keyword.to_owned();
    parse(value).map_err(|expected| ConnectionStringError::Value { keyword, expected })
}

fn lists(names: &str, name: &str) -> bool {
    names.split(", ").any(|listed| listed == name)
}

fn parse_keywords(text: &str) -> Result<ConnectionSettings, ConnectionStringError> {
    let mut settings = ConnectionSettings {
        config: tokio_postgres::Config::new(),
        tls: TlsSettings::default(),
        search_path: None,
    };
    let mut named = NamedHosts::default();
    let mut seen: Vec<String> = Vec::new();
    let mut rest = text;
    let mut position = 0;
    while !rest.trim_start_matches([';', ' ']).is_empty() {
        position += 1;
        rest = rest.trim_start_matches([';', ' ']);
        let end = rest.find([';', '=']).unwrap_or(rest.len());
        let keyword = rest[..end].trim();
        if !rest[end..].starts_with('=') || keyword.is_empty() {
            return Err(match text.contains(';') {
                true => ConnectionStringError::NotAnItem(position),
                false => ConnectionStringError::UnknownForm,
            });
        }
        let (value, after) = take_value(keyword, &rest[end + 1..])?;
        rest = after;
        let meaning = canonical_keyword(keyword);
        if seen.contains(&meaning) {
            return Err(ConnectionStringError::Repeated(keyword.to_owned()));
        }
        // Right after a password, an unknown keyword is most likely the rest of that password.
        let follows_password = seen.last().is_some_and(|previous| previous == "password");
        match apply(&mut settings, &mut named, keyword, &meaning, &value) {
            Err(ConnectionStringError::UnknownKeyword { .. }) if follows_password => {
                return Err(ConnectionStringError::NotAnItem(position));
            }
            applied => applied?,
        }
        seen.push(meaning);
    }
    let config = &mut settings.config;
    named.apply(config)?;
    if !seen.iter().any(|meaning| meaning == TARGET) {
        config.target_session_attrs(target_default(config));
    }
    Ok(settings)
}

const TARGET: &str = "targetsessionattributes";

fn apply(
    settings: &mut ConnectionSettings,
    named: &mut NamedHosts,
    keyword: &str,
    meaning: &str,
    value: &str,
) -> Result<(), ConnectionStringError> {
    let wrong = |expected| ConnectionStringError::Value { keyword: keyword.to_owned(), expected };
    let seconds = |expected| {
        let parsed = value.parse::<u64>().ok().filter(|seconds| *seconds <= 3600);
        parsed.map(Duration::from_secs).ok_or_else(|| wrong(expected))
    };
    let ConnectionSettings { config, tls, search_path } = settings;
    // Npgsql takes a keyword without a value for one that was not given.
    match meaning {
        known if lists(WITHOUT_EFFECT, known) => {}
        "host" | "port" | "database" | "username" | "password" | "sslmode" | "timeout"
        | "keepalive" | "applicationname" | "rootcertificate" | "sslcertificate" | "sslkey"
        | "searchpath" | TARGET | "loadbalancehosts"
            if value.is_empty() => {}
        "host" => named.set_hosts(value).map_err(wrong)?,
        "port" => named.set_ports(value).map_err(wrong)?,
        TARGET => drop(config.target_session_attrs(hosts::parse_target(value).map_err(wrong)?)),
        "loadbalancehosts" => {
            config.load_balance_hosts(hosts::parse_balance(value).map_err(wrong)?);
        }
        "searchpath" => *search_path = Some(value.to_owned()),
        "database" => drop(config.dbname(value)),
        "username" => drop(config.user(value)),
        "password" => drop(config.password(value)),
        "sslmode" => tls.mode = parse_ssl_mode(keyword, value)?,
        "rootcertificate" => tls.root_certificate = Some(value.into()),
        "sslcertificate" => tls.client_certificate = Some(value.into()),
        "sslkey" => tls.client_key = Some(value.into()),
        "timeout" => {
            let timeout = seconds("a number of seconds from 0 (no limit) to 3600")?;
            if !timeout.is_zero() {
                config.connect_timeout(timeout);
            }
        }
        "keepalive" => {
            let idle = seconds("a number of seconds from 0 (off) to 3600")?;
            config.keepalives(!idle.is_zero());
            if !idle.is_zero() {
                config.keepalives_idle(idle);
            }
        }
        "applicationname" => drop(config.application_name(value)),
        _ => {
            return Err(ConnectionStringError::UnknownKeyword {
                keyword: keyword.to_owned(),
                accepted: ACCEPTED_KEYWORDS,
            });
        }
    }
    Ok(())
}

fn parse_ssl_mode(keyword: &str, value: &str) -> Result<SslMode, ConnectionStringError> {
    match value.replace(['-', ' '], "").to_ascii_lowercase().as_str() {
        "disable" => Ok(SslMode::Disable),
        "allow" => Ok(SslMode::Allow),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verifyca" => Ok(SslMode::VerifyCa),
        "verifyfull" => Ok(SslMode::VerifyFull),
        _ => Err(ConnectionStringError::Value {
            keyword: keyword.to_owned(),
            expected: "disable, allow, prefer, require, verify-ca or verify-full",
        }),
    }
}

#[cfg(test)]
mod tests;
