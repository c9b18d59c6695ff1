//! Logs: to standard error, so that standard output carries only what was asked for. Logging never
//! blocks and never fails, whatever reads it or does not.
//!
//! Owns the form of the log, the panic hook, and the thread that writes (`patient`). Must not know
//! what is logged.

mod patient;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
pub use patient::Patient;

/// Starts logging for the whole process, panics included. Whoever ends the process flushes what
/// is returned.
///
/// # Errors
/// When there can't be another thread.
pub fn init(config: &LogConfig) -> io::Result<Patient> {
    let log = Patient::new("log", io::stderr())?;
    let writer = log.clone();
    let filter = EnvFilter::new(&config.level);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Else an event that can't be formatted is told to standard error, which may block.
        .log_internal_errors(false)
        .with_writer(move || writer.clone());
    // Fails when a log is set up already; then that one is used.
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    // The hook that the standard library brings writes to standard error itself.
    std::panic::set_hook(Box::new(log_panic));
    Ok(log)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        reason = panic.payload_as_str(),
        location = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace = is_captured.then(|| tracing::field::display(&backtrace)),
        "panic"
    );
}
