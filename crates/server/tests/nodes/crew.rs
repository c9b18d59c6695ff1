//! Clients on every node: they write at once, and in the end all must show the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout_at};

use crate::client::{Client, PATIENCE};
use crate::community::{Community, Storage};
use crate::editor::{DOCUMENTS, Editor, Fields, Orders, Seen};
use crate::messages::Edit;
use crate::random::{Random, say};
use crate::truth::{merged, stored};

/// How often a subscriber asks again for a stamp that it was not told of.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) struct Crew {
    editors: Vec<Watched>,
    tasks: JoinSet<()>,
    orders: watch::Sender<Orders>,
    news: watch::Receiver<u64>,
}

struct Watched {
    name: String,
    node: usize,
    seen: Arc<Mutex<Seen>>,
}

impl Crew {
    /// So many editors on every node; they write when they are told.
    pub(crate) fn new(community: &Community, per_node: usize, random: &Random) -> Self {
        let (news_sender, news) = watch::channel(0);
        let orders = watch::Sender::new(Orders::default());
        let mut crew = Self { editors: Vec::new(), tasks: JoinSet::new(), orders, news };
        for (node, place) in community.nodes.iter().enumerate() {
            for _ in 0..per_node {
                let number = crew.editors.len();
                let (name, seen) = (format!("editor-{number}"), Arc::new(Mutex::default()));
                let editor = Editor {
                    name: name.clone(),
                    home: place.home.subscribe(),
                    orders: crew.orders.subscribe(),
                    seen: Arc::clone(&seen),
                    news: news_sender.clone(),
                    random: random.part(number as u64),
                    edits: 0,
                };
                crew.tasks.spawn(editor.run());
                crew.editors.push(Watched { name, node, seen });
            }
        }
        crew
    }

    /// Waits until everybody has every document.
    pub(crate) async fn all_subscribed(&mut self) {
        let have_all = |editors: &[Watched]| {
            editors.iter().all(|editor| editor.seen.lock().documents() == DOCUMENTS.len())
        };
        let is_so = self.until(Instant::now() + PATIENCE, have_all).await;
        assert!(is_so, "not everybody got every document");
    }

    /// Everybody writes from now on.
    pub(crate) fn write(&self) {
        self.orders.send_replace(Orders { is_writing: true });
    }

    /// Nobody begins to write anything from now on.
    pub(crate) fn rest(&self) {
        self.orders.send_replace(Orders::default());
    }

    /// Waits until so many more edits of the editors on these nodes were acknowledged.
    pub(crate) async fn more_acks(&mut self, nodes: &[usize], count: usize) {
        let acks = |editors: &[Watched]| -> usize {
            let on_them = editors.iter().filter(|editor| nodes.contains(&editor.node));
            on_them.map(|editor| editor.seen.lock().acknowledged.len()).sum()
        };
        let wanted = acks(&self.editors) + count;
        let what = format!("{wanted} acknowledgements on the nodes {nodes:?}");
        let is_there = self.until(Instant::now() + PATIENCE, |editors| acks(editors) >= wanted);
        assert!(is_there.await, "no {what}, only {}", acks(&self.editors));
    }

    /// Waits until nothing is unanswered.
    pub(crate) async fn all_answered(&mut self) {
        self.rest();
        let idle = |editors: &[Watched]| editors.iter().all(|it| it.seen.lock().waits() == 0);
        let is_idle = self.until(Instant::now() + PATIENCE, idle).await;
        let open: Vec<_> =
            self.editors.iter().map(|it| (&it.name, it.seen.lock().waits())).collect();
        assert!(is_idle, "not answered within {PATIENCE:?}: {open:?}");
    }

    /// False when the deadline is over first.
    async fn until(&mut self, deadline: Instant, holds: impl Fn(&[Watched]) -> bool) -> bool {
        while !holds(&self.editors) {
            tokio::select! {
                changed = timeout_at(deadline, self.news.changed()) => match changed {
                    Ok(changed) => changed.expect("editors do not end"),
                    Err(_) => return holds(&self.editors),
                },
                Some(ended) = self.tasks.join_next() => ended.expect("an editor failed"),
            }
        }
        true
    }

    /// Everybody stops writing. All edits that were acknowledged are stored once, all editors come
    /// to show what they add up to by `since + bound`, and so does who subscribes then, anywhere.
    pub(crate) async fn converge(
        &mut self,
        community: &Community,
        what: &str,
        since: Instant,
        bound: Duration,
    ) {
        self.all_answered().await;
        let after = self.converged(community, since, bound).await;
        self.check(community, bound).await;
        say(&format!("{what}: recovered in {} ms (bound {bound:?})", after.as_millis()));
    }

    /// As `converge`, counted from the last acknowledgement: for faults that go on.
    pub(crate) async fn converge_in_silence(
        &mut self,
        community: &Community,
        what: &str,
        bound: Duration,
    ) {
        self.all_answered().await;
        self.converge(community, what, Instant::now(), bound).await;
    }

    /// How long after `since` the last editor showed what all must show.
    async fn converged(
        &mut self,
        community: &Community,
        since: Instant,
        bound: Duration,
    ) -> Duration {
        let wanted = self.wanted();
        let shows_all = |editor: &Watched| {
            let seen = editor.seen.lock();
            DOCUMENTS.iter().zip(&wanted).all(|(document, wanted)| seen.shows(document) == *wanted)
        };
        // Beyond the bound, to say by how much it was missed.
        let deadline = since + bound + PATIENCE;
        let all = self.until(deadline, |editors| editors.iter().all(shows_all)).await;
        let changes = self.editors.iter().filter_map(|editor| editor.seen.lock().changed_at);
        let last = changes.max().unwrap_or(since);
        assert!(all, "no convergence:\n{}", self.differences(community, &wanted).await);
        let after = last.saturating_duration_since(since);
        assert!(after <= bound, "converged after {after:?}, bound {bound:?}");
        assert_eq!(community.addresses().len(), community.nodes.len(), "all nodes run");
        after
    }

    /// Who shows something else than what is wanted, with what new subscribers are told.
    async fn differences(&self, community: &Community, wanted: &[Fields]) -> String {
        let mut found = Vec::new();
        for (document, wanted) in DOCUMENTS.iter().zip(wanted) {
            for editor in &self.editors {
                let shown = difference(&editor.seen.lock().shows(document), wanted);
                let (name, node) = (&editor.name, editor.node);
                let told = editor.seen.lock().story(document, shown.first().map(|it| &*it.0));
                found.push(format!("{name} on node {node}, {document}: {shown:?} {told}"));
            }
            for (node, address) in community.addresses().iter().enumerate() {
                let state = Client::connect(address).await.subscribe(document).await;
                let shown = state.fields.as_object().expect("a state is an object");
                let shown = difference(shown, wanted);
                found.push(format!("node {node}, {document}, stamp {}: {shown:?}", state.stamp));
            }
        }
        found.join("\n")
    }

    fn acknowledged(&self) -> Vec<Edit> {
        let edits = |editor: &Watched| editor.seen.lock().acknowledged.clone();
        self.editors.iter().flat_map(edits).collect()
    }

    fn wanted(&self) -> Vec<Fields> {
        let edits = self.acknowledged();
        DOCUMENTS.iter().map(|document| merged(edits.iter(), document)).collect()
    }

    /// What the store has and what subscribers get is what the acknowledged edits add up to. An edit
    /// that lost to another shows in the stamp only, which a node may learn as late as all else.
    async fn check(&self, community: &Community, bound: Duration) {
        let deadline = Instant::now() + bound;
        let (wanted, acknowledged) = (self.wanted(), self.acknowledged());
        let mut stamps = [None; DOCUMENTS.len()];
        if let Storage::Postgres(database) = &community.storage {
            let all = stored(database, &DOCUMENTS).await;
            for (place, stored) in all.into_iter().enumerate() {
                let document = DOCUMENTS[place];
                let edits = acknowledged.iter().filter(|edit| edit.document == document);
                let edits: BTreeSet<_> =
                    edits.map(|edit| (edit.client.clone(), edit.counter)).collect();
                assert_eq!(stored.edits, edits, "stored and acknowledged edits of {document}");
                let difference = difference(&stored.fields, &wanted[place]);
                assert!(difference.is_empty(), "{document} in the store: {difference:#?}");
                stamps[place] = Some(stored.stamp);
            }
        }
        for (node, address) in community.addresses().iter().enumerate() {
            let mut fresh = Client::connect(address).await;
            for ((document, wanted), stamp) in DOCUMENTS.iter().zip(&wanted).zip(stamps) {
                let mut looks = interval(LOOK_AGAIN);
                let state = loop {
                    looks.tick().await;
                    let state = fresh.subscribe(document).await;
                    let is_behind = stamp.is_some_and(|stamp| state.stamp < stamp);
                    if !is_behind || Instant::now() > deadline {
                        break state;
                    }
                };
                let shown = state.fields.as_object().expect("a state is an object");
                let difference = difference(shown, wanted);
                assert!(difference.is_empty(), "{document} on node {node}: {difference:#?}");
                let stamp = stamp.unwrap_or(state.stamp);
                assert_eq!(state.stamp, stamp, "the stamp of {document} on node {node}");
            }
        }
        let sums = self.editors.iter().map(|editor| {
            let seen = editor.seen.lock();
            (seen.connections, seen.refusals)
        });
        let (connections, refusals) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        say(&format!(
            "{} acknowledged edits checked, {} editors with {connections} connections, \
             {refusals} refusals",
            acknowledged.len(),
            self.editors.len()
        ));
    }
}

/// Field, what is shown, what is wanted.
fn difference(shown: &Fields, wanted: &Fields) -> Vec<(String, String, String)> {
    let names: BTreeSet<_> = shown.keys().chain(wanted.keys()).collect();
    let text = |fields: &Fields, name: &String| {
        fields
            .get(name)
            .map_or("nothing".to_owned(), |value| value.to_string().chars().take(80).collect())
    };
    names
        .into_iter()
        .filter(|name| shown.get(*name) != wanted.get(*name))
        .map(|name| (name.clone(), text(shown, name), text(wanted, name)))
        .collect()
}
