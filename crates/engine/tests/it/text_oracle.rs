//! Texts against the crate that clients run, on ASCII: it misplaces all other text. Its merge
//! depends on the order, but repeated until nothing changes it arrives at the join. It is slow and
//! recursive, so the runs are short.

use synckit_core::crdt::text_fugue::FugueText;
use synckit_engine::text::TextState;

use crate::random::{Random, number_from, seed};

const EDITS: usize = 24;

/// Merging again and again ends after two or three rounds.
const ROUNDS_MAX: usize = 10;

fn read(replica: &FugueText) -> TextState {
    TextState::parse(&serde_json::to_string(replica).unwrap()).unwrap()
}

fn edit(replica: &mut FugueText, random: &mut Random) {
    let length = replica.len();
    if length > 0 && random.chance(40) {
        let at = random.below(length);
        replica.delete(at, 1 + random.below((length - at).min(4))).unwrap();
    } else {
        let letters = "abcdefghij klmnop\n\"\\";
        let from = random.below(letters.len() - 1);
        let to = from + 1 + random.below((letters.len() - from - 1).min(5));
        replica.insert(random.below(length + 1), &letters[from..to]).unwrap();
    }
}

/// Replicas that edited on their own, merged now and then.
fn history(random: &mut Random) -> Vec<FugueText> {
    let name = |at: usize| FugueText::new(format!("client-{at}"));
    let mut replicas: Vec<_> = (0..2 + random.below(2)).map(name).collect();
    for _ in 0..EDITS {
        let at = random.below(replicas.len());
        if random.chance(20) {
            // As clients do it: each merges what the server joined.
            let mut joined = TextState::default();
            replicas.iter().for_each(|replica| joined.join(&read(replica)));
            let joined: FugueText = serde_json::from_str(&joined.to_json("server")).unwrap();
            replicas[at].merge(&joined).unwrap();
        } else {
            edit(&mut replicas[at], random);
        }
    }
    replicas
}

/// Merges all with all until no state changes any more.
fn merge_to_fixpoint(replicas: &mut [FugueText]) {
    for _ in 0..ROUNDS_MAX {
        let before: Vec<_> = replicas.iter().map(read).collect();
        for at in 0..replicas.len() {
            for from in (0..replicas.len()).filter(|from| *from != at) {
                let other = replicas[from].clone();
                replicas[at].merge(&other).unwrap();
            }
        }
        if replicas.iter().map(read).eq(before) {
            return;
        }
    }
    panic!("the crate's merge does not end");
}

fn check(seed: u64) {
    let mut replicas = history(&mut Random::new(seed));
    let mut joined = TextState::default();
    replicas.iter().for_each(|replica| joined.join(&read(replica)));
    merge_to_fixpoint(&mut replicas);
    for replica in &replicas {
        assert_eq!(read(replica), joined);
        assert_eq!(serde_json::to_string(replica).unwrap(), joined.to_json(replica.client_id()));
        let loaded: FugueText = serde_json::from_str(&joined.to_json("server")).unwrap();
        assert_eq!(loaded.to_string(), replica.to_string());
        assert_eq!(loaded.clock(), replica.clock());
    }
}

#[test]
fn the_join_is_where_the_merges_of_clients_end() {
    let (first, runs) = (seed(), number_from("RUNS").unwrap_or(100));
    for seed in (0..runs).map(|run| first.wrapping_add(run)) {
        let outcome = std::panic::catch_unwind(|| check(seed));
        assert!(
            outcome.is_ok(),
            "repeat with: SEED={seed} RUNS=1 cargo test -p synckit-engine --test it \
             the_join_is_where_the_merges_of_clients_end"
        );
    }
}
