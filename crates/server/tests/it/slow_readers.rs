use synckit_testkit::{Postgres, ServerProcess};

use crate::client::{Client, Options};
use crate::load::{Load, Plan, Writer};
use crate::setup::start_server;
use crate::stored::assert_shows_all;

const TRY_AGAIN_LATER: u16 = 1013;

/// The most memory that the server has had at a time.
fn memory_peak_bytes(server: &ServerProcess) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).expect("a peak in kB") * 1_024
}

/// Lets the writers make so many more edits each.
async fn write(mut writers: Vec<Writer>, edits: u64) -> Vec<Writer> {
    for writer in &mut writers {
        writer.plan.edits_max += edits;
    }
    let ended = Load::start(writers).ended().await;
    let answered = |(writer, closed): (Writer, _)| {
        assert_eq!(closed, None, "a writer is not made to wait for a reader");
        writer
    };
    ended.into_iter().map(answered).collect()
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_the_server_its_outbox_and_no_more() {
    let database = Postgres::shared().await.create_database().await;
    // No snapshots: what they take for a moment depends on when.
    let settings = [
        "ws.max_outbox_bytes=1MiB",
        "storage.snapshot_deltas=1000000",
        "storage.snapshot_bytes=1000MB",
    ];
    let server = start_server(&database.url(), &settings).await;
    // As many fields as are on their way at a time: each change is sent to everybody.
    let plan = Plan { documents: &["doc"], fields: 64, window: 64, padding: 2_000, edits_max: 0 };
    let writers = Writer::several(2, server.address(), &plan).await;
    // What the work as such takes, buffers of all kinds included, is taken after this.
    let writers = write(writers, 1_000).await;
    let before = memory_peak_bytes(&server);

    let options = Options { receive_buffer: Some(4_096), ..Options::default() };
    let mut slow = Client::connect_with(server.address(), options).await;
    slow.subscribe("doc").await;
    let writers = write(writers, 5_000).await;
    let grown = memory_peak_bytes(&server).saturating_sub(before);
    assert!(grown < 14 << 20, "the server needed {grown} bytes more for 20 MB of deltas");

    let closed = slow.until_closed().await;
    assert_eq!(closed.code, Some(TRY_AGAIN_LATER), "{closed:?}");
    let mut back = Client::connect(server.address()).await;
    let state = back.subscribe("doc").await;
    assert_shows_all(&state, "doc", &writers);
}
