//! The addresses to listen on, from the URL form that ASP.NET programs take.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// At least one address.
pub(super) type ListenUrls = Vec<SocketAddr>;

/// The port of an `http://` URL without one.
const HTTP_PORT: u16 = 80;

/// `*` and `+` are all IPv4 addresses, `localhost` is the IPv4 loopback address. Other names are
/// not looked up: what a name means may change between two starts.
pub(super) fn parse_host(text: &str) -> Option<IpAddr> {
    match text {
        "*" | "+" => Some(Ipv4Addr::UNSPECIFIED.into()),
        _ if text.eq_ignore_ascii_case("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        _ => text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text)
            .parse()
            .ok(),
    }
}

pub(super) fn parse_urls(text: &str) -> Result<ListenUrls, String> {
    let urls = text.split(';').map(str::trim).filter(|url| !url.is_empty());
    let addresses = urls.map(parse_url).collect::<Result<ListenUrls, String>>()?;
    if addresses.is_empty() {
        return Err("expected a URL like http://localhost:8081".to_owned());
    }
    let mut seen = HashSet::new();
    // Port 0 is a different port each time.
    if let Some(twice) = addresses.iter().find(|it| it.port() != 0 && !seen.insert(**it)) {
        return Err(format!("{twice} is listed twice"));
    }
    Ok(addresses)
}

fn parse_url(url: &str) -> Result<SocketAddr, String> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err("https is not supported; listen on http and put a proxy that ends TLS \
                        in front"
                .to_owned());
        }
        _ => return Err("expected a URL that starts with http://".to_owned()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("expected a URL without a path".to_owned());
    }
    let port_separator = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match port_separator {
        Some(at) => (&authority[..at], parse_port(&authority[at + 1..])?),
        None => (authority, HTTP_PORT),
    };
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    match parse_host(host).filter(|_| !bare_v6) {
        Some(address) => Ok(SocketAddr::new(address, port)),
        None => {
            Err("expected an IP address (IPv6 in brackets), localhost or * as the host".to_owned())
        }
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.ok_or_else(|| "expected a port from 0 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(urls: &str, addresses: &[&str]) {
        let listen = parse_urls(urls).unwrap();
        assert_eq!(listen.iter().map(ToString::to_string).collect::<Vec<_>>(), addresses);
    }

    #[test]
    fn hosts_and_ports_take_the_forms_of_asp_net() {
        check("http://localhost:8081", &["127.0.0.1:8081"]);
        check("HTTP://LocalHost/", &["127.0.0.1:80"]);
        check("http://*:5; http://[::1]:6/;", &["0.0.0.0:5", "[::1]:6"]);
        check("http://+:0;http://0.0.0.0:0", &["0.0.0.0:0", "0.0.0.0:0"]);
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused_with_the_reason() {
        for (urls, reason) in [
            ("https://localhost", "https is not supported"),
            ("localhost:80", "expected a URL that starts with http://"),
            ("http://example.com:80", "expected an IP address"),
            ("http://::1:80", "expected an IP address"),
            ("http://", "expected an IP address"),
            ("http://localhost/path", "expected a URL without a path"),
            ("http://localhost:65536", "expected a port from 0 to 65535"),
            ("http://localhost:+1", "expected a port from 0 to 65535"),
            ("http://localhost:", "expected a port from 0 to 65535"),
            ("http://localhost;http://127.0.0.1:80", "127.0.0.1:80 is listed twice"),
            (";", "expected a URL like"),
        ] {
            let refusal = parse_urls(urls).unwrap_err();
            assert!(refusal.starts_with(reason), "{urls}: {refusal}");
        }
    }
}
