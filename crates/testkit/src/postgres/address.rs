//! Where a database is, in the two spellings the tests need.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::config::{Config, Host};

use crate::Error;

const DEFAULT_PORT: u16 = 5432;

#[derive(Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let config: Config =
            url.parse().map_err(|error| Error::new(format!("not a postgres:// URL: {error}")))?;
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => host.clone(),
            [Host::Unix(directory)] => directory.display().to_string(),
            _ => return Err(Error::new("the postgres:// URL must name one host")),
        };
        let user = config
            .get_user()
            .ok_or_else(|| Error::new("the postgres:// URL must name a role"))?
            .to_owned();
        Ok(Self {
            host,
            port: config.get_ports().first().copied().unwrap_or(DEFAULT_PORT),
            password: String::from_utf8_lossy(config.get_password().unwrap_or_default())
                .into_owned(),
            database: config.get_dbname().unwrap_or(&user).to_owned(),
            user,
        })
    }

    pub(super) fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    pub(super) fn url(&self) -> String {
        let [user, password, host, database] =
            [&self.user, &self.password, &self.host, &self.database]
                .map(|part| utf8_percent_encode(part, ESCAPED));
        format!("postgres://{user}:{password}@{host}:{}/{database}", self.port)
    }

    pub(super) fn connection_string(&self) -> String {
        let Self { host, port, user, password, database } = self;
        format!("Host={host};Port={port};Database={database};Username={user};Password={password}")
    }
}

/// All but what a URL may contain as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_parts_when_it_is_parsed_and_written_again() {
        let url = "postgres://a%40b:p%3Aw%2F%25@127.0.0.1:5433/data%20base";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.url(), url);
        assert_eq!(
            address.connection_string(),
            "Host=127.0.0.1;Port=5433;Database=data base;Username=a@b;Password=p:w/%"
        );
    }

    #[test]
    fn a_url_without_port_password_and_database_gets_the_defaults() {
        let address = Address::parse("postgres://synckit@localhost").unwrap();
        assert_eq!(address.url(), "postgres://synckit:@localhost:5432/synckit");
    }

    #[test]
    fn a_url_without_a_role_is_refused() {
        assert!(Address::parse("postgres://localhost/x").is_err());
    }
}
