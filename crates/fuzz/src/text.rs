//! Texts: what a client may send of one, their stored form, and the laws of the lattice.

use synckit_engine::text::TextState;

use crate::input::Input;

const CLIENTS: [&str; 3] = ["ann", "bob", "é"];

/// Pieces whose characters join to other grapheme clusters when they meet.
const PIECES: [&str; 12] = [
    "a",
    "ab",
    "abcdef",
    "\u{301}",
    "e",
    "\\r",
    "\\n",
    "\u{1F468}",
    "\u{200D}",
    "\u{1F1E9}",
    "\u{1F1EA}\u{1F1F8}",
    "\u{0E33}",
];

/// Bytes of one part: few, so that small texts come apart.
const PART_BYTES: usize = 256;

/// The first byte says what the rest is: one text as clients write it, one as it is stored, or a
/// plan of three.
pub fn text(bytes: &[u8]) {
    let Some((form, body)) = bytes.split_first() else { return };
    match form % 3 {
        0 => {
            let read = std::str::from_utf8(body).ok().and_then(|json| TextState::parse(json).ok());
            if let Some(read) = read {
                clients_read_back(&read);
                laws_hold([&read, &read, &TextState::default()]);
            }
        }
        1 => {
            if let Ok(read) = postcard::from_bytes::<TextState>(body) {
                stored_form_reads_back(&read);
            }
        }
        _ => {
            let mut input = Input::new(body);
            let texts = [(); 3].map(|()| TextState::parse(&json(&mut input)).unwrap_or_default());
            texts.iter().for_each(clients_read_back);
            laws_hold([&texts[0], &texts[1], &texts[2]]);
        }
    }
}

/// A text as a client writes it, if the plan is a good one.
pub(crate) fn json(input: &mut Input<'_>) -> String {
    let blocks: Vec<_> = (0..input.below(6)).map(|_| block(input)).collect();
    let blocks = blocks.join(",");
    format!("{{\"blocks\":[{blocks}],\"clock\":{{\"value\":30}},\"client_id\":\"ann\"}}")
}

fn block(input: &mut Input<'_>) -> String {
    let id = id(input);
    let text: String = (0..=input.below(3)).map(|_| *input.pick(&PIECES)).collect();
    let left = if input.rarely() { self::id(input) } else { "null".to_owned() };
    let right = if input.rarely() { self::id(input) } else { "null".to_owned() };
    let deleted = input.below(3) == 2;
    format!(
        "[{id},{{\"id\":{id},\"text\":\"{text}\",\"left_origin\":{left},\
         \"right_origin\":{right},\"deleted\":{deleted}}}]"
    )
}

fn id(input: &mut Input<'_>) -> String {
    let (client, clock) = (input.pick(&CLIENTS), input.below(32));
    format!("{{\"client_id\":\"{client}\",\"clock\":{clock},\"offset\":0}}")
}

fn clients_read_back(text: &TextState) {
    let json = text.to_json("server");
    let again = TextState::parse(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(again, *text);
    stored_form_reads_back(text);
}

fn stored_form_reads_back(text: &TextState) {
    let bytes = postcard::to_extend(text, Vec::new()).unwrap_or_else(|error| panic!("{error}"));
    let again: TextState = postcard::from_bytes(&bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, *text);
    let json = serde_json::to_string(text).unwrap_or_else(|error| panic!("{error}"));
    let again: TextState = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, *text);
}

fn joined(left: &TextState, right: &TextState) -> TextState {
    let mut both = left.clone();
    both.join(right);
    both
}

fn laws_hold([a, b, c]: [&TextState; 3]) {
    let both = joined(a, b);
    assert_eq!(both, joined(b, a), "the order counts");
    assert_eq!(joined(&both, c), joined(a, &joined(b, c)), "how they are grouped counts");
    assert_eq!(joined(&both, a), both, "a repeat counts");
    assert!(both.covers(a) && both.covers(b));
    assert_eq!(joined(b, &a.minus(b)), both, "what lacks is not enough");
    assert_eq!(a.covers(b), b.minus(a).is_empty());
    assert_eq!(a.covers(b), joined(a, b) == *a);
    let parts = both.parts(PART_BYTES);
    let whole = parts.iter().fold(TextState::default(), |whole, part| joined(&whole, part));
    assert_eq!(whole, both, "the parts are not the whole");
    parts.iter().for_each(stored_form_reads_back);
    stored_form_reads_back(&both);
    // Where clients contradict each other it may be no text of a client; it must be written all
    // the same.
    let _ = TextState::parse(&both.to_json("server"));
}
