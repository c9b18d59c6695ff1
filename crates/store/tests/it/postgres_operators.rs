//! What operators do to a database under a running server: each time the store says what is wrong,
//! refuses no edit for it, and goes on once it is mended.

use synckit_engine::position::Seq;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{Cause, Delivery, OpenError, StorageProvider};
use synckit_testkit::{Database, Postgres};

use crate::outages::{append_until_stored, edit};

/// Calls until the store says what is wrong: connections that were cut come up one by one before.
const CALLS_MAX: usize = 100;

/// Of the role that the store comes as, by password; superusers are let in whatever happens.
const ACCESS: &str = "host all app 127.0.0.1/32 scram-sha-256";

const CUT: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
    WHERE usename = 'app'";

struct Ground {
    database: Database,
    /// To reach the server from elsewhere.
    outside: Database,
}

impl Ground {
    async fn new() -> Self {
        let postgres = Postgres::start_private_with_access(&[ACCESS]).await;
        let (database, outside) =
            (postgres.create_database().await, postgres.create_database().await);
        outside.execute("CREATE ROLE app LOGIN PASSWORD 'right'").await;
        let owner = format!("ALTER DATABASE {} OWNER TO app", database.name());
        outside.execute(&owner).await;
        Self { database, outside }
    }

    fn provider_with(&self, password: &str) -> PostgresProvider {
        let url = self.database.url_as("app", password);
        let options = PostgresOptions::new(url.parse().expect("a URL"));
        PostgresProvider::new(&options).expect("valid options")
    }

    /// The database goes wrong by these statements and is mended by those; connections are cut where
    /// only a new one meets the trouble.
    async fn check(&self, cause: Cause, wrong: &str, mended: &str, cut: bool) {
        let execute = async |sql: &str| match sql.strip_prefix("outside: ") {
            Some(sql) => self.outside.execute(sql).await,
            None => self.database.execute(sql).await,
        };
        let provider = self.provider_with("right");
        let store = provider.documents();
        assert_eq!(append_until_stored(store, &edit("doc", 1)).await, Delivery::Stored(Seq(1)));

        execute(wrong).await;
        if cut {
            self.outside.execute(CUT).await;
        }
        let mut causes = Vec::new();
        while causes.last() != Some(&Some(cause)) {
            let error = store.append(&edit("doc", 2)).await.expect_err(wrong);
            assert!(error.is_unavailable(), "{wrong}: {error:?}");
            causes.push(error.cause());
            assert!(causes.len() < CALLS_MAX, "{wrong}: {causes:?}");
        }

        execute(mended).await;
        if cut {
            self.outside.execute(CUT).await;
        }
        assert_eq!(append_until_stored(store, &edit("doc", 2)).await, Delivery::Stored(Seq(2)));
        assert_eq!(append_until_stored(store, &edit("doc", 2)).await, Delivery::Repeated(Seq(2)));
        provider.check_health().await.expect("well again");
        store.delete(&edit("doc", 1)[0].document).await.expect("delete");
    }
}

#[tokio::test]
async fn what_is_changed_under_a_running_server_is_named_and_refuses_no_edit() {
    let ground = Ground::new().await;
    ground.provider_with("right").initialize().await.expect("initialize");
    let name = ground.database.name();
    let database = |change: &str| format!("outside: ALTER DATABASE {name} {change}");
    let renamed = format!("{name}_away");
    let back = format!("outside: ALTER DATABASE {renamed} RENAME TO {name}");
    let away = format!("{CUT}; ALTER DATABASE {name} RENAME TO {renamed}");
    let role = |change: &str| format!("ALTER ROLE app {change}");
    for (cause, wrong, mended, cut) in [
        (Cause::CredentialsRefused, role("PASSWORD 'other'"), role("PASSWORD 'right'"), true),
        (Cause::CredentialsRefused, role("NOLOGIN"), role("LOGIN"), true),
        (Cause::Overloaded, role("CONNECTION LIMIT 0"), role("CONNECTION LIMIT -1"), true),
        (
            Cause::PermissionMissing,
            "REVOKE INSERT ON deltas FROM app".to_owned(),
            "GRANT INSERT ON deltas TO app".to_owned(),
            false,
        ),
        (
            Cause::SchemaMissing,
            "ALTER TABLE deltas RENAME TO away".to_owned(),
            "ALTER TABLE away RENAME TO deltas".to_owned(),
            false,
        ),
        (
            Cause::SchemaMissing,
            "ALTER TABLE deltas ADD COLUMN tenant text NOT NULL DEFAULT 'one'; \
             ALTER TABLE deltas ALTER tenant DROP DEFAULT"
                .to_owned(),
            "ALTER TABLE deltas DROP COLUMN tenant".to_owned(),
            false,
        ),
        (
            Cause::ReadOnly,
            database("SET default_transaction_read_only = on"),
            database("RESET default_transaction_read_only"),
            true,
        ),
        (Cause::DatabaseMissing, format!("outside: {away}"), back, false),
    ] {
        ground.check(cause, &wrong, &mended, cut).await;
    }
}

#[tokio::test]
async fn a_start_tells_a_mistake_of_the_configuration_from_a_database_that_is_not_there_yet() {
    let ground = Ground::new().await;
    let error = ground.provider_with("wrong").initialize().await.unwrap_err();
    assert!(matches!(error, OpenError::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains("28P01"), "{error}");

    let provider = ground.provider_with("right");
    for (wrong, mended, is_configuration) in [
        ("ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN", true),
        ("ALTER ROLE app CONNECTION LIMIT 0", "ALTER ROLE app CONNECTION LIMIT -1", false),
        (
            "ALTER ROLE app SET default_transaction_read_only = on",
            "ALTER ROLE app RESET default_transaction_read_only",
            false,
        ),
    ] {
        ground.outside.execute(wrong).await;
        ground.outside.execute(CUT).await;
        let error = provider.initialize().await.unwrap_err();
        assert_eq!(error.is_configuration(), is_configuration, "{wrong}: {error:?}");
        ground.outside.execute(mended).await;
        ground.outside.execute(CUT).await;
    }
    provider.initialize().await.expect("nothing is wrong any more");

    let mut options = PostgresOptions::new(ground.database.url().parse().unwrap());
    options.connection.config.dbname("there_is_no_such_database");
    let error = PostgresProvider::new(&options).unwrap().initialize().await.unwrap_err();
    assert!(matches!(error, OpenError::Configuration(_)), "{error:?}");
}
