//! Taking a request body out of its framing (RFC 9112 sections 6 and 7), without copying it.

use crate::chunked::ChunkedDecoder;
use crate::limits::Limits;
use crate::rejection::Rejection;
use crate::status::Status;
use std::ops::Range;

/// How the body of a request is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// No framing field: there is no body.
    None,
    /// `Content-Length`, in bytes; may be zero.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl BodyFraming {
    /// Whether it is certain that no body follows.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// How the body of a response is delimited (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No framing field: for 1xx, 204 and 304, and for a body that ends when the connection does.
    Unsaid,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`; never in an answer to an HTTP/1.0 request (RFC 9112 section 6.1).
    Chunked,
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with; the next call gets what follows them. The data is within them.
    pub consumed: usize,
    /// The piece of the body, as a range of the input; may be empty.
    pub data: Range<usize>,
    /// Whether the body has ended; what follows the consumed bytes is the next request.
    pub finished: bool,
}

/// Takes one request body out of its framing.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Length { remaining_bytes: u64 },
    Chunked(ChunkedDecoder),
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    ///
    /// # Errors
    ///
    /// 413 where the length that was announced is above [`Limits::body_bytes`].
    pub fn new(framing: BodyFraming, limits: &Limits) -> Result<Self, Rejection> {
        let kind = match framing {
            BodyFraming::None => Kind::Length { remaining_bytes: 0 },
            BodyFraming::Length(length) if length > limits.body_bytes => {
                return Err(Rejection::closing(
                    Status::CONTENT_TOO_LARGE,
                    "Content-Length is above the limit for a body",
                ));
            }
            BodyFraming::Length(length) => Kind::Length { remaining_bytes: length },
            BodyFraming::Chunked => Kind::Chunked(ChunkedDecoder::new(limits)),
        };
        Ok(Self { kind })
    }

    /// Takes the next piece of the body from the start of `input`. To be called again, with what follows the consumed
    /// bytes, until it is finished; a step that consumes nothing and is not finished needs more input.
    ///
    /// # Errors
    ///
    /// How to refuse the request: 400 for malformed chunks, 413 and 431 for a body or trailers above their limits. The
    /// connection is closed and the decoder of no further use.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, Rejection> {
        match &mut self.kind {
            Kind::Length { remaining_bytes } => {
                let length =
                    usize::try_from(*remaining_bytes).map_or(input.len(), |rest| rest.min(input.len()));
                *remaining_bytes -= length as u64;
                Ok(Step { consumed: length, data: 0..length, finished: *remaining_bytes == 0 })
            }
            Kind::Chunked(decoder) => decoder.decode(input),
        }
    }

    /// Whether the body has ended.
    pub const fn is_finished(&self) -> bool {
        match &self.kind {
            Kind::Length { remaining_bytes } => *remaining_bytes == 0,
            Kind::Chunked(decoder) => decoder.is_finished(),
        }
    }

    /// Bytes of the body that are still to come, where the framing says so.
    pub const fn remaining_bytes(&self) -> Option<u64> {
        match &self.kind {
            Kind::Length { remaining_bytes } => Some(*remaining_bytes),
            Kind::Chunked(decoder) if decoder.is_finished() => Some(0),
            Kind::Chunked(_) => None,
        }
    }
}
