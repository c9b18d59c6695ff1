//! Clocks and positions.

use super::*;

#[test]
fn clocks_are_partially_ordered() {
    holds("clocks_are_partially_ordered", &(clocks(), clocks(), clocks()), |(a, b, c)| {
        prop_assert_eq!(a.compare(&a), ClockOrder::Equal);
        prop_assert_eq!(a.compare(&b) == ClockOrder::Equal, a == b);
        let reversed = match b.compare(&a) {
            ClockOrder::Before => ClockOrder::After,
            ClockOrder::After => ClockOrder::Before,
            same => same,
        };
        prop_assert_eq!(a.compare(&b), reversed);
        prop_assert!(!(a <= b && b <= c) || a <= c);
        prop_assert_eq!(a.partial_cmp(&b).is_none(), a.compare(&b) == ClockOrder::Concurrent);
        Ok(())
    });
}

#[test]
fn the_merge_of_two_clocks_is_their_least_upper_bound() {
    holds(
        "the_merge_of_two_clocks_is_their_least_upper_bound",
        &(clocks(), clocks(), clocks()),
        |(a, b, bound)| {
            let merged = |first: &VectorClock, second: &VectorClock| {
                let mut merged = first.clone();
                merged.merge(second);
                merged
            };
            let both = merged(&a, &b);
            prop_assert!(both.covers(&a) && both.covers(&b));
            let is_bound = bound.covers(&a) && bound.covers(&b);
            prop_assert!(!is_bound || bound.covers(&both));
            prop_assert_eq!(&both, &merged(&b, &a));
            prop_assert_eq!(&merged(&both, &b), &both);
            prop_assert_eq!(merged(&both, &bound), merged(&a, &merged(&b, &bound)));
            Ok(())
        },
    );
}

#[test]
fn a_replica_that_follows_arrivals_sees_each_number_once_and_in_order() {
    let arrivals = vec((0_u64..3, 1_u64..20), 0..60);
    holds(
        "a_replica_that_follows_arrivals_sees_each_number_once_and_in_order",
        &arrivals,
        |arrivals| {
            let mut here = Position { epoch: Epoch(1), seq: Seq(0) };
            for (epoch, seq) in arrivals {
                match here.arrival(Epoch(epoch), Seq(seq)) {
                    Arrival::OtherEpoch => prop_assert_ne!(epoch, 1),
                    Arrival::Stale => prop_assert!(epoch == 1 && seq <= here.seq.0),
                    Arrival::Gap => prop_assert!(epoch == 1 && seq > here.seq.0 + 1),
                    Arrival::Next => {
                        prop_assert!(epoch == 1 && seq == here.seq.0 + 1);
                        here.seq = Seq(seq);
                    }
                }
            }
            Ok(())
        },
    );
}
