//! Proof that the checks see something: each of these breaks the world around the engine in one
//! way, and a violation of the invariant it names must be reported within some seeds.

use crate::check::Invariant;
use crate::plan::Faults;
use crate::runs::first_violation;

/// What the world does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The committer answers "stored" before the store has it, and the node dies.
    AnswerBeforeAppend,
    /// A delta with a gap before it is passed to the room as if it were the next.
    HideGaps,
    /// What a room asks to read is never read.
    ForgetReads,
    /// Nobody compares rooms with the store.
    SkipPositionChecks,
    /// An append whose answer is lost is neither tried again nor answered.
    ForgetLostReplies,
    /// An edit that is sent again gets a new id.
    RenewIds,
    /// Rooms are not told that time passes, so nobody who is gone ever leaves.
    ForgetTicks,
    /// Messages to clients get lost.
    DropDeltas,
    /// A client that lagged is not told what it missed.
    ForgetCatchUp,
    /// Rooms keep nothing of what was stored a moment ago.
    ForgetRecent,
    /// Commands are taken however many edits are under way.
    IgnoreBackPressure,
}

/// Of a run in ten or more the invariant breaks; these make a miss as good as impossible.
const SEEDS: u64 = 300;

fn is_caught(sabotage: Sabotage, faults: Faults, expected: &[Invariant]) {
    let found = first_violation(faults, 0..SEEDS, Some(sabotage));
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} was not caught in {SEEDS} runs"));
    let broken = found.violation.invariant;
    assert!(expected.contains(&broken), "{sabotage:?} broke {broken:?}: {found}");
}

#[test]
fn an_acknowledgement_before_the_append_is_caught() {
    is_caught(Sabotage::AnswerBeforeAppend, Faults::Store, &[Invariant::AcknowledgedIsStored]);
}

#[test]
fn a_client_that_is_never_told_what_it_missed_is_caught() {
    let behind =
        [Invariant::NobodyMissesAValue, Invariant::EverybodyAgrees, Invariant::AwarenessIsRight];
    is_caught(Sabotage::ForgetCatchUp, Faults::Bus, &behind);
}

#[test]
fn a_gap_that_nobody_notices_is_caught() {
    is_caught(Sabotage::HideGaps, Faults::Bus, &[Invariant::RoomIsAPrefix]);
}

#[test]
fn a_room_that_never_gets_what_it_misses_is_caught() {
    let behind = [Invariant::OwnEditsAreShown];
    is_caught(Sabotage::ForgetReads, Faults::Bus, &behind);
}

#[test]
fn a_store_that_nobody_compares_with_is_caught() {
    let behind = [Invariant::NobodyMissesAValue, Invariant::EverybodyAgrees];
    is_caught(Sabotage::SkipPositionChecks, Faults::Bus, &behind);
}

#[test]
fn a_lost_reply_that_nobody_asks_for_again_is_caught() {
    let lost = [Invariant::EverythingIsAnswered, Invariant::OwnEditsAreShown];
    is_caught(Sabotage::ForgetLostReplies, Faults::Store, &lost);
}

#[test]
fn an_edit_that_is_stored_twice_is_caught() {
    is_caught(Sabotage::RenewIds, Faults::Nodes, &[Invariant::StoredOnce]);
}

#[test]
fn somebody_who_is_gone_and_never_leaves_is_caught() {
    is_caught(Sabotage::ForgetTicks, Faults::Nodes, &[Invariant::AwarenessIsRight]);
}

#[test]
fn a_value_that_never_reached_a_client_is_caught() {
    let behind = [Invariant::NobodyMissesAValue, Invariant::EverybodyAgrees];
    is_caught(Sabotage::DropDeltas, Faults::Bus, &behind);
}

#[test]
fn a_takeover_that_loses_an_edit_is_caught() {
    is_caught(Sabotage::ForgetRecent, Faults::Store, &[Invariant::TakeoversLoseNothing]);
}

#[test]
fn a_queue_that_outgrows_its_bound_is_caught() {
    is_caught(Sabotage::IgnoreBackPressure, Faults::Store, &[Invariant::MemoryIsBounded]);
}
