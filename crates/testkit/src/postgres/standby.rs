//! Streaming standbys: what a private server needs to have them, be one, and take over.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::private::{Private, as_unprivileged};
use super::{Database, Postgres, execute, query};
use crate::Error;

/// What a standby does to catch up, on a machine that compiles and runs other tests at the same time.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(60);

/// How often a server is asked how far it is; replication has nothing to wait for.
const POLL: Duration = Duration::from_millis(20);

impl Postgres {
    /// A standby on a port of its own that streams from this private server. `name` is what
    /// [`Self::wait_for_standbys`] knows it by.
    ///
    /// # Panics
    /// When this is not a private server, or the standby does not start.
    pub async fn start_standby(&self, name: &str) -> Self {
        self.private();
        let started = Private::start_standby(&self.primary_conninfo(name)).await;
        Self::of(started.unwrap_or_else(|error| panic!("no standby of PostgreSQL: {error}")))
    }

    /// From now on a commit waits for these standbys, in the form of `synchronous_standby_names`:
    /// `"a"`, `"FIRST 2 (a, b)"`; for none if it is empty, as in the beginning.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn wait_for_standbys(&self, names: &str) {
        self.set("synchronous_standby_names", names).await;
        self.wait_until(&format!("current_setting('synchronous_standby_names') = '{names}'")).await;
    }

    /// From now on this standby takes in what its primary sends and shows nothing of it. It shows
    /// all of it when it is promoted.
    ///
    /// # Panics
    /// When it is no standby.
    pub async fn pause_replay(&self) {
        self.execute("SELECT pg_wal_replay_pause()").await;
        self.wait_until("pg_get_wal_replay_pause_state() = 'paused'").await;
    }

    /// The end of [`Self::pause_replay`].
    ///
    /// # Panics
    /// As it.
    pub async fn resume_replay(&self) {
        self.execute("SELECT pg_wal_replay_resume()").await;
    }

    /// From now on this standby hears nothing from its primary: what that commits is lost if this
    /// one is promoted. [`Self::follow`] ends it.
    ///
    /// # Panics
    /// As [`Self::pause_replay`].
    pub async fn stop_receiving(&self) {
        self.set("primary_conninfo", "").await;
        self.wait_until("NOT EXISTS (SELECT FROM pg_stat_wal_receiver)").await;
    }

    /// Makes this standby, which is called `name`, stream from that server.
    ///
    /// # Panics
    /// As [`Self::pause_replay`].
    pub async fn follow(&self, primary: &Self, name: &str) {
        self.set("primary_conninfo", &primary.primary_conninfo(name)).await;
        let streams = format!(
            "EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming' \
             AND sender_port = {})",
            primary.address.port
        );
        self.wait_until(&streams).await;
    }

    /// Waits until this standby shows what that server has committed by now.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn caught_up_with(&self, primary: &Self) {
        let rows = primary.rows("SELECT pg_current_wal_flush_lsn()").await;
        self.wait_until(&format!("pg_last_wal_replay_lsn() >= '{}'", rows[0][0])).await;
    }

    /// Makes a primary of this standby, and waits until it is one. The primary of before is not
    /// asked: it may be dead, or go on and be a second one.
    ///
    /// # Panics
    /// When it is no standby or does not become a primary.
    pub async fn promote(&self) {
        self.execute("SELECT pg_promote()").await;
        self.wait_until("NOT pg_is_in_recovery()").await;
    }

    /// Starts a server that was stopped or killed on the port that it had, as a standby with the
    /// data of `primary`; its own are gone. [`Self::start_again`] starts it as what it was: beside a
    /// promoted standby, a second primary.
    ///
    /// # Panics
    /// When it runs, is not a private one, or does not start.
    pub async fn start_again_as_standby(&self, primary: &Self, name: &str) {
        let conninfo = primary.primary_conninfo(name);
        let mut private = self.private().lock().await;
        private
            .start_again_as_standby(&conninfo)
            .await
            .unwrap_or_else(|error| panic!("start PostgreSQL as a standby: {error}"));
    }

    /// Stops all its processes where they are: connections stay and new ones are accepted by the
    /// kernel, and nothing is said on any.
    ///
    /// # Panics
    /// When it is not a private one, or does not run.
    pub async fn freeze(&self) {
        self.private().lock().await.freeze();
    }

    /// Lets a frozen server go on.
    ///
    /// # Panics
    /// As [`Self::freeze`].
    pub async fn thaw(&self) {
        self.private().lock().await.thaw();
    }

    /// `host:port`
    pub fn server_address(&self) -> String {
        format!("{}:{}", self.address.host, self.address.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port
    }

    fn primary_conninfo(&self, name: &str) -> String {
        let address = &self.address;
        format!(
            "host={} port={} user={} application_name={name}",
            address.host, address.port, address.user
        )
    }

    /// `ALTER SYSTEM`, which a standby obeys too.
    async fn set(&self, setting: &str, value: &str) {
        self.execute(&format!("ALTER SYSTEM SET {setting} = '{value}'")).await;
        self.execute("SELECT pg_reload_conf()").await;
    }

    async fn execute(&self, sql: &str) {
        execute(&self.address, sql, CATCH_UP_DEADLINE)
            .await
            .unwrap_or_else(|error| panic!("execute {sql}: {error}"));
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        query(&self.address, sql, CATCH_UP_DEADLINE)
            .await
            .unwrap_or_else(|error| panic!("query {sql}: {error}"))
    }

    /// Asks until `condition`, an expression of SQL, is true.
    async fn wait_until(&self, condition: &str) {
        let asking = async {
            let mut poll = tokio::time::interval(POLL);
            while self.rows(&format!("SELECT ({condition})::text")).await[0][0] != "true" {
                poll.tick().await;
            }
        };
        let came = tokio::time::timeout(CATCH_UP_DEADLINE, asking).await;
        assert!(came.is_ok(), "not after {CATCH_UP_DEADLINE:?}: {condition}");
    }
}

impl Database {
    /// This database as another server has it, which replicates it. Not dropped with the value.
    #[must_use]
    pub fn on(&self, server: &Postgres) -> Self {
        Self {
            address: server.address.with_database(&self.name),
            name: self.name.clone(),
            server: server.clone(),
            is_dropped: false,
        }
    }
}

impl Private {
    /// Copies the server that `conninfo` leads to and starts a standby of it.
    async fn start_standby(conninfo: &str) -> Result<Self, Error> {
        let mut private = Self::prepare_empty()?;
        private.copy_from(conninfo).await?;
        private.start_on_a_free_port().await?;
        Ok(private)
    }

    async fn start_again_as_standby(&mut self, conninfo: &str) -> Result<(), Error> {
        std::fs::remove_dir_all(self.data())
            .map_err(Error::while_doing("remove the data of the old primary"))?;
        self.copy_from(conninfo).await?;
        self.start_again().await
    }

    async fn copy_from(&self, conninfo: &str) -> Result<(), Error> {
        let mut words = as_unprivileged();
        words.push(self.programs().join("pg_basebackup").into());
        words.extend(["--pgdata".into(), self.data().into()]);
        words.extend(["--dbname".into(), conninfo.into()]);
        words.extend(
            ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
                .map(OsString::from),
        );
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir("/").stdin(Stdio::null());
        // It waits for a checkpoint: on a thread of its own, so that the test goes on meanwhile.
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .map_err(|_| Error::new("pg_basebackup was given up"))?
            .map_err(Error::while_doing("run pg_basebackup"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!("pg_basebackup failed, {}:\n{text}", output.status)))
    }
}
