//! Timers of the windows in which a room gathers changes.

use std::time::Duration;

use synckit_engine::room::Window;
use tokio::time::{Instant, sleep_until};

/// When the windows end that the room wants to hear of.
#[derive(Debug, Default)]
pub(super) struct Windows {
    text: Option<Instant>,
    awareness: Option<Instant>,
    recent: Option<Instant>,
}

impl Windows {
    /// Begins a window of so many milliseconds.
    pub(super) fn open(&mut self, window: Window, ms: u64) {
        *self.end_of(window) = Some(Instant::now() + Duration::from_millis(ms));
    }

    /// Waits for the end of the first window that is open; does not wait if none is. Cancel-safe.
    pub(super) async fn over(&mut self) -> Option<Window> {
        let text = self.text.map(|end| (end, Window::Text));
        let awareness = self.awareness.map(|end| (end, Window::Awareness));
        let recent = self.recent.map(|end| (end, Window::Recent));
        let open = text.into_iter().chain(awareness).chain(recent);
        let (end, window) = open.min_by_key(|(end, _)| *end)?;
        sleep_until(end).await;
        *self.end_of(window) = None;
        Some(window)
    }

    fn end_of(&mut self, window: Window) -> &mut Option<Instant> {
        match window {
            Window::Text => &mut self.text,
            Window::Awareness => &mut self.awareness,
            Window::Recent => &mut self.recent,
        }
    }
}
