//! Reading answers: where one ends and the next begins, and whether it is what was asked for.

use crate::Failure;
use memchr::memmem;

/// A head is not longer.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// The answers of one connection, in any pieces.
#[derive(Default)]
pub struct Responses {
    /// The beginning of a head that is not whole.
    head: Vec<u8>,
    /// Bytes of a body still to come.
    body: u64,
    in_body: bool,
}

impl Responses {
    /// Takes in what was received. How many answers were completed by it; each must have the status `wanted`.
    pub fn take(&mut self, mut bytes: &[u8], wanted: &str) -> Result<u64, Failure> {
        let mut completed = 0;
        while !bytes.is_empty() {
            if self.in_body {
                let now = self.body.min(bytes.len() as u64);
                self.body -= now;
                bytes = &bytes[now as usize..];
            } else if self.head.is_empty()
                && let Some(end) = memmem::find(bytes, b"\r\n\r\n")
            {
                self.begin_body(&bytes[..end + 2], wanted)?;
                bytes = &bytes[end + 4..];
            } else {
                // Rare: a head in two pieces.
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else {
                    if self.head.len() > MOST_HEAD_BYTES {
                        return Err("the head of an answer does not end".into());
                    }
                    break;
                };
                let head = std::mem::take(&mut self.head);
                self.begin_body(&head[..end + 2], wanted)?;
                bytes = &bytes[end + 4 - before..];
            }
            if self.in_body && self.body == 0 {
                self.in_body = false;
                completed += 1;
            }
        }
        Ok(completed)
    }

    /// Reads a head, whose lines all end in CRLF.
    fn begin_body(&mut self, head: &[u8], wanted: &str) -> Result<(), Failure> {
        let text = || String::from_utf8_lossy(head).into_owned();
        if head.get(9..12) != Some(wanted.as_bytes()) {
            return Err(format!("wanted status {wanted}, got:\n{}", text()).into());
        }
        self.body = match content_length(head) {
            Some(length) => length,
            None if matches!(wanted, "204" | "304") => 0,
            None => return Err(format!("an answer without a length:\n{}", text()).into()),
        };
        if wanted == "304" {
            self.body = 0;
        }
        self.in_body = true;
        Ok(())
    }

    /// Whether an answer has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.in_body || !self.head.is_empty()
    }
}

fn content_length(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    for end in memchr::memchr_iter(b'\n', head) {
        let line = &head[end + 1..];
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            let digits = line[NAME.len()..].trim_ascii_start();
            let end = digits.iter().position(|digit| !digit.is_ascii_digit()).unwrap_or(digits.len());
            return std::str::from_utf8(&digits[..end]).ok()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_in_any_pieces() {
        let all = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length:0\r\nX: y\r\n\r\n";
        for cut in 1..all.len() {
            let mut responses = Responses::default();
            let counts = [&all[..cut], &all[cut..]].map(|part| responses.take(part, "200").unwrap());
            assert_eq!(counts.iter().sum::<u64>(), 2, "cut at {cut}");
            assert!(!responses.is_within());
        }
        assert!(Responses::default().take(all, "404").is_err());
    }
}
