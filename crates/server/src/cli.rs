//! The command line: its grammar, and the settings it amounts to. Nothing runs here, and values
//! are judged by [`crate::config`], so that a flag and a variable get the same answer.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{ConfigFlags, FlagSetting, Secret};
use crate::documents;
use crate::migrate::Task;

/// A self-hosted real-time sync server for SyncKit clients.
///
/// Settings come from flags, environment variables and a file, in this order of strength;
/// `synckit-server config` prints all of them. A mistake in them ends the program with code 2.
#[derive(Debug, Clone, Parser)]
#[command(name = "synckit-server", version)]
pub struct Cli {
    /// What to do; without one the server runs.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    flags: ServerFlags,
}

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the server (the same as no subcommand)
    Serve(ServerFlags),
    /// Run the server for development: reachable from this computer only, no authentication
    Dev(DevFlags),
    /// Print every setting with its value, where that came from, and its environment names
    Config(ServerFlags),
    /// Bring the schema of the configured storage up to date; the server does it too when it starts
    Migrate(MigrateFlags),
    /// Copy the file of the provider sqlite, also while a server uses it
    Backup(BackupFlags),
    /// List, show or delete documents of the configured storage
    Documents(DocumentsFlags),
    /// Say that the database was put back from a backup: what was numbered before counts for nothing,
    /// and running servers read every document anew
    Restored(RestoredFlags),
    /// Measure a server: starts one of its own with the configured storage, or loads a running one
    Bench(BenchFlags),
}

/// Flags of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateFlags {
    #[command(flatten)]
    source: SourceFlags,
    /// Print what would be applied, and change nothing
    #[arg(long, conflicts_with = "status")]
    plan: bool,
    /// Print what is applied and what is pending, and change nothing; the exit code is 0 when the
    /// schema is up to date, 1 when something is pending, 2 when this program can't work with it,
    /// 3 when the storage can't be reached
    #[arg(long)]
    status: bool,
}

/// Flags of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupFlags {
    #[command(flatten)]
    source: SourceFlags,
    /// Where to; there must be no such file
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
}

/// Flags of `documents`.
#[derive(Debug, Clone, Args)]
pub struct DocumentsFlags {
    #[command(flatten)]
    source: SourceFlags,
    #[command(subcommand)]
    task: DocumentsTask,
}

/// What `documents` does.
#[derive(Debug, Clone, Subcommand)]
enum DocumentsTask {
    /// Print ids, one a line, in the order of their bytes
    List {
        /// Only ids that begin so
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most so many [default: all]
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Print what a document holds, as JSON
    Show {
        /// Its id
        id: String,
    },
    /// Remove documents with all their edits; who has them open is sent the empty state
    Delete {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Flags of `restored`.
#[derive(Debug, Clone, Args)]
pub struct RestoredFlags {
    #[command(flatten)]
    source: SourceFlags,
}

/// Flags of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchFlags {
    #[command(flatten)]
    source: SourceFlags,
    /// What to measure, and how.
    #[command(flatten)]
    pub load: synckit_bench::Flags,
}

/// Flags of the commands that read the whole configuration.
#[derive(Debug, Clone, Args)]
pub struct ServerFlags {
    #[command(flatten)]
    source: SourceFlags,
    /// Addresses to listen on, such as http://localhost:8081, separated by `;` [default: the
    /// address made of host and port]
    #[arg(long, value_name = "URLS")]
    urls: Option<String>,
    /// Address to listen on: an IP address, localhost, or * for all [default: 0.0.0.0]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// TCP port to listen on, 0 to 65535; 0 takes any free port [default: 8080]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
}

/// Flags of `dev`.
#[derive(Debug, Clone, Args)]
pub struct DevFlags {
    #[command(flatten)]
    source: SourceFlags,
    /// TCP port to listen on, 0 to 65535; 0 takes any free port [default: 8080]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
}

#[derive(Debug, Clone, Args)]
struct SourceFlags {
    /// Read settings from a file whose name ends in .toml or .json [default: no file]
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Give any setting by its key, such as `storage.provider=postgresql`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_assignment)]
    set: Vec<Assignment>,
}

/// The argument of `--set`.
#[derive(Debug, Clone)]
struct Assignment {
    key: String,
    value: Secret,
}

impl Cli {
    /// The settings given on the command line. Flags count on either side of the subcommand; the
    /// error is for a file given on both.
    pub fn config_flags(&self) -> Result<ConfigFlags, clap::Error> {
        let mut config_flags = ConfigFlags::default();
        self.flags.add_to(&mut config_flags)?;
        match &self.command {
            None => {}
            Some(Command::Serve(flags) | Command::Config(flags)) => {
                flags.add_to(&mut config_flags)?;
            }
            Some(Command::Dev(flags)) => flags.add_to(&mut config_flags)?,
            Some(Command::Migrate(flags)) => flags.source.add_to(&mut config_flags)?,
            Some(Command::Backup(flags)) => flags.source.add_to(&mut config_flags)?,
            Some(Command::Documents(flags)) => flags.source.add_to(&mut config_flags)?,
            Some(Command::Restored(flags)) => flags.source.add_to(&mut config_flags)?,
            Some(Command::Bench(flags)) => flags.source.add_to(&mut config_flags)?,
        }
        Ok(config_flags)
    }
}

impl ServerFlags {
    fn add_to(&self, config_flags: &mut ConfigFlags) -> Result<(), clap::Error> {
        for (key, value) in [("urls", &self.urls), ("host", &self.host), ("port", &self.port)] {
            config_flags.settings.extend(flag_setting(key, value.as_deref(), &format!("--{key}")));
        }
        self.source.add_to(config_flags)
    }
}

impl DevFlags {
    /// What `dev` stands for is given like a flag, so that it beats the environment, and so that a
    /// flag that contradicts it is refused.
    fn add_to(&self, config_flags: &mut ConfigFlags) -> Result<(), clap::Error> {
        let implied = [("host", "127.0.0.1"), ("auth.required", "false")];
        for (key, value) in implied {
            config_flags.settings.extend(flag_setting(key, Some(value), "the command dev"));
        }
        config_flags.settings.extend(flag_setting("port", self.port.as_deref(), "--port"));
        config_flags.development = true;
        self.source.add_to(config_flags)
    }
}

impl DocumentsFlags {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> documents::Request {
        match self.task.clone() {
            DocumentsTask::List { prefix, limit } => documents::Request::List { prefix, limit },
            DocumentsTask::Show { id } => documents::Request::Show(id),
            DocumentsTask::Delete { ids } => documents::Request::Delete(ids),
        }
    }
}

impl MigrateFlags {
    /// What is asked for.
    #[must_use]
    pub fn task(&self) -> Task {
        match (self.plan, self.status) {
            (true, _) => Task::Plan,
            (_, true) => Task::Status,
            _ => Task::Apply,
        }
    }
}

impl BenchFlags {
    /// The arguments with which the server under load is started, so that it has the same settings.
    #[must_use]
    pub fn server_arguments(&self) -> Vec<String> {
        let serve = std::iter::once("serve".to_owned());
        let file = self.source.config.iter();
        let file = file.flat_map(|path| ["--config".to_owned(), path.display().to_string()]);
        let set = self.source.set.iter().flat_map(|assignment| {
            ["--set".to_owned(), format!("{}={}", assignment.key, assignment.value.expose())]
        });
        serve.chain(file).chain(set).collect()
    }
}

impl SourceFlags {
    fn add_to(&self, config_flags: &mut ConfigFlags) -> Result<(), clap::Error> {
        if let Some(path) = &self.config
            && config_flags.file.replace(path.clone()).is_some()
        {
            let message = "--config is given twice";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
        }
        config_flags.settings.extend(self.set.iter().map(|assignment| FlagSetting {
            key: assignment.key.clone(),
            value: assignment.value.clone(),
            flag: "--set".to_owned(),
        }));
        Ok(())
    }
}

fn flag_setting(key: &str, value: Option<&str>, flag: &str) -> Option<FlagSetting> {
    let value = Secret::new(value?);
    Some(FlagSetting { key: key.to_owned(), value, flag: flag.to_owned() })
}

fn parse_assignment(text: &str) -> Result<Assignment, String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok(Assignment { key: key.trim().to_owned(), value: Secret::new(value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigErrors};

    fn flags(arguments: &[&str]) -> Result<ConfigFlags, clap::Error> {
        let program = std::iter::once("synckit-server");
        Cli::try_parse_from(program.chain(arguments.iter().copied()))?.config_flags()
    }

    #[track_caller]
    fn load(arguments: &[&str]) -> Result<Config, ConfigErrors> {
        let urls = ("ASPNETCORE_URLS".into(), "http://*:1".into());
        Config::load(&flags(arguments).unwrap(), std::iter::once(urls))
    }

    #[track_caller]
    fn check_listens(arguments: &[&str], address: &str) {
        assert_eq!(load(arguments).unwrap().listen, [address.parse().unwrap()]);
    }

    #[test]
    fn the_grammar_is_free_of_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_work_without_a_subcommand_and_on_both_sides_of_one() {
        check_listens(&["--urls=http://localhost:8081"], "127.0.0.1:8081");
        check_listens(&["serve", "--urls", "http://localhost:8081"], "127.0.0.1:8081");
        check_listens(&["--urls", "http://localhost:8081", "config"], "127.0.0.1:8081");
        check_listens(&["--host", "::1", "serve", "--port", "9"], "[::1]:9");
        check_listens(&["--set", "port=9", "serve", "--set", "HOST=127.0.0.1"], "127.0.0.1:9");
    }

    #[test]
    fn dev_listens_on_loopback_without_authentication_whatever_the_environment_says() {
        check_listens(&["dev"], "127.0.0.1:8080");
        check_listens(&["dev", "--port", "0"], "127.0.0.1:0");
        assert!(load(&["dev"]).unwrap().ensure_authentication_is_off().is_ok());
        assert!(load(&["serve"]).unwrap().ensure_authentication_is_off().is_err());
    }

    #[test]
    fn dev_cannot_be_opened_to_others() {
        for arguments in [
            ["--host=0.0.0.0", "dev", "--port=1"],
            ["--urls=http://*:1", "dev", "--port=1"],
            ["dev", "--set", "host=*"],
            ["dev", "--set", "urls=http://*:1"],
            ["dev", "--set", "auth.required=true"],
        ] {
            let message = load(&arguments).unwrap_err().to_string();
            assert!(message.contains("command line"), "{message}");
        }
    }

    #[test]
    fn mistakes_in_the_grammar_are_refused_with_code_2() {
        for arguments in [
            &["--set", "port"][..],
            &["--colour"],
            &["paint"],
            &["dev", "--host", "h"],
            &["migrate", "--plan", "--status"],
            &["migrate", "--port", "1"],
            &["--config", "a.toml", "serve", "--config", "b.toml"],
        ] {
            assert_eq!(flags(arguments).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn the_debug_form_hides_values_that_may_be_secret() {
        let flags = flags(&["--set", "storage.postgresql.connectionstring=hush"]).unwrap();
        assert!(!format!("{flags:?}").contains("hush"));
    }
}
