//! What is sent at most once in a while: a text, because each change is sent as the whole of it,
//! and awareness, because many change at once. The first change is sent without delay and opens a
//! window; what comes during it is sent once at its end, in its newest form, and opens another.

use crate::awareness::Changed;
use crate::json::JsonText;
use crate::limits::{
    AWARENESS_ENTRIES_MAX, AWARENESS_WINDOW_MS, TEXT_WINDOW_BYTES, TEXT_WINDOW_MS,
};

use super::{Effect, Room};

/// Which of them; and one more time that a room waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The text.
    Text,
    /// Awareness.
    Awareness,
    /// A minute for which the newest deltas are kept.
    Recent,
}

/// A client's newest awareness, to be sent at the end of the window.
#[derive(Debug)]
pub(super) struct WaitingAwareness {
    state: Option<JsonText>,
    clock: u64,
    /// Whether other nodes are to hear of it too.
    is_published: bool,
}

impl<H> Room<H> {
    /// Sends the text, now or at the end of the window.
    pub(super) fn show_text(&mut self, effects: &mut Vec<Effect>) {
        if let Some(is_dirty) = &mut self.text_window {
            *is_dirty = true;
            return;
        }
        let Some(message) = self.text_message() else { return };
        let bytes = self.text_string.as_ref().map_or(0, |text| text.as_str().len());
        let pause = TEXT_WINDOW_MS + (bytes / TEXT_WINDOW_BYTES) as u64;
        effects.push(Effect::Broadcast(message));
        effects.push(Effect::Open(Window::Text, pause));
        self.text_window = Some(false);
    }

    pub(super) fn text_window_is_over(&mut self, effects: &mut Vec<Effect>) {
        if self.text_window.take() == Some(true) {
            self.show_text(effects);
        }
    }

    /// Shows and publishes changes of awareness, now or at the end of the window.
    pub(super) fn show_awareness(
        &mut self,
        changes: Vec<Changed>,
        is_published: bool,
        effects: &mut Vec<Effect>,
    ) {
        if changes.is_empty() {
            return;
        }
        match &mut self.awareness_window {
            Some(waiting) => {
                for (client, state, clock) in changes {
                    let before = waiting.get(&client).is_some_and(|waits| waits.is_published);
                    let is_published = is_published || before;
                    waiting.insert(client, WaitingAwareness { state, clock, is_published });
                }
                if waiting.len() > AWARENESS_ENTRIES_MAX {
                    self.send_waiting_awareness(effects);
                }
            }
            None => {
                self.send_awareness(changes, is_published, effects);
                effects.push(Effect::Open(Window::Awareness, AWARENESS_WINDOW_MS));
                self.awareness_window = Some(std::collections::BTreeMap::new());
            }
        }
    }

    pub(super) fn awareness_window_is_over(&mut self, effects: &mut Vec<Effect>) {
        if self.awareness_window.as_ref().is_some_and(|waiting| !waiting.is_empty()) {
            self.send_waiting_awareness(effects);
            effects.push(Effect::Open(Window::Awareness, AWARENESS_WINDOW_MS));
        } else {
            self.awareness_window = None;
        }
    }

    fn send_waiting_awareness(&mut self, effects: &mut Vec<Effect>) {
        let waiting = self.awareness_window.as_mut().map(std::mem::take).unwrap_or_default();
        let (published, heard): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, waits)| waits.is_published);
        for (waiting, is_published) in [(published, true), (heard, false)] {
            let changes =
                waiting.into_iter().map(|(client, waits)| (client, waits.state, waits.clock));
            self.send_awareness(changes.collect(), is_published, effects);
        }
    }
}
