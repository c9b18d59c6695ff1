//! Takes the form `keyword=value;…` apart.

use super::ConnectionStringError;

/// One name for each keyword, whatever its spelling.
pub(super) fn canonical_keyword(keyword: &str) -> String {
    let compact = keyword.replace(' ', "").to_ascii_lowercase();
    match compact.as_str() {
        "server" => "host".to_owned(),
        "db" => "database".to_owned(),
        "user" | "userid" => "username".to_owned(),
        "pwd" => "password".to_owned(),
        _ => compact,
    }
}

/// Splits the value off the front of the text behind a `=`.
pub(super) fn take_value<'text>(
    keyword: &str,
    text: &'text str,
) -> Result<(String, &'text str), ConnectionStringError> {
    let text = text.trim_start();
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let end = text.find(';').unwrap_or(text.len());
        return Ok((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let not_closed = || ConnectionStringError::Quote(keyword.to_owned());
    let mut value = String::new();
    let mut rest = &text[1..];
    loop {
        let (part, after) = rest.split_once(quote).ok_or_else(not_closed)?;
        value.push_str(part);
        match after.strip_prefix(quote) {
            Some(after_pair) => {
                value.push(quote);
                rest = after_pair;
            }
            None if after.trim_start().is_empty() || after.trim_start().starts_with(';') => {
                return Ok((value, after.trim_start()));
            }
            None => return Err(not_closed()),
        }
    }
}
