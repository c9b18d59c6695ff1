//! Every input that was kept, once each, on the normal build.
#![expect(clippy::unwrap_used, reason = "in a test a panic with a line number is the report")]

use std::path::PathBuf;

use synckit_fuzz::TARGETS;

/// Inputs of the folder `kind`, in the order of their names.
fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    // Not as it was when this was built: checkouts may share a target folder.
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let folder = package.join(kind).join(target);
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut inputs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    inputs.sort();
    inputs
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let kept = inputs("corpus", name);
    assert!(!kept.is_empty(), "the corpus of {name} is missing");
    for input in kept.into_iter().chain(inputs("crashes", name)) {
        let bytes = std::fs::read(&input).unwrap();
        let result = std::panic::catch_unwind(|| target(&bytes));
        assert!(
            result.is_ok(),
            "{name} fails on {}; alone: scripts/fuzz {name} --replay {}",
            input.display(),
            input.display()
        );
    }
}

#[test]
fn kept_binary_frames_pass() {
    replay("binary_frame");
}

#[test]
fn kept_json_frames_pass() {
    replay("json_frame");
}

#[test]
fn kept_stored_forms_pass() {
    replay("stored");
}

#[test]
fn kept_texts_pass() {
    replay("text");
}

#[test]
fn kept_plans_of_connections_pass() {
    replay("connection");
}
