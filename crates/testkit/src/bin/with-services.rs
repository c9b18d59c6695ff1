//! Runs a command with PostgreSQL and Redis around it:
//! `with-services [--postgres] [--redis] -- COMMAND [ARGUMENT…]`, both services by default.
//!
//! Tests find the services through the environment. Starting them once here, and not in every test
//! process, saves a second per test.

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use synckit_testkit::{POSTGRES_VARIABLE, Postgres, REDIS_VARIABLE, Redis};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: with-services [--postgres] [--redis] -- COMMAND [ARGUMENT...]";

/// The exit code of a command line nobody can follow, as in the server.
const EXIT_USAGE: u8 = 2;

/// What shells report for a command that cannot be started.
const EXIT_NOT_STARTED: u8 = 127;

/// Shells report a command that a signal ended as this plus the number of the signal.
const EXIT_SIGNAL_BASE: i32 = 128;

struct Request {
    postgres: bool,
    redis: bool,
    command: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(request) = parse(std::env::args().skip(1)) else {
        complain(USAGE);
        return ExitCode::from(EXIT_USAGE);
    };
    match run(&request).await {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("with-services: {error}"));
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Request> {
    let mut request = Request { postgres: false, redis: false, command: Vec::new() };
    loop {
        match arguments.next()?.as_str() {
            "--postgres" => request.postgres = true,
            "--redis" => request.redis = true,
            "--" => break,
            _ => return None,
        }
    }
    if !request.postgres && !request.redis {
        (request.postgres, request.redis) = (true, true);
    }
    request.command = arguments.collect();
    (!request.command.is_empty()).then_some(request)
}

async fn run(request: &Request) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Before the services start, so that a signal in between still stops them.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let start = async {
        let postgres = if request.postgres { Some(Postgres::try_start().await?) } else { None };
        let redis = if request.redis { Some(Redis::try_start().await?) } else { None };
        Ok::<_, synckit_testkit::Error>((postgres, redis))
    };
    let (postgres, redis) = tokio::select! {
        started = start => started?,
        _ = interrupt.recv() => return Ok(exit_code(Signal::INT.as_raw() + EXIT_SIGNAL_BASE)),
        _ = terminate.recv() => return Ok(exit_code(Signal::TERM.as_raw() + EXIT_SIGNAL_BASE)),
    };

    let mut command = std::process::Command::new(&request.command[0]);
    command.args(&request.command[1..]);
    if let Some(postgres) = &postgres {
        command.env(POSTGRES_VARIABLE, postgres.url());
    }
    if let Some(redis) = &redis {
        command.env(REDIS_VARIABLE, redis.url());
    }
    let mut child =
        command.spawn().map_err(|error| format!("start {}: {error}", request.command[0]))?;
    let pid = Pid::from_child(&child);
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    loop {
        tokio::select! {
            status = &mut ended => return Ok(exit_code(code_of(status??))),
            // A terminal sends it to the command too, and test runners take a second one as "at once".
            _ = interrupt.recv() => {
                if !std::io::stdin().is_terminal() {
                    let _ = kill_process(pid, Signal::INT);
                }
            }
            _ = terminate.recv() => {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

fn code_of(status: ExitStatus) -> i32 {
    let by_signal = || status.signal().map(|number| number + EXIT_SIGNAL_BASE);
    status.code().or_else(by_signal).unwrap_or(i32::from(EXIT_NOT_STARTED))
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(EXIT_NOT_STARTED))
}

#[expect(clippy::print_stderr, reason = "a command line tool answers on standard error")]
fn complain(text: &str) {
    eprintln!("{text}");
}
