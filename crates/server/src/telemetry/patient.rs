//! An output that is written by a thread of its own, so that nobody else waits for who reads it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes waiting to be written. More are lost, and counted: some thousand lines, which is what a
/// reader may be behind before it counts as gone.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long the end of the process waits for the last lines. A reader that is there takes them at
/// once.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Takes lines and never waits. Clones write to the same output.
#[derive(Clone)]
pub struct Patient {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    is_writing: bool,
    /// Since this was last said.
    lines_lost: u64,
}

impl Patient {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// When there can't be one.
    pub fn new(name: &str, output: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        // Ends with the process: it may never come back from its last write.
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            writer.write_to(output, |lines| {
                tracing::warn!(lines, "lines of the log were lost: nobody read them");
            });
        })?;
        Ok(Self { shared })
    }

    /// Gives text to the thread, whole or not at all.
    pub fn put(&self, text: &[u8]) {
        let mut state = self.shared.state.lock();
        if state.waiting.len() + text.len() > WAITING_BYTES_MAX {
            state.lines_lost += 1;
        } else {
            state.waiting.extend_from_slice(text);
            drop(state);
            self.shared.filled.notify_one();
        }
    }

    /// Waits until all is written, but not for long.
    pub fn flush(&self) {
        let mut state = self.shared.state.lock();
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        self.shared.emptied.wait_while_for(&mut state, is_busy, FLUSH_WITHIN);
    }
}

impl Shared {
    fn write_to(&self, mut output: impl Write, say_lost: impl Fn(u64)) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.state.lock();
            state.is_writing = false;
            if state.waiting.is_empty() {
                self.emptied.notify_all();
                self.filled.wait_while(&mut state, |state| state.waiting.is_empty());
            }
            state.is_writing = true;
            std::mem::swap(&mut state.waiting, &mut batch);
            drop(state);

            let written = output.write_all(&batch).and_then(|()| output.flush());
            let lost = match written {
                Ok(()) => std::mem::take(&mut self.state.lock().lines_lost),
                Err(_) => {
                    let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                    self.state.lock().lines_lost += lines as u64;
                    0
                }
            };
            batch.clear();
            if lost > 0 {
                say_lost(lost);
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.put(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::thread;

    use super::*;

    /// Takes a batch when a test does.
    struct Slow(SyncSender<usize>);

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(text.len()).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(output: impl Write + Send + 'static) -> (Patient, Receiver<u64>) {
        let state = Mutex::default();
        let shared = Arc::new(Shared { state, filled: Condvar::new(), emptied: Condvar::new() });
        let (say, said) = sync_channel(10);
        let writer = Arc::clone(&shared);
        thread::spawn(move || writer.write_to(output, |lines| say.send(lines).unwrap()));
        (Patient { shared }, said)
    }

    #[test]
    fn what_finds_no_place_is_lost_and_the_number_of_lines_is_said_when_it_goes_on() {
        let (slow, reader) = sync_channel(0);
        let (output, said) = start(Slow(slow));
        let line = [b'x'; 1_024];
        for _ in 0..3_000 {
            output.put(&line);
        }
        let mut bytes = reader.recv().unwrap();
        let lost = usize::try_from(said.recv().unwrap()).unwrap();
        while bytes < (3_000 - lost) * line.len() {
            bytes += reader.recv().unwrap();
        }
        assert_eq!(bytes, (3_000 - lost) * line.len());
        assert!((952..=1_976).contains(&lost), "{lost}");
    }

    /// Fails so often.
    struct Broken(usize);

    impl Write for Broken {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_sub(1);
            if self.0 > 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(text.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted_too() {
        let (output, said) = start(Broken(2));
        output.put(b"one\n");
        output.flush();
        output.put(b"two\n");
        assert_eq!(said.recv().unwrap(), 1);
    }
}
