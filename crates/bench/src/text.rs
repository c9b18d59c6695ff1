//! A long text that somebody types into, beside another document that must not notice.

use std::fmt::Write;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Error;
use crate::client::{Client, Seen};
use crate::report::{self, Latencies};
use crate::target::Target;

/// Types into a text letter by letter, each sent when the one before is acknowledged, first with
/// nothing beside it and then beside an editor of another document, who had worked alone before.
pub(crate) async fn run(
    target: &Target,
    characters: u32,
    duration: Duration,
) -> Result<String, Error> {
    let (text, other) = (format!("bench-{}-text", target.run()), format!("bench-{}", target.run()));
    let mut typist = Client::connect(target.address(), &text, 0).await?;
    let mut state = State::default();
    (0..characters).for_each(|_| state.type_letter());
    let first = typist.send_text(&state.to_json()).await?;

    let cpu = target.cpu();
    let started = Instant::now();
    let letters = type_until(&mut typist, &mut state, started + duration).await?;
    let (elapsed, cpu) = (started.elapsed(), target.cpu_since(cpu));
    let title = format!(
        "a text of {characters} characters typed one by one, {:.1} MB of state\n  \
         sent and acknowledged in {:.0} ms; then letter by letter:",
        f64::from(u32::try_from(state.to_json().len()).unwrap_or(u32::MAX)) / 1e6,
        first.as_secs_f64() * 1_000.0
    );
    let mut out = report::load(&title, "letters", letters, elapsed, cpu);

    let mut edits = |title: &str, seen: Seen| {
        let mut acks = Latencies::default();
        acks.add(seen.acks);
        out += &report::load(title, "edits", acks, duration, None);
    };
    let alone = Client::connect(target.address(), &other, 1).await?;
    edits("an editor of another document", alone.write_for(1, Instant::now() + duration).await?);
    let beside = Client::connect(target.address(), &other, 2).await?;
    let end = Instant::now() + duration;
    let mut editing = JoinSet::new();
    editing.spawn(beside.write_for(1, end));
    type_until(&mut typist, &mut state, end).await?;
    while let Some(done) = editing.join_next().await {
        let seen = done.map_err(|error| Error::Answer(error.to_string()))??;
        edits("the same while somebody types into the text", seen);
    }
    Ok(out)
}

async fn type_until(
    typist: &mut Client,
    state: &mut State,
    end: Instant,
) -> Result<Latencies, Error> {
    let mut letters = Latencies::default();
    while Instant::now() < end {
        state.type_letter();
        letters.add(vec![typist.send_text(&state.to_json()).await?]);
    }
    Ok(letters)
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
