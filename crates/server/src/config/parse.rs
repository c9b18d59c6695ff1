//! Parsers of single values. Each states what it accepts in words that fit behind "expected", so
//! that errors, the `config` command and the documentation cannot drift apart.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use synckit_store::postgres::connection_string::{self, ConnectionSettings};

use super::listen::{self, ListenUrls};
use super::redis::{self, RedisEndpoint};
use super::{CorsOrigins, History, LogFormat, ProviderName};

/// The words for what a parser takes; apart from [`Parse`] so that the table can hold parsers of
/// different types in one list.
pub(super) trait Accepts: Sync {
    fn accepts(&self) -> String;
}

pub(super) trait Parse<T>: Accepts {
    /// On failure: what is wrong or what was expected, without the value.
    fn parse(&self, text: &str) -> Result<T, String>;

    fn expected(&self) -> String {
        format!("expected {}", self.accepts())
    }
}

/// Digits only: `u64::from_str` would take a leading `+` as well.
fn parse_whole(text: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok()? } else { return None };
    range.contains(&number).then_some(number)
}

/// A whole number within a range.
pub(super) struct Whole(pub(super) RangeInclusive<u64>);

impl Accepts for Whole {
    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }
}

impl<T: TryFrom<u64>> Parse<T> for Whole {
    fn parse(&self, text: &str) -> Result<T, String> {
        let number = parse_whole(text, &self.0).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| Parse::<T>::expected(self))
    }
}

/// A bound on a count, where 0 means that there is none.
pub(super) struct Bound(pub(super) u64);

impl Accepts for Bound {
    fn accepts(&self) -> String {
        format!("a whole number from 0 (no limit) to {}", self.0)
    }
}

impl Parse<Option<NonZeroUsize>> for Bound {
    fn parse(&self, text: &str) -> Result<Option<NonZeroUsize>, String> {
        let number = parse_whole(text, &(0..=self.0)).and_then(|number| number.try_into().ok());
        number.map(NonZeroUsize::new).ok_or_else(|| self.expected())
    }
}

/// A duration in milliseconds.
pub(super) struct Milliseconds(pub(super) RangeInclusive<u64>);

impl Accepts for Milliseconds {
    fn accepts(&self) -> String {
        format!("a whole number of milliseconds from {} to {}", self.0.start(), self.0.end())
    }
}

impl Parse<Duration> for Milliseconds {
    fn parse(&self, text: &str) -> Result<Duration, String> {
        parse_whole(text, &self.0).map(Duration::from_millis).ok_or_else(|| self.expected())
    }
}

/// How long history is kept.
pub(super) struct Retention;

const HISTORY_UNITS: [(char, u64); 3] = [('d', 24 * 3_600), ('h', 3_600), ('m', 60)];

/// Longer is `forever`.
const HISTORY_SECONDS_MAX: u64 = 3_650 * 24 * 3_600;

impl Accepts for Retention {
    fn accepts(&self) -> String {
        "none, forever, or a time up to 3650d such as 30d, 12h or 90m".to_owned()
    }
}

impl Parse<History> for Retention {
    fn parse(&self, text: &str) -> Result<History, String> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "none" => return Ok(History::None),
            "forever" => return Ok(History::Forever),
            _ => {}
        }
        HISTORY_UNITS
            .iter()
            .find_map(|(unit, seconds)| Some((lower.strip_suffix(*unit)?.trim_end(), seconds)))
            .and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(*seconds))
            .filter(|seconds| (1..=HISTORY_SECONDS_MAX).contains(seconds))
            .map(|seconds| History::For(Duration::from_secs(seconds)))
            .ok_or_else(|| self.expected())
    }
}

/// A size in bytes, plain or with a suffix.
pub(super) struct Bytes(pub(super) RangeInclusive<u64>);

const BYTE_SUFFIXES: [(&str, u64); 4] =
    [("kib", 1024), ("mib", 1024 * 1024), ("kb", 1000), ("mb", 1_000_000)];

impl Accepts for Bytes {
    fn accepts(&self) -> String {
        let (from, to) = self.0.clone().into_inner();
        format!("a number of bytes from {from} to {to}, optionally with KiB, MiB, KB or MB")
    }
}

impl Parse<usize> for Bytes {
    fn parse(&self, text: &str) -> Result<usize, String> {
        let lower = text.to_ascii_lowercase();
        let (digits, unit) = BYTE_SUFFIXES
            .iter()
            .find_map(|(suffix, unit)| Some((lower.strip_suffix(suffix)?.trim_end(), *unit)))
            .unwrap_or((&lower, 1));
        parse_whole(digits, &(0..=u64::MAX))
            .and_then(|number| number.checked_mul(unit))
            .filter(|bytes| self.0.contains(bytes))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| self.expected())
    }
}

/// One of several words, whatever its case.
pub(super) struct Word<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Sync> Accepts for Word<T> {
    fn accepts(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }
}

impl<T: Copy + Sync> Parse<T> for Word<T> {
    fn parse(&self, text: &str) -> Result<T, String> {
        let found = self.0.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| self.expected())
    }
}

pub(super) const SWITCH: Word<bool> =
    Word(&[("true", true), ("false", false), ("1", true), ("0", false)]);

pub(super) const PROVIDER: Word<ProviderName> = Word(&[
    ("inmemory", ProviderName::InMemory),
    ("memory", ProviderName::InMemory),
    ("sqlite", ProviderName::Sqlite),
    ("postgresql", ProviderName::PostgreSql),
    ("postgres", ProviderName::PostgreSql),
]);

pub(super) const LOG_FORMAT: Word<LogFormat> =
    Word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

/// Whether a start brings the schema up to date.
pub(super) const MIGRATES: Word<bool> = Word(&[("auto", true), ("check", false)]);

/// The parsers of values with a form of their own.
pub(super) struct Urls;
pub(super) struct Host;
pub(super) struct FilePath;
pub(super) struct PostgresConnection;
pub(super) struct RedisConnection;
pub(super) struct ChannelPrefix;
pub(super) struct Origins;
pub(super) struct LogLevel;

impl Accepts for Urls {
    fn accepts(&self) -> String {
        "http://HOST:PORT, several separated by `;`; HOST is an IP address, localhost or *"
            .to_owned()
    }
}

impl Parse<ListenUrls> for Urls {
    fn parse(&self, text: &str) -> Result<ListenUrls, String> {
        listen::parse_urls(text)
    }
}

impl Accepts for Host {
    fn accepts(&self) -> String {
        "an IP address, localhost, or * for all addresses".to_owned()
    }
}

impl Parse<IpAddr> for Host {
    fn parse(&self, text: &str) -> Result<IpAddr, String> {
        listen::parse_host(text).ok_or_else(|| self.expected())
    }
}

impl Accepts for FilePath {
    fn accepts(&self) -> String {
        "the path of a file in a directory that exists".to_owned()
    }
}

impl Parse<PathBuf> for FilePath {
    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        // The rest is known when the file is opened.
        let is_path = !text.is_empty() && !text.contains('\0');
        if is_path { Ok(PathBuf::from(text)) } else { Err(self.expected()) }
    }
}

impl Accepts for PostgresConnection {
    fn accepts(&self) -> String {
        "Host=…;Port=…;Database=…;Username=…;Password=… or postgresql://USER:PASSWORD@HOST:PORT/DB"
            .to_owned()
    }
}

impl Parse<ConnectionSettings> for PostgresConnection {
    fn parse(&self, text: &str) -> Result<ConnectionSettings, String> {
        connection_string::parse(text).map_err(|error| error.to_string())
    }
}

impl Accepts for RedisConnection {
    fn accepts(&self) -> String {
        "HOST:PORT[,password=…,user=…,ssl=…], SENTINEL:PORT[,SENTINEL:PORT…],serviceName=… or \
         redis://[USER:PASSWORD@]HOST[:PORT][/DB]"
            .to_owned()
    }
}

impl Parse<RedisEndpoint> for RedisConnection {
    fn parse(&self, text: &str) -> Result<RedisEndpoint, String> {
        redis::parse(text).map_err(|error| error.to_string())
    }
}

/// Longer ones cost every message.
const CHANNEL_PREFIX_BYTES_MAX: usize = 64;

impl Accepts for ChannelPrefix {
    fn accepts(&self) -> String {
        format!("1 to {CHANNEL_PREFIX_BYTES_MAX} characters out of ! to ~, without braces")
    }
}

impl Parse<String> for ChannelPrefix {
    fn parse(&self, text: &str) -> Result<String, String> {
        // Braces would put all channels into one slot of a Redis Cluster.
        let is_fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
        let fits = (1..=CHANNEL_PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_fit);
        if fits { Ok(text.to_owned()) } else { Err(self.expected()) }
    }
}

impl Accepts for Origins {
    fn accepts(&self) -> String {
        "*, or origins like https://app.example.com separated by commas, without a path".to_owned()
    }
}

impl Parse<CorsOrigins> for Origins {
    fn parse(&self, text: &str) -> Result<CorsOrigins, String> {
        if text.trim() == "*" {
            return Ok(CorsOrigins::Any);
        }
        let origins: Vec<String> = text.split(',').map(|item| item.trim().to_lowercase()).collect();
        // A browser sends an origin without a path: an entry with one could never match.
        let is_origin = |origin: &String| {
            origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '*', ' '])
            })
        };
        if origins.iter().all(is_origin) {
            Ok(CorsOrigins::Listed(origins))
        } else {
            Err(self.expected())
        }
    }
}

impl Accepts for LogLevel {
    fn accepts(&self) -> String {
        "off, error, warn, info, debug or trace, also for one target as in `info,target=debug`"
            .to_owned()
    }
}

impl Parse<String> for LogLevel {
    fn parse(&self, text: &str) -> Result<String, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let is_directive = |directive: &str| {
            let level = match directive.trim().rsplit_once('=') {
                Some(("", _)) => return false,
                Some((_, level)) => level,
                None => directive.trim(),
            };
            LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
        };
        if text.split(',').all(is_directive) { Ok(text.to_owned()) } else { Err(self.expected()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(
        parser: &impl Parse<T>,
        accepted: impl IntoIterator<Item = (&'static str, T)>,
        refused: &[&str],
    ) {
        for (text, expected) in accepted {
            assert_eq!(parser.parse(text), Ok(expected), "{text}");
        }
        for text in refused {
            assert_eq!(parser.parse(text), Err(parser.expected()), "{text}");
        }
    }

    #[test]
    fn numbers_are_digits_within_the_range() {
        check(
            &Whole(0..=65_535),
            [("0", 0_u16), ("65535", 65_535)],
            &["65536", "+1", "-1", "", "1.0"],
        );
        check(&Whole(1..=16), [("007", 7_usize)], &["0", "17", "99999999999999999999", "٣"]);
        let milliseconds = Milliseconds(10..=20);
        check(&milliseconds, [("10", Duration::from_millis(10))], &["9", "21", "10ms"]);
        check(&Bound(9), [("0", None), ("9", NonZeroUsize::new(9))], &["10", "unlimited"]);
    }

    #[test]
    fn sizes_take_a_suffix() {
        let accepted = [
            ("1024", 1024),
            ("1KiB", 1024),
            ("2 mib", 2_097_152),
            ("3kb", 3000),
            ("1MB", 1_000_000),
        ];
        let refused = ["1023", "3MiB", "MiB", "1GiB", "-1", "1e6", "99999999999999999999MB"];
        check(&Bytes(1024..=2_097_152), accepted, &refused);
        check(&Bytes(0..=u64::MAX), [], &["18446744073709551615KB"]);
    }

    #[test]
    fn words_ignore_case() {
        check(&SWITCH, [("TRUE", true), ("0", false)], &["yes", ""]);
        check(&PROVIDER, [("PostgreSQL", ProviderName::PostgreSql)], &["sqlite3"]);
        check(&LOG_FORMAT, [("json", LogFormat::Json)], &["xml"]);
    }

    #[test]
    fn origins_are_those_that_a_browser_sends() {
        let listed = CorsOrigins::Listed(vec!["https://a.example".into(), "http://b:3000".into()]);
        check(
            &Origins,
            [("*", CorsOrigins::Any), ("https://A.example, http://b:3000", listed)],
            &["", "*,https://a", "a.example", "https://a/", "https://*.example", "https://a,"],
        );
    }

    #[test]
    fn log_levels_may_be_given_for_targets() {
        let directives = "warn,synckit_server=Debug";
        let accepted = [("info", "info".to_owned()), (directives, directives.to_owned())];
        check(&LogLevel, accepted, &["inof", "=info", "a=b", "info,", ""]);
    }
}
