//! The grammar of chunk extensions (RFC 9112 section 7.1.1), a byte at a time.
//!
//! Extensions are validated and then ignored. They are not skipped unread, because a parser that takes anything up to
//! the line end is how one request comes to be read as two.

use crate::syntax;

/// Where in the extensions of one chunk line the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtensionState {
    /// In the white space before a semicolon.
    BeforeSemicolon,
    /// Behind a semicolon.
    BeforeName,
    Name,
    AfterName,
    /// Behind an equals sign.
    BeforeValue,
    Token,
    Quoted,
    Escape,
    AfterQuoted,
}

impl ExtensionState {
    /// The state behind the first byte after the chunk size, where that byte starts an extension.
    pub(crate) const fn start(byte: u8) -> Option<Self> {
        match byte {
            b';' => Some(Self::BeforeName),
            b' ' | b'\t' => Some(Self::BeforeSemicolon),
            _ => None,
        }
    }

    /// The state behind the next byte; none where the grammar has no such byte here.
    pub(crate) const fn next(self, byte: u8) -> Option<Self> {
        let blank = matches!(byte, b' ' | b'\t');
        match self {
            Self::BeforeSemicolon | Self::AfterQuoted => Self::start(byte),
            Self::BeforeName | Self::BeforeValue if blank => Some(self),
            Self::BeforeName if syntax::is_token(byte) => Some(Self::Name),
            Self::Name if syntax::is_token(byte) => Some(self),
            Self::Name | Self::AfterName => match byte {
                b' ' | b'\t' => Some(Self::AfterName),
                b'=' => Some(Self::BeforeValue),
                b';' => Some(Self::BeforeName),
                _ => None,
            },
            Self::BeforeValue if byte == b'"' => Some(Self::Quoted),
            Self::BeforeValue | Self::Token if syntax::is_token(byte) => Some(Self::Token),
            Self::Token => Self::start(byte),
            Self::Quoted => match byte {
                b'"' => Some(Self::AfterQuoted),
                b'\\' => Some(Self::Escape),
                _ if syntax::is_quoted_text(byte) => Some(self),
                _ => None,
            },
            Self::Escape if syntax::is_field_value(byte) => Some(Self::Quoted),
            Self::BeforeName | Self::BeforeValue | Self::Escape => None,
        }
    }

    /// Whether the line may end here.
    pub(crate) const fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::AfterQuoted)
    }
}
