//! The second half of the message about an unknown name.

use strsim::levenshtein;

/// `; did you mean X?` if a name is close, else where to find the right names.
pub(super) fn hint<'name>(typed: &str, names: impl Iterator<Item = &'name str>) -> String {
    let typed = typed.to_lowercase();
    let nearest = names.map(|name| (levenshtein(&typed, &name.to_lowercase()), name)).min();
    match nearest {
        Some((edits, name)) if edits <= (typed.len() / 4).max(2) => {
            format!("; did you mean {name}?")
        }
        _ => "; `synckit-server config` lists the settings".to_owned(),
    }
}
