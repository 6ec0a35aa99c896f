//! Ranges of bytes of a representation (RFC 9110 section 14).

use crate::conditional::{self, Representation};
use crate::method::Method;
use crate::number::{Decimal, parse_decimal};
use crate::request::Request;
use crate::syntax::trim_white_space;
use std::fmt;

/// The most ranges that one request is given; for more the whole is sent. Browsers ask for one and readers of documents for a
/// few; many small ones are rather an attack (RFC 9110 section 14.2), and so few fit into one gathered send.
pub const MAX_RANGES: usize = 16;

/// Bytes from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte; not below `first`.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes these are.
    pub const fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether both overlap, or one begins where the other ends.
    fn touches(&self, other: &Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }

    fn joined(&self, other: &Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// Which part of a representation to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is used at once; boxing it would allocate")]
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
    /// Two or more ranges, with 206 and [`multipart/byteranges`](crate::byteranges).
    Several(Ranges),
    /// Nothing: 416, with the length in `Content-Range`.
    Unsatisfiable,
}

/// Two to [`MAX_RANGES`] ranges that neither overlap nor adjoin each other, in the order in which they were asked for, which is
/// the order to send them in (RFC 9110 section 15.3.7.2).
#[derive(Clone, Copy)]
pub struct Ranges {
    ranges: [ByteRange; MAX_RANGES],
    length: usize,
}

impl Ranges {
    const NONE: Self = Self { ranges: [ByteRange { first: 0, last: 0 }; MAX_RANGES], length: 0 };

    /// The ranges.
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.ranges[..self.length]
    }

    /// Bytes of all of them together.
    pub fn total_bytes(&self) -> u64 {
        self.as_slice().iter().map(ByteRange::length).sum()
    }

    /// Adds a range, joined with those that it touches, in the place of the first of them.
    fn add(&mut self, range: ByteRange) {
        let (mut joined, mut place, mut kept) = (range, None, 0);
        for index in 0..self.length {
            let other = self.ranges[index];
            // Those that are there touch none of each other, so that what was joined touches no more than `range` does.
            if other.touches(&range) {
                joined = joined.joined(&other);
                if place.is_none() {
                    place = Some(kept);
                    kept += 1;
                }
            } else {
                self.ranges[kept] = other;
                kept += 1;
            }
        }
        let place = place.unwrap_or_else(|| {
            kept += 1;
            kept - 1
        });
        self.ranges[place] = joined;
        self.length = kept;
    }
}

impl PartialEq for Ranges {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Ranges {}

impl fmt::Debug for Ranges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.as_slice()).finish()
    }
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
/// A field that is malformed in any part, has another unit or asks for more than [`MAX_RANGES`] is ignored, as RFC 9110
/// section 14.2 allows: the whole is sent. So is the whole of an empty representation for a suffix, because no `Content-Range`
/// could name it. Ranges that overlap or adjoin become one, and those behind the end are left out.
pub fn evaluate(range: Option<&[u8]>, length_bytes: u64) -> RangeOutcome {
    range.and_then(|range| resolve(range, length_bytes)).unwrap_or(RangeOutcome::Whole)
}

fn resolve(range: &[u8], length_bytes: u64) -> Option<RangeOutcome> {
    let (unit, set) = range.split_at_checked("bytes=".len())?;
    // White space is allowed around commas only.
    let padded = trim_white_space(set).len() != set.len();
    if !unit.eq_ignore_ascii_case(b"bytes=") || padded {
        return None;
    }
    let mut ranges = Ranges::NONE;
    let mut asked = 0;
    // Empty members are to be tolerated (RFC 9110 section 5.6.1.2).
    for member in set.split(|byte| *byte == b',').map(trim_white_space).filter(|member| !member.is_empty()) {
        asked += 1;
        if asked > MAX_RANGES {
            return None;
        }
        if let Some(range) = resolve_one(member, length_bytes)? {
            ranges.add(range);
        }
    }
    match *ranges.as_slice() {
        [] if asked == 0 => None,
        [] => Some(RangeOutcome::Unsatisfiable),
        [ByteRange { first, last }] => Some(RangeOutcome::Partial { first, last }),
        _ => Some(RangeOutcome::Several(ranges)),
    }
}

/// One member of the set: some range, or none within the representation. None at all where the whole is to be sent.
#[expect(clippy::option_option, reason = "malformed and unsatisfiable are different answers")]
fn resolve_one(member: &[u8], length_bytes: u64) -> Option<Option<ByteRange>> {
    let dash = memchr::memchr(b'-', member)?;
    let (first, last) = (&member[..dash], &member[dash + 1..]);
    if first.is_empty() {
        return match (position(last)?, length_bytes) {
            (0, _) => Some(None),
            (_, 0) => None,
            (suffix, _) => {
                Some(Some(ByteRange { first: length_bytes.saturating_sub(suffix), last: length_bytes - 1 }))
            }
        };
    }
    let first = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if last < first {
        return None;
    }
    Some((first < length_bytes).then(|| ByteRange { first, last: last.min(length_bytes - 1) }))
}

/// A number above 2^64 - 1 is valid and behind every representation.
fn position(text: &[u8]) -> Option<u64> {
    match parse_decimal(text) {
        Decimal::Number(number) => Some(number),
        Decimal::Overflow => Some(u64::MAX),
        Decimal::Malformed => None,
    }
}
