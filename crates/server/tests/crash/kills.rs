//! Rounds: a server under load, a kill -9 at a random point, a start, and then the books are
//! checked. A store lives through several rounds, in which the writers send again what nobody
//! acknowledged; then comes a new one with other settings.

use std::time::Instant;

use synckit_testkit::{Postgres, ServerProcess};
use tokio::time::timeout;

use crate::check::{Checked, check};
use crate::crew::{Crew, PATIENCE};
use crate::ground::{Compaction, Ground, shown};
use crate::random::{Plan, Random};

/// Rounds of each kind when nothing else is said.
const ROUNDS_DEFAULT: u64 = 4;

/// Rounds that a store lives, at most.
const ROUNDS_OF_A_STORE: u64 = 5;

/// The latest kill, in acknowledged messages.
const KILL_BEFORE: u64 = 2_500;

/// Half of the stores are compacted.
const COMPACTIONS: [Compaction; 4] =
    [Compaction::Never, Compaction::Often, Compaction::Never, Compaction::OftenKeepingHistory];

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Postgres,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_postgresql_has_every_acknowledged_edit() {
    let postgres = Postgres::start_private().await;
    run("server on PostgreSQL", Victim::Server, async || Ground::postgres(&postgres).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_sqlite_has_every_acknowledged_edit() {
    run("server on SQLite", Victim::Server, async || Ground::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgresql_has_every_acknowledged_edit() {
    let postgres = Postgres::start_private().await;
    run("PostgreSQL", Victim::Postgres, async || Ground::postgres(&postgres).await).await;
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the failed test")]
fn say(text: &str) {
    eprintln!("{text}");
}

async fn run(kind: &str, victim: Victim, make_ground: impl AsyncFn() -> Ground) {
    let plan = Plan::from_environment(ROUNDS_DEFAULT);
    say(&format!("{kind}; again with: {}", plan.replay()));
    let begun = Instant::now();
    let rounds_of_a_store = ROUNDS_OF_A_STORE.min(plan.rounds.div_ceil(2)).max(1);
    let (mut kills, mut acknowledged, mut resent, mut refused) = (0, 0, 0, 0);
    let mut round = 0;
    for (store, compaction) in COMPACTIONS.into_iter().cycle().enumerate() {
        if round == plan.rounds {
            break;
        }
        let ground = make_ground().await;
        let mut crew = Crew::new(plan, &format!("{kind} {store}"));
        let mut checked = Checked::default();
        let end = plan.rounds.min(round + rounds_of_a_store);
        while round < end {
            let mut random = plan.part(kind, round);
            let (before, _) = crew.edits();
            (crew, checked) = match victim {
                Victim::Server => kill_server(&ground, compaction, crew, &mut random).await,
                Victim::Postgres => kill_postgres(&ground, compaction, crew, &mut random).await,
            };
            round += 1;
            kills += 1;
            let (sent, acknowledged) = crew.edits();
            let Checked { acknowledged_edits, stored_deltas } = checked;
            assert_eq!(acknowledged_edits, acknowledged, "every acknowledged edit is checked");
            say(&format!(
                "{kind}: round {round} of {}, {compaction:?}: {} edits sent, {acknowledged} \
                 acknowledged and {stored_deltas} deltas stored so far",
                plan.rounds,
                sent - before,
            ));
        }
        acknowledged += checked.acknowledged_edits;
        refused += crew.writers.iter().map(|writer| writer.refusals).sum::<u64>();
        resent += crew.writers.iter().map(|writer| writer.resent()).sum::<u64>();
    }
    say(&format!(
        "{kind}: {round} rounds, {kills} kills, {acknowledged} acknowledged edits checked, \
         {resent} messages sent again, {refused} refused, {:.0?}; again with: {}",
        begun.elapsed(),
        plan.replay()
    ));
}

async fn kill_server(
    ground: &Ground,
    compaction: Compaction,
    crew: Crew,
    random: &mut Random,
) -> (Crew, Checked) {
    let server = ground.command(compaction).start().await;
    let shift = crew.start(server.address()).await;
    shift.more_acknowledgements(random.below(KILL_BEFORE)).await;
    server.kill9().await;
    let crew = shift.ended().await;
    let checked = check_after(ground, compaction, &crew).await;
    (crew, checked)
}

async fn kill_postgres(
    ground: &Ground,
    compaction: Compaction,
    crew: Crew,
    random: &mut Random,
) -> (Crew, Checked) {
    let server = ground.command(compaction).start().await;
    let shift = crew.start(server.address()).await;
    shift.more_acknowledgements(random.below(KILL_BEFORE)).await;
    ground.kill_postgres().await;
    ground.start_postgres_again().await;
    shift.more_acknowledgements(1 + random.below(KILL_BEFORE / 4)).await;
    let crew = shift.finish().await;
    let fresh = ground.command(compaction).start().await;
    until_alike(&server, &fresh).await;
    fresh.kill9().await;
    server.kill9().await;
    let checked = check_after(ground, compaction, &crew).await;
    (crew, checked)
}

/// Starts a server again, which repairs what it finds, and compares with the store when it is gone.
async fn check_after(ground: &Ground, compaction: Compaction, crew: &Crew) -> Checked {
    ground.until_unused().await;
    let fresh = ground.command(compaction).start().await;
    let shown = shown(&fresh).await;
    fresh.kill9().await;
    ground.until_unused().await;
    let provider = ground.open().await;
    check(provider.documents(), crew, compaction, &shown).await
}

/// Waits until a server that lived through an outage shows what one shows that has just loaded it.
/// An acknowledgement says that an edit is stored. Where that was learned from a repeat, the room
/// reads on from the store before it shows it.
async fn until_alike(survivor: &ServerProcess, fresh: &ServerProcess) {
    let wanted = shown(fresh).await;
    let mut seen = Vec::new();
    let alike = async {
        while seen != wanted {
            seen = shown(survivor).await;
        }
    };
    if timeout(PATIENCE, alike).await.is_err() {
        for (number, (seen, wanted)) in seen.iter().zip(&wanted).enumerate() {
            assert_eq!(seen, wanted, "document {number} on the server that lived through it");
        }
    }
}
