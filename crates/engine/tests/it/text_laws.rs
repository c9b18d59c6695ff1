//! Texts for all inputs, against a map of single clusters: what a text is, without what makes it
//! small and fast.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use synckit_engine::text::TextState;

use crate::laws::holds;

const CLIENTS: [&str; 3] = ["ann", "bob", "client-é"];

/// Clusters that merge with others of them in many ways when they come to stand together.
const CLUSTERS: [&str; 24] = [
    "a",
    "b",
    "\"",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{200d}",
    "日",
    "\u{1f1e6}",
    "\u{1f1e6}\u{1f1e7}",
    "\u{1100}",
    "\u{1161}",
    "\u{11a8}",
    "\u{1100}\u{1161}",
    "\u{600}",
    "\u{915}",
    "\u{915}\u{94d}",
    "\u{94d}",
    "\u{1f468}\u{200d}",
    "\u{1f469}",
];

/// Clusters that stay apart in any order, so that any row of them may be a block.
const WHOLE: [&str; 10] = [
    "a",
    "\"",
    "\r\n",
    "é",
    "e\u{301}",
    "日",
    "\u{1f1e6}\u{1f1e7}",
    "\u{1100}\u{1161}\u{11a8}",
    "\u{915}\u{94d}\u{937}",
    "\u{1f468}\u{200d}\u{1f469}",
];

/// Left and right: client, clock, offset.
type Origins = [Option<(usize, u64, u64)>; 2];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cluster {
    text: &'static str,
    origins: Origins,
    deleted: bool,
    ends: bool,
}

impl Cluster {
    fn compare_payload(&self, other: &Self) -> Ordering {
        (self.text, self.origins).cmp(&(other.text, other.origins))
    }

    fn join(&self, other: &Self) -> Self {
        let greater = if self.compare_payload(other).is_ge() { self } else { other };
        Self {
            deleted: self.deleted || other.deleted,
            ends: self.ends || other.ends,
            ..greater.clone()
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    clock: u64,
    clusters: BTreeMap<(usize, u64), Cluster>,
}

impl Model {
    fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.clock = self.clock.max(other.clock);
        for (at, theirs) in &other.clusters {
            let mine = joined.clusters.entry(*at).or_insert_with(|| theirs.clone());
            *mine = mine.join(theirs);
        }
        joined
    }

    fn minus(&self, known: &Self) -> Self {
        let mut lacking = self.clone();
        lacking.clock = if self.clock > known.clock { self.clock } else { 0 };
        lacking.clusters.retain(|at, mine| {
            known.clusters.get(at).is_none_or(|theirs| theirs.join(mine) != *theirs)
        });
        lacking
    }

    /// The text with these clusters, read from a stored form in which each is a run.
    fn text(&self) -> TextState {
        let run = |(&(client, clock), cluster): (&(usize, u64), &Cluster)| {
            let Cluster { text, origins: [left, right], deleted, ends } = cluster;
            let flags = u8::from(*deleted) + 2 * u8::from(*ends);
            json!([client, clock, text, left, right, flags, [text.len()]])
        };
        let runs: Vec<_> = self.clusters.iter().map(run).collect();
        let stored = json!({"clock": self.clock, "clients": CLIENTS, "runs": runs});
        serde_json::from_str(&stored.to_string()).unwrap()
    }
}

fn origins() -> impl Strategy<Value = Origins> {
    select(vec![[None, None], [Some((0, 1, 0)), None], [Some((1, 7, 0)), Some((2, 9, 3))]])
}

/// Clocks that meet, some of them where long runs are cut.
fn clocks() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1_u64..10, 1 => 1020_u64..1030]
}

/// Any map of clusters: clients that contradict each other.
fn contradicting() -> impl Strategy<Value = Model> {
    // Most clusters of one text, origins, and flags, so that there are runs.
    let text = prop_oneof![1 => Just("a"), 1 => select(&CLUSTERS[..])];
    let cluster = (text, prop_oneof![4 => Just([None, None]), 1 => origins()], 0_u8..10, 0_u8..4);
    let clusters = vec((0..CLIENTS.len(), clocks(), cluster), 0..30);
    (clusters, 0_u64..40).prop_map(|(clusters, clock)| {
        let cluster = |(client, clock, (text, origins, deleted, ends))| {
            ((client, clock), Cluster { text, origins, deleted: deleted == 0, ends: ends == 0 })
        };
        Model { clock, clusters: clusters.into_iter().map(cluster).collect() }
    })
}

/// Three states of clients that typed the same blocks, and each have some of them, split and
/// deleted in their own way.
fn families() -> impl Strategy<Value = [Model; 3]> {
    let block = (0..CLIENTS.len(), vec(select(&WHOLE[..]), 1..6), origins());
    let view = (any::<bool>(), any::<u8>(), any::<u8>());
    vec((block, [view, view, view]), 0..12).prop_map(|blocks| {
        let mut models = [Model::default(), Model::default(), Model::default()];
        let mut clock = 1_015;
        for ((client, clusters, origins), views) in blocks {
            for (model, (known, deleted, split)) in models.iter_mut().zip(views) {
                for (at, text) in clusters.iter().enumerate().filter(|_| known) {
                    let is = |mask: u8| mask >> at & 1 == 1;
                    let ends = is(split) || is(deleted) || is(deleted >> 1);
                    let ends = ends || at + 1 == clusters.len();
                    let cluster = Cluster { text, origins, deleted: is(deleted), ends };
                    model.clusters.insert((client, clock + at as u64), cluster);
                    model.clock = clock + at as u64;
                }
            }
            clock += clusters.len() as u64;
        }
        models
    })
}

fn models() -> impl Strategy<Value = [Model; 3]> {
    prop_oneof![[contradicting(), contradicting(), contradicting()], families()]
}

fn joined(one: &TextState, other: &TextState) -> TextState {
    let mut joined = one.clone();
    joined.join(other);
    joined
}

#[test]
fn texts_are_joined_cluster_by_cluster() {
    holds("texts_are_joined_cluster_by_cluster", &models(), |[a, b, _]| {
        prop_assert_eq!(joined(&a.text(), &b.text()), a.join(&b).text());
        Ok(())
    });
}

#[test]
fn the_join_of_texts_is_commutative_associative_and_idempotent() {
    let name = "the_join_of_texts_is_commutative_associative_and_idempotent";
    holds(name, &models(), |models| {
        let [a, b, c] = models.map(|model| model.text());
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(&joined(&a, &a), &a);
        prop_assert_eq!(&joined(&a, &TextState::default()), &a);
        Ok(())
    });
}

#[test]
fn the_difference_of_texts_is_the_least_that_gives_the_join() {
    let name = "the_difference_of_texts_is_the_least_that_gives_the_join";
    holds(name, &models(), |[a, b, _]| {
        let (text, known) = (a.text(), b.text());
        let lacking = text.minus(&known);
        prop_assert_eq!(joined(&known, &lacking), joined(&known, &text));
        prop_assert_eq!(&lacking, &a.minus(&b).text());
        prop_assert_eq!(lacking.is_empty(), known.covers(&text));
        prop_assert_eq!(known.covers(&text), joined(&known, &text) == known);
        prop_assert!(joined(&known, &text).covers(&text));
        Ok(())
    });
}

#[test]
fn the_parts_of_a_text_join_to_the_whole_in_any_order() {
    let parted = (models(), 0_usize..2_000);
    let name = "the_parts_of_a_text_join_to_the_whole_in_any_order";
    holds(name, &parted, |([a, ..], bytes)| {
        let text = a.text();
        let parts = text.parts(bytes);
        let whole = |parts: &mut dyn Iterator<Item = &TextState>| {
            parts.fold(TextState::default(), |whole, part| joined(&whole, part))
        };
        prop_assert_eq!(&whole(&mut parts.iter()), &text);
        prop_assert_eq!(&whole(&mut parts.iter().rev()), &text);
        prop_assert!(parts.iter().all(|part| !part.is_empty()));
        Ok(())
    });
}

#[test]
fn a_stored_text_reads_back_as_it_was() {
    holds("a_stored_text_reads_back_as_it_was", &models(), |[a, ..]| {
        let text = a.text();
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(&serde_json::from_str::<TextState>(&json).unwrap(), &text);
        let bytes = postcard::to_allocvec(&text).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<TextState>(&bytes).unwrap(), &text);
        Ok(())
    });
}

#[test]
fn stored_bytes_of_no_plan_are_a_text_or_an_error() {
    let name = "stored_bytes_of_no_plan_are_a_text_or_an_error";
    let changed = (models(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..4));
    holds(name, &changed, |([a, ..], changes)| {
        let mut bytes = postcard::to_allocvec(&a.text()).unwrap();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(text) = postcard::from_bytes::<TextState>(&bytes) {
            let stored = postcard::to_allocvec(&text).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<TextState>(&stored).unwrap(), &text);
            prop_assert_eq!(&joined(&text, &a.text()), &joined(&a.text(), &text));
            prop_assert!(text.to_json("x").len() > 2);
        }
        Ok(())
    });
}

#[test]
fn what_clients_read_has_every_cluster_and_no_more() {
    let name = "what_clients_read_has_every_cluster_and_no_more";
    holds(name, &models(), |[a, ..]| {
        let text = a.text();
        let json = text.to_json("server");
        let read = TextState::parse(&json).unwrap();
        prop_assert!(read.covers(&text), "{json}");
        // What is more in it is the ends of blocks that are cut off, and the clock they need.
        let mut closed = a.clone();
        for cluster in closed.clusters.values_mut() {
            cluster.ends = true;
        }
        let last = a.clusters.keys().map(|(_, clock)| *clock).max().unwrap_or_default();
        closed.clock = a.clock.max(last);
        prop_assert!(closed.text().covers(&read), "{json}");
        prop_assert_eq!(read.to_json("server"), json);
        Ok(())
    });
}

#[test]
fn well_formed_texts_reach_clients_exactly() {
    holds("well_formed_texts_reach_clients_exactly", &families(), |[a, b, c]| {
        let text = a.join(&b).join(&c).text();
        prop_assert_eq!(TextState::parse(&text.to_json("server")).unwrap(), text);
        Ok(())
    });
}
