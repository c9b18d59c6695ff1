//! The stored form of a document.

use super::*;

#[test]
fn every_snapshot_reads_back_as_it_was() {
    holds("every_snapshot_reads_back_as_it_was", &snapshots(), |snapshot| {
        let bytes = snapshot.encode().unwrap();
        prop_assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
        Ok(())
    });
}

#[test]
fn a_snapshot_with_one_changed_byte_or_cut_short_is_refused() {
    holds(
        "a_snapshot_with_one_changed_byte_or_cut_short_is_refused",
        &(snapshots(), any::<Index>(), 1..=u8::MAX),
        |(snapshot, at, flip)| {
            let whole = snapshot.encode().unwrap();
            let at = at.index(whole.len());
            let mut changed = whole.clone();
            changed[at] ^= flip;
            prop_assert!(Snapshot::decode(&changed).is_err(), "byte {at} changed by {flip:#x}");
            prop_assert!(Snapshot::decode(&whole[..at]).is_err(), "cut at {at}");
            Ok(())
        },
    );
}

#[test]
fn bytes_of_no_plan_are_no_snapshot() {
    holds("bytes_of_no_plan_are_no_snapshot", &vec(any::<u8>(), 0..64), |mut bytes| {
        prop_assert!(Snapshot::decode(&bytes).is_err());
        bytes.splice(..0, *b"SKS\x01");
        prop_assert!(Snapshot::decode(&bytes).is_err());
        Ok(())
    });
}
