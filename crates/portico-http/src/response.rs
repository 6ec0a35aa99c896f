//! Response heads, written into the caller's buffer (RFC 9112 section 4).

use crate::body::BodyLength;
use crate::coding::Coding;
use crate::date::HttpDate;
use crate::etag::ETag;
use crate::number::Digits;
use crate::status::Status;
use crate::syntax;
use std::fmt;

/// The interim response that asks for the body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The value of a `Connection` field (RFC 9112 section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The connection closes after this response.
    Close,
    /// It stays open: to be said to HTTP/1.0 clients, which do not expect it.
    KeepAlive,
}

impl Connection {
    /// What to say to a client of this version; to one of HTTP/1.1, nothing while the connection stays open.
    pub fn for_version(version: crate::request::Version, keep_alive: bool) -> Option<Self> {
        match (keep_alive, version) {
            (false, _) => Some(Self::Close),
            (true, crate::request::Version::Http10) => Some(Self::KeepAlive),
            (true, crate::request::Version::Http11) => None,
        }
    }
}

/// The value of a `Content-Range` field (RFC 9110 section 14.4), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes first-last/length`, for 206.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
        /// Of the whole representation.
        length: u64,
    },
    /// `bytes */length`, for 416.
    Unsatisfied {
        /// Of the whole representation.
        length: u64,
    },
}

/// A response head to be written. Fields that are none are left out.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'a> {
    /// The status of the status line.
    pub status: Status,
    /// `Content-Length` or `Transfer-Encoding`. Left out where the status has no content (RFC 9110 section 8.6),
    /// but for a length with 304, where it is that of the representation.
    pub body: BodyLength,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<Coding>,
    /// `Vary`.
    pub vary: Option<&'a str>,
    /// `Content-Range`.
    pub content_range: Option<ContentRange>,
    /// `Accept-Ranges: bytes`.
    pub accept_ranges: bool,
    /// `Last-Modified`.
    pub last_modified: Option<&'a HttpDate>,
    /// `ETag`.
    pub etag: Option<ETag<'a>>,
    /// `Location`.
    pub location: Option<&'a str>,
    /// `Allow`.
    pub allow: Option<&'a str>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// `Server`.
    pub server: Option<&'a str>,
    /// Any other fields. They must not repeat one of those above.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// `Date`.
    pub date: Option<&'a HttpDate>,
    /// `Connection`.
    pub connection: Option<Connection>,
}

/// Why a head was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// The buffer is too short; what it holds is of no use.
    DoesNotFit {
        /// Bytes that the head needs.
        needed: usize,
    },
    /// A field name is no token, or a value has a control character (such as the line end that would start another
    /// field) or white space at its ends.
    InvalidField,
}

impl fmt::Display for WriteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoesNotFit { needed } => {
                write!(formatter, "the response head needs a buffer of {needed} bytes")
            }
            Self::InvalidField => formatter
                .write_str("a response field has an invalid name, or a control character in its value"),
        }
    }
}

impl std::error::Error for WriteError {}

impl<'a> ResponseHead<'a> {
    /// A head with this status and no field.
    pub const fn new(status: Status) -> Self {
        Self {
            status,
            body: BodyLength::Unsaid,
            content_type: None,
            content_encoding: None,
            vary: None,
            content_range: None,
            accept_ranges: false,
            last_modified: None,
            etag: None,
            location: None,
            allow: None,
            retry_after_s: None,
            server: None,
            fields: &[],
            date: None,
            connection: None,
        }
    }

    /// Writes the head with the empty line that ends it, and gives its length in bytes.
    ///
    /// # Errors
    ///
    /// Where it does not fit, or a field is not valid; in both cases the buffer holds nothing of use.
    pub fn write(&self, output: &mut [u8]) -> Result<usize, WriteError> {
        let mut writer = Writer::new(output);
        self.put_open(&mut writer)?;
        put_end(&mut writer, self.date, self.connection);
        writer.finish()
    }

    /// Writes the head without [`date`](Self::date), [`connection`](Self::connection) and the empty line: what a cache
    /// can keep for as long as the file stays the same. [`write_end`] writes the rest.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_open(&self, output: &mut [u8]) -> Result<usize, WriteError> {
        let mut writer = Writer::new(output);
        self.put_open(&mut writer)?;
        writer.finish()
    }

    fn put_open(&self, writer: &mut Writer<'_>) -> Result<(), WriteError> {
        writer.put_status_line(self.status);
        self.put_body_length(writer);
        writer.put_text(b"Content-Type: ", self.content_type)?;
        if let Some(coding) = self.content_encoding {
            writer.put_line(b"Content-Encoding: ", coding.name().as_bytes());
        }
        writer.put_text(b"Vary: ", self.vary)?;
        if let Some(range) = self.content_range {
            writer.put_content_range(range);
        }
        if self.accept_ranges {
            writer.put(b"Accept-Ranges: bytes\r\n");
        }
        if let Some(date) = self.last_modified {
            writer.put_line(b"Last-Modified: ", date.as_bytes());
        }
        if let Some(etag) = self.etag {
            writer.put_line(b"ETag: ", etag.as_str().as_bytes());
        }
        writer.put_text(b"Location: ", self.location)?;
        writer.put_text(b"Allow: ", self.allow)?;
        if let Some(seconds) = self.retry_after_s {
            writer.put_line(b"Retry-After: ", Digits::decimal(seconds.into()).as_bytes());
        }
        writer.put_text(b"Server: ", self.server)?;
        for (name, value) in self.fields {
            writer.put_field(name, value)?;
        }
        Ok(())
    }

    fn put_body_length(&self, writer: &mut Writer<'_>) {
        let without_content = self.status.is_without_content();
        match self.body {
            BodyLength::Length(length) if !without_content || self.status == Status::NOT_MODIFIED => {
                writer.put_line(b"Content-Length: ", Digits::decimal(length).as_bytes());
            }
            BodyLength::Chunked if !without_content => writer.put(b"Transfer-Encoding: chunked\r\n"),
            BodyLength::Unsaid | BodyLength::Length(_) | BodyLength::Chunked => {}
        }
    }
}

/// Writes `Date`, `Connection` and the empty line behind what [`ResponseHead::write_open`] wrote, and gives the length
/// in bytes.
///
/// # Errors
///
/// Where it does not fit; it never needs more than [`MAX_END_BYTES`].
pub fn write_end(
    output: &mut [u8],
    date: Option<&HttpDate>,
    connection: Option<Connection>,
) -> Result<usize, WriteError> {
    let mut writer = Writer::new(output);
    put_end(&mut writer, date, connection);
    writer.finish()
}

/// The most bytes that [`write_end`] writes.
pub const MAX_END_BYTES: usize = "Date: \r\n".len() + 29 + "Connection: keep-alive\r\n".len() + "\r\n".len();

fn put_end(writer: &mut Writer<'_>, date: Option<&HttpDate>, connection: Option<Connection>) {
    if let Some(date) = date {
        writer.put_line(b"Date: ", date.as_bytes());
    }
    match connection {
        Some(Connection::Close) => writer.put(b"Connection: close\r\n"),
        Some(Connection::KeepAlive) => writer.put(b"Connection: keep-alive\r\n"),
        None => {}
    }
    writer.put(b"\r\n");
}

/// Copies parts one behind the other; goes on counting where they no longer fit.
pub(crate) struct Writer<'o> {
    output: &'o mut [u8],
    length: usize,
}

impl<'o> Writer<'o> {
    pub(crate) const fn new(output: &'o mut [u8]) -> Self {
        Self { output, length: 0 }
    }

    /// Bytes written so far, whether they fitted or not.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    #[inline]
    pub(crate) fn put(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        if let Some(slot) = self.output.get_mut(self.length..end) {
            slot.copy_from_slice(part);
        }
        self.length = end;
    }

    #[inline]
    pub(crate) fn put_line(&mut self, name: &[u8], value: &[u8]) {
        self.put(name);
        self.put(value);
        self.put(b"\r\n");
    }

    pub(crate) fn put_text(&mut self, name: &[u8], value: Option<&str>) -> Result<(), WriteError> {
        if let Some(value) = value {
            check_value(value.as_bytes())?;
            self.put_line(name, value.as_bytes());
        }
        Ok(())
    }

    fn put_field(&mut self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        if name.is_empty() || !name.bytes().all(syntax::is_token) {
            return Err(WriteError::InvalidField);
        }
        check_value(value)?;
        self.put(name.as_bytes());
        self.put_line(b": ", value);
        Ok(())
    }

    fn put_status_line(&mut self, status: Status) {
        if let Some(line) = status.line() {
            return self.put(line);
        }
        self.put(b"HTTP/1.1 ");
        self.put(Digits::decimal(status.code().into()).as_bytes());
        // The space stays where the reason is empty (RFC 9112 section 4).
        self.put(b" \r\n");
    }

    pub(crate) fn put_content_range(&mut self, range: ContentRange) {
        self.put(b"Content-Range: bytes ");
        let length = match range {
            ContentRange::Part { first, last, length } => {
                self.put(Digits::decimal(first).as_bytes());
                self.put(b"-");
                self.put(Digits::decimal(last).as_bytes());
                length
            }
            ContentRange::Unsatisfied { length } => {
                self.put(b"*");
                length
            }
        };
        self.put_line(b"/", Digits::decimal(length).as_bytes());
    }

    pub(crate) fn finish(self) -> Result<usize, WriteError> {
        if self.length <= self.output.len() {
            Ok(self.length)
        } else {
            Err(WriteError::DoesNotFit { needed: self.length })
        }
    }
}

/// A value must neither end its line nor be other than what its receiver reads (RFC 9110 section 5.5).
fn check_value(value: &[u8]) -> Result<(), WriteError> {
    let padded = syntax::trim_white_space(value).len() != value.len();
    if padded || !value.iter().copied().all(syntax::is_field_value) {
        return Err(WriteError::InvalidField);
    }
    Ok(())
}
