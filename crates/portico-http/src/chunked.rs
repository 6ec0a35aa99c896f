//! The chunked transfer coding (RFC 9112 section 7.1), both ways.

use crate::body::Step;
use crate::chunk_extension::ExtensionState;
use crate::limits::Limits;
use crate::number::Digits;
use crate::rejection::Rejection;
use crate::status::Status;
use crate::syntax;

/// The most bytes that [`ChunkedEncoder::start_chunk`] writes: the CRLF of the chunk before, 16 digits and CRLF.
pub const MAX_CHUNK_START_BYTES: usize = 20;

/// The most bytes that [`ChunkedEncoder::finish`] writes.
pub const MAX_CHUNKED_END_BYTES: usize = 7;

const MAX_SIZE_DIGITS: u8 = 16;

/// Takes a chunked body apart. Strict: CRLF at every line end, digits only, extensions and trailers validated.
#[derive(Debug, Clone)]
pub(crate) struct ChunkedDecoder {
    state: State,
    /// Of the chunk size line or of the trailers, whichever is being read.
    line_bytes: usize,
    chunk_line_limit: usize,
    extension_bytes_left: usize,
    trailer_limit: usize,
    body_bytes_left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64, extension: ExtensionState },
    SizeLineFeed { size: u64 },
    Data { remaining_bytes: u64 },
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Finished,
}

impl ChunkedDecoder {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            line_bytes: 0,
            chunk_line_limit: limits.chunk_line_bytes,
            extension_bytes_left: limits.chunk_extension_bytes,
            trailer_limit: limits.trailer_bytes,
            body_bytes_left: limits.body_bytes,
        }
    }

    pub(crate) const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// One piece of data at most: at the end of the chunk it belongs to, or of the input.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Result<Step, Rejection> {
        let mut position = 0;
        while position < input.len() {
            match self.state {
                State::Finished => break,
                State::Data { remaining_bytes } => {
                    let available = input.len() - position;
                    let length =
                        usize::try_from(remaining_bytes).map_or(available, |rest| rest.min(available));
                    let remaining_bytes = remaining_bytes - length as u64;
                    self.state = match remaining_bytes {
                        0 => State::DataCarriageReturn,
                        _ => State::Data { remaining_bytes },
                    };
                    let end = position + length;
                    return Ok(Step { consumed: end, data: position..end, finished: false });
                }
                _ => {
                    self.state = self.framing(input[position])?;
                    position += 1;
                }
            }
        }
        Ok(Step { consumed: position, data: position..position, finished: self.is_finished() })
    }

    fn framing(&mut self, byte: u8) -> Result<State, Rejection> {
        match self.state {
            State::Size { size, digits } => {
                self.count_line_byte()?;
                self.size(size, digits, byte)
            }
            State::Extension { size, extension } => {
                self.count_line_byte()?;
                if byte == b'\r' && extension.may_end() {
                    return Ok(State::SizeLineFeed { size });
                }
                self.extension(size, extension.next(byte))
            }
            State::SizeLineFeed { size } => {
                self.count_line_byte()?;
                expect(byte, b'\n', "a chunk size line does not end with CRLF")?;
                self.size_complete(size)
            }
            State::DataCarriageReturn => {
                expect(byte, b'\r', "a chunk is not followed by CRLF")?;
                Ok(State::DataLineFeed)
            }
            State::DataLineFeed => {
                expect(byte, b'\n', "a chunk is not followed by CRLF")?;
                Ok(State::Size { size: 0, digits: 0 })
            }
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLineFeed
            | State::LastLineFeed => {
                self.line_bytes += 1;
                if self.line_bytes > self.trailer_limit {
                    return Err(Rejection::closing(
                        Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
                        "the trailers are longer than the limit",
                    ));
                }
                self.trailer(byte)
            }
            State::Data { .. } | State::Finished => Ok(self.state),
        }
    }

    fn count_line_byte(&mut self) -> Result<(), Rejection> {
        self.line_bytes += 1;
        if self.line_bytes > self.chunk_line_limit {
            return Err(Rejection::bad_request("a chunk size line is longer than the limit"));
        }
        Ok(())
    }

    fn size(&mut self, size: u64, digits: u8, byte: u8) -> Result<State, Rejection> {
        if let Some(value) = syntax::hex_value(byte) {
            if digits == MAX_SIZE_DIGITS {
                return Err(Rejection::bad_request("a chunk size has more than 16 digits"));
            }
            // Sixteen digits are 64 bits: the shift loses nothing.
            return Ok(State::Size { size: size << 4 | u64::from(value), digits: digits + 1 });
        }
        if digits == 0 {
            return Err(Rejection::bad_request("a chunk does not start with its size"));
        }
        if byte == b'\r' {
            return Ok(State::SizeLineFeed { size });
        }
        self.extension(size, ExtensionState::start(byte))
    }

    fn extension(&mut self, size: u64, extension: Option<ExtensionState>) -> Result<State, Rejection> {
        let Some(extension) = extension else {
            return Err(Rejection::bad_request(
                "a chunk size is followed by something else than an extension",
            ));
        };
        if self.extension_bytes_left == 0 {
            return Err(Rejection::bad_request("the chunk extensions are longer than the limit"));
        }
        self.extension_bytes_left -= 1;
        Ok(State::Extension { size, extension })
    }

    fn size_complete(&mut self, size: u64) -> Result<State, Rejection> {
        self.line_bytes = 0;
        if size == 0 {
            return Ok(State::TrailerStart);
        }
        let Some(left) = self.body_bytes_left.checked_sub(size) else {
            return Err(Rejection::closing(
                Status::CONTENT_TOO_LARGE,
                "the chunks are longer than the limit for a body",
            ));
        };
        self.body_bytes_left = left;
        Ok(State::Data { remaining_bytes: size })
    }

    fn trailer(&self, byte: u8) -> Result<State, Rejection> {
        match self.state {
            State::TrailerStart if byte == b'\r' => Ok(State::LastLineFeed),
            State::TrailerName if byte == b':' => Ok(State::TrailerValue),
            State::TrailerStart | State::TrailerName if syntax::is_token(byte) => Ok(State::TrailerName),
            State::TrailerStart | State::TrailerName => {
                Err(Rejection::bad_request("a trailer name is empty or no token, or its line is folded"))
            }
            State::TrailerValue if byte == b'\r' => Ok(State::TrailerLineFeed),
            State::TrailerValue if syntax::is_field_value(byte) => Ok(State::TrailerValue),
            State::TrailerValue => Err(Rejection::bad_request("a trailer value has a control character")),
            State::TrailerLineFeed => {
                expect(byte, b'\n', "a trailer does not end with CRLF")?;
                Ok(State::TrailerStart)
            }
            _ => {
                expect(byte, b'\n', "the trailers do not end with CRLF")?;
                Ok(State::Finished)
            }
        }
    }
}

fn expect(byte: u8, expected: u8, reason: &'static str) -> Result<(), Rejection> {
    if byte == expected { Ok(()) } else { Err(Rejection::bad_request(reason)) }
}

/// Writes the framing of a chunked response body; the data itself is the caller's to send, uncopied.
///
/// The CRLF behind a chunk is written with the start of the next one, so that a gathered send needs one piece of
/// framing for each piece of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkedEncoder {
    behind_chunk: bool,
}

impl ChunkedEncoder {
    /// An encoder at the start of a body.
    pub const fn new() -> Self {
        Self { behind_chunk: false }
    }

    /// Writes what goes before a chunk of `size_bytes` bytes and gives how many bytes that is. A chunk of zero bytes
    /// would end the body (RFC 9112 section 7.1): for it nothing is written.
    pub fn start_chunk(&mut self, size_bytes: u64, output: &mut [u8; MAX_CHUNK_START_BYTES]) -> usize {
        if size_bytes == 0 {
            return 0;
        }
        let size = Digits::hexadecimal(size_bytes);
        let mut end = self.end_chunk(output);
        for part in [size.as_bytes(), b"\r\n"] {
            output[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        self.behind_chunk = true;
        end
    }

    /// Writes what ends the body, and gives how many bytes that is. The encoder is then at the start of a new body.
    pub fn finish(&mut self, output: &mut [u8; MAX_CHUNKED_END_BYTES]) -> usize {
        let start = self.end_chunk(output);
        let last = b"0\r\n\r\n";
        output[start..start + last.len()].copy_from_slice(last);
        self.behind_chunk = false;
        start + last.len()
    }

    fn end_chunk(&self, output: &mut [u8]) -> usize {
        if !self.behind_chunk {
            return 0;
        }
        output[..2].copy_from_slice(b"\r\n");
        2
    }
}
