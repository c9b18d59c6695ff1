//! Settings from all sources to a `Config`. The forms of single values are tested beside their
//! parsers.

mod mistakes;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;

use super::*;

/// A configuration under construction: what somebody could type.
#[derive(Default)]
struct Typed {
    flags: ConfigFlags,
    environment: Vec<(OsString, OsString)>,
    directory: Option<tempfile::TempDir>,
}

impl Typed {
    fn variables(variables: &[(&str, &str)]) -> Self {
        Self::default().and_variables(variables)
    }

    fn file(name: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let flags = ConfigFlags { file: Some(path), ..ConfigFlags::default() };
        Self { flags, environment: Vec::new(), directory: Some(directory) }
    }

    fn and_variables(mut self, variables: &[(&str, &str)]) -> Self {
        self.environment.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    fn and_flag(mut self, key: &str, value: &str) -> Self {
        let flag = format!("--{key}");
        let setting = FlagSetting { key: key.to_owned(), value: Secret::new(value), flag };
        self.flags.settings.push(setting);
        self
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.flags, self.environment.iter().cloned())
    }

    #[track_caller]
    fn config(&self) -> Config {
        self.load().unwrap()
    }

    /// The lines of the refusal; the directory of the file is cut out.
    #[track_caller]
    fn refusal(&self) -> String {
        let text = self.load().unwrap_err().to_string();
        assert!(!text.contains("hush"), "a secret is shown: {text}");
        match &self.directory {
            Some(directory) => text.replace(&format!("{}/", directory.path().display()), ""),
            None => text,
        }
    }
}

#[track_caller]
fn check_refused(variables: &[(&str, &str)], expected: &str) {
    assert_eq!(Typed::variables(variables).refusal(), expected);
}

#[track_caller]
fn check_listens(typed: &Typed, addresses: &[&str]) {
    let listen = typed.config().listen;
    assert_eq!(listen.iter().map(ToString::to_string).collect::<Vec<_>>(), addresses);
}

#[track_caller]
fn postgresql(config: &Config) -> &PostgreSqlConfig {
    match &config.storage.provider {
        StorageProvider::PostgreSql(postgresql) => postgresql,
        other => panic!("the provider is {other:?}"),
    }
}

const CONNECTION: &str = "Host=localhost;Database=synckit_test;Username=synckit;Password=hush";

#[test]
fn every_default_is_accepted() {
    let config = Typed::default().config();
    assert_eq!(config.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(config.auth_required, None);
    assert!(matches!(config.storage.provider, StorageProvider::InMemory));
    assert_eq!(config.storage.write_hold, Duration::from_secs(4));
    assert_eq!(config.ws.heartbeat_timeout, Duration::from_secs(75));
    assert_eq!(config.ws.max_connections_per_ip, NonZeroUsize::new(50));
    assert_eq!(config.ws.max_messages_per_minute, None);
    assert_eq!(config.ws.max_frame_bytes, 16 * 1024 * 1024);
    assert_eq!(config.cors, CorsOrigins::Any);
    assert_eq!(config.log, LogConfig { level: "info".to_owned(), format: LogFormat::Text });
    assert!(config.unused.is_empty());
}

#[test]
fn the_default_of_a_setting_that_is_rarely_read_is_accepted_too() {
    let redis = setting::REDIS_CONNECTION.parser.parse("localhost:6379").unwrap();
    assert_eq!((redis.host.as_str(), redis.port), ("localhost", 6379));
}

#[test]
fn a_stronger_source_replaces_a_weaker_one() {
    let file = || Typed::file("a.toml", "port = 1\n[ws]\nmax_connections = 1\n");
    check_listens(&file(), &["0.0.0.0:1"]);
    check_listens(&file().and_variables(&[("PORT", "2")]), &["0.0.0.0:2"]);
    let all = file().and_variables(&[("PORT", "2")]).and_flag("port", "3");
    check_listens(&all, &["0.0.0.0:3"]);
    assert_eq!(all.config().ws.max_connections, NonZeroUsize::new(1));
}

#[test]
fn the_json_form_of_the_predecessor_works() {
    let text = format!(
        r#"{{"Storage":{{"Provider":"postgresql","PostgreSql":{{"ConnectionString":"{CONNECTION}"}},
            "Redis":{{"ConnectionString":"localhost:6379","Enabled":false}}}}}}"#
    );
    let config = Typed::file("appsettings.json", &text).config();
    assert_eq!(postgresql(&config).connection.config.get_dbname(), Some("synckit_test"));
}

#[test]
fn the_case_of_keys_and_their_underscores_do_not_matter() {
    let config = Typed::file("a.toml", "[WS]\nmaxConnections = 7\nmax-frame-bytes = '2 KiB'");
    assert_eq!(config.config().ws.max_connections, NonZeroUsize::new(7));
    assert_eq!(config.config().ws.max_frame_bytes, 2048);
    let config = Typed::variables(&[("Storage__Write_Hold_Ms", "5")]).config();
    assert_eq!(config.storage.write_hold, Duration::from_millis(5));
}

#[test]
fn the_first_environment_name_that_is_set_counts_and_an_empty_one_is_not_set() {
    let variables = [("DB_POOL_MAX", "4"), ("STORAGE__POSTGRESQL__POOL_MAX", "3")];
    let with_database = |variables| {
        let typed = Typed::variables(&[("DATABASE_URL", "postgres://u:hush@h/d")]);
        postgresql(&typed.and_variables(variables).config()).pool_max
    };
    assert_eq!(with_database(&variables), 3);
    assert_eq!(with_database(&[variables[0], (variables[1].0, "")]), 4);
}

#[test]
fn urls_beat_host_and_port_of_the_same_or_a_weaker_source() {
    let seed = Typed::variables(&[("PORT", "1")]).and_flag("urls", "http://localhost:8081");
    check_listens(&seed, &["127.0.0.1:8081"]);
    let both = [("ASPNETCORE_URLS", "http://*:5;http://[::1]:6/"), ("PORT", "1")];
    check_listens(&Typed::variables(&both), &["0.0.0.0:5", "[::1]:6"]);
    check_listens(&Typed::variables(&both).and_flag("port", "7"), &["0.0.0.0:7"]);
    assert_eq!(
        seed.and_flag("port", "1").refusal(),
        "port (command line, --port): is given together with urls; use one of the two"
    );
}

#[track_caller]
fn check_sqlite(typed: &Typed, path: &str) {
    match typed.config().storage.provider {
        StorageProvider::Sqlite(found) => assert_eq!(found, Path::new(path)),
        other => panic!("the provider is {other:?}"),
    }
}

#[test]
fn sqlite_has_a_file_in_the_working_directory_unless_its_path_is_given() {
    let named = [("STORAGE__PROVIDER", "SQLite")];
    let path = [("STORAGE__SQLITE__PATH", "data/a.db")];
    check_sqlite(&Typed::variables(&named), "synckit.db");
    check_sqlite(&Typed::variables(&named).and_variables(&path), "data/a.db");
    check_sqlite(&Typed::variables(&path), "data/a.db");
    check_sqlite(&Typed::file("a.toml", "[storage.sqlite]\npath = '/b.db'"), "/b.db");
    let in_memory = Typed::variables(&path).and_flag("storage.provider", "inmemory").config();
    assert!(matches!(in_memory.storage.provider, StorageProvider::InMemory));
    assert!(in_memory.describe().contains("not used, since storage.provider is given"));
    check_refused(
        &[path[0], ("DATABASE_URL", CONNECTION)],
        "storage.provider is not set, and both storage.postgresql.connectionstring and \
         storage.sqlite.path are: expected postgresql or sqlite, for example in STORAGE__PROVIDER",
    );
}

#[test]
fn a_server_for_development_keeps_documents_unless_something_else_is_said() {
    let dev = |variables: &[(&str, &str)]| {
        let mut typed = Typed::variables(variables);
        typed.flags.development = true;
        typed
    };
    check_sqlite(&dev(&[]), DEVELOPMENT_PATH);
    check_sqlite(&dev(&[("STORAGE__PROVIDER", "sqlite")]), DEVELOPMENT_PATH);
    check_sqlite(&dev(&[("STORAGE__SQLITE__PATH", "a.db")]), "a.db");
    let in_memory = dev(&[("STORAGE__PROVIDER", "inmemory")]).config();
    assert!(matches!(in_memory.storage.provider, StorageProvider::InMemory));
    postgresql(&dev(&[("DATABASE_URL", CONNECTION)]).config());
}

#[test]
fn a_server_for_development_stops_without_delay_unless_one_is_given() {
    let delay = |development, variables: &[(&str, &str)]| {
        let mut typed = Typed::variables(variables);
        typed.flags.development = development;
        typed.config().shutdown_delay.as_millis()
    };
    assert_eq!(delay(false, &[]), 2_000);
    assert_eq!(delay(true, &[]), 0);
    assert_eq!(delay(true, &[("SHUTDOWN__DELAY_MS", "7")]), 7);
}

#[test]
fn a_connection_string_implies_postgresql_unless_the_provider_is_named() {
    let given = ("ConnectionStrings__synckit", CONNECTION);
    let config = Typed::variables(&[given]).config();
    assert_eq!(postgresql(&config).connection.config.get_user(), Some("synckit"));
    assert!(config.describe().contains(
        "storage.provider = \"postgresql\" (follows from storage.postgresql.connectionstring)"
    ));
    let config = Typed::variables(&[given, ("STORAGE__PROVIDER", "InMemory")]).config();
    assert!(matches!(config.storage.provider, StorageProvider::InMemory));
}

#[test]
fn postgresql_without_a_connection_string_is_refused() {
    let refusal = Typed::variables(&[("STORAGE__PROVIDER", "postgres")]).refusal();
    assert!(refusal.starts_with("storage.postgresql.connectionstring is not set"), "{refusal}");
    assert!(refusal.ends_with("for example in STORAGE__POSTGRESQL__CONNECTIONSTRING"));
}

#[test]
fn secrets_are_neither_printed_nor_logged() {
    let variables = [
        ("DATABASE_URL", "postgres://synckit:hush@localhost/d"),
        ("REDIS_URL", "redis://:hush@localhost"),
        ("JWT_SECRET", "hush"),
    ];
    let config = Typed::variables(&variables).config();
    assert_eq!(postgresql(&config).connection.config.get_password(), Some(&b"hush"[..]));
    assert!(!config.describe().contains("hush"));
    assert!(!format!("{config:?}").contains("hush"));
    check_refused(
        &[("DATABASE_URL", "Host=h;Colour=hush;Password=hush")],
        "storage.postgresql.connectionstring (environment variable DATABASE_URL): unknown keyword \
         `Colour`; accepted are Host, Port, Database, Username, Password, SSL Mode, Root \
         Certificate, SSL Certificate, SSL Key, Timeout, Keepalive, Application Name, Search Path, \
         Target Session Attributes, Load Balance Hosts (and, without \
         effect, settings of Npgsql's own pool and buffers)",
    );
    Typed::variables(&[("STORAGE__PROVIDER", "postgres://u:hush@h")]).refusal();
    for broken in ["storage = { Password = \"hush", "password = hush", "hush", "a = 1\na = 'hush'"]
    {
        Typed::file("a.toml", broken).refusal();
        Typed::file("a.json", broken).refusal();
    }
}

#[test]
fn redis_is_read_when_enabled_and_ignored_otherwise() {
    let config = Typed::variables(&[("REDIS_URL", "no address")]).config();
    assert!(config.storage.redis.is_none());
    let enabled = ("STORAGE__REDIS__ENABLED", "1");
    let config = Typed::variables(&[enabled, ("ConnectionStrings__redis", "h:1")]).config();
    let redis = config.storage.redis.as_ref().unwrap();
    let expected = ("h", 1, "synckit:");
    assert_eq!((redis.endpoint.host.as_str(), redis.endpoint.port, &*redis.prefix), expected);
    let address = "storage.redis.connectionstring (environment variable REDIS_URL): the host is \
        missing; expected HOST:PORT or redis://HOST:PORT";
    check_refused(&[enabled, ("REDIS_URL", ":1")], address);
    let prefix = "storage.redis.channelprefix (environment variable REDIS_CHANNEL_PREFIX): ";
    let message = Typed::variables(&[enabled, ("REDIS_CHANNEL_PREFIX", "a b")]).refusal();
    assert!(message.starts_with(prefix), "{message}");
}

#[test]
fn authentication_must_be_switched_off_by_name() {
    let answer = |variables| Typed::variables(variables).config().ensure_authentication_is_off();
    assert_eq!(answer(&[("SYNCKIT_AUTH_REQUIRED", "false")]), Ok(()));
    assert_eq!(answer(&[("AUTH__REQUIRED", "0")]), Ok(()));
    let not_set = answer(&[]).unwrap_err().to_string();
    assert!(not_set.starts_with("auth.required is not set: tokens are not supported yet"));
    assert!(not_set.contains("SYNCKIT_AUTH_REQUIRED=false"));
    let on = answer(&[("SYNCKIT_AUTH_REQUIRED", "true")]).unwrap_err().to_string();
    assert!(on.starts_with("auth.required is true: tokens are not supported yet"));
}

#[test]
fn no_two_settings_share_a_name_and_each_key_is_an_environment_name() {
    let mut names = HashSet::new();
    for about in setting::ALL {
        assert!(names.insert(setting::normalize(about.key)), "{}", about.key);
        let canonical = about.key.replace('.', "__").to_uppercase();
        assert_eq!(about.environment[0], canonical);
        for name in about.environment.iter().filter(|name| **name != about.key.to_uppercase()) {
            assert!(names.insert((*name).to_owned()), "{name}");
        }
    }
}

#[test]
fn the_description_and_the_documentation_name_every_setting() {
    let config = Typed::default().config();
    let documentation = include_str!("../../../../docs/configuration.md");
    for about in setting::ALL {
        for text in [config.describe(), documentation] {
            assert!(text.contains(about.key), "{}", about.key);
            for name in about.environment {
                assert!(text.contains(name), "{name}");
            }
        }
        let default = about.default.unwrap_or("none");
        let row = format!("| `{}` |", about.key);
        let row = documentation.lines().find(|line| line.starts_with(&row)).unwrap();
        assert!(row.contains(default), "{row} lacks the default {default}");
    }
}

#[test]
fn the_example_files_of_the_documentation_load() {
    let documentation = include_str!("../../../../docs/configuration.md");
    for format in ["toml", "json"] {
        let (_, rest) = documentation.split_once(&format!("```{format}\n")).unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let config = Typed::file(&format!("synckit.{format}"), example).config();
        assert_eq!(config.listen, ["0.0.0.0:8081".parse().unwrap()]);
        assert_eq!(config.storage.write_hold, Duration::from_secs(2));
        assert_eq!(postgresql(&config).pool_max, 20);
        assert_eq!(config.ws.max_frame_bytes, 4 * 1024 * 1024);
        assert_eq!(config.ensure_authentication_is_off(), Ok(()));
    }
}
