//! Why a request is not served, as a decision that the caller can act on.

use crate::status::Status;
use std::fmt;

/// A refusal: what to answer, and whether the connection can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The status to answer with.
    pub status: Status,
    /// Whether the connection must be closed after the answer, because where the next request would start is unknown
    /// or not to be trusted (RFC 9112 sections 6.3 and 9.3).
    pub close: bool,
    /// One sentence for the log, without any byte from the client.
    pub reason: &'static str,
}

impl Rejection {
    /// A refusal after which the connection is closed.
    pub const fn closing(status: Status, reason: &'static str) -> Self {
        Self { status, close: true, reason }
    }

    /// A refusal of a request whose extent is known: the connection may stay open once its body has been read.
    pub const fn open(status: Status, reason: &'static str) -> Self {
        Self { status, close: false, reason }
    }

    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self::closing(Status::BAD_REQUEST, reason)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.status.code(), self.status.reason(), self.reason)?;
        if self.close { formatter.write_str(" (connection closes)") } else { Ok(()) }
    }
}

impl std::error::Error for Rejection {}
