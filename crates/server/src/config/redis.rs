//! Reads the address of a Redis server, in the form of StackExchange.Redis or as a URL. As with
//! PostgreSQL, errors name the option and never show a value.

use super::Secret;
use percent_encoding::percent_decode_str;

/// Where a Redis server is and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisEndpoint {
    /// Host name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User of the access control list, if not the default user.
    pub user: Option<String>,
    /// Password, if the server wants one.
    pub password: Option<Secret>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Number of the logical database.
    pub database: u16,
    /// Who says which server it is; then `host` and `port` are those of the first sentinel.
    pub sentinels: Option<Sentinels>,
}

/// Redis Sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// `host` and `port` of each.
    pub addresses: Vec<(String, u16)>,
    /// What they call the group of servers.
    pub service: String,
    /// Their own password, if they want one.
    pub password: Option<Secret>,
}

/// Why the address was refused. No variant carries a value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedisError {
    #[error("the host is missing; expected HOST:PORT or redis://HOST:PORT")]
    MissingHost,
    #[error("option {position} is not NAME=VALUE; expected HOST:PORT,password=…,user=…")]
    NotAnOption { position: usize },
    #[error(
        "unknown option `{0}`; accepted are password, user, ssl, defaultDatabase, \
         serviceName, sentinelPassword"
    )]
    UnknownOption(String),
    #[error("`{0}` must be {1}")]
    Value(String, &'static str),
    #[error(
        "expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE] with special characters \
             written as %XX"
    )]
    Url,
}

const DEFAULT_PORT: u16 = 6379;

const SENTINEL_PORT: u16 = 26_379;

/// Options that tune the .NET client only.
const WITHOUT_EFFECT: [&str; 9] = [
    "abortconnect",
    "allowadmin",
    "asynctimeout",
    "connectretry",
    "connecttimeout",
    "keepalive",
    "name",
    "resolvedns",
    "synctimeout",
];

pub(crate) fn parse(text: &str) -> Result<RedisEndpoint, RedisError> {
    let text = text.trim();
    match text.split_once("://") {
        Some(("redis", rest)) => parse_url(rest, false),
        Some(("rediss", rest)) => parse_url(rest, true),
        _ => parse_options(text),
    }
}

fn parse_url(rest: &str, tls: bool) -> Result<RedisEndpoint, RedisError> {
    let (login, address) = match rest.split_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, rest),
    };
    if address.contains(['@', '?', '#']) {
        return Err(RedisError::Url);
    }
    let (address, database) = address.split_once('/').unwrap_or((address, ""));
    let mut endpoint = RedisEndpoint { tls, ..at(parse_address(address, DEFAULT_PORT)?) };
    if !database.is_empty() {
        endpoint.database = parse_database("database", database)?;
    }
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let decode = |part| percent_decode(part).ok_or(RedisError::Url);
        endpoint.user = Some(decode(user)?).filter(|user| !user.is_empty());
        endpoint.password =
            Some(decode(password)?).filter(|password| !password.is_empty()).map(Secret::new);
    }
    Ok(endpoint)
}

/// Without a login.
fn at((host, port): (String, u16)) -> RedisEndpoint {
    let (user, password, sentinels) = (None, None, None);
    RedisEndpoint { host, port, user, password, tls: false, database: 0, sentinels }
}

fn parse_options(text: &str) -> Result<RedisEndpoint, RedisError> {
    let names_service = text.to_ascii_lowercase().contains("servicename=");
    let port = if names_service { SENTINEL_PORT } else { DEFAULT_PORT };
    let mut items = text.split(',').map(str::trim);
    let first = parse_address(items.next().unwrap_or_default(), port)?;
    let mut endpoint = at(first.clone());
    let (mut addresses, mut service, mut sentinel_password) = (vec![first], None, None);
    let mut follows_address = true;
    let mut follows_password = false;
    for (index, item) in items.enumerate().filter(|(_, item)| !item.is_empty()) {
        let not_an_option = RedisError::NotAnOption { position: index + 1 };
        let Some((name, value)) = item.split_once('=') else {
            // Further sentinels stand before everything else.
            if !names_service || !follows_address {
                return Err(not_an_option);
            }
            addresses.push(parse_address(item, port)?);
            continue;
        };
        follows_address = false;
        match name.trim().to_ascii_lowercase().as_str() {
            "password" => endpoint.password = Some(Secret::new(value)),
            "user" => endpoint.user = Some(value.to_owned()),
            "ssl" => {
                endpoint.tls = value
                    .to_ascii_lowercase()
                    .parse()
                    .map_err(|_| RedisError::Value(name.to_owned(), "true or false"))?;
            }
            "servicename" => service = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "sentinelpassword" => sentinel_password = Some(Secret::new(value)),
            "defaultdatabase" => endpoint.database = parse_database(name, value)?,
            known if WITHOUT_EFFECT.contains(&known) => {}
            // Most likely the rest of a password with a comma in it.
            _ if follows_password => return Err(not_an_option),
            _ => return Err(RedisError::UnknownOption(name.to_owned())),
        }
        follows_password = name.to_ascii_lowercase().ends_with("password");
    }
    endpoint.sentinels =
        service.map(|service| Sentinels { addresses, service, password: sentinel_password });
    Ok(endpoint)
}

fn parse_address(text: &str, default_port: u16) -> Result<(String, u16), RedisError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(RedisError::MissingHost)?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(['=', ' ', '/']) {
        return Err(RedisError::MissingHost);
    }
    let wrong_port = || RedisError::Value("port".to_owned(), "a number from 1 to 65535");
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong_port)?,
        None => default_port,
    };
    Ok((host.to_owned(), port))
}

fn parse_database(name: &str, text: &str) -> Result<u16, RedisError> {
    text.parse().map_err(|_| RedisError::Value(name.to_owned(), "a database number"))
}

/// Strict: the library lets a `%` that begins no `%XX` pass as it is, and so a mistyped password.
fn percent_decode(text: &str) -> Option<String> {
    let is_escape = |part: &[u8]| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit);
    let is_well_formed = text.as_bytes().split(|byte| *byte == b'%').skip(1).all(is_escape);
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    is_well_formed.then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> RedisEndpoint {
        at((host.to_owned(), port))
    }

    #[test]
    fn an_address_may_stand_alone() {
        assert_eq!(parse("localhost:6379"), Ok(endpoint("localhost", 6379)));
        assert_eq!(parse("cache"), Ok(endpoint("cache", 6379)));
        assert_eq!(parse("[::1]:7000"), Ok(endpoint("::1", 7000)));
        assert_eq!(parse("redis://localhost"), Ok(endpoint("localhost", 6379)));
    }

    #[test]
    fn options_and_urls_say_the_same() {
        let expected = RedisEndpoint {
            user: Some("u".to_owned()),
            password: Some(Secret::new("p@s")),
            tls: true,
            database: 3,
            ..endpoint("h", 7000)
        };
        let options = "h:7000, password=p@s,user=u,SSL=True,defaultDatabase=3,abortConnect=false";
        assert_eq!(parse(options), Ok(expected.clone()));
        assert_eq!(parse("rediss://u:p%40s@h:7000/3"), Ok(expected));
    }

    #[test]
    fn a_service_stands_for_sentinels() {
        let text = "a:1,b, [::1]:2,serviceName=group,password=p,sentinelPassword=s";
        let endpoint = parse(text).unwrap();
        assert_eq!(endpoint.password, Some(Secret::new("p")));
        let sentinels = endpoint.sentinels.unwrap();
        let addresses = [("a", 1), ("b", 26_379), ("::1", 2)];
        assert_eq!(sentinels.addresses, addresses.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!(sentinels.service, "group");
        assert_eq!(sentinels.password, Some(Secret::new("s")));
        assert_eq!(parse("h,password=p").unwrap().sentinels, None);
    }

    #[test]
    fn errors_name_the_option_and_hide_the_value() {
        for (text, start) in [
            ("", "the host is missing"),
            ("password=hush", "the host is missing"),
            ("h:hush", "`port` must be"),
            ("h,hush", "option 1 is not NAME=VALUE"),
            ("h,password=a,hush=b", "option 2 is not NAME=VALUE"),
            ("h,hush,password=a", "option 1 is not NAME=VALUE"),
            ("h,serviceName=x,password=a,hush", "option 3 is not NAME=VALUE"),
            ("h,colour=hush", "unknown option `colour`"),
            ("h,ssl=hush", "`ssl` must be true or false"),
            ("redis://u:p@hush@h", "expected redis://"),
            ("redis://u:%zzhush@h", "expected redis://"),
            ("redis://h/hush", "`database` must be"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.starts_with(start) && !message.contains("hush"), "{message}");
        }
        assert!(!format!("{:?}", parse("h,password=hush")).contains("hush"));
    }
}
