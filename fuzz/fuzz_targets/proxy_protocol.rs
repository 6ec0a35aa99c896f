//! The PROXY header: how the bytes arrive does not matter, the bounds hold, and what a second writing of the addresses
//! gives reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_http::proxy_protocol::{Header, InvalidHeader, MAX_BINARY_BYTES, MAX_TEXT_BYTES, Origin, parse};
use std::net::{IpAddr, SocketAddr};

fuzz_target!(|received: &[u8]| {
    let whole = parse(received);
    check_prefixes(received, whole);
    let text = received.first() == Some(&b'P');
    let most = if text { MAX_TEXT_BYTES } else { MAX_BINARY_BYTES };
    match whole {
        Ok(Some(header)) => {
            assert!(header.length <= received.len().min(most));
            assert_eq!(parse(&received[..header.length]), whole, "what follows a header changed it");
            if text {
                assert!(received[..header.length].ends_with(b"\r\n"));
            }
            if let Origin::Addresses { source, destination } = header.origin {
                assert_eq!(origin(&text_header(source, destination)), header.origin);
                assert_eq!(origin(&binary_header(source, destination)), header.origin);
            }
        }
        Ok(None) => assert!(received.len() < most, "at the limit and still incomplete"),
        Err(error) => assert!(!error.reason.is_empty()),
    }
});

fn check_prefixes(received: &[u8], whole: Result<Option<Header>, InvalidHeader>) {
    for end in 0..received.len().min(MAX_BINARY_BYTES + 1) {
        let outcome = parse(&received[..end]);
        if outcome != Ok(None) {
            assert_eq!(outcome, whole, "{end} of {} bytes", received.len());
            return;
        }
    }
}

fn origin(header: &[u8]) -> Origin {
    let parsed = parse(header).expect("a header written by the book").expect("all of it");
    assert_eq!(parsed.length, header.len());
    parsed.origin
}

fn text_header(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn binary_header(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut rest = Vec::new();
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(address) => rest.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => rest.extend_from_slice(&address.octets()),
        }
    }
    for port in [source.port(), destination.port()] {
        rest.extend_from_slice(&port.to_be_bytes());
    }
    let kind = if source.is_ipv4() { 0x11 } else { 0x21 };
    [b"\r\n\r\n\0\r\nQUIT\n\x21".as_slice(), &[kind, 0, rest.len() as u8], &rest].concat()
}
