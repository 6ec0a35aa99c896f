//! The path and query of a request target (RFC 9112 section 3.2, RFC 3986 sections 3.3 and 5.2.4).
//!
//! What is decided here holds for every system: one round of percent-decoding, UTF-8, no separator or control character
//! in disguise, nothing above the root. What a file system reads into a name (devices, streams, short names) is not.

use crate::rejection::Rejection;
use crate::request::split_absolute;
use crate::status::Status;
use crate::syntax;

/// A decoded path below the root, without dot segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    text: &'a str,
    written: &'a str,
    query: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// The path without its leading slash; empty for the root. Ends with a slash where the target does.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// The path as it was written, still encoded and with its leading slash: for a redirect. Mind
    /// [`has_empty_segment`](Self::has_empty_segment) before that.
    pub const fn written(&self) -> &'a str {
        if self.written.is_empty() { "/" } else { self.written }
    }

    /// What follows the question mark, as it was written.
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// Whether the path names a directory by its form: it is the root, or ends with a slash or a dot segment.
    pub fn ends_with_slash(&self) -> bool {
        self.text.is_empty() || self.text.ends_with('/')
    }

    /// Whether two slashes follow each other as the path was written, be it in what dot segments take away again.
    /// RFC 3986 keeps empty segments; a file system drops them, so that one file would have many names, and a redirect
    /// to a path that starts with one leads to another host (`//host/../../folder`).
    pub fn has_empty_segment(&self) -> bool {
        // No escape stands for a slash, so that the decoded path has none that is not written.
        self.written.as_bytes().windows(2).any(|pair| pair == b"//")
    }

    /// The segments in order, without the empty one behind a slash at the end.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        let text = self.text.strip_suffix('/').unwrap_or(self.text);
        (!self.text.is_empty()).then(|| text.split('/')).into_iter().flatten()
    }
}

/// Decodes the target of a request in origin or absolute form. A path that needs no decoding is borrowed as it is;
/// another is decoded into `scratch`, which must be as long as the target to hold every one.
///
/// # Errors
///
/// 400 for an invalid escape, for what decodes to something else than UTF-8, to a control character, a slash or a
/// backslash, for a raw backslash, for dot segments that lead above the root, and for a target without a path (`*`);
/// 414 where `scratch` is too short. The connection may stay open.
pub fn decode<'a>(target: &'a str, scratch: &'a mut [u8]) -> Result<Path<'a>, Rejection> {
    let after_authority = if target.starts_with('/') {
        target
    } else {
        split_absolute(target).ok_or_else(|| refuse("the target has no path"))?.1
    };
    let (written, query) = match memchr::memchr(b'?', after_authority.as_bytes()) {
        Some(mark) => (&after_authority[..mark], Some(&after_authority[mark + 1..])),
        None => (after_authority, None),
    };
    let path = written.strip_prefix('/').unwrap_or(written);
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(refuse("the path has a backslash or a byte that must be percent-encoded"));
    }
    if is_plain(path.as_bytes()) {
        return Ok(Path { text: path, written, query });
    }
    let length = percent_decode(path.as_bytes(), scratch)?;
    // Before any segment goes: what a dot segment removes must be valid too.
    if utf8(&scratch[..length])?.chars().any(char::is_control) {
        return Err(refuse("the path has an encoded control character"));
    }
    let length = remove_dot_segments(&mut scratch[..length])?;
    let text = utf8(&scratch[..length])?;
    Ok(Path { text, written, query })
}

fn utf8(path: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(path).map_err(|_| refuse("the path is not UTF-8"))
}

fn refuse(reason: &'static str) -> Rejection {
    Rejection::open(Status::BAD_REQUEST, reason)
}

/// Whether the path is already what decoding would make of it: no escape, and no segment that starts with a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut before = b'/';
    path.iter().all(|&byte| {
        let starts_with_dot = byte == b'.' && before == b'/';
        before = byte;
        byte != b'%' && !starts_with_dot
    })
}

/// Decodes once, into the start of `output`; gives the length.
fn percent_decode(path: &[u8], output: &mut [u8]) -> Result<usize, Rejection> {
    let mut rest = path;
    let mut length = 0;
    loop {
        let byte = match rest {
            [] => return Ok(length),
            [b'%', high, low, tail @ ..] => {
                let (Some(high), Some(low)) = (syntax::hex_value(*high), syntax::hex_value(*low)) else {
                    return Err(refuse("the path has a percent sign without two hexadecimal digits"));
                };
                rest = tail;
                match high << 4 | low {
                    b'/' | b'\\' => return Err(refuse("the path has an encoded slash or backslash")),
                    byte => byte,
                }
            }
            [b'%', ..] => return Err(refuse("the path ends within an escape")),
            [byte, tail @ ..] => {
                rest = tail;
                *byte
            }
        };
        let Some(slot) = output.get_mut(length) else {
            return Err(Rejection::open(
                Status::URI_TOO_LONG,
                "the path is longer than the space to decode it in",
            ));
        };
        *slot = byte;
        length += 1;
    }
}

/// Removes `.` and `..` in place as RFC 3986 section 5.2.4 does, but refuses what would lead above the root. The path
/// comes and goes without its leading slash. Gives the new length.
fn remove_dot_segments(path: &mut [u8]) -> Result<usize, Rejection> {
    let mut read = 0;
    let mut written = 0;
    loop {
        let end = memchr::memchr(b'/', &path[read..]).map_or(path.len(), |slash| read + slash);
        let last = end == path.len();
        match &path[read..end] {
            b"." => {}
            b".." => written = parent(&path[..written])?,
            _ => {
                // The slash goes with its segment; the last segment has none.
                let through = if last { end } else { end + 1 };
                path.copy_within(read..through, written);
                written += through - read;
            }
        }
        if last {
            return Ok(written);
        }
        read = end + 1;
    }
}

/// The length of `path`, which is empty or ends with a slash, without its last segment.
fn parent(path: &[u8]) -> Result<usize, Rejection> {
    let [segments @ .., b'/'] = path else {
        return Err(refuse("the path leads above the root"));
    };
    Ok(memchr::memrchr(b'/', segments).map_or(0, |slash| slash + 1))
}
