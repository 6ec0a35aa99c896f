//! Patterns of paths, and templates that are filled with what their wildcards stood for.
//!
//! `*` stands for any characters of one segment, also none; `**`, which is a segment of its own, for any number of segments: at the end
//! of a pattern at least one, which is the empty one in `/docs/`, elsewhere also none. Matching takes time in proportion to the
//! pattern times the path at the very most: a wildcard never gives back what a later one of its kind has decided.

use std::fmt;

/// The longest pattern or template, in bytes.
pub const MOST_TEXT_BYTES: usize = 1024;
/// The most wildcards of one pattern: as many as `$1` to `$9` can name.
pub const MOST_WILDCARDS: usize = 9;

/// A pattern of paths, such as `/assets/**` or `/**/*.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`
    Many,
    /// What stands between its `*`.
    One(Vec<Box<str>>),
}

/// Why a text is no pattern or template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(&'static str);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for PatternError {}

/// What the wildcards of a pattern stood for, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures<'p> {
    all: [&'p str; MOST_WILDCARDS],
    count: usize,
}

impl<'p> Captures<'p> {
    /// The captures in order.
    pub fn as_slice(&self) -> &[&'p str] {
        &self.all[..self.count]
    }

    fn push(&mut self, text: &'p str) {
        self.all[self.count] = text;
        self.count += 1;
    }
}

/// Where matching goes on when the last `**` takes one segment more.
struct Resume {
    segment: usize,
    from: usize,
    to: usize,
    captures: usize,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`] where it does not begin with a slash, is longer than [`MOST_TEXT_BYTES`], has more wildcards than
    /// [`MOST_WILDCARDS`] or a character that no path has or that stands for something in other pattern languages.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        check_text(text)?;
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PatternError("a pattern begins with a slash"));
        };
        if text.contains("//") {
            return Err(PatternError("no path that is served has an empty segment"));
        }
        if text.contains(['{', '}', '[', ']', '?', '\\', '#']) {
            return Err(PatternError(
                "a pattern has the wildcards * and ** only, and no query: write several patterns as a list",
            ));
        }
        let segment = |name: &str| match name {
            "**" => Ok(Segment::Many),
            _ if name.contains("**") => {
                Err(PatternError("** is a segment of its own, as in /docs/** or /**/*.html"))
            }
            _ => Ok(Segment::One(name.split('*').map(Into::into).collect())),
        };
        let segments = rest.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let pattern = Pattern { text: text.to_owned(), segments };
        if pattern.wildcards() > MOST_WILDCARDS {
            return Err(PatternError("a pattern has at most 9 wildcards"));
        }
        Ok(pattern)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many captures a match has.
    pub fn wildcards(&self) -> usize {
        let count = |segment: &Segment| match segment {
            Segment::Many => 1,
            Segment::One(pieces) => pieces.len() - 1,
        };
        self.segments.iter().map(count).sum()
    }

    /// Compares with a decoded path, which comes without its leading slash. Each wildcard stands for as little as it can, the last
    /// of a segment or of the pattern for the rest. Allocates nothing.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        let mut captures = Captures::default();
        let mut resume: Option<Resume> = None;
        // Which segment of the pattern, and where the next segment of the path begins: behind the end when there is none left.
        let (mut segment, mut at) = (0, 0);
        loop {
            match self.segments.get(segment) {
                Some(Segment::Many) if segment + 1 == self.segments.len() => {
                    captures.push(path.get(at..)?);
                    return Some(captures);
                }
                Some(Segment::Many) => {
                    segment += 1;
                    resume = Some(Resume { segment, from: at, to: at, captures: captures.count });
                    captures.push("");
                    continue;
                }
                Some(Segment::One(pieces)) => {
                    if let Some(rest) = path.get(at..) {
                        let name = &rest[..rest.find('/').unwrap_or(rest.len())];
                        if match_segment(pieces, name, &mut captures) {
                            segment += 1;
                            at += name.len() + 1;
                            continue;
                        }
                    }
                }
                None if at > path.len() => return Some(captures),
                None => {}
            }
            let resume = resume.as_mut()?;
            let rest = path.get(resume.to..)?;
            let end = resume.to + rest.find('/').unwrap_or(rest.len());
            captures.count = resume.captures;
            captures.push(&path[resume.from..end]);
            resume.to = end + 1;
            (segment, at) = (resume.segment, resume.to);
        }
    }
}

/// The first piece begins the name, the last one ends it, and each between them is found as early as possible.
fn match_segment<'p>(pieces: &[Box<str>], name: &'p str, captures: &mut Captures<'p>) -> bool {
    let before = captures.count;
    let matched = (|| {
        let (first, rest_of_pieces) = pieces.split_first()?;
        let mut rest = name.strip_prefix(&**first)?;
        let Some((last, middle)) = rest_of_pieces.split_last() else { return rest.is_empty().then_some(()) };
        rest = rest.strip_suffix(&**last)?;
        for piece in middle {
            let at = rest.find(&**piece)?;
            captures.push(&rest[..at]);
            rest = &rest[at + piece.len()..];
        }
        captures.push(rest);
        Some(())
    })();
    if matched.is_none() {
        captures.count = before;
    }
    matched.is_some()
}

/// Where a path leads: a text with `$1` to `$9` for the captures of a pattern. `$$` is a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Counted from zero.
    Capture(usize),
}

impl Template {
    /// Reads where a redirect leads: a path, or an address with `http://` or `https://`.
    ///
    /// # Errors
    /// [`PatternError`] where it is neither, has a character that must be percent-encoded there, or lets a capture choose the host.
    pub fn of_redirect(text: &str) -> Result<Template, PatternError> {
        let template = Template::read(text)?;
        let is_safe = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte);
        if !text.bytes().all(is_safe) {
            return Err(PatternError("a character must be percent-encoded there"));
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return Ok(template);
        }
        let address = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let Some(address) = address else {
            return Err(PatternError(
                "a redirect leads to a path such as /new/$1, or to http:// or https://",
            ));
        };
        let authority = &address[..address.find(['/', '?', '#']).unwrap_or(address.len())];
        if authority.is_empty() || authority.contains(['$', '@']) {
            return Err(PatternError("the host of a redirect is written out, without captures"));
        }
        if authority.len() == address.len() {
            // A capture behind it must not go on with the name of the host.
            return Err(PatternError("write a slash behind the host"));
        }
        Ok(template)
    }

    /// Reads what a rewrite serves instead: a path, not percent-encoded.
    ///
    /// # Errors
    /// [`PatternError`] where it does not begin with a slash, or has a query.
    pub fn of_rewrite(text: &str) -> Result<Template, PatternError> {
        let template = Template::read(text)?;
        if !text.starts_with('/') || text.contains("//") || text.contains(['?', '#', '\\']) {
            return Err(PatternError("a rewrite leads to a path such as /app/index.html, without a query"));
        }
        Ok(template)
    }

    fn read(text: &str) -> Result<Template, PatternError> {
        check_text(text)?;
        let mut parts = vec![Part::Text(String::new())];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let character = match character {
                '$' => match characters.next() {
                    Some('$') => '$',
                    Some(digit @ '1'..='9') => {
                        parts.push(Part::Capture(digit as usize - '1' as usize));
                        continue;
                    }
                    _ => return Err(PatternError("behind a dollar sign stands 1 to 9, or another one")),
                },
                character => character,
            };
            match parts.last_mut() {
                Some(Part::Text(text)) => text.push(character),
                _ => parts.push(Part::Text(character.into())),
            }
        }
        Ok(Template { text: text.to_owned(), parts })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many captures a pattern must have for it.
    pub fn captures(&self) -> usize {
        let number = |part: &Part| match part {
            Part::Text(_) => 0,
            Part::Capture(number) => number + 1,
        };
        self.parts.iter().map(number).max().unwrap_or(0)
    }

    /// Fills in the captures of a decoded path, as they are.
    pub fn fill(&self, captures: &Captures<'_>) -> String {
        self.fill_with(captures, |capture, filled| filled.push_str(capture))
    }

    /// Fills in the captures, percent-encoded. What begins with one slash goes on doing so: two of them would lead to another host.
    pub fn fill_encoded(&self, captures: &Captures<'_>) -> String {
        let mut filled = self.fill_with(captures, encode);
        if filled.starts_with('/') {
            let slashes = filled.bytes().take_while(|byte| *byte == b'/').count();
            filled.replace_range(1..slashes, "");
        }
        filled
    }

    fn fill_with(&self, captures: &Captures<'_>, put: impl Fn(&str, &mut String)) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Capture(number) => {
                    put(captures.as_slice().get(*number).copied().unwrap_or(""), &mut filled)
                }
            }
        }
        filled
    }
}

fn check_text(text: &str) -> Result<(), PatternError> {
    if text.len() > MOST_TEXT_BYTES {
        return Err(PatternError("it is longer than 1024 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(PatternError("it has a control character"));
    }
    Ok(())
}

/// Percent-encodes all but what RFC 3986 section 2.3 calls unreserved, and slashes.
pub(crate) fn encode(text: &str, encoded: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            encoded.extend(['%', high.into(), low.into()]);
        }
    }
}
