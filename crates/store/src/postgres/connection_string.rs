//! Reads the two written forms of a PostgreSQL address: a `postgresql://` URL, and the
//! `Host=…;Port=…;Database=…` form of Npgsql, which existing deployments carry.
//!
//! Strict on purpose: a keyword that is not understood is an error, because most of them change
//! what the connection promises. Errors name keywords and never repeat a value, since any value
//! may be a password, or a piece of one that was not quoted. Nothing here opens a connection.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};

/// What a connection string means; its `Debug` form hides the password.
pub type ConnectionSettings = tokio_postgres::Config;

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
    /// The string demands encryption.
    #[error("`{0}` demands TLS, which this version does not support for PostgreSQL connections")]
    TlsUnsupported(String),
    /// More than one `@` in a URL: a part of the password would be taken for the host.
    #[error("the URL has more than one `@`; write `%40` for an `@` in the user or the password")]
    UnescapedAt,
    /// The URL parser refused; its messages name options only.
    #[error("{0}")]
    Url(String),
}

const ACCEPTED_KEYWORDS: &str = "Host, Port, Database, Username, Password, SSL Mode, Timeout, \
    Keepalive, Application Name (and, without effect, settings of Npgsql's own pool and buffers)";

const ACCEPTED_PARAMETERS: &str = "host, hostaddr, port, user, password, dbname, sslmode, \
    application_name, options, connect_timeout, tcp_user_timeout, keepalives, keepalives_idle, \
    keepalives_interval, keepalives_retries, target_session_attrs, load_balance_hosts, \
    channel_binding, sslnegotiation";

/// Keywords that tune the .NET client itself and mean nothing to the database or to durability.
/// The size of this server's pool has settings of its own.
const WITHOUT_EFFECT: &str = "autoprepareminusages, connectionidlelifetime, connectionlifetime, \
    connectionpruninginterval, enlist, includeerrordetail, loadtablecomposites, logparameters, \
    maxautoprepare, maximumpoolsize, minimumpoolsize, multiplexing, noresetonclose, \
    persistsecurityinfo, pooling, readbuffersize, trustservercertificate, writebuffersize";

/// Reads either form; the result has a host and never demands TLS.
pub fn parse(text: &str) -> Result<ConnectionSettings, ConnectionStringError> {
    let text = text.trim();
    let mut settings = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        parse_url(text)?
    } else if text.split('=').next().is_some_and(|start| start.contains("://")) {
        return Err(ConnectionStringError::UnknownForm);
    } else {
        parse_keywords(text)?
    };
    if settings.get_hosts().is_empty() && settings.get_hostaddrs().is_empty() {
        return Err(ConnectionStringError::MissingHost);
    }
    if settings.get_application_name().is_none() {
        settings.application_name(DEFAULT_APPLICATION_NAME);
    }
    Ok(settings)
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
    // `sslmode` is taken out here because tokio-postgres knows three of its six values.
    let mut ssl_mode = SslMode::Prefer;
    let mut passed_on = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !lists(ACCEPTED_PARAMETERS, name) {
            return Err(ConnectionStringError::UnknownKeyword {
                keyword: name.to_owned(),
                accepted: ACCEPTED_PARAMETERS,
            });
        }
        if name == "sslmode" {
            ssl_mode = parse_ssl_mode(name, value)?;
        } else {
            passed_on.push(parameter);
        }
    }
    let url = format!("{address}?{}", passed_on.join("&"));
    let mut settings: ConnectionSettings =
        url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            ConnectionStringError::Url(cause)
        })?;
    if settings.get_channel_binding() == ChannelBinding::Require {
        return Err(ConnectionStringError::TlsUnsupported("channel_binding".to_owned()));
    }
    if settings.get_ssl_negotiation() == SslNegotiation::Direct {
        return Err(ConnectionStringError::TlsUnsupported("sslnegotiation".to_owned()));
    }
    settings.ssl_mode(ssl_mode);
    Ok(settings)
}

fn lists(names: &str, name: &str) -> bool {
    names.split(", ").any(|listed| listed == name)
}

fn parse_keywords(text: &str) -> Result<ConnectionSettings, ConnectionStringError> {
    let mut settings = ConnectionSettings::new();
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
        match apply(&mut settings, keyword, &meaning, &value) {
            Err(ConnectionStringError::UnknownKeyword { .. }) if follows_password => {
                return Err(ConnectionStringError::NotAnItem(position));
            }
            applied => applied?,
        }
        seen.push(meaning);
    }
    Ok(settings)
}

/// One name for each keyword, whatever its spelling.
fn canonical_keyword(keyword: &str) -> String {
    let compact = keyword.replace(' ', "").to_ascii_lowercase();
    match compact.as_str() {
        "server" => "host".to_owned(),
        "db" => "database".to_owned(),
        "user" | "userid" => "username".to_owned(),
        "pwd" => "password".to_owned(),
        _ => compact,
    }
}

/// Splits the value off the front of the text behind a `=`.
fn take_value<'text>(
    keyword: &str,
    text: &'text str,
) -> Result<(String, &'text str), ConnectionStringError> {
    let text = text.trim_start();
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let end = text.find(';').unwrap_or(text.len());
        return Ok((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let not_closed = || ConnectionStringError::Quote(keyword.to_owned());
    let mut value = String::new();
    let mut rest = &text[1..];
    loop {
        let (part, after) = rest.split_once(quote).ok_or_else(not_closed)?;
        value.push_str(part);
        match after.strip_prefix(quote) {
            Some(after_pair) => {
                value.push(quote);
                rest = after_pair;
            }
            None if after.trim_start().is_empty() || after.trim_start().starts_with(';') => {
                return Ok((value, after.trim_start()));
            }
            None => return Err(not_closed()),
        }
    }
}

fn apply(
    settings: &mut ConnectionSettings,
    keyword: &str,
    meaning: &str,
    value: &str,
) -> Result<(), ConnectionStringError> {
    let wrong = |expected| ConnectionStringError::Value { keyword: keyword.to_owned(), expected };
    let seconds = |expected| {
        let parsed = value.parse::<u64>().ok().filter(|seconds| *seconds <= 3600);
        parsed.map(Duration::from_secs).ok_or_else(|| wrong(expected))
    };
    // Npgsql takes a keyword without a value for one that was not given.
    match meaning {
        known if lists(WITHOUT_EFFECT, known) => {}
        "host" | "port" | "database" | "username" | "password" | "sslmode" | "timeout"
        | "keepalive" | "applicationname"
            if value.is_empty() => {}
        "host" if value.contains([' ', ',', '=', '@']) => {
            return Err(wrong("one host name, IP address or socket directory"));
        }
        "host" => drop(settings.host(value)),
        "port" => match value.parse::<u16>() {
            Ok(port) if port > 0 => drop(settings.port(port)),
            _ => return Err(wrong("a port from 1 to 65535")),
        },
        "database" => drop(settings.dbname(value)),
        "username" => drop(settings.user(value)),
        "password" => drop(settings.password(value)),
        "sslmode" => drop(settings.ssl_mode(parse_ssl_mode(keyword, value)?)),
        "timeout" => {
            let timeout = seconds("a number of seconds from 0 (no limit) to 3600")?;
            if !timeout.is_zero() {
                settings.connect_timeout(timeout);
            }
        }
        "keepalive" => {
            let idle = seconds("a number of seconds from 0 (off) to 3600")?;
            settings.keepalives(!idle.is_zero());
            if !idle.is_zero() {
                settings.keepalives_idle(idle);
            }
        }
        "applicationname" => drop(settings.application_name(value)),
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
        // "Allow" prefers plain text and "Prefer" falls back to it: both hold without TLS.
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" | "verifyca" | "verifyfull" => {
            Err(ConnectionStringError::TlsUnsupported(keyword.to_owned()))
        }
        _ => Err(ConnectionStringError::Value {
            keyword: keyword.to_owned(),
            expected: "disable, allow or prefer",
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, database: &str, user: &str, password: &str) {
        let settings = parse(text).unwrap();
        assert_eq!(settings.get_hosts(), [Host::Tcp(host.to_owned())]);
        assert_eq!(settings.get_ports().first().copied().unwrap_or(5432), port);
        assert_eq!(settings.get_dbname(), Some(database));
        assert_eq!(settings.get_user(), Some(user));
        assert_eq!(settings.get_password(), Some(password.as_bytes()));
    }

    #[track_caller]
    fn check_refused(text: &str, message_start: &str) {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.starts_with(message_start), "{message}");
        assert!(!message.contains("hush"), "a value is shown: {message}");
    }

    #[test]
    fn both_forms_mean_the_same() {
        let npgsql = "Host=localhost;Port=5432;Database=synckit_test;Username=synckit;Password=pw";
        check(npgsql, "localhost", 5432, "synckit_test", "synckit", "pw");
        for scheme in ["postgres", "postgresql"] {
            let url = format!("{scheme}://synckit:pw@localhost:5432/synckit_test");
            check(&url, "localhost", 5432, "synckit_test", "synckit", "pw");
        }
    }

    #[test]
    fn keywords_have_aliases_and_ignore_case_and_spaces() {
        check(" SERVER = h ; user id = u; PWD= p ;DB=d;; ", "h", 5432, "d", "u", "p");
        check("server=h;User=u;Password=p;Database=d;Port=6543", "h", 6543, "d", "u", "p");
        check("host=h;UserName=u;pwd=p;db=d;Max Auto Prepare=9", "h", 5432, "d", "u", "p");
    }

    #[test]
    fn quoted_values_may_hold_separators_and_doubled_quotes() {
        check("Host=h;Password='a;b''c=\"';DB=d;User=u", "h", 5432, "d", "u", "a;b'c=\"");
        check("Host=h;Password=\"a;\"\"b\" ;DB=d;User=u", "h", 5432, "d", "u", "a;\"b");
        check_refused("Host=h;Password='hush;DB=d", "the quoted value of `Password`");
        check_refused("Host=h;Password='hu'sh;DB=d", "the quoted value of `Password`");
    }

    #[test]
    fn the_program_is_named_unless_the_string_names_one() {
        let name_of = |text| parse(text).unwrap().get_application_name().map(str::to_owned);
        assert_eq!(name_of("Host=h").as_deref(), Some("synckit-server"));
        assert_eq!(name_of("Host=h;Application Name=x").as_deref(), Some("x"));
        assert_eq!(name_of("postgres://h/d?application_name=y").as_deref(), Some("y"));
    }

    #[test]
    fn timeouts_are_seconds_and_zero_switches_them_off() {
        let settings = parse("Host=h;Timeout=7;Keepalive=30").unwrap();
        assert_eq!(settings.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(settings.get_keepalives_idle(), Duration::from_secs(30));
        let settings = parse("Host=h;Timeout=0;Keepalive=0").unwrap();
        assert_eq!(settings.get_connect_timeout(), None);
        assert!(!settings.get_keepalives());
        check_refused("Host=h;Timeout=hush", "the value of `Timeout` must be a number");
    }

    #[test]
    fn demands_for_tls_are_refused_and_offers_are_not() {
        for mode in ["Disable", "Allow", "Prefer"] {
            assert!(parse(&format!("Host=h;SSL Mode={mode}")).is_ok());
            assert!(parse(&format!("postgres://h/d?sslmode={mode}")).is_ok());
        }
        for mode in ["Require", "VerifyCA", "VerifyFull", "verify-ca", "verify-full"] {
            check_refused(&format!("Host=h;SslMode={mode}"), "`SslMode` demands TLS");
            check_refused(&format!("postgres://h/d?sslmode={mode}"), "`sslmode` demands TLS");
        }
        check_refused("postgres://h/d?channel_binding=require", "`channel_binding` demands TLS");
        check_refused("postgres://h/d?sslmode=hush", "the value of `sslmode` must be disable");
    }

    #[test]
    fn what_is_not_understood_is_named_without_its_value() {
        check_refused("Host=h;Colour=hush", "unknown keyword `Colour`; accepted are Host, Port");
        check_refused("postgres://h/d?colour=hush", "unknown keyword `colour`; accepted are host");
        check_refused("Host=h;Server=hush", "`Server` repeats a keyword");
        check_refused("Host=h;Port=hush", "the value of `Port` must be a port");
        check_refused("Host=h port=hush;", "the value of `Host` must be one host name");
        check_refused("mysql://u:hush@h/d?a=b", "neither a postgresql:// URL");
        check_refused("postgres://u:p@h:hush/d", "invalid value for option `port`");
    }

    #[test]
    fn the_rest_of_an_unquoted_password_is_never_shown() {
        check_refused("Host=h;Password=a;hush", "item 3 is not keyword=value");
        check_refused("Host=h;Password=a;hush=b", "item 3 is not keyword=value");
        check_refused("postgres://u:a@hush?hush=1@h/d", "the URL has more than one `@`");
    }

    #[test]
    fn a_string_without_a_host_is_refused() {
        for text in ["", "Port=1", "Host=;Port=1", "postgres://", "postgres:///d"] {
            check_refused(text, "the host is missing");
        }
        assert!(parse("postgres://u@/d?host=/var/run/postgresql").is_ok());
        assert!(parse("Host=/var/run/postgresql;Username=u").is_ok());
    }
}
