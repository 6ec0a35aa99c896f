//! Finding the end of a request head that arrives in pieces.
//!
//! A head may come one byte at a time. Parsing it again from its start at every byte would cost the square of its
//! length, so the [`HeadScanner`] remembers where it stopped, looks at every byte once, and the head is parsed when it
//! is whole. What is plainly no request (another protocol, a bare line feed, an endless line) is refused at the very
//! byte that shows it, however the bytes were split.

use crate::limits::Limits;
use crate::rejection::Rejection;
use crate::request::{self, Parsed};
use crate::status::Status;
use crate::syntax;

/// The longest method token; a longer one is answered 501 (RFC 9112 section 3).
pub const MAX_METHOD_BYTES: usize = 32;

const VERSION_BYTES: usize = "HTTP/1.1".len();

/// Remembers how far a request head was examined. One per connection; it starts again after each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadScanner {
    part: Part,
    /// Every byte before this one was examined.
    position: usize,
    /// Where the current part (or, among the fields, the current line) starts.
    start: usize,
    /// Where the request line starts.
    head_start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    LeadingLine,
    Method,
    Target,
    Version,
    Fields,
}

/// Where the parts of a whole head lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadExtent {
    /// Where the request line starts: behind the empty lines that may come before it.
    pub(crate) start: usize,
    /// The first byte behind the empty line that ends the head.
    pub(crate) end: usize,
}

impl HeadScanner {
    /// A scanner at the start of a head.
    pub const fn new() -> Self {
        Self { part: Part::LeadingLine, position: 0, start: 0, head_start: 0 }
    }

    /// Forgets what was seen, for the next head.
    pub const fn reset(&mut self) {
        *self = Self::new();
    }

    /// How many bytes of the current head have been examined; zero before its first byte.
    pub const fn examined(&self) -> usize {
        self.position
    }

    /// Parses the head at the start of `input`, which holds all bytes received so far for this head and may go on
    /// behind it. Examines each byte once over all calls, and parses only when the head is whole; then the scanner has
    /// been reset. Fewer bytes than the last time are taken for a new head. The limits must stay the same for one head.
    ///
    /// # Errors
    ///
    /// How to refuse the request; the scanner has been reset. See [`request::parse`].
    pub fn parse<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Result<Parsed<'a>, Rejection> {
        let result = match self.scan(input, limits) {
            Ok(None) => return Ok(Parsed::Incomplete),
            Ok(Some(extent)) => request::parse_head(input, extent, limits).map(Parsed::Complete),
            Err(rejection) => Err(rejection),
        };
        self.reset();
        result
    }

    /// Goes on where it stopped; gives the extent of the head once its closing empty line is there.
    fn scan(&mut self, input: &[u8], limits: &Limits) -> Result<Option<HeadExtent>, Rejection> {
        // A byte behind the limit must not change the decision, so it is not looked at.
        let within = &input[..input.len().min(limits.head_bytes)];
        if within.len() < self.position {
            self.reset();
        }
        let extent = self.scan_within(within, limits)?;
        if extent.is_none() && input.len() >= limits.head_bytes {
            return Err(Rejection::closing(
                Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "the request head is longer than the limit",
            ));
        }
        Ok(extent)
    }

    fn scan_within(&mut self, input: &[u8], limits: &Limits) -> Result<Option<HeadExtent>, Rejection> {
        loop {
            let done = match self.part {
                Part::LeadingLine => self.leading_line(input)?,
                Part::Method => self.method(input)?,
                Part::Target => self.target(input, limits)?,
                Part::Version => self.version(input)?,
                Part::Fields => return self.fields(input),
            };
            if !done {
                return Ok(None);
            }
        }
    }

    fn enter(&mut self, part: Part, start: usize) -> bool {
        self.part = part;
        self.start = start;
        self.position = start;
        true
    }

    /// At least one empty line before the request line is to be ignored (RFC 9112 section 2.2). Other servers know no bound, so
    /// that here they only count against the limit of the head.
    fn leading_line(&mut self, input: &[u8]) -> Result<bool, Rejection> {
        while let Some(&byte) = input.get(self.position) {
            let within = self.position > self.start;
            match byte {
                b'\r' if !within => self.position += 1,
                b'\n' if within => _ = self.enter(Part::LeadingLine, self.position + 1),
                _ if within => {
                    return Err(Rejection::bad_request("a carriage return stands before the request line"));
                }
                _ => {
                    self.head_start = self.position;
                    return Ok(self.enter(Part::Method, self.position));
                }
            }
        }
        Ok(false)
    }

    fn method(&mut self, input: &[u8]) -> Result<bool, Rejection> {
        while let Some(&byte) = input.get(self.position) {
            let length = self.position - self.start;
            if byte == b' ' && length > 0 {
                return Ok(self.enter(Part::Target, self.position + 1));
            }
            if !syntax::is_token(byte) {
                return Err(Rejection::bad_request("the request does not start with a method and a space"));
            }
            if length == MAX_METHOD_BYTES {
                return Err(Rejection::closing(
                    Status::NOT_IMPLEMENTED,
                    "the method is too long to be known",
                ));
            }
            self.position += 1;
        }
        Ok(false)
    }

    fn target(&mut self, input: &[u8], limits: &Limits) -> Result<bool, Rejection> {
        let longest = self.start.saturating_add(limits.target_bytes);
        let within = &input[..input.len().min(longest.saturating_add(1))];
        match memchr::memchr3(b' ', b'\r', b'\n', &within[self.position..]) {
            Some(offset) => {
                let end = self.position + offset;
                if input[end] != b' ' {
                    return Err(Rejection::bad_request("the request line has no version"));
                }
                if end == self.start {
                    return Err(Rejection::bad_request("the request line has two spaces in a row"));
                }
                Ok(self.enter(Part::Version, end + 1))
            }
            None if within.len() > longest => {
                Err(Rejection::closing(Status::URI_TOO_LONG, "the request target is longer than the limit"))
            }
            None => {
                self.position = within.len();
                Ok(false)
            }
        }
    }

    fn version(&mut self, input: &[u8]) -> Result<bool, Rejection> {
        const USUAL: &[u8] = b"HTTP/1.1\r\n";
        if self.position == self.start && input[self.start..].starts_with(USUAL) {
            return Ok(self.enter(Part::Fields, self.start + USUAL.len()));
        }
        while let Some(&byte) = input.get(self.position) {
            let length = self.position - self.start;
            let expected = match length {
                5 | 7 => byte.is_ascii_digit(),
                VERSION_BYTES => byte == b'\r',
                _ if length > VERSION_BYTES => byte == b'\n',
                _ => byte == b"HTTP/0.0"[length],
            };
            if !expected {
                return Err(Rejection::bad_request("the request line does not end with a version and CRLF"));
            }
            self.position += 1;
            if length > VERSION_BYTES {
                let version = &input[self.start..self.start + VERSION_BYTES];
                if version[VERSION_BYTES - 3] != b'1' {
                    return Err(Rejection::closing(
                        Status::HTTP_VERSION_NOT_SUPPORTED,
                        "the major version is not 1",
                    ));
                }
                return Ok(self.enter(Part::Fields, self.position));
            }
        }
        Ok(false)
    }

    /// Every line ends with CRLF and neither byte occurs alone (RFC 9112 section 2.2).
    fn fields(&mut self, input: &[u8]) -> Result<Option<HeadExtent>, Rejection> {
        while let Some(offset) = memchr::memchr2(b'\r', b'\n', &input[self.position..]) {
            let end = self.position + offset;
            if input[end] == b'\n' {
                return Err(Rejection::bad_request("a line of the head ends without a carriage return"));
            }
            match input.get(end + 1) {
                Some(b'\n') if end == self.start => {
                    return Ok(Some(HeadExtent { start: self.head_start, end: end + 2 }));
                }
                Some(b'\n') => {
                    self.start = end + 2;
                    self.position = self.start;
                }
                Some(_) => {
                    return Err(Rejection::bad_request("the head has a carriage return without a line feed"));
                }
                None => {
                    self.position = end;
                    return Ok(None);
                }
            }
        }
        self.position = input.len();
        Ok(None)
    }
}
