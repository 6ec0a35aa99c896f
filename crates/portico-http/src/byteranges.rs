//! Several ranges in one answer: `multipart/byteranges` (RFC 9110 sections 14.6 and 15.3.7.2).
//!
//! The frames are written here, and the caller lays the bytes of the representation between them: before each range its part
//! head, behind the last one the end. The length of all is known before the first byte is read.

use crate::number::Digits;
use crate::range::{ByteRange, Ranges};
use crate::response::{ContentRange, WriteError, Writer};

const MEDIA_TYPE: &[u8] = b"multipart/byteranges; boundary=";
const BOUNDARY_BYTES: usize = 32;

/// What stands between two parts: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// As the value of `Content-Type`, which ends in the boundary itself.
    media_type: [u8; MEDIA_TYPE.len() + BOUNDARY_BYTES],
}

impl Boundary {
    /// A boundary of this number. It must not occur in the representation: a number that nobody can guess does not, by
    /// accident or by intent.
    pub fn new(number: u128) -> Self {
        let mut media_type = [b'0'; MEDIA_TYPE.len() + BOUNDARY_BYTES];
        media_type[..MEDIA_TYPE.len()].copy_from_slice(MEDIA_TYPE);
        for (half, end) in [((number >> 64) as u64, MEDIA_TYPE.len() + 16), (number as u64, media_type.len())]
        {
            let digits = Digits::hexadecimal(half);
            let digits = digits.as_bytes();
            media_type[end - digits.len()..end].copy_from_slice(digits);
        }
        Self { media_type }
    }

    /// The `Content-Type` of the answer.
    pub fn media_type(&self) -> &str {
        std::str::from_utf8(&self.media_type).unwrap_or_default()
    }

    fn text(&self) -> &[u8] {
        &self.media_type[MEDIA_TYPE.len()..]
    }
}

/// The frames of one answer.
#[derive(Debug, Clone, Copy)]
pub struct Frames<'a> {
    /// Stands between the parts.
    pub boundary: &'a Boundary,
    /// `Content-Type` of the representation, to be repeated in each part.
    pub content_type: Option<&'a str>,
    /// The length of the whole representation, in bytes.
    pub length: u64,
}

impl Frames<'_> {
    /// Writes what goes before the bytes of `range`, and gives its length in bytes.
    ///
    /// # Errors
    ///
    /// Where it does not fit, or the content type cannot stand in a field; in both cases the buffer holds nothing of use.
    pub fn write_part_head(&self, range: &ByteRange, output: &mut [u8]) -> Result<usize, WriteError> {
        let mut writer = Writer::new(output);
        self.put_part_head(range, &mut writer)?;
        writer.finish()
    }

    /// Writes what goes behind the bytes of the last range, and gives its length in bytes.
    ///
    /// # Errors
    ///
    /// Where it does not fit; the buffer holds nothing of use then.
    pub fn write_end(&self, output: &mut [u8]) -> Result<usize, WriteError> {
        let mut writer = Writer::new(output);
        self.put_end(&mut writer);
        writer.finish()
    }

    /// Bytes of all frames around `ranges` together. With the bytes of the ranges they are the `Content-Length`.
    pub fn length_around(&self, ranges: &Ranges) -> usize {
        let mut writer = Writer::new(&mut []);
        for range in ranges.as_slice() {
            // An invalid type is found out when the part is written.
            let _ = self.put_part_head(range, &mut writer);
        }
        self.put_end(&mut writer);
        writer.length()
    }

    /// The line end before each delimiter belongs to it; before the first one it is what RFC 9110 section 14.6 bears with.
    fn put_part_head(&self, range: &ByteRange, writer: &mut Writer<'_>) -> Result<(), WriteError> {
        writer.put_line(b"\r\n--", self.boundary.text());
        writer.put_text(b"Content-Type: ", self.content_type)?;
        let ByteRange { first, last } = *range;
        writer.put_content_range(ContentRange::Part { first, last, length: self.length });
        writer.put(b"\r\n");
        Ok(())
    }

    fn put_end(&self, writer: &mut Writer<'_>) {
        writer.put(b"\r\n--");
        writer.put_line(self.boundary.text(), b"--");
    }
}
