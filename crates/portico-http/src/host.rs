//! The syntax of an authority (RFC 9110 section 7.2, RFC 3986 section 3.2).

use crate::syntax;
use std::net::Ipv6Addr;

/// Whether `text` is a host with an optional port, and the host is not empty.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            if !is_ipv6(&rest[..end]) {
                return false;
            }
            match &rest[end + 1..] {
                [] => return true,
                [b':', port @ ..] => return is_port(port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', text) {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &[][..]),
        },
    };
    !host.is_empty() && is_registered_name(host) && is_port(port)
}

/// Whether `text` may be the value of `Host`: an authority, or nothing where the target has none.
pub(crate) fn is_host_field(text: &[u8]) -> bool {
    text.is_empty() || is_authority(text)
}

/// Whether `text` may be the target of CONNECT: a host and a port (RFC 9112 section 3.2.3).
pub(crate) fn is_host_and_port(text: &[u8]) -> bool {
    is_authority(text)
        && memchr::memrchr(b':', text).is_some_and(|colon| is_nonempty_port(&text[colon + 1..]))
}

fn is_nonempty_port(port: &[u8]) -> bool {
    !port.is_empty() && is_port(port)
}

fn is_port(port: &[u8]) -> bool {
    port.iter().all(u8::is_ascii_digit)
        && port
            .iter()
            .try_fold(0_u16, |port, digit| port.checked_mul(10)?.checked_add(u16::from(digit - b'0')))
            .is_some()
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_registered_name(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [byte, rest @ ..] if syntax::is_host_name(*byte) => rest,
            [b'%', high, low, rest @ ..]
                if syntax::hex_value(*high).is_some() && syntax::hex_value(*low).is_some() =>
            {
                rest
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_authority, is_host_and_port, is_host_field};

    #[test]
    fn authorities() {
        let table = [
            ("localhost", true),
            ("localhost:8080", true),
            ("localhost:", true),
            ("a_b.example", true),
            ("127.0.0.1:80", true),
            ("[::1]", true),
            ("[::1]:65535", true),
            ("[::ffff:1.2.3.4]", true),
            ("caf%C3%A9.example", true),
            ("localhost:65536", false),
            ("localhost:99999999999999999999", false),
            ("localhost:8x", false),
            ("localhost:+80", false),
            ("a:1:2", false),
            (":80", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[1.2.3.4]", false),
            ("[fe80::1%25eth0]", false),
            ("[v1.a]", false),
            ("user@host", false),
            ("a b", false),
            ("a,b,", true),
            ("a/b", false),
            ("a?b", false),
            ("a#b", false),
            ("a\\b", false),
            ("a%2", false),
            ("a%zz", false),
            ("é", false),
        ];
        for (text, expected) in table {
            assert_eq!(is_authority(text.as_bytes()), expected, "{text:?}");
            assert_eq!(is_host_field(text.as_bytes()), expected, "{text:?}");
        }
        assert!(!is_authority(b""));
        assert!(is_host_field(b""));
        assert!(is_host_and_port(b"a:1") && is_host_and_port(b"[::1]:1"));
        assert!(!is_host_and_port(b"a") && !is_host_and_port(b"a:") && !is_host_and_port(b"[::1]"));
    }
}
