//! What a pattern of paths means, by trying every reading: what the real matcher is compared with, by a test and a fuzz target.

/// Whether the pattern has any reading that fits the path. Takes exponential time.
pub(crate) fn has_a_reading(pattern: &str, path: &str) -> bool {
    let segments: Vec<&str> = pattern[1..].split('/').collect();
    fits(&segments, &path.split('/').collect::<Vec<_>>())
}

fn fits(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**"] => !path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|taken| fits(rest, &path[taken..])),
        [first, rest @ ..] => {
            path.split_first().is_some_and(|(name, path)| fits_name(first, name) && fits(rest, path))
        }
    }
}

fn fits_name(pattern: &str, name: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => name.is_empty(),
        Some('*') => name
            .char_indices()
            .map(|(at, _)| at)
            .chain([name.len()])
            .any(|at| fits_name(characters.as_str(), &name[at..])),
        Some(character) => {
            name.strip_prefix(character).is_some_and(|name| fits_name(characters.as_str(), name))
        }
    }
}
