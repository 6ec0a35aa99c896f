//! A request head, read and validated (RFC 9112 sections 2, 3, 5 and 6).
//!
//! `httparse` reads the tokens; what it is lenient about is refused before and after it.

use crate::body::BodyFraming;
use crate::fields::{Fields, ListField};
use crate::framing;
use crate::host;
use crate::limits::{Limits, MAX_FIELDS};
use crate::method::Method;
use crate::rejection::Rejection;
use crate::scanner::{HeadExtent, HeadScanner};
use crate::status::Status;
use crate::syntax;
use std::mem::MaybeUninit;

/// The protocol version of a request; others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, closes unless it says otherwise.
    Http10,
    /// HTTP/1.1 and later minor versions: stays open unless it says otherwise.
    Http11,
}

/// The four forms of a request target (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, for CONNECT only.
    Authority,
    /// `*`, for OPTIONS only.
    Asterisk,
}

/// What became of the bytes received so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request borrows and is used at once; boxing it would allocate"
)]
pub enum Parsed<'a> {
    /// The head goes on: receive more, then parse again from the same first byte.
    Incomplete,
    /// The head is whole and valid.
    Complete(Request<'a>),
}

/// A valid request head, borrowed from the received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Bytes of the head with the empty line that ends it; the body starts here.
    pub head_length: usize,
    /// The method.
    pub method: Method,
    /// The method as it was written.
    pub method_text: &'a str,
    /// The target as it was written: ASCII, visible, not empty.
    pub target: &'a str,
    /// Which of its forms the target has.
    pub target_form: TargetForm,
    /// The version.
    pub version: Version,
    /// How the body is delimited.
    pub body: BodyFraming,
    /// Whether the client lets the connection stay open after the response (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
    /// Host and port that the request is for: of the target where that is absolute (RFC 9112 section 3.2.2), else of
    /// the `Host` field. Empty where there is none.
    pub host: &'a str,
    /// `If-Match`.
    pub if_match: ListField<'a>,
    /// `If-None-Match`.
    pub if_none_match: ListField<'a>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a [u8]>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a [u8]>,
    /// `Range`.
    pub range: Option<&'a [u8]>,
    /// `If-Range`.
    pub if_range: Option<&'a [u8]>,
    /// `User-Agent`, the first one.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`, the first one.
    pub referer: Option<&'a [u8]>,
    fields: Fields<'a>,
}

impl<'a> Request<'a> {
    /// All field lines in their order.
    pub const fn fields(&self) -> Fields<'a> {
        self.fields
    }

    /// The first value of the field of this name (ASCII case ignored).
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.named(name).next()
    }
}

/// Parses the request head at the start of `input`, which may go on behind it.
///
/// A connection that receives heads in pieces uses [`HeadScanner::parse`], which gives the same result without
/// examining any byte twice.
///
/// # Errors
///
/// How to refuse the request: 400 for a malformed one, 413, 414 and 431 for one above its limits, 417 for an unknown
/// expectation, 501 for an unknown transfer coding or an endless method, 505 for another version. The connection is
/// closed after each of these.
pub fn parse<'a>(input: &'a [u8], limits: &Limits) -> Result<Parsed<'a>, Rejection> {
    HeadScanner::new().parse(input, limits)
}

/// Parses a head whose extent and request line the scanner has approved.
pub(crate) fn parse_head<'a>(
    input: &'a [u8],
    extent: HeadExtent,
    limits: &Limits,
) -> Result<Request<'a>, Rejection> {
    let head = &input[extent.start..extent.end];
    let most = limits.fields.min(MAX_FIELDS);
    let (mut uninitialized, mut initialized);
    let line_length = memchr::memchr(b'\n', head).map_or(head.len(), |line_feed| line_feed + 1);
    let Tokens { method_text, target, version, headers } = match head[..line_length] {
        [.., b'0' | b'1', b'\r', b'\n'] => {
            uninitialized = [const { MaybeUninit::uninit() }; MAX_FIELDS];
            Tokens::read(head, &mut uninitialized[..most])?
        }
        _ => {
            initialized = [httparse::EMPTY_HEADER; MAX_FIELDS];
            Tokens::read_later_version(head, line_length, &mut initialized[..most])?
        }
    };
    let method = Method::from_token(method_text);
    let (target_form, authority) = target_form(method_text, method, target)?;

    let fields = Fields::from_validated(&head[line_length..head.len() - "\r\n".len()]);
    let known = KnownFields::collect(headers, fields)?;
    let host = host(version, known.host, authority)?;
    let body = framing::body(version, known.content_length, known.transfer_encoding)?;
    Ok(Request {
        head_length: extent.end,
        method,
        method_text,
        target,
        target_form,
        version,
        body,
        keep_alive: framing::keep_alive(version, known.connection),
        expect_continue: framing::expect_continue(version, known.expect, body)?,
        host,
        if_match: known.if_match,
        if_none_match: known.if_none_match,
        if_modified_since: known.if_modified_since,
        if_unmodified_since: known.if_unmodified_since,
        range: known.range,
        if_range: known.if_range,
        user_agent: known.user_agent,
        referer: known.referer,
        fields,
    })
}

/// What a head consists of.
struct Tokens<'h, 'a> {
    method_text: &'a str,
    target: &'a str,
    version: Version,
    headers: &'h [httparse::Header<'a>],
}

impl<'h, 'a> Tokens<'h, 'a> {
    fn read(head: &'a [u8], storage: &'h mut [MaybeUninit<httparse::Header<'a>>]) -> Result<Self, Rejection> {
        let mut tokens = httparse::Request::new(&mut []);
        let status = tokens.parse_with_uninit_headers(head, storage).map_err(refuse_token)?;
        let (Some(method_text), Some(target), Some(minor)) = (tokens.method, tokens.path, tokens.version)
        else {
            return Err(Rejection::bad_request("the request line is malformed"));
        };
        check_end(status, head.len())?;
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        Ok(Self { method_text, target, version, headers: tokens.headers })
    }

    /// A later minor version is read as the latest that is known (RFC 9110 section 6.2); `httparse` knows none of them. The
    /// scanner has approved of the method, of the spaces and of the version's form.
    fn read_later_version(
        head: &'a [u8],
        line_length: usize,
        storage: &'h mut [httparse::Header<'a>],
    ) -> Result<Self, Rejection> {
        let (line, lines) = head.split_at(line_length);
        let line = std::str::from_utf8(line).unwrap_or_default();
        let mut parts = line.split(' ');
        let (Some(method_text), Some(target)) = (parts.next(), parts.next()) else {
            return Err(Rejection::bad_request("the request line is malformed"));
        };
        let (status, headers) = match httparse::parse_headers(lines, storage).map_err(refuse_token)? {
            httparse::Status::Complete((length, headers)) => (httparse::Status::Complete(length), headers),
            httparse::Status::Partial => (httparse::Status::Partial, &[][..]),
        };
        check_end(status, lines.len())?;
        Ok(Self { method_text, target, version: Version::Http11, headers })
    }
}

fn check_end(status: httparse::Status<usize>, length: usize) -> Result<(), Rejection> {
    if status == httparse::Status::Complete(length) {
        return Ok(());
    }
    Err(Rejection::bad_request("the head does not end where its lines do"))
}

fn refuse_token(error: httparse::Error) -> Rejection {
    match error {
        httparse::Error::TooManyHeaders => Rejection::closing(
            Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the request has more fields than the limit",
        ),
        httparse::Error::HeaderName => Rejection::bad_request(
            "a field name is empty or no token, is followed by white space, or its line is folded",
        ),
        httparse::Error::HeaderValue => Rejection::bad_request("a field value has a control character"),
        httparse::Error::Version => Rejection::bad_request("the version is malformed"),
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            Rejection::bad_request("the request line is malformed")
        }
    }
}

/// The form of the target, and its authority where it is absolute (RFC 9112 section 3.2).
fn target_form<'a>(
    method_text: &str,
    method: Method,
    target: &'a str,
) -> Result<(TargetForm, Option<&'a str>), Rejection> {
    if !target.bytes().all(syntax::is_target) {
        return Err(Rejection::bad_request("the request target has a byte that must be percent-encoded"));
    }
    if method_text == "CONNECT" {
        return if host::is_host_and_port(target.as_bytes()) {
            Ok((TargetForm::Authority, Some(target)))
        } else {
            Err(Rejection::bad_request("the target of CONNECT is not host:port"))
        };
    }
    if target.starts_with('/') {
        return Ok((TargetForm::Origin, None));
    }
    if target == "*" {
        return if method == Method::Options {
            Ok((TargetForm::Asterisk, None))
        } else {
            Err(Rejection::bad_request("the target * is for OPTIONS only"))
        };
    }
    match split_absolute(target) {
        Some((authority, _)) if host::is_authority(authority.as_bytes()) => {
            Ok((TargetForm::Absolute, Some(authority)))
        }
        _ => Err(Rejection::bad_request("the request target is neither a path nor an http or https address")),
    }
}

/// Splits an http or https address into its authority and what follows that.
pub(crate) fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

fn host<'a>(
    version: Version,
    field: Option<&'a [u8]>,
    authority: Option<&'a str>,
) -> Result<&'a str, Rejection> {
    let field = match field {
        None if version == Version::Http11 => {
            return Err(Rejection::bad_request("an HTTP/1.1 request has no Host"));
        }
        None => "",
        Some(field) if host::is_host_field(field) => std::str::from_utf8(field).unwrap_or_default(),
        Some(_) => return Err(Rejection::bad_request("Host is not a host with an optional port")),
    };
    if field.is_empty() && authority.is_none() && version == Version::Http11 {
        // An http address has a host (RFC 9110 section 4.2.1).
        return Err(Rejection::bad_request("Host is empty"));
    }
    Ok(authority.unwrap_or(field))
}

/// The fields that decide something, found in one pass.
#[derive(Default)]
struct KnownFields<'a> {
    connection: ListField<'a>,
    content_length: Option<&'a [u8]>,
    expect: ListField<'a>,
    host: Option<&'a [u8]>,
    if_match: ListField<'a>,
    if_modified_since: Option<&'a [u8]>,
    if_none_match: ListField<'a>,
    if_range: Option<&'a [u8]>,
    if_unmodified_since: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
}

impl<'a> KnownFields<'a> {
    fn collect(headers: &[httparse::Header<'a>], fields: Fields<'a>) -> Result<Self, Rejection> {
        let mut known = Self::default();
        for header in headers {
            let (name, value) = (header.name, header.value);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            // Comparing lengths first leaves one or two candidates for each field.
            match name.len() {
                4 if is("host") => once(&mut known.host, value, "Host is repeated")?,
                5 if is("range") => once(&mut known.range, value, "Range is repeated")?,
                6 if is("expect") => listed(&mut known.expect, "expect", value, fields),
                7 if is("referer") => known.referer = known.referer.or(Some(value)),
                8 if is("if-match") => listed(&mut known.if_match, "if-match", value, fields),
                8 if is("if-range") => once(&mut known.if_range, value, "If-Range is repeated")?,
                10 if is("connection") => listed(&mut known.connection, "connection", value, fields),
                10 if is("user-agent") => known.user_agent = known.user_agent.or(Some(value)),
                13 if is("if-none-match") => listed(&mut known.if_none_match, "if-none-match", value, fields),
                14 if is("content-length") => {
                    once(&mut known.content_length, value, "Content-Length is repeated")?;
                }
                17 if is("if-modified-since") => date(&mut known.if_modified_since, value),
                17 if is("transfer-encoding") => {
                    once(&mut known.transfer_encoding, value, "Transfer-Encoding is repeated")?;
                }
                19 if is("if-unmodified-since") => date(&mut known.if_unmodified_since, value),
                _ => {}
            }
        }
        Ok(known)
    }
}

/// A field that is no list must not be repeated (RFC 9110 section 5.3): which one counts is not to be guessed.
fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8], repeated: &'static str) -> Result<(), Rejection> {
    if slot.replace(value).is_some() { Err(Rejection::bad_request(repeated)) } else { Ok(()) }
}

/// A condition with more than one date is to be ignored (RFC 9110 sections 13.1.3 and 13.1.4), as an empty one is.
fn date<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8]) {
    *slot = Some(if slot.is_some() { b"" } else { value });
}

fn listed<'a>(slot: &mut ListField<'a>, name: &'static str, value: &'a [u8], fields: Fields<'a>) {
    if slot.first.is_some() {
        slot.repeated = true;
    } else {
        *slot = ListField { name, first: Some(value), repeated: false, fields };
    }
}
