//! How much a room takes at once.

use super::*;

#[test]
fn a_room_takes_no_more_commands_than_it_may_have_on_the_way() {
    let limits = Limits { edits_in_flight_max: 3, ..Limits::default() };
    let mut room = room_with(Snapshot::default(), limits);
    let write = |number| draft(("ann", number, 10, "x", "1"));
    let two = room.edits(ANN, vec![write(1), write(2)]);
    assert!(room.has_room());
    let one = room.edits(ANN, vec![write(3)]);
    assert!(!room.has_room());
    let code = ErrorCode::StorageRefused;
    room.hears(Input::NotStored { tickets: vec![one.0], code });
    assert!(room.has_room());
    let one = room.edits(ANN, vec![write(4)]);
    assert!(!room.has_room());
    room.is_stored(EPOCH, vec![numbered(two, 1), numbered(one, 3)]);
    assert!(room.has_room());
}

#[test]
fn a_room_takes_no_more_bytes_than_it_may_have_on_the_way() {
    let mut room = empty_room();
    let large = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX - 2));
    let mut edits = 0;
    while room.has_room() {
        edits += 1;
        room.edits(ANN, vec![draft(("ann", edits, 10, "x", &large))]);
    }
    assert_eq!(edits, (EDIT_BYTES_IN_FLIGHT_MAX / VALUE_BYTES_MAX) as u64);
}
