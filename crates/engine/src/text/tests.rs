//! What is refused, what the golden joins say, and texts of every script and of any length.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

use serde_json::{Value, json};

use super::*;
use crate::ids::InvalidName;
use crate::limits::{
    EDIT_NUMBER_MAX, TEXT_BLOCKS_MAX, TEXT_CLUSTER_BYTES_MAX, TEXT_RUN_CLUSTERS_MAX,
};

fn id(client: &str, clock: u64) -> Value {
    json!({"client_id": client, "clock": clock, "offset": 0})
}

fn block(client: &str, clock: u64, text: &str, deleted: bool) -> Value {
    let id = id(client, clock);
    json!([id, {"id": id, "text": text, "left_origin": null, "right_origin": null, "deleted": deleted}])
}

fn state(clock: u64, blocks: &[Value]) -> String {
    json!({"blocks": blocks, "clock": {"value": clock}, "client_id": "ann"}).to_string()
}

fn parse(clock: u64, blocks: &[Value]) -> TextState {
    TextState::parse(&state(clock, blocks)).unwrap()
}

/// Client, clock, text and whether deleted, of every block that clients read.
fn blocks(text: &TextState) -> Vec<(String, u64, String, bool)> {
    let read: Value = serde_json::from_str(&text.to_json("server")).unwrap();
    let block = |pair: &Value| {
        let block = &pair[1];
        assert_eq!(pair[0], block["id"]);
        (
            block["id"]["client_id"].as_str().unwrap().to_owned(),
            block["id"]["clock"].as_u64().unwrap(),
            block["text"].as_str().unwrap().to_owned(),
            block["deleted"].as_bool().unwrap(),
        )
    };
    read["blocks"].as_array().unwrap().iter().map(block).collect()
}

fn texts(text: &TextState) -> Vec<String> {
    blocks(text).into_iter().map(|(_, _, text, _)| text).collect()
}

fn joined(one: &TextState, other: &TextState) -> TextState {
    let mut joined = one.clone();
    joined.join(other);
    joined
}

// The golden joins.

#[test]
fn the_golden_joins_come_out_in_both_orders() {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors.json")).unwrap();
    let cases = file["fugue_join"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let [a, b] = ["a", "b"].map(|it| TextState::parse(&case[it].to_string()).unwrap());
        for join in [joined(&a, &b), joined(&b, &a)] {
            let replica = case["expected_join"]["client_id"].as_str().unwrap();
            let written = join.to_json(replica);
            let read: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(read, case["expected_join"], "{}", case["name"]);
            let shown: synckit_core::crdt::text_fugue::FugueText =
                serde_json::from_str(&written).unwrap();
            assert_eq!(shown.to_string(), case["expected_text"], "{}", case["name"]);
        }
    }
}

#[test]
fn a_text_is_written_in_the_members_and_the_order_of_clients() {
    let text = parse(3, &[block("bob", 3, "c", false), block("ann", 3, "b", true)]);
    assert_eq!(
        text.to_json("server"),
        r#"{"blocks":[[{"client_id":"ann","clock":3,"offset":0},{"id":{"client_id":"ann","clock":3,"offset":0},"text":"b","left_origin":null,"right_origin":null,"deleted":true}],[{"client_id":"bob","clock":3,"offset":0},{"id":{"client_id":"bob","clock":3,"offset":0},"text":"c","left_origin":null,"right_origin":null,"deleted":false}]],"clock":{"value":3},"client_id":"server"}"#
    );
}

#[test]
fn the_stored_form_does_not_change() {
    let mut split = parse(9, &[block("ann", 2, "He", false), block("ann", 5, "l\u{301}lo", true)]);
    split.join(&parse(9, &[block("bob", 9, "e\u{301}!", false)]));
    let stored = r#"{"clock":9,"clients":["ann","bob"],"runs":[[0,1,"He",null,null,2,[]],[0,3,"l^lo",null,null,3,[3,1,1]],[1,8,"e^!",null,null,2,[3,1]]]}"#;
    let stored = stored.replace('^', "\u{301}");
    assert_eq!(serde_json::to_string(&split).unwrap(), stored);
    assert_eq!(serde_json::from_str::<TextState>(&stored).unwrap(), split);
}

#[test]
fn a_keystroke_in_a_long_text_is_a_small_difference() {
    let long: Vec<_> = (1..=1_000).map(|clock| block("ann", clock, "x", false)).collect();
    let before = parse(1_000, &long);
    let after = parse(1_001, &[&long[..], &[block("ann", 1_001, "y", false)]].concat());
    let keystroke = after.minus(&before);
    assert_eq!(blocks(&keystroke), [("ann".to_owned(), 1_001, "y".to_owned(), false)]);
    assert_eq!(joined(&before, &keystroke), after);
    assert!(after.minus(&after).is_empty());
}

#[test]
fn edits_far_apart_are_found_between_all_others() {
    let before = parse(200, &(1..=200).map(|at| block("ann", at, "x", false)).collect::<Vec<_>>());
    let edits: Vec<_> =
        [1, 2, 5, 90, 91, 150, 200].map(|clock| block("ann", clock, "x", true)).into();
    let deleted = parse(200, &edits);
    assert_eq!(deleted.minus(&before).blocks(), edits.len());
    let after = joined(&before, &deleted);
    assert!(after.covers(&deleted) && after.covers(&before) && !before.covers(&deleted));
    assert_eq!(after.minus(&before), deleted.minus(&before));
    assert_eq!(blocks(&after).iter().filter(|(.., deleted)| *deleted).count(), edits.len());
}

// Refusals.

fn refusal(clock: u64, blocks: &[Value]) -> String {
    TextState::parse(&state(clock, blocks)).unwrap_err().to_string()
}

#[test]
fn what_is_not_the_json_of_a_text_is_refused() {
    let good = state(1, &[block("ann", 1, "x", false)]);
    assert!(TextState::parse(&good).is_ok());
    let lone_surrogate = good.replace("\"x\"", "\"\\ud800\"");
    let too_deep = format!("{{\"x\":{}", "[".repeat(100_000));
    let cut = &good[..good.len() - 1];
    let without_clock = r#"{"blocks":[],"client_id":"ann"}"#;
    for bad in ["", "null", "[]", "{}", cut, without_clock, &lone_surrogate, &too_deep] {
        assert!(matches!(TextState::parse(bad), Err(InvalidText::Json(_))), "{bad:.100}");
    }
    for (from, to) in [("false", "0"), ("\"clock\":1", "\"clock\":-1"), ("\"text\"", "\"txt\"")] {
        let bad = good.replace(from, to);
        assert!(matches!(TextState::parse(&bad), Err(InvalidText::Json(_))), "{bad}");
    }
}

#[test]
fn a_block_stands_under_its_own_id() {
    let mut moved = block("ann", 2, "x", false);
    moved[0]["clock"] = 1.into();
    assert_eq!(refusal(2, &[moved]), "block ann@2 must stand under its own id as key");
}

#[test]
fn a_block_has_the_offset_zero() {
    let mut moved = block("ann", 2, "x", false);
    moved[0]["offset"] = 1.into();
    moved[1]["id"]["offset"] = 1.into();
    assert_eq!(refusal(2, &[moved]), "block ann@2 must have the offset 0 in its id");
}

#[test]
fn a_block_has_a_text() {
    let empty = block("ann", 1, "", false);
    assert_eq!(refusal(1, &[empty]), "block ann@1 must have a text that is not empty");
}

#[test]
fn a_block_has_a_clock_for_each_of_its_clusters() {
    let long = block("ann", 2, "abc", false);
    let refused =
        "block ann@2 must have a clock of at least 3, the number of its grapheme clusters";
    assert_eq!(refusal(9, &[long]), refused);
    assert_eq!(texts(&parse(3, &[block("ann", 3, "abc", false)])), ["abc"]);
    // The greatest number must not wrap around.
    assert!(TextState::parse(&state(9, &[block("ann", u64::MAX, "a", false)])).is_err());
}

#[test]
fn blocks_of_one_client_share_no_clock() {
    let blocks = [block("ann", 3, "abc", false), block("ann", 4, "de", false)];
    let refused = "block ann@4 must not share clocks with another block of its client";
    assert_eq!(refusal(9, &blocks), refused);
    let twice = [block("ann", 3, "abc", false), block("ann", 3, "abc", false)];
    assert!(matches!(TextState::parse(&state(3, &twice)), Err(InvalidText::Overlap(_))));
    let of_two = [block("ann", 3, "abc", false), block("bob", 4, "de", false)];
    assert_eq!(texts(&parse(4, &of_two)), ["abc", "de"]);
}

#[test]
fn the_clock_is_not_below_a_block_and_not_out_of_range() {
    let ahead = block("ann", 3, "abc", false);
    let refused = "block ann@3 must have a clock of at most 2, the text's clock value";
    assert_eq!(refusal(2, &[ahead]), refused);
    assert!(TextState::parse(&state(EDIT_NUMBER_MAX, &[])).is_ok());
    let far = TextState::parse(&state(EDIT_NUMBER_MAX + 1, &[]));
    assert!(matches!(far, Err(InvalidText::ClockTooGreat(_))));
}

#[test]
fn client_ids_follow_their_rule_in_blocks_and_in_origins() {
    let mut origin = block("ann", 1, "x", false);
    origin[1]["left_origin"] = id("", 1);
    for bad in [block("", 1, "x", false), block("a\nb", 1, "x", false), origin] {
        assert!(matches!(
            TextState::parse(&state(1, &[bad])),
            Err(InvalidText::Client(InvalidName::ClientId))
        ));
    }
}

#[test]
fn a_cluster_that_goes_on_for_ever_is_refused() {
    let marks = |bytes: usize| format!("e{}", "\u{301}".repeat(bytes / 2));
    let long = block("ann", 1, &marks(TEXT_CLUSTER_BYTES_MAX - 1), false);
    assert_eq!(parse(1, &[long]).clients.len(), 1);
    for bytes in [TEXT_CLUSTER_BYTES_MAX, 200_000] {
        let endless = TextState::parse(&state(1, &[block("ann", 1, &marks(bytes), false)]));
        assert!(matches!(endless, Err(InvalidText::Cluster(_))));
    }
}

#[test]
fn stored_texts_that_break_an_invariant_are_refused() {
    for runs in [
        r#"[[1,1,"a",null,null,0,[]]]"#,
        r#"[[0,0,"a",null,null,0,[]]]"#,
        r#"[[0,1,"",null,null,0,[]]]"#,
        r#"[[0,1,"a",null,null,4,[]]]"#,
        r#"[[0,1,"a",[1,1,0],null,0,[]]]"#,
        r#"[[0,1,"ab",null,null,0,[1]]]"#,
        r#"[[0,1,"ab",null,null,0,[0,2]]]"#,
        r#"[[0,1,"é",null,null,0,[1,1]]]"#,
        r#"[[0,1,"ab",null,null,0,[]],[0,2,"c",null,null,0,[]]]"#,
        r#"[[0,2,"a",null,null,0,[]],[0,1,"c",null,null,0,[]]]"#,
        r#"[[0,18446744073709551615,"a",null,null,0,[]]]"#,
    ] {
        let stored = format!(r#"{{"clock":9,"clients":["ann"],"runs":{runs}}}"#);
        assert!(serde_json::from_str::<TextState>(&stored).is_err(), "{runs}");
    }
}

// Scripts.

#[test]
fn clusters_of_every_script_are_split_whole_and_joined_again() {
    for text in [
        "🇩🇪🇫🇷🇯🇵🇺🇸",
        "e\u{301}o\u{308}\u{323}n\u{303}a",
        "👨‍👩‍👧‍👦👍🏽🏳️‍🌈a",
        "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}한글",
        "क्षत्रिय",
        "a\r\nb\r\n\r\nc\n",
        "日本語テキスト",
    ] {
        let (lengths, count) = run::segment(text).unwrap();
        let ends = |at: usize| match lengths.is_empty() {
            true => text.char_indices().nth(at).map_or(text.len(), |(at, _)| at),
            false => lengths[..at].iter().map(|&it| usize::from(it)).sum(),
        };
        let last = count as u64;
        let whole = parse(last, &[block("ann", last, text, false)]);
        for cut in 1..count {
            let (left, right) = text.split_at(ends(cut));
            let pieces = [block("ann", cut as u64, left, true), block("ann", last, right, false)];
            let split = parse(last, &pieces);
            assert_eq!(joined(&whole, &split), split, "{text:?} cut after {cut}");
            assert_eq!(texts(&joined(&whole, &split)), [left, right]);
            assert_eq!(split.minus(&whole).clients.len(), 1);
            assert!(whole.minus(&split).is_empty());
        }
    }
}

#[test]
fn blocks_whose_clusters_would_melt_stay_apart() {
    let blocks = [block("ann", 1, "e", false), block("ann", 2, "\u{301}", false)];
    assert_eq!(texts(&parse(2, &blocks)), ["e", "\u{301}"]);
}

// Long texts.

#[test]
fn a_long_block_is_kept_in_runs_and_written_as_one() {
    for letter in ["x", "日", "e\u{301}"] {
        let clusters = 3 * TEXT_RUN_CLUSTERS_MAX + 5;
        let text = letter.repeat(usize::try_from(clusters).unwrap());
        let long = parse(clusters + 7, &[block("ann", clusters + 7, &text, false)]);
        assert!(long.parts(1).len() > 3);
        assert_eq!(texts(&long), [text]);
    }
}

#[test]
fn a_block_of_which_every_second_cluster_is_deleted_is_joined() {
    let clusters = 20_000;
    let whole = parse(clusters, &[block("ann", clusters, &"x".repeat(20_000), false)]);
    let single = |clock| block("ann", clock, "x", clock % 2 == 0);
    let pieces = parse(clusters, &(1..=clusters).map(single).collect::<Vec<_>>());
    assert_eq!(joined(&whole, &pieces), pieces);
    assert_eq!(joined(&pieces, &whole), pieces);
    assert_eq!(joined(&whole, &pieces.minus(&whole)), pieces);
}

/// What a stack for a few hundred calls at most is enough for.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    thread.spawn(work).unwrap().join().unwrap();
}

/// The JSON of a text of `keystrokes` letters, each typed after the one before.
fn typed(keystrokes: u64) -> String {
    let id = |clock: u64| format!(r#"{{"client_id":"ann","clock":{clock},"offset":0}}"#);
    let block = |clock: u64| {
        let left = if clock == 1 { "null".to_owned() } else { id(clock - 1) };
        let id = id(clock);
        format!(
            r#"[{id},{{"id":{id},"text":"x","left_origin":{left},"right_origin":null,"deleted":false}}]"#
        )
    };
    let blocks = (1..=keystrokes).map(block).collect::<Vec<_>>().join(",");
    format!(r#"{{"blocks":[{blocks}],"clock":{{"value":{keystrokes}}},"client_id":"ann"}}"#)
}

#[test]
fn a_hundred_thousand_keystrokes_are_handled_without_recursion() {
    const KEYSTROKES: u64 = 100_000;
    assert!(usize::try_from(KEYSTROKES).unwrap() <= TEXT_BLOCKS_MAX);
    on_a_small_stack(|| {
        let json = typed(KEYSTROKES);
        let after = TextState::parse(&json).unwrap();
        assert_eq!(after.to_json("ann"), json);
        let before = TextState::parse(&typed(KEYSTROKES - 1)).unwrap();
        let last = after.minus(&before);
        assert_eq!(texts(&last), ["x"]);
        assert_eq!(joined(&before, &last), after);
        assert_eq!(joined(&before, &after), after);
        let stored = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<TextState>(&stored).unwrap(), after);
    });
}

#[test]
fn blocks_are_counted_by_runs() {
    assert_eq!(TextState::default().blocks(), 0);
    let text = parse(9, &[block("ann", 3, "abc", false), block("bob", 9, "x", false)]);
    assert_eq!(text.blocks(), 2);
    assert_eq!(TextState::parse(&typed(3_000)).unwrap().blocks(), 3_000);
    let clusters = 2 * TEXT_RUN_CLUSTERS_MAX;
    let long = "x".repeat(usize::try_from(clusters - 1).unwrap());
    assert_eq!(parse(clusters - 1, &[block("ann", clusters - 1, &long, false)]).blocks(), 2);
}

#[test]
fn more_blocks_than_the_limit_are_refused() {
    let refused = TextState::parse(&typed(TEXT_BLOCKS_MAX as u64 + 1));
    assert!(matches!(refused, Err(InvalidText::TooManyBlocks(_))));
}
