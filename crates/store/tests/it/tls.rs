use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{OpenError, StorageProvider};
use synckit_testkit::{Database, Postgres, ServerTls};
use tempfile::TempDir;

/// Who has to do what: everybody else may come with TLS and without.
const ACCESS: [&str; 5] = [
    "hostssl all encrypted all trust",
    "hostnossl all plain all trust",
    "hostssl all certified all cert",
    "hostssl all bound all scram-sha-256",
    "host all encrypted,plain,certified,bound all reject",
];

const ROLES: &str = "SET password_encryption = 'scram-sha-256'; \
    CREATE ROLE encrypted LOGIN SUPERUSER; CREATE ROLE plain LOGIN SUPERUSER; \
    CREATE ROLE certified LOGIN SUPERUSER; CREATE ROLE bound LOGIN SUPERUSER PASSWORD 'secret'";

/// Somebody who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("the authority")
    }

    fn named(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for a server of these names, and its key.
    fn certify(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(&CertificateParams::new(names).expect("valid names"))
    }

    fn sign(&self, parameters: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server, and the files of those who connect to it.
struct Ground {
    database: Database,
    files: TempDir,
}

impl Ground {
    async fn new((certificate, key): (String, String), authority: &Authority) -> Self {
        let access = ACCESS.map(str::to_owned).to_vec();
        let client_authority = Some(authority.pem.clone());
        let tls = ServerTls { certificate, key, client_authority, access };
        let postgres = Postgres::start_private_with_tls(&tls).await;
        let database = postgres.create_database().await;
        database.execute(ROLES).await;
        let ground = Self { database, files: tempfile::tempdir().expect("a directory") };
        ground.file("ca.pem", &authority.pem);
        ground.file("other-ca.pem", &Authority::named("somebody else").pem);
        ground.file("renewed-ca.pem", &Authority::new().pem);
        ground
    }

    /// The usual one: its certificate is for `localhost`, and for no address.
    async fn usual() -> Self {
        let authority = Authority::new();
        Self::new(authority.certify(&["localhost"]), &authority).await
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).expect("write a file");
    }

    /// `@` in the parameters stands for the directory of the files.
    fn provider(&self, user: &str, host: &str, tls: &str) -> Result<PostgresProvider, OpenError> {
        let address = self.database.server_address();
        let port = address.rsplit(':').next().expect("a port");
        let tls = tls.replace('@', &format!("{}/", self.files.path().display()));
        let url = format!("postgres://{user}@{host}:{port}/{}?{tls}", self.database.name());
        PostgresProvider::new(&PostgresOptions::new(url.parse().expect("a URL")))
    }

    /// Whether the connection that is made so is encrypted, as the server sees it.
    async fn connect(&self, user: &str, host: &str, tls: &str) -> Result<bool, OpenError> {
        let provider = self.provider(user, host, tls)?;
        provider.check_health().await?;
        let asked = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
            WHERE datname = current_database() AND application_name = 'synckit-server'";
        let rows = self.database.rows(asked).await;
        drop(provider);
        self.wait_until_alone().await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        Ok(rows[0] == ["t"])
    }

    /// The server notices the end of a connection a moment later.
    async fn wait_until_alone(&self) {
        let others = "SELECT 1 FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = 'synckit-server'";
        while !self.database.rows(others).await.is_empty() {}
    }

    #[track_caller]
    fn check_encrypted(encrypted: &Result<bool, OpenError>) {
        assert!(matches!(encrypted, Ok(true)), "{encrypted:?}");
    }

    /// Asserts that there is no connection, for ever, and that the text has these parts.
    async fn check_refused(&self, user: &str, host: &str, tls: &str, parts: &[&str]) {
        let error = self.connect(user, host, tls).await.expect_err("refused");
        assert!(matches!(error, OpenError::Configuration(_)), "{tls}: {error:?}");
        for part in parts {
            assert!(error.to_string().contains(part), "{tls}: {error} lacks {part:?}");
        }
    }
}

#[tokio::test]
async fn require_encrypts_and_takes_any_certificate() {
    let ground = Ground::usual().await;
    for host in ["localhost", "127.0.0.1"] {
        Ground::check_encrypted(&ground.connect("synckit", host, "sslmode=require").await);
    }
    Ground::check_encrypted(&ground.connect("synckit", "127.0.0.1", "sslmode=prefer").await);
    for mode in ["disable", "allow"] {
        let plain = ground.connect("synckit", "localhost", &format!("sslmode={mode}")).await;
        assert!(matches!(plain, Ok(false)), "{mode}: {plain:?}");
    }
}

#[tokio::test]
async fn all_work_is_done_on_encrypted_connections() {
    let ground = Ground::usual().await;
    let full = "sslmode=verify-full&sslrootcert=@ca.pem";
    let provider = ground.provider("encrypted", "localhost", full).unwrap();
    provider.initialize().await.unwrap();
    let batch = crate::outages::edit("doc", 1);
    crate::outages::append_until_stored(provider.documents(), &batch).await;
}

#[tokio::test]
async fn a_certificate_has_to_go_back_to_the_root_certificate() {
    let ground = Ground::usual().await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let right = format!("sslmode={mode}&sslrootcert=@ca.pem");
        Ground::check_encrypted(&ground.connect("synckit", "localhost", &right).await);
        for file in ["other-ca.pem", "renewed-ca.pem"] {
            let wrong = format!("sslmode={mode}&sslrootcert=@{file}");
            ground.check_refused("synckit", "localhost", &wrong, &["sslrootcert"]).await;
        }
    }
    // Nobody's platform knows the authority of this test.
    for parameters in ["sslmode=verify-ca", "sslmode=verify-full&sslrootcert=system"] {
        ground.check_refused("synckit", "localhost", parameters, &["sslrootcert"]).await;
    }
}

#[tokio::test]
async fn another_host_than_the_certificate_names_is_refused_by_verify_full_only() {
    let ground = Ground::usual().await;
    let full = "sslmode=verify-full&sslrootcert=@ca.pem";
    ground.check_refused("synckit", "127.0.0.1", full, &["127.0.0.1", "sslmode=verify-ca"]).await;
    let authority_only = "sslmode=verify-ca&sslrootcert=@ca.pem";
    Ground::check_encrypted(&ground.connect("synckit", "127.0.0.1", authority_only).await);
    // The name is the one to verify; the address is only where to go.
    let elsewhere = format!("{full}&hostaddr=127.0.0.1");
    Ground::check_encrypted(&ground.connect("synckit", "localhost", &elsewhere).await);
    ground.check_refused("synckit", "database.example", &elsewhere, &["database.example"]).await;
}

#[tokio::test]
async fn a_certificate_may_name_an_address() {
    let authority = Authority::new();
    let ground = Ground::new(authority.certify(&["127.0.0.1"]), &authority).await;
    let full = "sslmode=verify-full&sslrootcert=@ca.pem";
    Ground::check_encrypted(&ground.connect("synckit", "127.0.0.1", full).await);
    ground.check_refused("synckit", "localhost", full, &["localhost"]).await;
}

#[tokio::test]
async fn what_the_server_demands_is_tried_where_the_mode_leaves_it_open() {
    let ground = Ground::usual().await;
    let hint = ["sslmode=require"];
    ground.check_refused("encrypted", "localhost", "sslmode=disable", &hint).await;
    for mode in ["allow", "prefer", "require"] {
        let encrypted = ground.connect("encrypted", "localhost", &format!("sslmode={mode}")).await;
        Ground::check_encrypted(&encrypted);
    }
    for mode in ["disable", "allow", "prefer"] {
        let plain = ground.connect("plain", "localhost", &format!("sslmode={mode}")).await;
        assert!(matches!(plain, Ok(false)), "{mode}: {plain:?}");
    }
    ground.check_refused("plain", "localhost", "sslmode=require", &["28000"]).await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_the_mode_leaves_it_open() {
    let database = Postgres::start_private().await.create_database().await;
    let ground = Ground { database, files: tempfile::tempdir().unwrap() };
    ground.file("ca.pem", &Authority::new().pem);
    for mode in ["sslmode=require", "sslmode=verify-full&sslrootcert=@ca.pem"] {
        let parts = ["does not support TLS", "ssl = on", "sslmode=prefer"];
        ground.check_refused("synckit", "localhost", mode, &parts).await;
    }
    for mode in ["disable", "allow", "prefer"] {
        let plain = ground.connect("synckit", "localhost", &format!("sslmode={mode}")).await;
        assert!(matches!(plain, Ok(false)), "{mode}: {plain:?}");
    }
}

#[tokio::test]
async fn a_client_may_show_a_certificate() {
    let authority = Authority::new();
    let ground = Ground::new(authority.certify(&["localhost"]), &authority).await;
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "certified");
    let (certificate, key) = authority.sign(&parameters);
    ground.file("client.pem", &certificate);
    ground.file("client.key", &key);
    let files = "sslmode=require&sslcert=@client.pem&sslkey=@client.key";
    Ground::check_encrypted(&ground.connect("certified", "localhost", files).await);
    let without = "sslmode=require";
    ground.check_refused("certified", "localhost", without, &["sslcert and sslkey"]).await;

    for other in ["somebody else", "the authority"] {
        let (certificate, key) = Authority::named(other).sign(&parameters);
        ground.file("client.pem", &certificate);
        ground.file("client.key", &key);
        ground.check_refused("certified", "localhost", files, &["refused the client's side"]).await;
    }
}

#[tokio::test]
async fn a_password_is_bound_to_the_encrypted_channel() {
    let ground = Ground::usual().await;
    let bound = "sslmode=require&channel_binding=require";
    Ground::check_encrypted(&ground.connect("bound:secret", "localhost", bound).await);
    let wrong = ground.connect("bound:wrong", "localhost", bound).await.unwrap_err();
    assert!(matches!(wrong, OpenError::Configuration(_)), "{wrong:?}");
    assert!(!wrong.to_string().contains("wrong"), "{wrong}");
}

#[tokio::test]
async fn a_server_that_signs_its_own_certificate_is_trusted_by_name() {
    let authority = Authority::new();
    // As PostgreSQL's manual makes one: an authority, and the server's at the same time.
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    let ground = Ground::new((certificate.clone(), key.serialize_pem()), &authority).await;
    ground.file("server.pem", &certificate);
    let full = "sslmode=verify-full&sslrootcert=@server.pem";
    Ground::check_encrypted(&ground.connect("synckit", "localhost", full).await);
    ground.check_refused("synckit", "127.0.0.1", full, &["127.0.0.1"]).await;
    let other = "sslmode=verify-full&sslrootcert=@ca.pem";
    ground.check_refused("synckit", "localhost", other, &["invalid peer certificate"]).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let ground = Ground::new(authority.sign(&parameters), &authority).await;
    let full = "sslmode=verify-full&sslrootcert=@ca.pem";
    ground.check_refused("synckit", "localhost", full, &["expired", "renew"]).await;
    Ground::check_encrypted(&ground.connect("synckit", "localhost", "sslmode=require").await);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let authority = Authority::new();
    std::fs::write(path("empty.pem"), "").unwrap();
    std::fs::write(path("broken.pem"), authority.pem.replace("END", "END OF")).unwrap();
    std::fs::write(path("ca.pem"), &authority.pem).unwrap();
    let check = |parameters: String, file: &str| {
        let url = format!("postgres://user:secret@localhost/d?{parameters}");
        let options = PostgresOptions::new(url.parse().unwrap());
        let error = PostgresProvider::new(&options).unwrap_err();
        assert!(matches!(error, OpenError::Configuration(_)), "{error:?}");
        assert!(error.to_string().contains(file), "{error} lacks {file}");
        assert!(!error.to_string().contains("secret"), "{error}");
    };
    for name in ["absent.pem", "empty.pem", "broken.pem"] {
        let file = path(name);
        check(format!("sslmode=verify-ca&sslrootcert={file}"), &file);
        check(format!("sslmode=require&sslcert={file}&sslkey={file}"), &file);
        let (certificate, key) = (path("ca.pem"), &file);
        check(format!("sslmode=require&sslcert={certificate}&sslkey={key}"), &file);
    }
}
