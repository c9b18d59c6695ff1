//! A long text that somebody types into, beside another document that must not notice.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::client::Client;
use super::report::{self, Latencies};
use super::target::Target;

/// Types into a text for a while, letter by letter, each sent when the one before is acknowledged;
/// an editor of another document does the same before and meanwhile.
pub(super) async fn run(
    target: &Target,
    characters: u32,
    duration: Duration,
) -> Result<String, Error> {
    let (text, other) = (format!("bench-{}-text", target.run()), format!("bench-{}", target.run()));
    let mut writer = Client::connect(target.address(), &text, 0).await?;
    let editor = Client::connect(target.address(), &other, 1).await?;
    let mut state = State::default();
    (0..characters).for_each(|_| state.type_letter());
    let first = writer.send_text(&state.to_json()).await?;

    let alone = editor.write_for(1, Instant::now() + duration).await?;
    let editor = Client::connect(target.address(), &other, 2).await?;
    let cpu = target.cpu();
    let started = Instant::now();
    let edits = tokio::spawn(editor.write_for(1, started + duration));
    let mut typed = Latencies::default();
    while started.elapsed() < duration {
        state.type_letter();
        typed.add(vec![writer.send_text(&state.to_json()).await?]);
    }
    let (elapsed, cpu) = (started.elapsed(), target.cpu_since(cpu));
    let beside = edits.await.map_err(|error| Error::Answer(error.to_string()))??;
    let megabytes = state.to_json().len() / 1_000_000;
    let title = format!(
        "a text of {characters} characters typed one by one, {megabytes} MB of state\n  \
         first sent and acknowledged in {:.0} ms; then letter by letter:",
        first.as_secs_f64() * 1_000.0
    );
    let mut out = report::load(&title, "letters", typed, elapsed, cpu);
    for (what, seen) in [("without it", alone), ("beside it", beside)] {
        let mut acks = Latencies::default();
        acks.add(seen.acks);
        out += &report::load(
            &format!("one editor of another document, {what}"),
            "edits",
            acks,
            duration,
            None,
        );
    }
    Ok(out)
}

/// What a client that typed a text letter by letter sends.
#[derive(Debug, Default)]
struct State {
    blocks: String,
    letters: u64,
}

impl State {
    fn type_letter(&mut self) {
        let before = self.letters;
        self.letters += 1;
        if before > 0 {
            self.blocks.push(',');
        }
        let id = node(self.letters);
        let left = if before > 0 { node(before) } else { "null".to_owned() };
        // Writing to a String can't fail.
        let _ = write!(
            self.blocks,
            "[{id},{{\"id\":{id},\"text\":\"x\",\"left_origin\":{left},\"right_origin\":null,\
             \"deleted\":false}}]"
        );
    }

    fn to_json(&self) -> String {
        format!(
            "{{\"blocks\":[{}],\"clock\":{{\"value\":{}}},\"client_id\":\"{TYPIST}\"}}",
            self.blocks, self.letters
        )
    }
}

/// As long as the ids that clients draw.
const TYPIST: &str = "client-0123456789abcdefghij";

fn node(clock: u64) -> String {
    format!("{{\"client_id\":\"{TYPIST}\",\"clock\":{clock},\"offset\":0}}")
}
