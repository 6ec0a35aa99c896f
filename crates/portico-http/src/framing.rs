//! What the fields say about the body and the connection (RFC 9112 sections 6 and 9).

use crate::body::BodyFraming;
use crate::fields::ListField;
use crate::number::{Decimal, parse_decimal};
use crate::rejection::Rejection;
use crate::request::Version;
use crate::status::Status;
use crate::syntax::trim_white_space;

/// The length of the body (RFC 9112 section 6.3), with every ambiguity refused.
pub(crate) fn body(
    version: Version,
    content_length: Option<&[u8]>,
    transfer_encoding: Option<&[u8]>,
) -> Result<BodyFraming, Rejection> {
    match (content_length, transfer_encoding) {
        (None, None) => Ok(BodyFraming::None),
        (Some(_), Some(_)) => {
            Err(Rejection::bad_request("the request has both Content-Length and Transfer-Encoding"))
        }
        (Some(length), None) => match parse_decimal(length) {
            Decimal::Number(length) => Ok(BodyFraming::Length(length)),
            Decimal::Overflow => Err(Rejection::bad_request("Content-Length is above 2^64 - 1")),
            Decimal::Malformed => Err(Rejection::bad_request("Content-Length is not one decimal number")),
        },
        (None, Some(_)) if version == Version::Http10 => {
            Err(Rejection::bad_request("Transfer-Encoding in an HTTP/1.0 request"))
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyFraming::Chunked),
        (None, Some(codings)) => Err(other_codings(codings)),
    }
}

/// A list that ends with the only `chunked` in it is well formed but has codings that are not served; everything else
/// leaves the end of the body open.
fn other_codings(codings: &[u8]) -> Rejection {
    let chunked = |coding: &[u8]| trim_white_space(coding).eq_ignore_ascii_case(b"chunked");
    let count = codings.split(|byte| *byte == b',').filter(|coding| chunked(coding)).count();
    let last = codings.rsplit(|byte| *byte == b',').next().is_some_and(chunked);
    if last && count == 1 {
        Rejection::closing(Status::NOT_IMPLEMENTED, "the only transfer coding served is chunked")
    } else {
        Rejection::bad_request("the last transfer coding is not chunked, or chunked is applied twice")
    }
}

/// Whether the connection stays open after the response (RFC 9112 section 9.3).
pub(crate) fn keep_alive(version: Version, connection: ListField<'_>) -> bool {
    let mut keep_alive = version == Version::Http11;
    for option in connection.tokens() {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep_alive
}

/// Whether the client waits for 100 before it sends its body (RFC 9110 section 10.1.1).
pub(crate) fn expect_continue(
    version: Version,
    expect: ListField<'_>,
    body: BodyFraming,
) -> Result<bool, Rejection> {
    for expectation in expect.tokens() {
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            return Err(Rejection::closing(
                Status::EXPECTATION_FAILED,
                "the only expectation met is 100-continue",
            ));
        }
    }
    Ok(expect.is_present() && version == Version::Http11 && !body.is_empty())
}
