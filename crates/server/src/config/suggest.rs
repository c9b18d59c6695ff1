//! The second half of the message about an unknown name.

/// `; did you mean X?` if a name is close, else where to find the right names.
pub(super) fn hint<'name>(typed: &str, names: impl Iterator<Item = &'name str>) -> String {
    let typed = typed.to_lowercase();
    let nearest = names.map(|name| (distance(&typed, &name.to_lowercase()), name)).min();
    match nearest {
        Some((edits, name)) if edits <= (typed.len() / 4).max(2) => {
            format!("; did you mean {name}?")
        }
        _ => "; `synckit-server config` lists the settings".to_owned(),
    }
}

/// Insertions, deletions and replacements that turn one text into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
