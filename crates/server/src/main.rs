//! The binary: argv, environment, signals, exit codes. All else is in the library.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use synckit_server::backup;
use synckit_server::bench;
use synckit_server::cli::{BenchFlags, Cli, Command};
use synckit_server::config::Config;
use synckit_server::documents;
use synckit_server::migrate::{self, Task};
use synckit_server::restored;
use synckit_server::server::{self, Server, storage_note};
use synckit_server::telemetry::{self, Patient};
use synckit_store::OpenError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// It did not work, or did not end in time.
const EXIT_FAILURE: u8 = 1;

/// The configuration is wrong: mend it before starting again.
const EXIT_CONFIGURATION: u8 = 2;

/// `migrate --status`: there is something to apply.
const EXIT_PENDING: u8 = 1;

/// `migrate --status`: nobody knows.
const EXIT_UNREACHABLE: u8 = 3;

/// A part of the server kept failing: start it again. `EX_SOFTWARE` of sysexits.h.
const EXIT_FAILED_TASK: u8 = 70;

/// How long threads may take that are inside a call (a look-up of a name, a file) when all else has
/// ended. What they do is safe to cut short.
const THREADS_END_WITHIN: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let flags = match cli.config_flags() {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    };
    let config = match Config::load(&flags, std::env::vars_os()) {
        Ok(config) => config,
        Err(errors) => return fail(&errors, EXIT_CONFIGURATION),
    };
    match cli.command {
        Some(Command::Config(_)) => {
            say(config.describe());
            ExitCode::SUCCESS
        }
        Some(Command::Dev(_)) => serve(config, true),
        Some(Command::Migrate(flags)) => migrate(&config, flags.task()),
        Some(Command::Documents(flags)) => manage(&config, flags.request()),
        Some(Command::Backup(flags)) => report(backup::run(&config.storage.provider, flags.to)),
        Some(Command::Restored(_)) => report(restored::run(&config.storage)),
        Some(Command::Bench(flags)) => measure(&flags, &config),
        None | Some(Command::Serve(_)) => match config.ensure_authentication_is_off() {
            Ok(()) => serve(config, false),
            Err(error) => fail(&error, EXIT_CONFIGURATION),
        },
    }
}

fn serve(config: Config, dev: bool) -> ExitCode {
    // Whoever reads what this writes, or does not, must not hold up a server.
    let outputs = telemetry::init(&config.log)
        .and_then(|log| Ok((log, Patient::new("stdout", std::io::stdout())?)));
    let (log, stdout) = match outputs {
        Ok(outputs) => outputs,
        Err(error) => return fail(&error, EXIT_FAILURE),
    };
    let code = match run_server(config, dev, &stdout) {
        Ok(()) => 0,
        Err((error, code)) => {
            log.put(format!("{error}\n").as_bytes());
            code
        }
    };
    stdout.flush();
    log.flush();
    ExitCode::from(code)
}

fn run_server(
    config: Config,
    dev: bool,
    stdout: &Patient,
) -> Result<(), (Box<dyn std::error::Error>, u8)> {
    if !config.unused.is_empty() {
        tracing::warn!(variables = ?config.unused, "set, but not used by this version");
    }
    let failed = |error: std::io::Error| (error.into(), EXIT_FAILURE);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let result = runtime.block_on(async {
        let stop = stop_signal().map_err(failed)?;
        let note = storage_note(&config.storage.provider);
        let started = stop.run_until_cancelled(Box::pin(Server::start(config))).await;
        let Some(started) = started else {
            tracing::info!("stopped before it was ready");
            return Ok(());
        };
        let server = started.map_err(exit)?;
        let addresses = server.addresses();
        if dev && let Some(address) = addresses.first() {
            stdout.put(banner(&address.to_string(), &note).as_bytes());
        }
        for address in addresses {
            stdout.put(format!("listening on http://{address}\n").as_bytes());
        }
        server.run(stop).await.map_err(exit)
    });
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    result
}

fn exit(error: server::Error) -> (Box<dyn std::error::Error>, u8) {
    let code = match &error {
        error if error.is_configuration() => EXIT_CONFIGURATION,
        server::Error::Failed => EXIT_FAILED_TASK,
        _ => EXIT_FAILURE,
    };
    (error.into(), code)
}

fn measure(flags: &BenchFlags, config: &Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, EXIT_FAILURE),
    };
    match runtime.block_on(bench::run(flags, config)) {
        Ok(report) => {
            say(&report);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn migrate(config: &Config, task: Task) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, EXIT_FAILURE),
    };
    let result = runtime.block_on(async {
        // Without a handler the first process of a container does not hear them at all.
        let stop = stop_signal().map_err(|error| fail(&error, EXIT_FAILURE))?;
        let run = Box::pin(migrate::run(&config.storage.provider, task, say));
        let stopped = || fail(&"stopped by a signal before it was done", EXIT_FAILURE);
        stop.run_until_cancelled(run).await.ok_or_else(stopped)
    });
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    let result = match result {
        Ok(result) => result,
        Err(code) => return code,
    };
    match result {
        Ok(report) => {
            say(&report.text);
            let is_asked = task == Task::Status;
            if is_asked && report.is_pending { EXIT_PENDING.into() } else { ExitCode::SUCCESS }
        }
        Err(error) if error.is_configuration() => fail(&error, EXIT_CONFIGURATION),
        Err(error) if task == Task::Status => fail(&error, EXIT_UNREACHABLE),
        Err(error) => fail(&error, EXIT_FAILURE),
    }
}

fn manage(config: &Config, request: documents::Request) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(documents::run(&config.storage, request, say)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_configuration() => fail(&error, EXIT_CONFIGURATION),
        Err(error) => fail(&error, 1),
    }
}

/// Runs a command that opens the storage, and says what came of it.
fn report(command: impl Future<Output = Result<String, OpenError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(command) {
        Ok(report) => {
            say(&report);
            ExitCode::SUCCESS
        }
        Err(error) if error.is_configuration() => fail(&error, EXIT_CONFIGURATION),
        Err(error) => fail(&error, 1),
    }
}

/// Cancelled by SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = stop.clone();
    #[expect(clippy::disallowed_methods, reason = "lives as long as the process")]
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

fn banner(address: &str, note: &str) -> String {
    format!(
        "\
SyncKit server for development: this computer only, no authentication.

  WebSocket  ws://{address}/ws
  Health     http://{address}/health

Documents live {note}.

Connect a client (npm install @synckit-js/sdk):

  import {{ SyncKit }} from '@synckit-js/sdk'
  const synckit = new SyncKit({{ storage: 'memory', name: 'demo', serverUrl: 'ws://{address}/ws' }})
  await synckit.init()
  const document = synckit.document('doc-1')
  await document.init()
  document.subscribe((fields) => console.log(fields))
  await document.set('title', 'Hello')

"
    )
}

fn say(text: &str) {
    // Nobody may be reading; that is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{error}");
    ExitCode::from(code)
}
