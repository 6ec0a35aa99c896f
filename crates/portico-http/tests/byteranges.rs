//! Several ranges in one answer, read back by a reader of its own.

use portico_http::byteranges::{Boundary, Frames};
use portico_http::range::{RangeOutcome, Ranges, evaluate};
use portico_http::response::WriteError;
use proptest::prelude::*;

fn ranges(range: &str, length: u64) -> Ranges {
    match evaluate(Some(range.as_bytes()), length) {
        RangeOutcome::Several(ranges) => ranges,
        other => panic!("{range}: {other:?}"),
    }
}

/// The whole answer's content.
fn content(frames: &Frames<'_>, ranges: &Ranges, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut room = [0; 512];
    for range in ranges.as_slice() {
        let length = frames.write_part_head(range, &mut room).unwrap();
        content.extend_from_slice(&room[..length]);
        content.extend_from_slice(&bytes[range.first as usize..=range.last as usize]);
    }
    let length = frames.write_end(&mut room).unwrap();
    content.extend_from_slice(&room[..length]);
    content
}

#[test]
fn two_parts() {
    let boundary = Boundary::new(0x0123_4567_89ab_cdef_0000_0000_0000_0012);
    assert_eq!(boundary.media_type(), "multipart/byteranges; boundary=0123456789abcdef0000000000000012");
    let frames = Frames { boundary: &boundary, content_type: Some("text/plain; charset=utf-8"), length: 10 };
    let ranges = ranges("bytes=8-,1-3", 10);
    let content = content(&frames, &ranges, b"0123456789");
    assert_eq!(
        std::str::from_utf8(&content).unwrap(),
        "\r\n--0123456789abcdef0000000000000012\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Range: bytes 8-9/10\r\n\
         \r\n\
         89\r\n\
         --0123456789abcdef0000000000000012\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Range: bytes 1-3/10\r\n\
         \r\n\
         123\r\n\
         --0123456789abcdef0000000000000012--\r\n"
    );
    assert_eq!(frames.length_around(&ranges) as u64 + ranges.total_bytes(), content.len() as u64);
}

#[test]
fn what_does_not_fit_says_how_long_it_is() {
    let boundary = Boundary::new(u128::MAX);
    let frames = Frames { boundary: &boundary, content_type: None, length: u64::MAX };
    let ranges = ranges("bytes=0-1,18446744073709551610-", u64::MAX);
    let mut room = [0; 512];
    let part = frames.write_part_head(&ranges.as_slice()[1], &mut room).unwrap();
    assert!(room[..part].ends_with(
        b"\r\nContent-Range: bytes 18446744073709551610-18446744073709551614/18446744073709551615\r\n\r\n"
    ));
    for size in 0..part {
        let written = frames.write_part_head(&ranges.as_slice()[1], &mut room[..size]);
        assert_eq!(written, Err(WriteError::DoesNotFit { needed: part }));
    }
    let end = frames.write_end(&mut room).unwrap();
    assert_eq!(frames.write_end(&mut room[..end - 1]), Err(WriteError::DoesNotFit { needed: end }));
    let broken = Frames { content_type: Some("a\r\nb"), ..frames };
    assert_eq!(broken.write_part_head(&ranges.as_slice()[0], &mut room), Err(WriteError::InvalidField));
}

/// Takes the parts out again: first byte, last byte, length of the whole, content.
fn read(mut content: &[u8], delimiter: &[u8]) -> Vec<(u64, u64, u64, Vec<u8>)> {
    let mut parts = Vec::new();
    content = content.strip_prefix(delimiter).expect("a delimiter comes first");
    while let Some(rest) = content.strip_prefix(b"\r\n") {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("the head of a part ends");
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let range = head.strip_prefix("Content-Type: a/b\r\nContent-Range: bytes ").expect("both fields");
        let (range, whole) = range.split_once('/').unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let rest = &rest[end + 4..];
        let next = rest.windows(delimiter.len()).position(|bytes| bytes == delimiter).expect("a delimiter");
        parts.push((
            first.parse().unwrap(),
            last.parse().unwrap(),
            whole.parse().unwrap(),
            rest[..next].to_vec(),
        ));
        content = &rest[next + delimiter.len()..];
    }
    assert_eq!(content, b"--\r\n");
    parts
}

proptest! {
    #[test]
    fn a_reader_finds_every_part(
        number: u128,
        bytes in proptest::collection::vec(any::<u8>(), 1..400),
        asked in proptest::collection::vec((0_u64..400, 0_u64..50), 2..10),
    ) {
        let members: Vec<_> = asked.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let length = bytes.len() as u64;
        if let RangeOutcome::Several(ranges) = evaluate(Some(format!("bytes={}", members.join(",")).as_bytes()), length) {
            let boundary = Boundary::new(number);
            let frames = Frames { boundary: &boundary, content_type: Some("a/b"), length };
            let content = content(&frames, &ranges, &bytes);
            prop_assert_eq!(frames.length_around(&ranges) as u64 + ranges.total_bytes(), content.len() as u64);
            let delimiter = format!("\r\n--{number:032x}");
            let parts = read(&content, delimiter.as_bytes());
            prop_assert_eq!(parts.len(), ranges.as_slice().len());
            for (part, range) in parts.into_iter().zip(ranges.as_slice()) {
                let expected = bytes[range.first as usize..=range.last as usize].to_vec();
                prop_assert_eq!(part, (range.first, range.last, length, expected));
            }
        }
    }
}
