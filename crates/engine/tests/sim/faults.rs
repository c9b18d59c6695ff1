//! What breaks, as far as the plan of a run allows it.

use synckit_engine::room::Input;

use crate::world::World;

impl World {
    pub(crate) fn fail(&mut self, node: usize, document: usize) {
        match self.random.below(12) {
            0 | 1 if self.plan.nodes_crash => {
                if self.nodes[node].is_up {
                    self.crash(node);
                } else {
                    self.restart(node);
                }
            }
            2 | 3 if self.plan.rooms_panic => self.panic_room(node, document),
            4 | 5 if self.plan.links_break => {
                if self.bus.links[node] {
                    self.note(|| format!("the link of node {node} breaks"));
                    self.bus.links[node] = false;
                    self.bus.lose(node);
                } else {
                    self.resume(node);
                }
            }
            6 | 7 if self.plan.store_stops => {
                self.store.is_up ^= true;
                let is_up = self.store.is_up;
                self.note(|| format!("the store is up: {is_up}"));
            }
            8 | 9 if self.plan.store_prunes => {
                let keep = self.random.below(4);
                self.note(|| format!("document {document} keeps {keep} deltas"));
                self.store.prune(document, keep);
            }
            10 | 11 if self.plan.store_falls_back => self.take_over(),
            _ => {}
        }
    }

    pub(crate) fn delete(&mut self, document: usize) {
        self.note(|| format!("document {document} is deleted"));
        self.store.delete(document);
    }

    /// A node dies with all it has in memory. What it was storing may be stored or not.
    pub(crate) fn crash(&mut self, node: usize) {
        self.note(|| format!("node {node} dies"));
        if self.store.is_up && self.random.chance(50) {
            let group = std::mem::take(&mut self.nodes[node].group);
            self.store_group(&group);
        }
        let sessions: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, one)| one.node == node)
            .map(|(id, _)| *id)
            .collect();
        for session in sessions {
            let connection = self.connections.remove(&session).unwrap();
            let client = &mut self.clients[connection.client];
            client.session = client.session.filter(|current| *current != session);
        }
        self.nodes[node] = self.new_node(node);
        self.nodes[node].is_up = false;
        self.bus.lose(node);
    }

    pub(crate) fn restart(&mut self, node: usize) {
        self.note(|| format!("node {node} starts"));
        self.nodes[node] = self.new_node(node);
        self.bus.links[node] = true;
    }

    /// A room ends by a panic: its connections are closed, and who comes back opens it anew.
    fn panic_room(&mut self, node: usize, document: usize) {
        let slots = &mut self.nodes[node].slots;
        if slots.get(&document).is_none_or(|slot| slot.room.is_none()) {
            return;
        }
        let slot = slots.remove(&document).unwrap();
        self.note(|| format!("room {document} on node {node} panics"));
        let mut sessions: Vec<_> = slot.room.unwrap().handles().copied().collect();
        sessions.extend(slot.mailbox.into_iter().map(|(session, _)| session));
        for session in sessions {
            self.end_connection(session);
        }
    }

    /// A node's link is back: rooms hear of it, and are compared with the store at once.
    pub(crate) fn resume(&mut self, node: usize) {
        self.note(|| format!("the link of node {node} is back"));
        self.bus.links[node] = true;
        let now = self.now;
        self.nodes[node].heard.values_mut().for_each(|at| *at = now);
        for document in self.open_rooms(node) {
            self.give(node, document, Input::Resumed);
        }
        self.ask_heads(node);
    }
}
