//! Forms with files: `multipart/form-data` (RFC 7578, RFC 2046 section 5.1), taken apart as it comes.
//!
//! Strict where a lenient reader and another one could disagree: no preamble, no white space behind a boundary, CRLF at every line end
//! of a part's head, one `Content-Disposition` with one `name`. What browsers and curl send is accepted.

use crate::rejection::Rejection;
use crate::status::Status;
use crate::syntax;
use memchr::memmem::Finder;
use std::ops::Range;

/// Bytes of the head of one part; more is answered 400.
pub const MAX_PART_HEAD_BYTES: usize = 4_096;
/// Parts of one form; more is answered 413.
pub const MAX_PARTS: usize = 1_000;
/// RFC 2046 section 5.1.1.
const MAX_BOUNDARY_BYTES: usize = 70;
/// In front of the first boundary there is no line end; it is taken for read.
const LINE_END: usize = "\r\n".len();

/// A piece of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All that was given is taken in: go on with what follows it.
    NeedMore,
    /// A part begins.
    PartBegins(Part),
    /// Bytes of the part: where they lie in what was given.
    Data(Range<usize>),
    /// Bytes of the part that came before what was given, and looked like the start of a boundary: so many of
    /// [`Decoder::delimiter`], from its first.
    Held(usize),
    /// The part is whole.
    PartEnds,
    /// The form is whole. What follows it means nothing.
    Finished,
}

/// What the head of a part says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the form's field.
    pub name: String,
    /// The name of the file, where it is one; empty where the field takes files and none was chosen.
    pub file_name: Option<String>,
}

/// How far a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes that are done with.
    pub consumed: usize,
    /// What was found.
    pub event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of the first boundary.
    Start,
    /// Behind a boundary; the byte before, if one of the two is there.
    Boundary(Option<u8>),
    Head,
    Data,
    Ended,
}

/// Takes a form apart. Whatever pieces it is given in, it finds the same.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// The line end and two hyphens in front of it belong to the boundary.
    finder: Finder<'static>,
    state: State,
    /// Bytes of the delimiter that the input ended with.
    matched: usize,
    head: Vec<u8>,
    parts: usize,
}

impl Decoder {
    /// A decoder for the body of a request with this `Content-Type`; none where that is not `multipart/form-data`.
    ///
    /// # Errors
    ///
    /// 400 where the boundary is missing, repeated or invalid.
    pub fn new(content_type: &[u8]) -> Result<Option<Self>, Rejection> {
        let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
        if !content_type[..end].trim_ascii().eq_ignore_ascii_case(b"multipart/form-data") {
            return Ok(None);
        }
        let mut boundary = None;
        parameters(&content_type[end..], |name, value| {
            if name.eq_ignore_ascii_case(b"boundary") && boundary.replace(value).is_some() {
                return Err(Rejection::bad_request("the boundary of the form is repeated"));
            }
            Ok(())
        })?;
        let boundary = boundary.ok_or(Rejection::bad_request("the form has no boundary"))?;
        let valid = (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
            && boundary.iter().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte))
            && boundary.last() != Some(&b' ');
        if !valid {
            return Err(Rejection::bad_request("the boundary of the form is not valid"));
        }
        let delimiter = [b"\r\n--", &boundary[..]].concat();
        let finder = Finder::new(&delimiter).into_owned();
        Ok(Some(Self { finder, state: State::Start, matched: LINE_END, head: Vec::new(), parts: 0 }))
    }

    /// What stands between two parts.
    pub fn delimiter(&self) -> &[u8] {
        self.finder.needle()
    }

    /// Whether the form is whole.
    pub fn is_finished(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes the next piece from the start of `input`. To be called again, with what follows the consumed bytes.
    ///
    /// # Errors
    ///
    /// 400 for what is no form, 413 for one of more than [`MAX_PARTS`] parts. The decoder is of no further use.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, Rejection> {
        let mut position = 0;
        loop {
            let rest = &input[position..];
            let Some(&first) = rest.first() else {
                return Ok(Step { consumed: position, event: Event::NeedMore });
            };
            match self.state {
                State::Ended => return Ok(Step { consumed: input.len(), event: Event::NeedMore }),
                State::Start => {
                    let wanted = &self.finder.needle()[self.matched..];
                    let length = wanted.len().min(rest.len());
                    if rest[..length] != wanted[..length] {
                        return Err(Rejection::bad_request("the form does not begin with its boundary"));
                    }
                    self.matched += length;
                    if length == wanted.len() {
                        (self.matched, self.state) = (0, State::Boundary(None));
                    }
                    position += length;
                }
                State::Boundary(before) => {
                    position += 1;
                    self.state = match (before, first) {
                        (None, b'\r' | b'-') => State::Boundary(Some(first)),
                        (Some(b'\r'), b'\n') => State::Head,
                        (Some(b'-'), b'-') => {
                            self.state = State::Ended;
                            return Ok(Step { consumed: position, event: Event::Finished });
                        }
                        _ => {
                            return Err(Rejection::bad_request(
                                "a boundary of the form does not end its line",
                            ));
                        }
                    };
                }
                State::Head => {
                    position += self.take_head(rest)?;
                    if let Some(lines) = self.head.strip_suffix(b"\r\n\r\n") {
                        let part = part(lines)?;
                        self.parts += 1;
                        if self.parts > MAX_PARTS {
                            return Err(Rejection::closing(
                                Status::CONTENT_TOO_LARGE,
                                "the form has too many parts",
                            ));
                        }
                        self.head.clear();
                        self.state = State::Data;
                        return Ok(Step { consumed: position, event: Event::PartBegins(part) });
                    }
                }
                State::Data => {
                    let step = self.data(rest);
                    return Ok(Step { consumed: position + step.consumed, event: step.event });
                }
            }
        }
    }

    /// Gathers the head of a part up to the empty line that ends it; gives how many bytes were taken.
    fn take_head(&mut self, input: &[u8]) -> Result<usize, Rejection> {
        for (at, &byte) in input.iter().enumerate() {
            if self.head.len() == MAX_PART_HEAD_BYTES {
                return Err(Rejection::bad_request("the head of a part of the form is too long"));
            }
            self.head.push(byte);
            if byte == b'\n' && self.head.ends_with(b"\r\n\r\n") {
                return Ok(at + 1);
            }
            if self.head == b"\r\n" {
                return Err(Rejection::bad_request("a part of the form has no head"));
            }
        }
        Ok(input.len())
    }

    /// The next piece of a part's data; `input` is not empty.
    fn data(&mut self, input: &[u8]) -> Step {
        let delimiter = self.finder.needle();
        if self.matched > 0 {
            let wanted = &delimiter[self.matched..];
            let length = wanted.len().min(input.len());
            if input[..length] != wanted[..length] {
                // No other boundary begins in what was held: only its first byte is a carriage return.
                return Step { consumed: 0, event: Event::Held(std::mem::take(&mut self.matched)) };
            }
            if length < wanted.len() {
                self.matched += length;
                return Step { consumed: length, event: Event::NeedMore };
            }
            (self.matched, self.state) = (0, State::Boundary(None));
            return Step { consumed: length, event: Event::PartEnds };
        }
        match self.finder.find(input) {
            Some(0) => {
                self.state = State::Boundary(None);
                Step { consumed: delimiter.len(), event: Event::PartEnds }
            }
            Some(end) => Step { consumed: end, event: Event::Data(0..end) },
            None => {
                let tail = input.len() - (delimiter.len() - 1).min(input.len());
                let end = memchr::memrchr(b'\r', &input[tail..])
                    .map(|at| tail + at)
                    .filter(|&start| delimiter.starts_with(&input[start..]));
                match end {
                    Some(0) => {
                        self.matched = input.len();
                        Step { consumed: input.len(), event: Event::NeedMore }
                    }
                    Some(end) => Step { consumed: end, event: Event::Data(0..end) },
                    None => Step { consumed: input.len(), event: Event::Data(0..input.len()) },
                }
            }
        }
    }
}

/// Reads the lines of a part's head, without the empty one.
fn part(head: &[u8]) -> Result<Part, Rejection> {
    let mut found = None;
    let mut rest = head;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[][..], |end| &rest[end + LINE_END..]);
        let colon = memchr::memchr(b':', line).unwrap_or(0);
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().copied().all(syntax::is_token) {
            return Err(Rejection::bad_request("a line in the head of a part of the form is no field"));
        }
        let value = syntax::trim_white_space(&value[1..]);
        if !value.iter().copied().all(syntax::is_field_value) {
            return Err(Rejection::bad_request("the head of a part of the form has a control character"));
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if found.replace(disposition(value)?).is_some() {
                return Err(Rejection::bad_request("Content-Disposition is repeated in a part of the form"));
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            // RFC 7578 section 4.7: deprecated, and what it says would be stored encoded.
            let plain =
                [&b"7bit"[..], b"8bit", b"binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
            if !plain {
                return Err(Rejection::bad_request("a part of the form has a transfer encoding"));
            }
        }
    }
    found.ok_or(Rejection::bad_request("a part of the form has no Content-Disposition"))
}

/// Reads the value of `Content-Disposition` (RFC 7578 section 4.2).
fn disposition(value: &[u8]) -> Result<Part, Rejection> {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    if !syntax::trim_white_space(&value[..end]).eq_ignore_ascii_case(b"form-data") {
        return Err(Rejection::bad_request("a part of the form is not form-data"));
    }
    let (mut name, mut file_name) = (None, None);
    parameters(&value[end..], |parameter, value| {
        let slot = if parameter.eq_ignore_ascii_case(b"name") {
            &mut name
        } else if parameter.eq_ignore_ascii_case(b"filename") {
            &mut file_name
        } else if parameter.eq_ignore_ascii_case(b"filename*") {
            return Err(Rejection::bad_request("filename* has no place in a form"));
        } else {
            return Ok(());
        };
        let Ok(text) = String::from_utf8(value) else {
            return Err(Rejection::bad_request("a name in the form is not UTF-8"));
        };
        if slot.replace(text).is_some() {
            return Err(Rejection::bad_request("a name is repeated in a part of the form"));
        }
        Ok(())
    })?;
    let name = name.ok_or(Rejection::bad_request("a part of the form has no name"))?;
    // What browsers do not write as it is; the line ends among it are in no name that is accepted.
    let file_name = file_name.map(|name| name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n"));
    Ok(Part { name, file_name })
}

/// Reads `; name=value` again and again; values are tokens or quoted. A backslash in quotes escapes a quotation mark and itself, and
/// is itself in front of anything else, as browsers write it.
fn parameters(
    mut rest: &[u8],
    mut each: impl FnMut(&[u8], Vec<u8>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    const MALFORMED: Rejection = Rejection::bad_request("a parameter of the form is malformed");
    loop {
        rest = syntax::trim_white_space(rest);
        let Some((&b';', behind)) = rest.split_first() else {
            return if rest.is_empty() { Ok(()) } else { Err(MALFORMED) };
        };
        rest = syntax::trim_white_space(behind);
        let equals = memchr::memchr(b'=', rest).ok_or(MALFORMED)?;
        let name = &rest[..equals];
        if name.is_empty() || !name.iter().copied().all(syntax::is_token) {
            return Err(MALFORMED);
        }
        rest = &rest[equals + 1..];
        let mut value = Vec::new();
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            rest = quoted;
            loop {
                rest = match rest {
                    [b'"', behind @ ..] => break rest = behind,
                    [b'\\', escaped @ (b'"' | b'\\'), behind @ ..] => {
                        value.push(*escaped);
                        behind
                    }
                    [byte, behind @ ..] => {
                        value.push(*byte);
                        behind
                    }
                    [] => return Err(MALFORMED),
                };
            }
        } else {
            let end = rest.iter().position(|&byte| !syntax::is_token(byte)).unwrap_or(rest.len());
            if end == 0 {
                return Err(MALFORMED);
            }
            value.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        each(name, value)?;
    }
}
