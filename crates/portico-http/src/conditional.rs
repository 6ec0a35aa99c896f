//! Conditional requests (RFC 9110 section 13).

use crate::date;
use crate::etag::{ETag, ETagList};
use crate::fields::ListField;
use crate::method::Method;
use crate::request::Request;
use std::time::SystemTime;

/// What a condition is about: the validators of the representation that would be sent or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Representation<'a> {
    /// Its entity tag.
    pub etag: Option<ETag<'a>>,
    /// When it was last modified, as `Last-Modified` says it; the fraction of a second does not count.
    pub last_modified: Option<SystemTime>,
    /// Whether that second was over when the representation was read, so that no other one can bear the same date (RFC 9110
    /// section 8.8.2.2). A date that is not strong never holds for `If-Range`.
    pub date_is_strong: bool,
}

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Do what the method says.
    Proceed,
    /// Answer 304.
    NotModified,
    /// Answer 412.
    PreconditionFailed,
}

/// Evaluates the conditions in the order of RFC 9110 section 13.2.2. `current` is none where the target has no
/// representation (a PUT would create it). To be asked only where the answer without conditions would be 2xx
/// (RFC 9110 section 13.2.1).
pub fn evaluate(request: &Request<'_>, current: Option<&Representation<'_>>) -> Outcome {
    let last_modified = current.and_then(|current| current.last_modified).map(date::second);
    let date_of = |field: Option<&[u8]>| field.and_then(date::parse).map(date::second);

    if request.if_match.is_present() {
        if !matches(request.if_match, current, |named, etag| named.strongly_matches(etag)) {
            return Outcome::PreconditionFailed;
        }
    } else if let Some(limit) = date_of(request.if_unmodified_since)
        && last_modified.is_some_and(|modified| modified > limit)
    {
        return Outcome::PreconditionFailed;
    }

    let reads = matches!(request.method, Method::Get | Method::Head);
    if request.if_none_match.is_present() {
        if matches(request.if_none_match, current, |named, etag| named.weakly_matches(etag)) {
            return if reads { Outcome::NotModified } else { Outcome::PreconditionFailed };
        }
    } else if reads
        && let (Some(modified), Some(limit)) = (last_modified, date_of(request.if_modified_since))
        && modified <= limit
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether a list names the current representation; `*` names any.
fn matches(
    list: ListField<'_>,
    current: Option<&Representation<'_>>,
    same: impl Fn(&ETag<'_>, &ETag<'_>) -> bool,
) -> bool {
    let Some(current) = current else { return false };
    list.values().any(|value| {
        value == b"*"
            || current
                .etag
                .as_ref()
                .is_some_and(|etag| ETagList::new(value).any(|member| same(&member, etag)))
    })
}

/// Whether `Range` is to be honoured as far as `If-Range` goes (RFC 9110 section 13.1.5): its tag must match strongly,
/// or its date must be strong and the very second of the last modification. True where there is no `If-Range`.
pub fn if_range_holds(if_range: Option<&[u8]>, current: &Representation<'_>) -> bool {
    let Some(value) = if_range else { return true };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return match (ETag::parse(value), &current.etag) {
            (Some(named), Some(etag)) => named.strongly_matches(etag),
            _ => false,
        };
    }
    match (date::parse(value), current.last_modified) {
        (Some(named), Some(modified)) => {
            current.date_is_strong && date::second(named) == date::second(modified)
        }
        _ => false,
    }
}
