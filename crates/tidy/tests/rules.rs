//! Each rule on code made up to break it.

use synckit_tidy::arrows::Arrows;
use synckit_tidy::{Source, shape};

#[track_caller]
fn source(path: &str, text: &str) -> Source {
    Source::new(path, text).expect("it is Rust")
}

#[test]
fn a_file_of_400_lines_is_short_and_one_of_401_is_not() {
    assert_eq!(shape::too_long(&source("a.rs", &"//\n".repeat(400))), None);
    assert_eq!(shape::too_long(&source("a.rs", &"//\n".repeat(401))), Some(401));
}

#[test]
fn functions_are_measured_wherever_they_stand() {
    let body = "\n".repeat(shape::FUNCTION_LINES_MAX);
    let text = format!(
        "fn one() {{{body}}}\nimpl A {{ fn two() {{{body}}} fn short() {{}} }}\n\
         trait B {{ fn three() {{{body}}} }}\nmod c {{ fn four() {{ fn five() {{{body}}} }} }}"
    );
    let names: Vec<_> =
        shape::long_functions(&source("a.rs", &text)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one", "two", "three", "four", "five"]);
}

#[test]
fn empty_names_and_missing_first_lines_are_found() {
    assert!(shape::has_empty_name(&source("crates/a/src/utils.rs", "")));
    assert!(shape::has_empty_name(&source("crates/a/src/room/mod.rs", "")));
    assert!(!shape::has_empty_name(&source("crates/a/src/modest.rs", "")));
    assert!(!shape::has_first_line(&source("a.rs", "// Almost.")));
    assert!(shape::says_its_limits(&source("a.rs", "//! Owns this.\n//! Must not know that.")));
    assert!(!shape::says_its_limits(&source("a.rs", "//! Owns this.\n\n// Must not know that.")));
}

fn house(files: &[(&str, &str)]) -> Arrows {
    let sources: Vec<_> =
        files.iter().map(|(name, text)| source(&format!("src/{name}.rs"), text)).collect();
    Arrows::of("src/", &sources)
}

#[test]
fn an_arrow_to_a_folder_above_or_beside_is_named() {
    let arrows = house(&[
        ("lib", "mod top; mod left; mod right;"),
        ("top", "use crate::left::inside::A;"),
        ("left", "pub mod inside;"),
        ("left/inside", "use super::super::right::B;"),
        ("right", "fn f(_: crate::top::Top) {}"),
    ]);
    let order: [&[&str]; 2] = [&["top"], &["left", "right"]];
    assert_eq!(arrows.against(&order), ["left::inside -> right", "right -> top"]);
    let unknown = arrows.against(&[&["top"], &["left"]]);
    assert_eq!(unknown, ["right has no place in the order"]);
}

#[test]
fn circles_are_found_through_any_kind_of_path_and_trees_are_not_circles() {
    let arrows = house(&[
        ("lib", "mod a; mod b; mod c; mod d;"),
        ("a", "use crate::{b::{self, B}};"),
        ("b", "mod inner { fn f() { super::super::c::g::<u8>() } }"),
        ("c", "use super::a::*;"),
        ("d", "use crate::a::A; use crate::c as other; pub(super) fn f() {}"),
        ("d/e", "pub(in crate::d) fn f() {} fn g() { super::f() }"),
    ]);
    assert_eq!(arrows.circles(), [["a", "b", "c"]]);
}
