use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};

use super::*;

#[track_caller]
fn check(text: &str, host: &str, port: u16, database: &str, user: &str, password: &str) {
    let settings = parse(text).unwrap().config;
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
    let name_of = |text| parse(text).unwrap().config.get_application_name().map(str::to_owned);
    assert_eq!(name_of("Host=h").as_deref(), Some("synckit-server"));
    assert_eq!(name_of("Host=h;Application Name=x").as_deref(), Some("x"));
    assert_eq!(name_of("postgres://h/d?application_name=y").as_deref(), Some("y"));
}

#[test]
fn timeouts_are_seconds_and_zero_switches_them_off() {
    let settings = parse("Host=h;Timeout=7;Keepalive=30").unwrap().config;
    assert_eq!(settings.get_connect_timeout(), Some(&Duration::from_secs(7)));
    assert_eq!(settings.get_keepalives_idle(), Duration::from_secs(30));
    let settings = parse("Host=h;Timeout=0;Keepalive=0").unwrap().config;
    assert_eq!(settings.get_connect_timeout(), None);
    assert!(!settings.get_keepalives());
    check_refused("Host=h;Timeout=hush", "the value of `Timeout` must be a number");
}

#[track_caller]
fn check_tls(text: &str, mode: SslMode, root: Option<&str>, client: Option<(&str, &str)>) {
    let expected = TlsSettings {
        mode,
        root_certificate: root.map(PathBuf::from),
        client_certificate: client.map(|(certificate, _)| certificate.into()),
        client_key: client.map(|(_, key)| key.into()),
    };
    assert_eq!(parse(text).unwrap().tls, expected, "{text}");
}

#[test]
fn all_modes_of_tls_are_known_in_both_forms() {
    for (name, npgsql_name, mode) in [
        ("disable", "Disable", SslMode::Disable),
        ("allow", "Allow", SslMode::Allow),
        ("prefer", "Prefer", SslMode::Prefer),
        ("require", "Require", SslMode::Require),
        ("verify-ca", "VerifyCA", SslMode::VerifyCa),
        ("verify-full", "VerifyFull", SslMode::VerifyFull),
    ] {
        check_tls(&format!("Host=h;SSL Mode={npgsql_name}"), mode, None, None);
        check_tls(&format!("Host=h;SslMode={name}"), mode, None, None);
        check_tls(&format!("postgres://h/d?sslmode={name}"), mode, None, None);
    }
    check_tls("Host=h", SslMode::Prefer, None, None);
    check_tls("postgres://h/d", SslMode::Prefer, None, None);
    check_refused("postgres://h/d?sslmode=hush", "the value of `sslmode` must be disable");
    check_refused("postgres://h/d?sslnegotiation=direct", "the value of `sslnegotiation` must be");
    assert!(parse("postgres://h/d?channel_binding=require").is_ok());
}

#[test]
fn certificates_are_files() {
    let files = "Root Certificate=/a b/ca.pem;SSL Certificate=c.pem;SSL Key=k.pem";
    let client = Some(("c.pem", "k.pem"));
    let root = Some("/a b/ca.pem");
    check_tls(&format!("Host=h;SSL Mode=VerifyFull;{files}"), SslMode::VerifyFull, root, client);
    let files = "sslrootcert=/a%20b/ca.pem&sslcert=c.pem&sslkey=k.pem";
    let url = format!("postgres://h/d?{files}&sslmode=verify-ca");
    check_tls(&url, SslMode::VerifyCa, root, client);
    check_refused("Host=h;SSL Certificate=hush", "the client certificate and its key");
    check_refused("postgres://h/d?sslkey=hush", "the client certificate and its key");
    check_refused("postgres://h/d?sslkey=%ff", "the value of `sslkey` must be the path of a file");
}

#[test]
fn a_root_certificate_is_never_ignored() {
    let root = Some("ca.pem");
    check_tls("Host=h;SSL Mode=Require;Root Certificate=ca.pem", SslMode::VerifyCa, root, None);
    for text in ["Host=h;Root Certificate=hush", "postgres://h/d?sslmode=allow&sslrootcert=hush"] {
        check_refused(text, "a root certificate verifies nothing unless the SSL mode is require");
    }
    let system = |mode| format!("postgres://h/d?sslrootcert=system&sslmode={mode}");
    check_tls(&system("verify-full"), SslMode::VerifyFull, None, None);
    check_refused(
        &system("require"),
        "a root certificate verifies nothing unless the SSL mode is v",
    );
}

#[test]
fn an_address_alone_is_a_host() {
    let settings = parse("postgres:///d?hostaddr=127.0.0.1").unwrap();
    assert_eq!(settings.config.get_hosts(), [Host::Tcp("127.0.0.1".to_owned())]);
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

#[track_caller]
fn check_hosts(text: &str, expected: &[(&str, u16)], target: TargetSessionAttrs) {
    let settings = parse(text).unwrap().config;
    let hosts = expected.iter().map(|(host, _)| match host.starts_with('/') {
        true => Host::Unix(host.into()),
        false => Host::Tcp((*host).to_owned()),
    });
    assert_eq!(settings.get_hosts(), hosts.collect::<Vec<_>>(), "{text}");
    let ports: Vec<u16> = expected.iter().map(|(_, port)| *port).collect();
    assert_eq!(settings.get_ports(), ports, "{text}");
    assert_eq!(settings.get_target_session_attrs(), target, "{text}");
}

#[test]
fn several_hosts_may_be_named_in_both_forms() {
    let expected = &[("a", 5432), ("b", 5433)];
    for (text, target) in [
        ("Host=a, b:5433", TargetSessionAttrs::ReadWrite),
        ("Port=5432, 5433;Host=a,b", TargetSessionAttrs::ReadWrite),
        ("Host=a,b:5433;Target Session Attributes=any", TargetSessionAttrs::Any),
        ("postgres://u@a,b:5433/d", TargetSessionAttrs::ReadWrite),
        ("postgres://a:5432,b:5433/d?target_session_attrs=any", TargetSessionAttrs::Any),
    ] {
        check_hosts(text, expected, target);
    }
    let three = &[("::1", 7), ("/run/pg", 6), ("10.0.0.1", 6)];
    check_hosts("Host=[::1]:7,/run/pg,10.0.0.1;Port=6", three, TargetSessionAttrs::ReadWrite);
    check_hosts("Host=::1", &[("::1", 5432)], TargetSessionAttrs::Any);
    check_hosts("Host=h;TargetSessionAttributes=ReadWrite", &[("h", 5432)], READ_WRITE);
    check_hosts("postgres://h:1/?target_session_attrs=primary", &[("h", 1)], READ_WRITE);
    let balanced = parse("Host=a,b;Load Balance Hosts=true").unwrap().config;
    assert_eq!(balanced.get_load_balance_hosts(), LoadBalanceHosts::Random);
}

const READ_WRITE: TargetSessionAttrs = TargetSessionAttrs::ReadWrite;

#[test]
fn hosts_that_make_no_sense_are_refused() {
    check_refused("Host=a,,hush", "the value of `Host` must be one host name");
    check_refused("Host=a,hush:0", "the value of `Host` must be one host name");
    check_refused("Host=a,b;Port=1,2,3", "give one port for all hosts, or one for each");
    check_refused("postgres://a:1,b:2,c:3/d?port=4", "give one port for all hosts");
    let target = "must be any, read-write or primary";
    check_refused("Host=h;Target Session Attributes=hush", "the value of `Target Session Attri");
    for text in ["postgres://h/?target_session_attrs=standby", "Host=h;TargetSessionAttributes=x"] {
        assert!(parse(text).unwrap_err().to_string().contains(target));
    }
}

#[test]
fn the_schemas_to_look_into_may_be_named_in_both_forms() {
    let path = |text| parse(text).unwrap().search_path;
    assert_eq!(path("Host=h"), None);
    let quoted = "Host=h;Search Path='\"$user\", ours'";
    assert_eq!(path(quoted).as_deref(), Some("\"$user\", ours"));
    assert_eq!(path("Host=h;SearchPath=ours,public").as_deref(), Some("ours,public"));
    assert_eq!(path("postgres://h/d?search_path=ours%2Cpublic").as_deref(), Some("ours,public"));
}
