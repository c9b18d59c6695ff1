//! Any sequence of calls gives the same answers as the memory store, which is simple enough to be
//! checked by reading.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::*;
use crate::contract::StoredSnapshot;
use crate::memory::MemoryStore;

/// Names the seed of one run, to do it again.
const SEED_VARIABLE: &str = "SYNCKIT_STORE_SEED";

const STEPS: usize = 400;

/// Random calls on a few documents. A failure says how to repeat it.
pub async fn agrees_with_the_memory_store(store: &dyn DocumentStore) {
    let given = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    let replay = format!("{SEED_VARIABLE}={seed} cargo nextest run -p synckit-store agrees_with");
    let mut run = Run {
        random: Random(seed),
        model: MemoryStore::new(),
        store,
        epochs: HashMap::new(),
        replay,
    };
    for step in 0..STEPS {
        run.step(step).await;
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }
}

struct Run<'a> {
    random: Random,
    model: MemoryStore,
    store: &'a dyn DocumentStore,
    /// The store's epoch for each of the model's.
    epochs: HashMap<Epoch, Epoch>,
    replay: String,
}

impl Run<'_> {
    async fn step(&mut self, step: usize) {
        let context = format!("step {step}; again with: {}", self.replay);
        match self.random.below(10) {
            0..4 => self.append(&context).await,
            4 => self.delete(&context).await,
            5 => self.save_snapshot(&context).await,
            6 => {
                let (id, up_to) = (self.document(), self.clock());
                let expected = self.model.compact(&id, &up_to, None).await.expect(&context);
                let actual = self.store.compact(&id, &up_to, None).await.expect(&context);
                assert_eq!(actual, expected, "compact {id} {up_to:?}: {context}");
            }
            7 => {
                let (id, since, after) = (self.document(), self.clock(), Seq(self.random.below(9)));
                let expected = self.model.deltas_since(&id, Some(&since), after).await;
                let actual = self.store.deltas_since(&id, Some(&since), after).await;
                assert_eq!(
                    actual.expect(&context),
                    expected.expect(&context),
                    "deltas_since {id} {since:?} {after:?}: {context}"
                );
            }
            _ => self.compare(&context).await,
        }
    }

    fn document(&mut self) -> DocumentId {
        document(&format!("model-{}", self.random.below(3)))
    }

    fn clock(&mut self) -> VectorClock {
        let mut clock = VectorClock::new();
        for name in ["a", "b"] {
            clock.raise(&client(name), EditNumber(self.random.below(9)));
        }
        clock
    }

    fn delta(&mut self) -> Delta {
        let name = ["a", "b"][usize::from(self.random.below(2) == 1)];
        let own = delta(name, 1 + self.random.below(12));
        Delta { number: EditNumber(self.random.below(9)), ..own }
    }

    async fn append(&mut self, context: &str) {
        let mut batch: Vec<Append> = Vec::new();
        for number in 0..3 {
            let deltas: Vec<Delta> = (0..self.random.below(4)).map(|_| self.delta()).collect();
            if !deltas.is_empty() {
                batch.push(part(&document(&format!("model-{number}")), &deltas));
            }
        }
        let expected = self.model.append(&batch).await.expect(context);
        let actual = self.store.append(&batch).await.expect(context);
        assert_eq!(actual.len(), expected.len(), "append: {context}");
        for (actual, expected) in actual.iter().zip(&expected) {
            assert_eq!(actual.deliveries, expected.deliveries, "append: {context}");
            self.same_epoch(expected.epoch, actual.epoch, context);
        }
    }

    async fn delete(&mut self, context: &str) {
        let id = self.document();
        let expected = self.model.delete(&id).await.expect(context);
        assert_eq!(self.store.delete(&id).await.expect(context), expected, "delete: {context}");
    }

    async fn save_snapshot(&mut self, context: &str) {
        let id = self.document();
        let clock = self.model.vector_clock(&id).await.expect(context);
        let Some(head) = self.model.heads(std::slice::from_ref(&id)).await.expect(context)[0]
        else {
            return;
        };
        let seq = Seq(self.random.below(head.seq.0 + 2));
        let bytes = seq.0.to_le_bytes().to_vec();
        let of = |epoch| StoredSnapshot {
            bytes: bytes.clone(),
            clock: clock.clone(),
            position: Position { epoch, seq },
        };
        let expected = self.model.save_snapshot(&id, &of(head.epoch)).await.ok();
        let actual = self.store.save_snapshot(&id, &of(self.epochs[&head.epoch])).await.ok();
        assert_eq!(actual, expected, "save_snapshot {id} {seq:?}: {context}");
    }

    fn same_epoch(&mut self, model: Epoch, store: Epoch, context: &str) {
        let known = *self.epochs.entry(model).or_insert(store);
        assert_eq!(known, store, "epoch: {context}");
    }

    /// Everything that can be read of one document.
    async fn compare(&mut self, context: &str) {
        let id = self.document();
        let expected = self.model.get(&id).await.expect(context);
        let actual = self.store.get(&id).await.expect(context);
        let (Some(expected), Some(actual)) = (&expected, &actual) else {
            assert_eq!(actual.is_some(), expected.is_some(), "get {id}: {context}");
            return;
        };
        self.same_epoch(expected.head.epoch, actual.head.epoch, context);
        assert_eq!(actual.head.seq, expected.head.seq, "head of {id}: {context}");
        let clock = self.store.vector_clock(&id).await.expect(context);
        let expected_clock = self.model.vector_clock(&id).await.expect(context);
        assert_eq!(clock, expected_clock, "clock of {id}: {context}");
        let content = |snapshot: &Option<StoredSnapshot>| {
            snapshot.as_ref().map(|s| (s.bytes.clone(), s.clock.clone(), s.position.seq))
        };
        assert_eq!(content(&actual.snapshot), content(&expected.snapshot), "{id}: {context}");
        for seq in 0..=expected.head.seq.0 {
            let at = |epoch| Position { epoch, seq: Seq(seq) };
            let model = self.model.deltas_after(&id, at(expected.head.epoch)).await;
            let store = self.store.deltas_after(&id, at(actual.head.epoch)).await;
            let (store, model) = (store.expect(context), model.expect(context));
            assert_eq!(store, model, "{id} after {seq}: {context}");
        }
    }
}
