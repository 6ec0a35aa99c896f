//! The header fields of a request that has been validated (RFC 9112 section 5).

use crate::syntax::trim_white_space;

/// The field lines of a head in their order: name and value, the value without the white space around it.
///
/// Nothing was stored while the head was parsed; this walks over the lines again, which is cheap and seldom needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields<'a> {
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `lines` are valid field lines, each with its CRLF, without the empty line behind them.
    pub(crate) const fn from_validated(lines: &'a [u8]) -> Self {
        Self { lines }
    }

    /// The values of all fields of this name (ASCII case ignored), in order.
    pub fn named(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.lines)?;
        let (line, rest) = (&self.lines[..end], &self.lines[end + 1..]);
        self.lines = rest;
        let colon = memchr::memchr(b':', line)?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, trim_white_space(line[colon + 1..].strip_suffix(b"\r")?)))
    }
}

/// The values of a field that may be repeated because its value is a list (RFC 9110 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListField<'a> {
    pub(crate) name: &'static str,
    pub(crate) first: Option<&'a [u8]>,
    pub(crate) repeated: bool,
    pub(crate) fields: Fields<'a>,
}

impl<'a> ListField<'a> {
    /// Whether the request has the field at all.
    pub const fn is_present(&self) -> bool {
        self.first.is_some()
    }

    /// The value of each of its lines, in order.
    pub fn values(self) -> impl Iterator<Item = &'a [u8]> {
        let rest = if self.repeated { self.fields } else { Fields::default() };
        self.first.into_iter().chain(rest.named(self.name).skip(1))
    }

    /// The members of the list over all lines: split at commas, trimmed, empty ones left out (RFC 9110 section
    /// 5.6.1.2). Only for lists whose members hold no quoted commas.
    pub(crate) fn tokens(self) -> impl Iterator<Item = &'a [u8]> {
        self.values()
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(trim_white_space)
            .filter(|t| !t.is_empty())
    }
}
