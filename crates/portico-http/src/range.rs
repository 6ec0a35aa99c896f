//! A range of bytes of a representation (RFC 9110 section 14).

use crate::conditional::{self, Representation};
use crate::method::Method;
use crate::number::{Decimal, parse_decimal};
use crate::request::Request;

/// Which part of a representation to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOutcome {
    /// All of it, with 200.
    Whole,
    /// From the byte `first` to the byte `last`, both included and both within the representation, with 206.
    Partial {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte; not below `first`.
        last: u64,
    },
    /// Nothing: 416, with the length in `Content-Range`.
    Unsatisfiable,
}

/// What to send of the current representation, `length_bytes` long, in answer to `request`. Only GET has ranges
/// (RFC 9110 section 14.2), and `If-Range` must hold (RFC 9110 section 13.1.5).
pub fn for_request(request: &Request<'_>, current: &Representation<'_>, length_bytes: u64) -> RangeOutcome {
    if request.method != Method::Get || request.range.is_none() {
        return RangeOutcome::Whole;
    }
    if !conditional::if_range_holds(request.if_range, current) {
        return RangeOutcome::Whole;
    }
    evaluate(request.range, length_bytes)
}

/// What the value of a `Range` field asks of a representation that is `length_bytes` long.
///
/// A field that is malformed, has another unit or asks for several ranges is ignored, as RFC 9110 section 14.2 allows:
/// the whole is sent. So is the whole of an empty representation for a suffix, because no `Content-Range` could name it.
pub fn evaluate(range: Option<&[u8]>, length_bytes: u64) -> RangeOutcome {
    range.and_then(|range| resolve(range, length_bytes)).unwrap_or(RangeOutcome::Whole)
}

fn resolve(range: &[u8], length_bytes: u64) -> Option<RangeOutcome> {
    let (unit, positions) = range.split_at_checked("bytes=".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let dash = memchr::memchr(b'-', positions)?;
    let (first, last) = (&positions[..dash], &positions[dash + 1..]);
    if first.is_empty() {
        return suffix(position(last)?, length_bytes);
    }
    let first = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if last < first {
        return None;
    }
    Some(if first >= length_bytes {
        RangeOutcome::Unsatisfiable
    } else {
        RangeOutcome::Partial { first, last: last.min(length_bytes - 1) }
    })
}

fn suffix(suffix_bytes: u64, length_bytes: u64) -> Option<RangeOutcome> {
    match (suffix_bytes, length_bytes) {
        (0, _) => Some(RangeOutcome::Unsatisfiable),
        (_, 0) => None,
        _ => {
            let first = length_bytes.saturating_sub(suffix_bytes);
            Some(RangeOutcome::Partial { first, last: length_bytes - 1 })
        }
    }
}

/// A number above 2^64 - 1 is valid and behind every representation.
fn position(text: &[u8]) -> Option<u64> {
    match parse_decimal(text) {
        Decimal::Number(number) => Some(number),
        Decimal::Overflow => Some(u64::MAX),
        Decimal::Malformed => None,
    }
}
