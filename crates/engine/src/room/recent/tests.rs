use super::*;
use crate::clock::EditNumber;
use crate::delta::Changes;
use crate::ids::ClientId;

fn delta(number: u64) -> Delta {
    let client = ClientId::new("ann").unwrap();
    let id = crate::delta::DeltaId::new(&format!("d{number}"));
    Delta { id, client, number: EditNumber(number), timestamp: 1, changes: Changes::Count(1) }
}

fn keeping(budget: &Arc<RecentBudget>, seqs: std::ops::RangeInclusive<u64>) -> Recent {
    let mut recent = Recent::new(Some(Arc::clone(budget)));
    for seq in seqs {
        recent.keep(Seq(seq), delta(seq));
    }
    recent
}

fn numbers(deltas: Option<Vec<Delta>>) -> Option<Vec<u64>> {
    Some(deltas?.iter().map(|delta| delta.number.0).collect())
}

#[test]
fn a_delta_is_kept_for_one_minute_at_least_and_two_at_most() {
    let budget = Arc::new(RecentBudget::new(1 << 20));
    let mut recent = Recent::new(Some(Arc::clone(&budget)));
    assert!(recent.keep(Seq(1), delta(1)), "a minute begins");
    assert!(!recent.keep(Seq(2), delta(2)));
    assert!(recent.age(), "both may have come a moment ago");
    assert!(!recent.keep(Seq(3), delta(3)));
    assert!(recent.age());
    assert_eq!(recent.deltas.len(), 1);
    assert!(!recent.age(), "nothing is left, so nothing waits for the end of a minute");
    assert!(recent.is_empty());
    assert_eq!(budget.used(), 0);
    assert!(recent.keep(Seq(4), delta(4)), "another minute begins");
}

#[test]
fn a_room_gives_way_by_its_own_oldest_when_all_rooms_keep_too_much() {
    let each = size(&delta(1));
    let budget = Arc::new(RecentBudget::new(each * 5));
    let mut one = keeping(&budget, 1..=3);
    let mut other = keeping(&budget, 11..=14);
    assert_eq!(budget.used(), each * 5);
    assert_eq!(numbers(one.take_beyond(Seq(0), Seq(3))), Some(vec![1, 2, 3]));
    assert_eq!(numbers(other.take_beyond(Seq(12), Seq(14))), Some(vec![13, 14]));
    assert_eq!(budget.used(), 0);
    drop(keeping(&budget, 1..=2));
    assert_eq!(budget.used(), 0, "a room that ends gives back what it had");
}

#[test]
fn what_may_be_missing_in_part_is_not_given_out() {
    let budget = Arc::new(RecentBudget::new(1 << 20));
    assert_eq!(
        numbers(keeping(&budget, 5..=7).take_beyond(Seq(3), Seq(7))),
        None,
        "4 may be lost too"
    );
    assert_eq!(numbers(keeping(&budget, 5..=7).take_beyond(Seq(4), Seq(7))), Some(vec![5, 6, 7]));
    assert_eq!(numbers(keeping(&budget, 5..=7).take_beyond(Seq(6), Seq(7))), Some(vec![5, 6, 7]));
    assert_eq!(numbers(Recent::new(None).take_beyond(Seq(3), Seq(4))), None);
    assert_eq!(numbers(Recent::new(None).take_beyond(Seq(3), Seq(3))), Some(vec![]));
}

#[test]
fn without_a_budget_nothing_is_kept() {
    let mut recent = Recent::new(Some(Arc::new(RecentBudget::new(0))));
    assert!(!recent.keep(Seq(1), delta(1)));
    assert!(recent.is_empty());
}
