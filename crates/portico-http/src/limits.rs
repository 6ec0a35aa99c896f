//! The limits of one connection: everything that a client can make longer has one.

/// The most fields that a request head may carry whatever [`Limits::fields`] says: the parser's array is fixed.
pub const MAX_FIELDS: usize = 128;

/// Limits in bytes (and fields) for what a client sends. All are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, from its first byte to its closing empty line; more is answered 431.
    pub head_bytes: usize,
    /// Fields of a request head, at most [`MAX_FIELDS`]; more is answered 431.
    pub fields: usize,
    /// Bytes of a request target; more is answered 414.
    pub target_bytes: usize,
    /// Bytes of a request body without its framing; more is answered 413.
    pub body_bytes: u64,
    /// Bytes of one chunk-size line with its extensions and CRLF; more is answered 400.
    pub chunk_line_bytes: usize,
    /// Bytes of all chunk extensions of one body together; more is answered 400. Bounds what a client makes the
    /// server read in order to deliver very little.
    pub chunk_extension_bytes: usize,
    /// Bytes of the trailer section of a chunked body with its closing CRLF; more is answered 431.
    pub trailer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            fields: 100,
            target_bytes: 8 * 1024,
            body_bytes: 1024 * 1024,
            chunk_line_bytes: 256,
            chunk_extension_bytes: 4 * 1024,
            trailer_bytes: 4 * 1024,
        }
    }
}
