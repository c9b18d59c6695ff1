//! Holds the workspace to the rules of `synckit_tidy`.
//!
//! An exception is a line in one of the lists below, with its reason. One that is no exception any
//! more has to go.

use std::collections::BTreeSet;
use std::path::Path;

use synckit_tidy::arrows::Arrows;
use synckit_tidy::{Source, shape, sources};

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Functions that may be longer, each with its reason.
const LONG_FUNCTIONS: [(&str, &str); 0] = [];

/// The folders and files of the server, from the one that knows most to those that all may know.
/// Those of one line must not know each other.
const SERVER: [&[&str]; 14] = [
    &["main"],
    &["bench"],
    &["cli"],
    &["documents"],
    &["server", "backup", "migrate", "restored"],
    &["http"],
    &["connection"],
    &["rooms"],
    &["outbox", "nodes"],
    &["storage"],
    &["telemetry"],
    &["config"],
    &["shutdown"],
    &["supervision", "heavy", "time"],
];

fn workspace() -> Vec<Source> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).expect("crates are two folders down");
    sources(root).expect("the sources can be read")
}

/// What breaks a rule and is no exception, and the exceptions that break nothing.
fn check(broken: impl IntoIterator<Item = (String, String)>, exceptions: &[(&str, &str)]) {
    let broken: Vec<_> = broken.into_iter().collect();
    let names: BTreeSet<_> = broken.iter().map(|(name, _)| name.as_str()).collect();
    let allowed: BTreeSet<_> = exceptions.iter().map(|(name, _)| *name).collect();
    let new: Vec<_> = broken.iter().filter(|(name, _)| !allowed.contains(name.as_str())).collect();
    assert!(new.is_empty(), "against the rule: {new:#?}");
    let idle: Vec<_> = allowed.difference(&names).collect();
    assert!(idle.is_empty(), "exceptions that are none: {idle:#?}");
}

#[test]
fn files_are_read_in_one_go() {
    let sources = workspace();
    let long = sources.iter().filter_map(|source| {
        Some((source.path.clone(), format!("{} lines", shape::too_long(source)?)))
    });
    check(long, &LONG_FILES);
}

#[test]
fn functions_are_seen_at_once() {
    let sources = workspace();
    let long = sources.iter().flat_map(|source| {
        let functions = shape::long_functions(source).into_iter();
        functions
            .map(|(name, lines)| (format!("{}: {name}", source.path), format!("{lines} lines")))
    });
    check(long, &LONG_FUNCTIONS);
}

#[test]
fn files_have_names_that_say_something() {
    let sources = workspace();
    let empty = sources.iter().filter(|source| shape::has_empty_name(source));
    check(empty.map(|source| (source.path.clone(), "a name for anything".to_owned())), &[]);
}

#[test]
fn files_say_in_their_first_line_what_they_are() {
    let sources = workspace();
    // Tests of one subject are named by their file.
    let silent = sources
        .iter()
        .filter(|source| source.path.contains("/src/") && !source.path.ends_with("/tests.rs"))
        .filter(|source| !source.path.contains("/tests/") && !shape::has_first_line(source));
    check(silent.map(|source| (source.path.clone(), "no `//!` at its top".to_owned())), &[]);
}

#[test]
fn folders_of_the_server_say_what_they_own_and_must_not_know() {
    let sources = workspace();
    let inside = |folder: &str| sources.iter().any(|source| source.path.starts_with(folder));
    let silent = sources.iter().filter(|source| {
        let folder = source.path.strip_suffix(".rs").unwrap_or_default();
        let is_top = folder.strip_prefix("crates/server/src/").is_some_and(|it| !it.contains('/'));
        is_top && inside(&format!("{folder}/")) && !shape::says_its_limits(source)
    });
    check(silent.map(|source| (source.path.clone(), "Owns …, Must not know …".to_owned())), &[]);
}

#[test]
fn arrows_between_the_folders_of_the_server_point_one_way() {
    let arrows = Arrows::of("crates/server/src/", &workspace());
    let against = arrows.against(&SERVER);
    assert!(against.is_empty(), "{against:#?}");
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let sources = workspace();
    for name in ["bench", "client", "engine", "fuzz", "server", "store", "testkit"] {
        let circles = Arrows::of(&format!("crates/{name}/src/"), &sources).circles();
        assert!(circles.is_empty(), "{name}: {circles:#?}");
    }
}
