//! Every cell of the table of [`Reading`]. `Answer` is written `TAKE` or `LEAVE`, `…_AND_READ_ON`.

use super::*;

const TAKE: Answer = Answer { is_taken: true, reads_on: false };
const TAKE_AND_READ_ON: Answer = Answer { is_taken: true, reads_on: true };
const LEAVE: Answer = Answer { is_taken: false, reads_on: false };
const LEAVE_AND_READ_ON: Answer = Answer { is_taken: false, reads_on: true };

const fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch(epoch), seq: Seq(seq) }
}

const HERE: Position = at(7, 3);
/// Where the room stood when it asked.
const BEFORE: Position = at(7, 1);

const IDLE: Reading = Reading::Idle;
const FROM: Reading = Reading::From(BEFORE);
const AGAIN: Reading = Reading::FromAndAgain(BEFORE);

/// What `event` answers in each state, and the state after it.
fn after<A, const N: usize>(
    states: [Reading; N],
    event: impl Fn(&mut Reading) -> A,
) -> [(A, Reading); N] {
    states.map(|mut reading| (event(&mut reading), reading))
}

#[test]
fn a_gap_is_asked_for_unless_an_answer_is_to_come() {
    assert_eq!(
        after([IDLE, FROM, AGAIN], |reading| reading.gap(HERE)),
        [(Some(Effect::Fetch(HERE)), Reading::From(HERE)), (None, FROM), (None, AGAIN)]
    );
}

#[test]
fn a_doubt_is_asked_for_now_or_after_the_answer_that_is_to_come() {
    assert_eq!(
        after([IDLE, FROM, AGAIN], |reading| reading.doubt(HERE)),
        [(Some(Effect::Fetch(HERE)), Reading::From(HERE)), (None, AGAIN), (None, AGAIN)]
    );
}

#[test]
fn another_life_is_loaded_now_or_looked_for_after_the_answer_that_is_to_come() {
    let expected = [(Some(Effect::Reload), Reading::From(HERE)), (None, AGAIN), (None, AGAIN)];
    assert_eq!(after([IDLE, FROM, AGAIN], |reading| reading.other_life(HERE)), expected);
    for head in [at(8, 1), at(8, 9), at(0, 0)] {
        assert_eq!(after([IDLE, FROM, AGAIN], |reading| reading.head(HERE, head)), expected);
    }
}

#[test]
fn a_head_beyond_the_room_is_a_doubt() {
    for (here, head) in [(HERE, at(7, 4)), (at(7, 0), at(7, 1))] {
        assert_eq!(
            after([IDLE, FROM, AGAIN], |reading| reading.head(here, head)),
            [(Some(Effect::Fetch(here)), Reading::From(here)), (None, AGAIN), (None, AGAIN)]
        );
    }
}

#[test]
fn a_head_that_says_nothing_new_changes_nothing() {
    for (here, head) in [(HERE, HERE), (HERE, at(7, 2)), (at(0, 0), at(7, 0))] {
        assert_eq!(
            after([IDLE, FROM, AGAIN], |reading| reading.head(here, head)),
            [(None, IDLE), (None, FROM), (None, AGAIN)]
        );
    }
}

#[test]
fn what_was_given_up_is_read_after_the_answer_that_is_to_come() {
    assert_eq!(
        after([IDLE, FROM, AGAIN], Reading::dropped),
        [((), IDLE), ((), AGAIN), ((), AGAIN)]
    );
}

#[test]
fn a_history_is_taken_in_the_life_in_which_it_was_asked_for() {
    assert_eq!(
        after([IDLE, FROM, AGAIN], |reading| reading.fetched(HERE)),
        [(TAKE, IDLE), (TAKE, IDLE), (TAKE_AND_READ_ON, IDLE)]
    );
}

#[test]
fn a_history_of_another_life_is_left_and_read_again() {
    let answers = after([FROM, AGAIN], |reading| reading.fetched(at(8, 3)));
    assert_eq!(answers, [(LEAVE_AND_READ_ON, IDLE); 2]);
}

#[test]
fn a_document_at_the_room_or_beyond_it_is_taken() {
    for loaded in [HERE, at(7, 4)] {
        assert_eq!(
            after([IDLE, FROM, AGAIN], |reading| reading.reloaded(HERE, loaded)),
            [(TAKE, IDLE), (TAKE, IDLE), (TAKE_AND_READ_ON, IDLE)]
        );
    }
}

#[test]
fn a_document_from_before_the_room_is_left() {
    assert_eq!(
        after([IDLE, FROM, AGAIN], |reading| reading.reloaded(HERE, at(7, 2))),
        [(LEAVE, IDLE), (LEAVE, IDLE), (LEAVE_AND_READ_ON, IDLE)]
    );
}

#[test]
fn a_document_of_another_life_is_taken_if_the_room_is_where_it_asked() {
    for loaded in [at(8, 1), at(6, 9), at(0, 0)] {
        assert_eq!(
            after([IDLE, FROM, AGAIN], |reading| reading.reloaded(BEFORE, loaded)),
            [(TAKE, IDLE), (TAKE, IDLE), (TAKE_AND_READ_ON, IDLE)]
        );
    }
}

#[test]
fn a_document_of_another_life_is_left_and_read_again_if_the_room_has_moved() {
    // In this life, or to another one.
    for here in [HERE, at(9, 1)] {
        let answers = after([FROM, AGAIN], |reading| reading.reloaded(here, at(8, 4)));
        assert_eq!(answers, [(LEAVE_AND_READ_ON, IDLE); 2]);
    }
}

#[test]
fn only_a_document_that_nobody_wrote_begins_a_life() {
    assert!(Reading::begins(at(0, 0), Epoch(7)));
    assert!(Reading::begins(at(6, 0), Epoch(7)));
    assert!(!Reading::begins(at(7, 0), Epoch(7)));
    assert!(!Reading::begins(at(6, 1), Epoch(7)));
}

#[test]
fn only_idle_is_idle() {
    assert_eq!([IDLE, FROM, AGAIN].map(Reading::is_idle), [true, false, false]);
}
