use std::time::Duration;

use synckit_testkit::ServerCommand;

/// A stand-in for the server: it says that it is ready and does what `then` says.
fn shell(then: &str) -> ServerCommand {
    let script = format!("echo one moment >&2; echo listening on http://127.0.0.1:4711; {then}");
    ServerCommand::new("sh").args(["-c", &script, "server"])
}

#[tokio::test]
async fn a_ready_server_has_the_address_it_announced() {
    let server = shell("exec sleep 60").start().await;
    assert_eq!(server.url(), "http://127.0.0.1:4711");
    assert_eq!(server.ws_url(), "ws://127.0.0.1:4711/ws");
    assert_eq!(server.address(), "127.0.0.1:4711");
    server.kill9().await;
}

#[tokio::test]
async fn a_server_gets_a_free_port_unless_the_test_chooses() {
    let print_arguments = r#"echo "$@""#;
    let chosen = shell(print_arguments).args(["--urls", "http://127.0.0.1:1"]).start().await;
    assert!(chosen.exited().await.success());

    let script = r#"echo "listening on http://$2""#;
    let free = ServerCommand::new("sh").args(["-c", script, "server"]).start().await;
    assert_eq!(free.address(), "http://127.0.0.1:0");
}

#[tokio::test]
async fn a_server_sees_no_environment_but_its_own() {
    let server = shell("env; true").env("COLOUR", "blue");
    let finished = server.finish().await;
    assert!(finished.stdout.contains("COLOUR=blue\n"), "{finished:?}");
    assert!(!finished.stdout.contains("CARGO"), "{finished:?}");
    assert_eq!(finished.stderr, "one moment\n");
}

#[tokio::test]
async fn terminating_reports_the_status_of_the_server() {
    let server = shell("trap 'exit 3' TERM; while :; do sleep 0.01; done").start().await;
    assert_eq!(server.terminate().await.code(), Some(3));
}

#[tokio::test]
async fn a_command_that_ends_reports_everything_it_wrote() {
    let finished = shell("echo no such key >&2; exit 2").finish().await;
    assert_eq!(finished.status.code(), Some(2));
    assert_eq!(finished.stderr, "one moment\nno such key\n");
}

#[tokio::test]
#[should_panic(expected = "the reason it broke")]
async fn a_server_that_ends_too_early_is_reported_with_its_output() {
    let script = "echo the reason it broke; exit 1";
    ServerCommand::new("sh").args(["-c", script]).start().await;
}

#[tokio::test]
async fn cpu_time_grows_with_work() {
    let idle = shell("exec sleep 60").start().await;
    let busy = shell("while :; do :; done").start().await;
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    // Bounded by the time limit of the test runner.
    while busy.cpu_time() < Duration::from_millis(50) {
        poll.tick().await;
    }
    assert!(idle.cpu_time() < busy.cpu_time());
}
