//! HTTP/1.1 without I/O: bytes in, decisions and bytes out.
//!
//! This crate is the protocol of a server and nothing else. It opens no socket and no file, reads no clock and starts
//! no thread; time is an argument. Heads are borrowed from the bytes that the caller received, answers are written
//! into the caller's buffer, and no call allocates.
//!
//! | a server needs to | module |
//! |---|---|
//! | find the end of a request head that arrives in pieces | [`scanner`] |
//! | read the head, or learn how to refuse it | [`request`], [`rejection`] |
//! | learn from a trusted proxy who the client is | [`proxy_protocol`] |
//! | turn its target into a path | [`target`] |
//! | take the body out of its framing | [`body`] |
//! | answer 304, 412, 206 or 416 where that is right | [`conditional`], [`range`], [`byteranges`] |
//! | choose a content coding | [`coding`] |
//! | write the response head and chunked framing | [`response`], [`chunked`] |
//!
//! Parsing is strict: what two implementations could read differently is refused, because that difference is how
//! requests are smuggled past a proxy. A decision never depends on how the bytes were split: a prefix of a request is
//! either incomplete or refused exactly as the whole request is.
//!
//! # From request bytes to response bytes
//!
//! ```
//! use portico_http::body::BodyLength;
//! use portico_http::conditional::{self, Outcome, Representation};
//! use portico_http::date::DateCache;
//! use portico_http::limits::Limits;
//! use portico_http::rejection::Rejection;
//! use portico_http::request::Parsed;
//! use portico_http::response::{Connection, ResponseHead};
//! use portico_http::scanner::HeadScanner;
//! use portico_http::status::Status;
//! use portico_http::target;
//! use std::time::{Duration, SystemTime};
//!
//! /// Answers the request at the start of `received`; `None` asks for more bytes. Gives the bytes consumed and written.
//! fn answer(
//!     received: &[u8],
//!     scanner: &mut HeadScanner,
//!     dates: &mut DateCache,
//!     now: SystemTime,
//!     output: &mut [u8],
//! ) -> Result<Option<(usize, usize)>, Rejection> {
//!     let limits = Limits::default();
//!     let request = match scanner.parse(received, &limits)? {
//!         Parsed::Incomplete => return Ok(None),
//!         Parsed::Complete(request) => request,
//!     };
//!     let mut scratch = [0; 256];
//!     let path = target::decode(request.target, &mut scratch)?;
//!     let body = if path.text() == "hello" { "Hello\n" } else { "Nothing here\n" };
//!     let last_modified = Some(SystemTime::UNIX_EPOCH);
//!     let representation = Representation { etag: None, last_modified, date_is_strong: true };
//!     let status = match conditional::evaluate(&request, Some(&representation)) {
//!         _ if path.text() != "hello" => Status::NOT_FOUND,
//!         Outcome::Proceed => Status::OK,
//!         Outcome::NotModified => Status::NOT_MODIFIED,
//!         Outcome::PreconditionFailed => Status::PRECONDITION_FAILED,
//!     };
//!     let connection = if request.keep_alive { None } else { Some(Connection::Close) };
//!     let head = ResponseHead {
//!         date: Some(dates.at(now)),
//!         content_type: Some("text/plain; charset=utf-8"),
//!         body: BodyLength::Length(body.len() as u64),
//!         connection,
//!         ..ResponseHead::new(status)
//!     };
//!     let length = head.write(output).expect("the output holds a head");
//!     let end = length + body.len();
//!     output[length..end].copy_from_slice(body.as_bytes());
//!     Ok(Some((request.head_length, end)))
//! }
//!
//! let mut scanner = HeadScanner::new();
//! let mut dates = DateCache::new();
//! let mut output = [0; 1024];
//! let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
//! let received = b"GET /he%6Clo HTTP/1.1\r\nHost: localhost\r\n\r\n";
//!
//! assert_eq!(answer(&received[..30], &mut scanner, &mut dates, now, &mut output), Ok(None));
//! let (consumed, written) = answer(received, &mut scanner, &mut dates, now, &mut output)?.unwrap();
//! assert_eq!(consumed, received.len());
//! assert_eq!(
//!     std::str::from_utf8(&output[..written]).unwrap(),
//!     "HTTP/1.1 200 OK\r\n\
//!      Content-Length: 6\r\n\
//!      Content-Type: text/plain; charset=utf-8\r\n\
//!      Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
//!      \r\n\
//!      Hello\n"
//! );
//! # Ok::<(), Rejection>(())
//! ```
#![forbid(unsafe_code)]

mod chunk_extension;
mod framing;
mod host;
mod number;
mod syntax;

pub mod body;
pub mod byteranges;
pub mod chunked;
pub mod coding;
pub mod conditional;
pub mod date;
pub mod etag;
pub mod fields;
pub mod limits;
pub mod method;
pub mod multipart;
pub mod proxy_protocol;
pub mod range;
pub mod rejection;
pub mod request;
pub mod response;
pub mod scanner;
pub mod status;
pub mod target;
