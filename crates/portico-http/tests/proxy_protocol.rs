//! Headers of the PROXY protocol: what is taken, what is refused, and that it does not matter how the bytes arrive.

use portico_http::proxy_protocol::{Header, InvalidHeader, MAX_BINARY_BYTES, MAX_TEXT_BYTES, Origin, parse};
use proptest::prelude::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Of the header in `a_checksum_has_to_be_right`, by another implementation (Python, by a table).
const CHECKSUM: u32 = 0xc2a03d06;

fn binary(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, kind], &length, rest].concat()
}

fn addresses(source: &str, destination: &str) -> Origin {
    Origin::Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// Reads a header byte by byte, with a request behind it: it is known with its last byte, and not before.
#[track_caller]
fn taken(header: &[u8]) -> Origin {
    let received = [header, b"GET / HTTP/1.1\r\n"].concat();
    for end in 0..header.len() {
        assert_eq!(parse(&received[..end]), Ok(None), "{end} bytes of {}", header.escape_ascii());
    }
    let whole = parse(header).unwrap().unwrap();
    assert_eq!(whole.length, header.len());
    assert_eq!(parse(&received), Ok(Some(whole)), "what follows a header changed it");
    whole.origin
}

/// Reads what cannot become a header, and gives how many bytes it took to say so.
#[track_caller]
fn refused(received: &[u8]) -> usize {
    let InvalidHeader { .. } = parse(received).expect_err(&received.escape_ascii().to_string());
    (0..received.len()).find(|&end| parse(&received[..end]).is_err()).unwrap_or(received.len())
}

#[test]
fn lines() {
    for (line, source, destination) in [
        ("TCP4 192.0.2.1 198.51.100.7 56324 443", "192.0.2.1:56324", "198.51.100.7:443"),
        (
            "TCP4 255.255.255.255 255.255.255.255 65535 65535",
            "255.255.255.255:65535",
            "255.255.255.255:65535",
        ),
        ("TCP4 0.0.0.0 127.0.0.1 0 1", "0.0.0.0:0", "127.0.0.1:1"),
        ("TCP6 2001:DB8::1 ::1 4124 80", "[2001:db8::1]:4124", "[::1]:80"),
        ("TCP6 ::ffff:192.0.2.1 :: 1 2", "[::ffff:192.0.2.1]:1", "[::]:2"),
        (
            "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    ] {
        let origin = taken(format!("PROXY {line}\r\n").as_bytes());
        assert_eq!(origin, addresses(source, destination), "{line}");
        assert_eq!(origin.source(), Some(source.parse().unwrap()));
    }
    for line in ["UNKNOWN", "UNKNOWN ", "UNKNOWN ffff::1 ::2 1 2", "UNKNOWN \0\r\u{80} \n anything"] {
        assert_eq!(taken(format!("PROXY {line}\r\n").as_bytes()), Origin::Unknown, "{line}");
    }
    let longest = MAX_TEXT_BYTES - "PROXY UNKNOWN \r\n".len();
    assert_eq!(taken(format!("PROXY UNKNOWN {}\r\n", "x".repeat(longest)).as_bytes()), Origin::Unknown);
    assert_eq!(refused(format!("PROXY UNKNOWN {}\r\n", "x".repeat(longest + 1)).as_bytes()), MAX_TEXT_BYTES);
}

#[test]
fn lines_that_are_refused() {
    for line in [
        "",
        "TCP4",
        "TCP5 1.2.3.4 1.2.3.4 1 2",
        "tcp4 1.2.3.4 1.2.3.4 1 2",
        "UDP4 1.2.3.4 1.2.3.4 1 2",
        "unknown",
        "UNKNOWN\t",
        "UNKNOWNS",
        "TCP4 1.2.3.4 1.2.3.4 1",
        "TCP4 1.2.3.4 1.2.3.4 1 2 ",
        "TCP4 1.2.3.4 1.2.3.4 1 2 3",
        "TCP4  1.2.3.4 1.2.3.4 1 2",
        "TCP4 1.2.3.4 1.2.3.4  1 2",
        "TCP4\t1.2.3.4 1.2.3.4 1 2",
        " TCP4 1.2.3.4 1.2.3.4 1 2",
        "TCP4 1.2.3.4 1.2.3.4 1 65536",
        "TCP4 1.2.3.4 1.2.3.4 -1 2",
        "TCP4 1.2.3.4 1.2.3.4 +1 2",
        "TCP4 1.2.3.4 1.2.3.4 01 2",
        "TCP4 1.2.3.4 1.2.3.4 00 2",
        "TCP4 1.2.3.4 1.2.3.4 0x1 2",
        "TCP4 1.2.3.4 1.2.3.4 1 ",
        "TCP4 1.2.3.256 1.2.3.4 1 2",
        "TCP4 1.2.3.04 1.2.3.4 1 2",
        "TCP4 1.2.3 1.2.3.4 1 2",
        "TCP4 1.2.3.4.5 1.2.3.4 1 2",
        "TCP4 16909060 1.2.3.4 1 2",
        "TCP4 ::1 ::1 1 2",
        "TCP4 1.2.3.4 ::1 1 2",
        "TCP6 1.2.3.4 1.2.3.4 1 2",
        "TCP6 ::1%lo ::1 1 2",
        "TCP6 [::1] ::1 1 2",
        "TCP6 1::2::3 ::1 1 2",
        "TCP6 1:2:3:4:5:6:7 ::1 1 2",
        "TCP6 12345::1 ::1 1 2",
        "TCP4 1.2.3.4\0 1.2.3.4 1 2",
        "TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "TCP4 1.2.3.4 1.2.3.4 1 2\r",
        "TCP4 1.2.3.4 1.2.3.4 1 \u{662}",
    ] {
        let line = format!("PROXY {line}\r\n");
        assert_eq!(refused(line.as_bytes()), line.len(), "{line:?}");
    }
    assert_eq!(refused(b"PROXY TCP4 1.2.3.4 \xff.2.3.4 1 2\r\n"), 32);
    // A line feed alone ends no line.
    assert_eq!(
        refused(&[b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".as_slice(), &[b'a'; 200]].concat()),
        MAX_TEXT_BYTES
    );
}

#[test]
fn what_is_no_header_is_refused_with_its_first_wrong_byte() {
    for (received, bytes) in [
        (b"GET / HTTP/1.1\r\n".as_slice(), 1),
        (b" PROXY", 1),
        (b"proxy TCP4", 1),
        (b"PROXX", 5),
        (b"PROXY\r\n", 6),
        (b"PUT / HTTP/1.1\r\n", 2),
        (b"\r\nPROXY", 3),
        (b"\r\n\r\nGET", 5),
        (b"\n", 1),
        (b"\r\n\r\n\0\r\nQUIT\r\n", 12),
        (b"\x16\x03\x01", 1),
        (b"PRI * HTTP/2.0\r\n", 3),
    ] {
        assert_eq!(refused(received), bytes, "{}", received.escape_ascii());
    }
}

#[test]
fn binary_headers() {
    let ipv4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];
    let expected = addresses("192.0.2.1:56324", "198.51.100.7:443");
    for kind in [0x11, 0x12] {
        assert_eq!(taken(&binary(0x21, kind, &ipv4)), expected);
    }
    let mut ipv6 = [0; 36];
    (ipv6[0], ipv6[15], ipv6[31]) = (0x20, 1, 2);
    ipv6[32..].copy_from_slice(&[0, 80, 1, 0]);
    assert_eq!(taken(&binary(0x21, 0x21, &ipv6)), addresses("[2000::1]:80", "[::2]:256"));
    assert_eq!(taken(&binary(0x21, 0x31, &[b'/'; 216])), Origin::Unknown);
    // Without a family or a transport there is nothing to go by.
    for (kind, rest) in [(0x00, &[][..]), (0x00, &[9; 5]), (0x01, &[]), (0x10, &ipv4), (0x20, &ipv6)] {
        assert_eq!(taken(&binary(0x21, kind, rest)), Origin::Unknown, "{kind:x}");
    }
    // The proxy's own connection, whatever else it says.
    for (kind, rest) in [(0x00, &[][..]), (0x11, &ipv4), (0x11, &[1]), (0xff, &[0xff; 100])] {
        assert_eq!(taken(&binary(0x20, kind, rest)), Origin::Local, "{kind:x}");
    }
    // Values that say more are skipped.
    let values = [ipv4.as_slice(), &[0xea, 0, 3, b'v', b'p', b'c', 0x04, 0, 0, 0x20, 0, 1, 7]].concat();
    assert_eq!(taken(&binary(0x21, 0x11, &values)), expected);
}

#[test]
fn binary_headers_that_are_refused() {
    let ipv4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];
    for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        assert_eq!(refused(&binary(command, 0x11, &ipv4)), 13, "{command:x}");
    }
    for kind in [0x13, 0x1f, 0x41, 0xf1] {
        assert_eq!(refused(&binary(0x21, kind, &ipv4)), 16, "{kind:x}");
    }
    for (kind, least) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        assert_eq!(refused(&binary(0x21, kind, &vec![0; least - 1])), 16, "{kind:x}");
    }
    for values in [&[1][..], &[1, 0], &[1, 0, 1], &[1, 0, 0, 2], &[1, 255, 255, 0], &[0, 0, 0, 0]] {
        let header = binary(0x21, 0x11, &[ipv4.as_slice(), values].concat());
        assert_eq!(refused(&header), header.len(), "{values:?}");
    }
    let most = MAX_BINARY_BYTES - 16;
    let value = |bytes: usize| {
        let length = u16::try_from(bytes - 15).unwrap().to_be_bytes();
        [ipv4.as_slice(), &[5], &length, &vec![0; bytes - 15]].concat()
    };
    taken(&binary(0x21, 0x11, &value(most)));
    assert_eq!(refused(&binary(0x21, 0x11, &value(most + 1))), 16);
    assert_eq!(refused(&binary(0x20, 0, &vec![0; most + 1])), 16);
}

#[test]
fn a_checksum_has_to_be_right() {
    let rest = |checksum: [u8; 4]| {
        [&[127, 0, 0, 1, 127, 0, 0, 2, 0, 80, 31, 144, 3, 0, 4][..], &checksum, &[5, 0, 1, 7]].concat()
    };
    let right = CHECKSUM.to_be_bytes();
    assert_eq!(
        taken(&binary(0x21, 0x11, &rest(right))),
        addresses("127.0.0.1:80", "127.0.0.2:8080"),
        "{right:x?}"
    );
    for bit in 0..32 {
        refused(&binary(0x21, 0x11, &rest((CHECKSUM ^ (1 << bit)).to_be_bytes())));
    }
    let short = [&[127, 0, 0, 1, 127, 0, 0, 2, 0, 80, 31, 144, 3, 0, 3][..], &right[..3]].concat();
    refused(&binary(0x21, 0x11, &short));
}

proptest! {
    /// A prefix is incomplete, or decided as the whole is.
    #[test]
    fn how_the_bytes_arrive_does_not_matter(
        start in prop_oneof![
            Just(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec()),
            Just(binary(0x21, 0x11, &[7; 12])),
            Just(binary(0x21, 0x21, &[[7; 36].as_slice(), &[1, 0, 0]].concat())),
            Just(binary(0x20, 0x00, &[])),
        ],
        changes in prop::collection::vec((0_usize..60, any::<u8>()), 0..4),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut received = [start, rest].concat();
        for (index, byte) in changes {
            if let Some(slot) = received.get_mut(index) {
                *slot = byte;
            }
        }
        let whole: Result<Option<Header>, _> = parse(&received);
        let decided = (0..=received.len()).map(|end| parse(&received[..end])).find(|parsed| *parsed != Ok(None));
        prop_assert_eq!(decided.unwrap_or(Ok(None)), whole);
        if let Ok(Some(header)) = whole {
            prop_assert!(header.length <= received.len() && header.length <= MAX_BINARY_BYTES);
        }
    }
}
