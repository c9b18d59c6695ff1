//! A PostgreSQL instance of our own: `initdb` and `postgres` in a temporary directory.

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::address::Address;
use super::{PROBE_DEADLINE, execute};
use crate::service::Service;
use crate::{Error, free_port};

/// Recovery after a kill replays the log of the whole test.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How often a starting server is asked. Its log says that it is ready, but a file cannot be waited for.
const START_POLL: Duration = Duration::from_millis(50);

/// Another process can take a free port before PostgreSQL does, but not again and again; and after a
/// kill the orphaned back ends need a moment to notice before the data directory is free.
const START_ATTEMPTS: usize = 20;

/// Between two attempts: what an orphaned back end needs to notice that its server is gone.
const START_ATTEMPT_GAP: Duration = Duration::from_millis(250);

const INSTALL_HINT: &str = "PostgreSQL is not installed; on Debian: apt-get install postgresql";

/// PostgreSQL refuses to run as root; this is the account its Debian package makes.
const UNPRIVILEGED_USER: &str = "postgres";

const SETTINGS: &[&str] = &[
    // What an acknowledgement means is under test.
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "listen_addresses=127.0.0.1",
    // Many test processes, each with servers that hold a pool.
    "max_connections=300",
    "shared_buffers=64MB",
    // A standby that heard nothing for a while finds what it missed, and asks again soon.
    "wal_keep_size=256MB",
    "wal_retrieve_retry_interval=100ms",
];

/// What a private server needs to speak TLS, as PEM text.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The certificate of the server, with those that lead to its authority.
    pub certificate: String,
    /// The key to it.
    pub key: String,
    /// Whose certificates clients may show.
    pub client_authority: Option<String>,
    /// Lines of `pg_hba.conf` in front of those that let everybody in: what some roles have to do.
    /// Everybody else may come with TLS and without.
    pub access: Vec<String>,
}

/// Mounts a file system of memory for one program, which takes it along when it ends.
const WITH_SMALL_DISK: &str = r#"
mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"
"#;

/// Where a server with a small disk has it, in its directory.
const SMALL_DISK: &str = "small-disk";

pub(super) struct Private {
    service: Option<Service>,
    directory: TempDir,
    programs: PathBuf,
    settings: Vec<String>,
    /// What the command that starts the server begins with.
    prefix: Vec<OsString>,
    port: u16,
}

impl Private {
    /// `access`: lines of `pg_hba.conf`, as in [`ServerTls::access`].
    pub(super) async fn start(tls: Option<&ServerTls>, access: &[&str]) -> Result<Self, Error> {
        let mut private = Self::prepare(tls)?;
        private.let_in(access)?;
        private.start_with_retries(free_port).await?;
        Ok(private)
    }

    /// With a file system of this size besides its own, whose path is the second part of the
    /// answer. `None` on a machine that lets this process mount nothing.
    pub(super) async fn start_with_small_disk(
        bytes: u64,
    ) -> Result<Option<(Self, PathBuf)>, Error> {
        let mut private = Self::prepare(None)?;
        let disk = private.directory.path().join(SMALL_DISK);
        std::fs::create_dir(&disk).map_err(Error::while_doing("make a directory to mount to"))?;
        private.prefix = with_small_disk(&disk, bytes)?;
        let mut try_out = Command::new(&private.prefix[0]);
        let try_out = try_out.args(&private.prefix[1..]).arg("true").output();
        if !try_out.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        private.start_with_retries(free_port).await?;
        Ok(Some((private, disk)))
    }

    /// All that it needs to start.
    fn prepare(tls: Option<&ServerTls>) -> Result<Self, Error> {
        let mut private = Self::prepare_empty()?;
        initialise(&private.programs, private.directory.path())?;
        if let Some(tls) = tls {
            private.settings.extend(give_certificates(private.directory.path(), tls)?);
            private.let_in(&tls.access)?;
        }
        Ok(private)
    }

    /// All but the data directory.
    pub(super) fn prepare_empty() -> Result<Self, Error> {
        let programs = find_programs().ok_or_else(|| Error::new(INSTALL_HINT))?;
        let directory = tempfile::Builder::new()
            .prefix("synckit-postgres-")
            .tempdir()
            .map_err(Error::while_doing("make a directory for PostgreSQL"))?;
        give_away(directory.path())?;
        let settings = SETTINGS.iter().map(ToString::to_string).collect();
        let port = free_port();
        Ok(Self { service: None, directory, programs, settings, prefix: Vec::new(), port })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(super) fn programs(&self) -> &Path {
        &self.programs
    }

    /// Puts lines in front of those that let everybody in.
    fn let_in<S: AsRef<str>>(&self, access: &[S]) -> Result<(), Error> {
        let file = self.directory.path().join("data/pg_hba.conf");
        let everybody =
            std::fs::read_to_string(&file).map_err(Error::while_doing("read pg_hba.conf"))?;
        let mut text = String::new();
        for line in access {
            text.push_str(line.as_ref());
            text.push('\n');
        }
        text.push_str(&everybody);
        std::fs::write(&file, text).map_err(Error::while_doing("write pg_hba.conf"))
    }

    pub(super) fn address(&self) -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "synckit".to_owned(),
            password: "synckit_test".to_owned(),
            database: "postgres".to_owned(),
        }
    }

    pub(super) async fn stop(&mut self) {
        self.service.take().expect("PostgreSQL runs").stop(Signal::INT).await;
    }

    /// With all its processes: a back end outlives its server for a moment, and would commit in it.
    pub(super) async fn kill9(&mut self) {
        let service = self.service.as_ref().expect("PostgreSQL runs");
        // Stopped, it starts no further process and none anew.
        service.signal(Signal::STOP);
        for child in service.children() {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        self.service.take().expect("PostgreSQL runs").stop(Signal::KILL).await;
    }

    pub(super) async fn start_again(&mut self) -> Result<(), Error> {
        assert!(self.service.is_none(), "PostgreSQL runs already");
        // The clients know the old port, so a port that is taken for a moment has to be waited for.
        let port = self.port;
        self.start_with_retries(|| port).await
    }

    pub(super) async fn start_on_a_free_port(&mut self) -> Result<(), Error> {
        self.start_with_retries(free_port).await
    }

    /// Stops every process of it, the one that starts the others first.
    pub(super) fn freeze(&self) {
        let service = self.service.as_ref().expect("PostgreSQL runs");
        service.signal(Signal::STOP);
        service.signal_children(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        let service = self.service.as_ref().expect("PostgreSQL runs");
        service.signal_children(Signal::CONT);
        service.signal(Signal::CONT);
    }

    async fn start_with_retries(&mut self, next_port: impl Fn() -> u16) -> Result<(), Error> {
        let mut gap = tokio::time::interval(START_ATTEMPT_GAP);
        for _ in 1..START_ATTEMPTS {
            gap.tick().await;
            match self.start_once().await {
                Err(error)
                    if error.mentions("already in use")
                        || error.mentions("Address already")
                        || error.mentions("pre-existing shared memory")
                        || error.mentions("lock file") =>
                {
                    self.port = next_port();
                }
                result => return result,
            }
        }
        self.start_once().await
    }

    async fn start_once(&mut self) -> Result<(), Error> {
        let data = self.data();
        let mut command = self.prefix.clone();
        command.extend(as_unprivileged());
        command.push(self.programs.join("postgres").into());
        command.extend(["-D".into(), data.into()]);
        command.extend(["-k".into(), self.directory.path().into()]);
        command.extend(["-p".into(), self.port.to_string().into()]);
        for setting in &self.settings {
            command.extend(["-c".into(), setting.into()]);
        }
        // A failed attempt must not be explained by the log of the one before.
        let _ = std::fs::remove_file(self.directory.path().join("log"));
        let service = Service::spawn(self.directory.path(), "QUIT", &command)?;
        let address = self.address();
        let ready = async {
            let mut poll = tokio::time::interval(START_POLL);
            loop {
                poll.tick().await;
                let answered = execute(&address, "SELECT 1", PROBE_DEADLINE).await.is_ok();
                if !service.is_running() {
                    return false;
                }
                if answered {
                    return true;
                }
            }
        };
        if tokio::time::timeout(START_DEADLINE, ready).await != Ok(true) {
            let log = service.log_tail();
            service.stop(Signal::KILL).await;
            return Err(Error::new(format!("PostgreSQL did not get ready; its log:\n{log}")));
        }
        self.service = Some(service);
        Ok(())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            // The immediate shutdown: it ends the back ends and frees the shared memory, which a kill
            // would not, and there is nothing worth writing. A frozen server could not obey.
            service.signal_children(Signal::CONT);
            service.signal(Signal::CONT);
            service.stop_blocking(Signal::QUIT);
        }
    }
}

/// Writes the files of `tls`; the answer names them to the server.
fn give_certificates(directory: &Path, tls: &ServerTls) -> Result<Vec<String>, Error> {
    let mut settings = vec!["ssl=on".to_owned()];
    let files = [
        ("ssl_cert_file", Some(&tls.certificate)),
        ("ssl_key_file", Some(&tls.key)),
        ("ssl_ca_file", tls.client_authority.as_ref()),
    ];
    for (setting, text) in files {
        let Some(text) = text else { continue };
        let file = directory.join(setting);
        write_private(&file, text)?;
        settings.push(format!("{setting}={}", file.display()));
    }
    Ok(settings)
}

/// Writes a file that nobody but the account of PostgreSQL reads, which it insists on for a key.
pub(super) fn write_private(file: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(file, text).map_err(Error::while_doing("write a file for the database"))?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::while_doing("keep a file for the database to its owner"))?;
    give_away(file)
}

/// Gives a file or directory to the account that the services run as.
pub(super) fn give_away(path: &Path) -> Result<(), Error> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = unprivileged_ids()?;
    chown(path, Some(user), Some(group))
        .map_err(Error::while_doing("give a file to the postgres account"))
}

fn initialise(programs: &Path, directory: &Path) -> Result<(), Error> {
    let mut command = as_unprivileged();
    command.push(programs.join("initdb").into());
    command.extend(["-D".into(), directory.join("data").into()]);
    // The empty cluster needs no sync: a machine that dies here takes the test with it.
    command.extend(["--no-sync", "--username=synckit", "--auth=trust"].map(OsString::from));
    command.extend(["--encoding=UTF8", "--locale=C"].map(OsString::from));
    let output = Command::new(&command[0])
        .args(&command[1..])
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::while_doing("run initdb"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("initdb failed, {}:\n{text}", output.status)))
}

/// What to put in front of a command so that it does not run as root. It replaces itself by the command,
/// so the process id stays the one that was started.
pub(super) fn as_unprivileged() -> Vec<OsString> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let user = format!("--reuid={UNPRIVILEGED_USER}");
    let group = format!("--regid={UNPRIVILEGED_USER}");
    vec!["setpriv".into(), user.into(), group.into(), "--init-groups".into(), "--".into()]
}

/// What to put in front of a command so that it finds a file system of this size at `disk`, and
/// nobody else does. Who isn't root may do so as well on many machines, as the root of a namespace.
fn with_small_disk(disk: &Path, bytes: u64) -> Result<Vec<OsString>, Error> {
    let mut command: Vec<OsString> = vec!["unshare".into(), "--mount".into()];
    let mut options = format!("size={bytes},mode=0700");
    if geteuid().is_root() {
        let (user, group) = unprivileged_ids()?;
        options.push_str(&format!(",uid={user},gid={group}"));
    } else {
        command.extend(["--user", "--map-current-user", "--keep-caps"].map(OsString::from));
    }
    command.extend(["--", "sh", "-c", WITH_SMALL_DISK, SMALL_DISK].map(OsString::from));
    command.extend([options.into(), disk.into()]);
    Ok(command)
}

fn unprivileged_ids() -> Result<(u32, u32), Error> {
    let accounts = std::fs::read_to_string("/etc/passwd")
        .map_err(Error::while_doing("read the accounts of this machine"))?;
    let ids = accounts.lines().find_map(|line| {
        let mut parts = line.split(':');
        if parts.next()? != UNPRIVILEGED_USER {
            return None;
        }
        let user = parts.nth(1)?.parse().ok()?;
        Some((user, parts.next()?.parse().ok()?))
    });
    ids.ok_or_else(|| Error::new(format!("no account {UNPRIVILEGED_USER}: {INSTALL_HINT}")))
}

/// The newest version of the Debian packages, else what the search path has.
fn find_programs() -> Option<PathBuf> {
    let mut candidates: Vec<(u32, PathBuf)> = Vec::new();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        for version in versions.flatten() {
            let number = version.file_name().to_str().and_then(|name| name.parse().ok());
            candidates.extend(number.map(|number| (number, version.path().join("bin"))));
        }
    }
    candidates.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let on_search_path = std::env::split_paths(&search_path);
    candidates
        .into_iter()
        .map(|(_, directory)| directory)
        .chain(on_search_path)
        .find(|directory| ["initdb", "postgres"].iter().all(|name| directory.join(name).is_file()))
}
