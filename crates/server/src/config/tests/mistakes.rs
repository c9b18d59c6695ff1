//! What is said about mistakes.

use super::*;

#[test]
fn settings_that_contradict_each_other_are_refused() {
    check_refused(
        &[("DB_POOL_MIN", "5"), ("DB_POOL_MAX", "4")],
        "storage.postgresql.pool_min (environment variable DB_POOL_MIN): 5 is refused: expected \
         at most storage.postgresql.pool_max, which is 4 (environment variable DB_POOL_MAX)",
    );
    check_refused(
        &[("WS_HEARTBEAT_INTERVAL", "75000")],
        "ws.heartbeat_timeout_ms (default): 75000 is refused: expected more than \
         ws.heartbeat_interval_ms, which is 75000 (environment variable WS_HEARTBEAT_INTERVAL)",
    );
    check_refused(
        &[("STORAGE__POSTGRESQL__LANES", "4"), ("DB_POOL_MAX", "4")],
        "storage.postgresql.lanes (environment variable STORAGE__POSTGRESQL__LANES): 4 is refused: \
         expected less than storage.postgresql.pool_max, which is 4 (environment variable \
         DB_POOL_MAX)",
    );
    let lowered = [("DB_POOL_MAX", "2"), ("DATABASE_URL", CONNECTION)];
    let lowered = Typed::variables(&lowered).config();
    let postgresql = postgresql(&lowered);
    assert_eq!((postgresql.pool_min, postgresql.pool_max, postgresql.lanes), (2, 2, 1));
}

#[test]
fn all_errors_are_reported_at_once_each_on_a_line() {
    let typed = Typed::file("a.toml", "[storage]\nprovider = 'mysql'\n")
        .and_variables(&[("PORT", "65536"), ("LOG__FORMAT", "a\nb")])
        .and_flag("cors.origin", "https://a.example/");
    assert_eq!(
        typed.refusal().lines().collect::<Vec<_>>(),
        [
            "port (environment variable PORT): \"65536\" is refused: expected a whole number from \
             0 to 65535",
            "storage.provider (file a.toml): \"mysql\" is refused: expected inmemory, memory, \
             sqlite, postgresql or postgres",
            "cors.origin (command line, --cors.origin): \"https://a.example/\" is refused: \
             expected *, or origins like https://app.example.com separated by commas, without a \
             path",
            "log.format (environment variable LOG__FORMAT): \"a\\nb\" is refused: expected text \
             or json",
        ]
    );
    assert_eq!(typed.load().unwrap_err().iter().count(), 4);
}

#[test]
fn unknown_names_are_refused_with_the_nearest_right_one() {
    check_refused(
        &[("STORAGE__PROVDER", "x")],
        "environment variable STORAGE__PROVDER: unknown setting; did you mean STORAGE__PROVIDER?",
    );
    check_refused(
        &[("SYNCKIT_COLOUR", "x")],
        "environment variable SYNCKIT_COLOUR: unknown setting; `synckit-server config` lists the \
         settings",
    );
    assert_eq!(
        Typed::file("a.json", r#"{"Storage":{"Postgresq":{"ConnectionString":"hush"}}}"#).refusal(),
        "Storage.Postgresq.ConnectionString (file a.json): unknown setting; did you mean \
         storage.postgresql.connectionstring?"
    );
    assert_eq!(
        Typed::default().and_flag("prot", "1").refusal(),
        "prot (command line, --prot): unknown setting; did you mean port?"
    );
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    let variables = [("PATH", "/bin"), ("SYNCKIT_TEST_SEED", "1"), ("host", "elsewhere")];
    assert!(Typed::variables(&variables).config().unused.is_empty());
}

#[test]
fn settings_of_the_reference_servers_without_effect_are_collected_by_name() {
    let variables = [
        ("SYNC_BATCH_SIZE", "1"),
        ("JWT_SECRET", "hush"),
        ("SYNCKIT_AUTH_APIKEYS", "hush"),
        ("NODE_ENV", "production"),
    ];
    assert_eq!(
        Typed::variables(&variables).config().unused,
        ["JWT_SECRET", "NODE_ENV", "SYNCKIT_AUTH_APIKEYS", "SYNC_BATCH_SIZE"]
    );
}

#[test]
fn a_value_of_the_wrong_shape_is_refused_by_its_key() {
    for (text, expected) in [
        ("port = [1]", "port (file a.toml): is a list; expected a whole number"),
        ("[port]", "port (file a.toml): is a table; expected a whole number"),
        ("port = 1.0", "port (file a.toml): \"1.0\" is refused: expected a whole number"),
        ("storage = 1", "storage (file a.toml): is a single value; expected a table"),
        (
            "[ws]\nmax_connections = 1\nMaxConnections = 2",
            "ws.max_connections (file a.toml): is given twice",
        ),
        ("[colours]", "colours (file a.toml): unknown setting"),
        ("port 1", "file a.toml: line 1: "),
    ] {
        let refusal = Typed::file("a.toml", text).refusal();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
    for (text, expected) in [
        (r#"{"port":null}"#, "port (file a.json): is null; expected a whole number"),
        (r#"{"port":1,"port":2}"#, "port (file a.json): is given twice"),
        ("[]", "file a.json: expected a table of settings"),
        ("{", "file a.json: EOF while parsing"),
    ] {
        let refusal = Typed::file("a.json", text).refusal();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let refusal = Typed::file("a.yaml", "").refusal();
    assert_eq!(refusal, "file a.yaml: the name must end in .toml or .json");
    let file = Some(Path::new("/nowhere/a.toml").to_owned());
    let flags = ConfigFlags { file, ..ConfigFlags::default() };
    let refusal = Config::load(&flags, std::iter::empty()).unwrap_err().to_string();
    assert!(refusal.starts_with("file /nowhere/a.toml: No such file"), "{refusal}");
}
