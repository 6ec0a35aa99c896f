//! Entity tags (RFC 9110 section 8.8.3).

use crate::number::Digits;
use crate::syntax::trim_white_space;

/// An entity tag, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag<'a> {
    text: &'a str,
}

impl<'a> ETag<'a> {
    /// Reads one tag, `"…"` or `W/"…"`, and nothing else. None where it is malformed or has a byte above ASCII, which
    /// no tag of this server's has.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        match take(text)? {
            (tag, []) => Self::from_ascii(tag),
            _ => None,
        }
    }

    fn from_ascii(tag: &'a [u8]) -> Option<Self> {
        let text = tag.is_ascii().then(|| std::str::from_utf8(tag).ok())??;
        Some(Self { text })
    }

    /// The tag as it stands in a field.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// Whether it is weak: `W/"…"`.
    pub fn is_weak(&self) -> bool {
        self.text.starts_with('W')
    }

    /// Both strong and the same (RFC 9110 section 8.8.3.2).
    pub fn strongly_matches(&self, other: &ETag<'_>) -> bool {
        !self.is_weak() && self.text == other.text
    }

    /// The same but for weakness (RFC 9110 section 8.8.3.2).
    pub fn weakly_matches(&self, other: &ETag<'_>) -> bool {
        self.opaque() == other.opaque()
    }

    fn opaque(&self) -> &'a str {
        self.text.strip_prefix("W/").unwrap_or(self.text)
    }
}

/// Takes the tag at the start of `text`; gives it and the rest.
fn take(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let prefix = if text.starts_with(b"W/") { 2 } else { 0 };
    let opaque = text[prefix..].strip_prefix(b"\"")?;
    let length = memchr::memchr(b'"', opaque)?;
    if !opaque[..length].iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii()) {
        return None;
    }
    Some(text.split_at(prefix + length + 2))
}

/// The tags of one line of an `If-Match` or `If-None-Match` list (RFC 9110 sections 13.1.1 and 13.1.2). Ends at the
/// first thing that is no tag; tags with bytes above ASCII, which are others' than this server's, are left out.
#[derive(Debug, Clone)]
pub struct ETagList<'a> {
    rest: &'a [u8],
}

impl<'a> ETagList<'a> {
    /// The tags in the value of one field line.
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for ETagList<'a> {
    type Item = ETag<'a>;

    fn next(&mut self) -> Option<ETag<'a>> {
        loop {
            // Empty members are to be tolerated (RFC 9110 section 5.6.1.2).
            while let [b' ' | b'\t' | b',', rest @ ..] = self.rest {
                self.rest = rest;
            }
            let (tag, rest) = take(self.rest)?;
            let rest = trim_white_space(rest);
            if !matches!(rest, [] | [b',', ..]) {
                return None;
            }
            self.rest = rest;
            if let Some(tag) = ETag::from_ascii(tag) {
                return Some(tag);
            }
        }
    }
}

/// The most numbers that [`StoredETag::from_numbers`] takes.
pub const MAX_ETAG_NUMBERS: usize = 4;

/// An entity tag in place, for a cache that must not allocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredETag {
    bytes: [u8; 72],
    length: u8,
}

impl StoredETag {
    /// A strong tag made of numbers in hexadecimal with dashes between them, such as `"5f3a-1c"`: for a file, what
    /// changes when its content does (length, time of modification in nanoseconds, identity).
    ///
    /// # Panics
    ///
    /// With more than [`MAX_ETAG_NUMBERS`] numbers.
    pub fn from_numbers(numbers: &[u64]) -> Self {
        assert!(
            numbers.len() <= MAX_ETAG_NUMBERS,
            "an entity tag is made of at most {MAX_ETAG_NUMBERS} numbers"
        );
        let mut tag = Self { bytes: [0; 72], length: 0 };
        tag.push(b"\"");
        for (index, number) in numbers.iter().enumerate() {
            if index > 0 {
                tag.push(b"-");
            }
            tag.push(Digits::hexadecimal(*number).as_bytes());
        }
        tag.push(b"\"");
        tag
    }

    /// The same tag as a weak one: for a representation that could change once more without any of the numbers changing.
    pub fn weakened(&self) -> Self {
        let mut weak = Self { bytes: [0; 72], length: 0 };
        weak.push(b"W/");
        weak.push(self.as_etag().opaque().as_bytes());
        weak
    }

    /// The same tag with a further number: for another representation of the same resource, such as one with a content coding.
    ///
    /// # Panics
    ///
    /// Where it has [`MAX_ETAG_NUMBERS`] already, and they are so long that there is no room.
    #[must_use]
    pub fn with_number(mut self, number: u64) -> Self {
        self.length -= b"\"".len() as u8;
        self.push(b"-");
        self.push(Digits::hexadecimal(number).as_bytes());
        self.push(b"\"");
        self
    }

    /// The tag.
    pub fn as_etag(&self) -> ETag<'_> {
        ETag { text: std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or("\"\"") }
    }

    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.length);
        self.bytes[start..start + part.len()].copy_from_slice(part);
        self.length += part.len() as u8;
    }
}
