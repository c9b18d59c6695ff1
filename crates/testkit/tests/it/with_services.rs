use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use synckit_testkit::ServerCommand;

const WITH_SERVICES: &str = env!("CARGO_BIN_EXE_with-services");

/// Far above what the watchdogs of the services need.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(20);

fn with_services(arguments: &[&str]) -> Output {
    Command::new(WITH_SERVICES).args(arguments).output().expect("the tool starts")
}

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let output = with_services(&["--redis", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
fn a_command_ended_by_a_signal_is_reported_as_a_shell_would() {
    let output = with_services(&["--redis", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(output.status.code(), Some(128 + 15), "{output:?}");
}

#[test]
fn the_command_is_told_where_the_services_are() {
    let script = r#"echo "$SYNCKIT_TEST_POSTGRES $SYNCKIT_TEST_REDIS""#;
    let output = with_services(&["--", "sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (postgres, redis) = text.trim().split_once(' ').unwrap();
    assert!(postgres.starts_with("postgres://"), "{text}");
    assert!(redis.starts_with("redis://"), "{text}");
}

#[test]
fn a_command_line_without_a_command_is_refused() {
    for arguments in [&["--redis"][..], &["--redis", "--"], &["--mysql", "--", "true"]] {
        assert_eq!(with_services(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_terminated_tool_terminates_its_command_and_reports_it() {
    // The command stands in for the ready line of a server, which is what this waits for.
    let script = "trap 'exit 9' TERM; echo listening on http://x; while :; do sleep 0.01; done";
    let tool = ServerCommand::new(WITH_SERVICES)
        .args(["--redis", "--", "sh", "-c", script, "--urls"])
        .start()
        .await;
    assert_eq!(tool.terminate().await.code(), Some(9));
}

#[tokio::test]
async fn services_do_not_outlive_a_killed_tool() {
    let directory = tempfile::tempdir().unwrap();
    // PostgreSQL may run under another account.
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let entries = || std::fs::read_dir(directory.path()).unwrap().count();

    let script = "echo listening on http://x; while kill -0 $PPID; do sleep 0.01; done";
    let tool = ServerCommand::new(WITH_SERVICES)
        .env("TMPDIR", directory.path())
        .args(["--", "sh", "-c", script, "--urls"])
        .start()
        .await;
    tool.kill9().await;

    let cleanup = async {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        while entries() > 0 {
            poll.tick().await;
        }
    };
    let cleaned = tokio::time::timeout(CLEANUP_DEADLINE, cleanup).await;
    assert!(cleaned.is_ok(), "{} directories are left", entries());
}
