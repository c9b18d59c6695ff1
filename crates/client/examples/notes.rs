//! Joins a document, writes a field and prints what the document shows, until it is interrupted:
//!
//! ```text
//! cargo run -p synckit-client --example notes -- ws://127.0.0.1:8080/ws doc-1
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;

use synckit_client::{Client, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:8080/ws".to_owned());
    let name = arguments.next().unwrap_or_else(|| "doc-1".to_owned());

    let client = Client::connect(&Options::new(url))?;
    let mut document = client.open(&name);
    document.set_awareness(&BTreeMap::from([("name", "a notebook")]))?;
    let receipt = document.set("note", &format!("written by {}", client.client_id()))?;
    let mut status = client.status();
    let mut stored = std::pin::pin!(receipt);
    let mut is_stored = false;
    loop {
        tokio::select! {
            () = document.changed() => {
                let (standing, here) = (document.standing(), document.awareness().len());
                say(&format!("{standing:?}, {here} here"))?;
                for (field, value) in document.fields() {
                    say(&format!("  {field}: {value}"))?;
                }
            }
            Ok(()) = status.changed() => say(&format!("{:?}", *status.borrow_and_update()))?,
            outcome = &mut stored, if !is_stored => {
                outcome?;
                is_stored = true;
                say("stored")?;
            }
        }
    }
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
