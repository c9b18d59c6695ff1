//! The end of a run: everything is healed, everybody is connected, and all must come to rest.

use synckit_engine::limits::AWARENESS_HEARD_FOR_MS;

use crate::check::Invariant;
use crate::client::Kind;
use crate::plan::{ALIVE_MS, REPEAT_MS};
use crate::world::World;

/// Far more rounds than any run needs until nothing is on its way any more.
const ROUNDS_MAX: usize = 500;

/// Time passes in steps of this, so that no node falls silent, until all leases of awareness have
/// run out and it was said once more who is there.
const PAUSE_MS: u64 = ALIVE_MS + 1;
const PAUSES: u64 = (AWARENESS_HEARD_FOR_MS + 2 * REPEAT_MS) / PAUSE_MS + 1;

impl World {
    pub(crate) fn heal_and_rest(&mut self) {
        self.note(|| "the nodes and the store are healed".to_owned());
        self.store.is_up = true;
        self.plan.store_fails = 0;
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_up {
                self.restart(node);
            }
        }
        self.connect_all();
        // The last edits still go over a bus that loses them.
        self.drain();
        self.check_own_edits();
        self.note(|| "the bus is healed".to_owned());
        self.bus.is_healed = true;
        for node in 0..self.nodes.len() {
            if !self.bus.links[node] {
                self.resume(node);
            }
        }
        for _ in 0..PAUSES {
            self.drain();
            self.now += PAUSE_MS;
            for node in 0..self.nodes.len() {
                self.ask_heads(node);
                self.run_timers(node);
            }
            // A slow one may have been closed.
            self.connect_all();
            if self.violation.is_some() {
                return;
            }
        }
        self.drain();
        if self.store.deletions > 0 || self.store.takeovers > 0 {
            // The rule of the SDKs can't take back a value: their users reload the page.
            for at in 0..self.clients.len() {
                if self.clients[at].kind != Kind::Plain {
                    self.clients[at].forget();
                    self.lose_connection(at);
                }
            }
            self.connect_all();
            self.drain();
        }
        if self.violation.is_none() {
            self.check_end();
        }
    }

    fn connect_all(&mut self) {
        for at in 0..self.clients.len() {
            self.connect(at);
            for document in 0..self.plan.documents {
                if !self.clients[at].views[document].is_open {
                    self.open_or_close(at, document);
                }
            }
        }
    }

    /// Until nothing is on its way.
    fn drain(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            let sessions: Vec<_> = self.connections.keys().copied().collect();
            for session in sessions {
                while self.hear_client(session) {
                    moved = true;
                }
                while self.tell_client(session) {
                    moved = true;
                }
            }
            for node in 0..self.nodes.len() {
                for document in 0..self.plan.documents {
                    moved |= self.feed_room(node, document);
                }
                moved |= self.append(node);
                moved |= self.answer_edit(node);
                moved |= self.read(node);
                moved |= self.answer_read(node);
                moved |= self.answer_head(node);
                moved |= self.notice_end(node);
                moved |= self.end_windows(node);
            }
            for _ in 0..self.nodes.len() {
                moved |= self.carry();
            }
            if !moved || self.violation.is_some() {
                return;
            }
        }
        self.violate(Invariant::ComesToRest, format!("still moving after {ROUNDS_MAX} rounds"));
    }
}
