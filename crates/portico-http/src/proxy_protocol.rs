//! The header with which a proxy says whose connection it passes on (HAProxy's PROXY protocol, versions 1 and 2).
//!
//! It comes once, before the first request of a connection, and only from a peer that is trusted: whoever may send it
//! chooses the address that the server believes. Where it is expected it must be there; guessing would let a client
//! leave it out or put its own in front.
//!
//! ```
//! use portico_http::proxy_protocol::{Header, Origin, parse};
//!
//! let received = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n";
//! assert_eq!(parse(&received[..20]), Ok(None));
//! let Header { length, origin } = parse(received)?.unwrap();
//! assert_eq!(length, 45);
//! assert_eq!(origin.source().unwrap().to_string(), "192.0.2.1:56324");
//! # Ok::<(), portico_http::proxy_protocol::InvalidHeader>(())
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its CRLF.
pub const MAX_TEXT_BYTES: usize = 107;
/// The longest header of version 2 that is taken. The format allows 64 KiB; senders keep to 536 bytes unless they add
/// the client's certificate.
pub const MAX_BINARY_BYTES: usize = 4096;

const TEXT: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of the rest.
const FIXED_BYTES: usize = 16;
const TLV_CRC32C: u8 = 3;
/// A path of a Unix-domain socket in version 2, for each end.
const UNIX_BYTES: usize = 108;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its bytes; the first request starts behind them.
    pub length: usize,
    /// Who is at the other end.
    pub origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The proxy's own, such as a health check: the connection's addresses are the real ones.
    Local,
    /// A client's, whose Internet address the proxy does not know or cannot say (`UNKNOWN`, `UNSPEC`, a Unix-domain
    /// socket): there are only the connection's addresses.
    Unknown,
    /// A client's.
    Addresses {
        /// Where the client connected from.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

impl Origin {
    /// The client's address, where the header says one.
    pub const fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Addresses { source, .. } => Some(*source),
            Self::Local | Self::Unknown => None,
        }
    }
}

/// Why the connection has to be closed, without an answer: it does not start with a header, or with a broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHeader {
    /// One sentence for the log, without any byte from the peer.
    pub reason: &'static str,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason)
    }
}

impl std::error::Error for InvalidHeader {}

/// Reads the header at the start of what a connection has received; `None` asks for more bytes, of which there are
/// never more than [`MAX_BINARY_BYTES`] in all. What the header says beyond addresses (TLVs) is skipped, but must be
/// whole, and its checksum right where there is one.
///
/// # Errors
///
/// As soon as the bytes received cannot become a valid header.
pub fn parse(received: &[u8]) -> Result<Option<Header>, InvalidHeader> {
    if starts_alike(received, TEXT) {
        text(received)
    } else if starts_alike(received, SIGNATURE) {
        binary(received)
    } else {
        Err(invalid("the connection does not start with a PROXY header"))
    }
}

/// Whether the shorter of the two starts the longer.
fn starts_alike(received: &[u8], start: &[u8]) -> bool {
    received.iter().zip(start).all(|(one, other)| one == other)
}

const fn invalid(reason: &'static str) -> InvalidHeader {
    InvalidHeader { reason }
}

/// Version 1: one line of text.
fn text(received: &[u8]) -> Result<Option<Header>, InvalidHeader> {
    let most = &received[..received.len().min(MAX_TEXT_BYTES)];
    let Some(end) = memchr::memmem::find(most, b"\r\n") else {
        let full = most.len() == MAX_TEXT_BYTES;
        return if full { Err(invalid("the PROXY line is longer than 107 bytes")) } else { Ok(None) };
    };
    // There is no CRLF within the first word, which was compared.
    let words = &most[TEXT.len()..end];
    let origin = if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        // The rest is to be ignored, whatever it is.
        Origin::Unknown
    } else {
        let words = std::str::from_utf8(words).map_err(|_| invalid("the PROXY line is not ASCII"))?;
        addresses(words).ok_or(invalid("the PROXY line has no valid addresses and ports"))?
    };
    Ok(Some(Header { length: end + 2, origin }))
}

fn addresses(words: &str) -> Option<Origin> {
    let mut words = words.split(' ');
    let (family, source, destination) = (words.next()?, words.next()?, words.next()?);
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = SocketAddr::new(address(source)?, port(words.next()?)?);
    let destination = SocketAddr::new(address(destination)?, port(words.next()?)?);
    words.next().is_none().then_some(Origin::Addresses { source, destination })
}

/// Digits only, without a zero in front: some read that as octal.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Version 2: a fixed part, the addresses by their family, and TLVs. Each part is judged as soon as it is there.
fn binary(received: &[u8]) -> Result<Option<Header>, InvalidHeader> {
    let command = match received.get(SIGNATURE.len()) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err(invalid("the PROXY header has an unknown version or command")),
    };
    let Some(&[kind, high, low]) = received.get(SIGNATURE.len() + 1..FIXED_BYTES) else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BINARY_BYTES {
        return Err(invalid("the PROXY header is longer than 4096 bytes"));
    }
    let (family, transport) = (kind >> 4, kind & 0xf);
    let addresses_end = FIXED_BYTES
        + match (command, family) {
            // All behind the fixed part is to be discarded, the family too.
            (Command::Local, _) | (_, 0) => 0,
            (_, 1) => 2 * (4 + 2),
            (_, 2) => 2 * (16 + 2),
            (_, 3) => 2 * UNIX_BYTES,
            _ => return Err(invalid("the PROXY header has an unknown address family")),
        };
    if command == Command::Proxy && transport > 2 {
        return Err(invalid("the PROXY header has an unknown transport"));
    }
    if addresses_end > length {
        return Err(invalid("the PROXY header is shorter than its addresses"));
    }
    let Some(header) = received.get(..length) else { return Ok(None) };
    let origin = match (command, family, transport) {
        (Command::Local, ..) => Origin::Local,
        // What follows has no known form.
        (_, 0, _) => Origin::Unknown,
        _ => {
            check_values(header, &header[addresses_end..])?;
            let addresses = &header[FIXED_BYTES..addresses_end];
            match (family, transport) {
                (1, 1 | 2) => ends::<4>(addresses),
                (2, 1 | 2) => ends::<16>(addresses),
                _ => Origin::Unknown,
            }
        }
    };
    Ok(Some(Header { length, origin }))
}

/// Both addresses of `N` bytes, then both ports.
fn ends<const N: usize>(addresses: &[u8]) -> Origin
where
    IpAddr: From<[u8; N]>,
{
    let end = |index: usize| {
        let mut address = [0; N];
        address.copy_from_slice(&addresses[index * N..][..N]);
        let port = 2 * (N + index);
        let port = u16::from_be_bytes([addresses[port], addresses[port + 1]]);
        SocketAddr::new(IpAddr::from(address), port)
    };
    Origin::Addresses { source: end(0), destination: end(1) }
}

/// Walks the TLVs, which fill the rest of the header.
fn check_values(header: &[u8], mut values: &[u8]) -> Result<(), InvalidHeader> {
    while !values.is_empty() {
        let [kind, high, low, rest @ ..] = values else {
            return Err(invalid("the PROXY header ends within a value's head"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, behind)) = rest.split_at_checked(length) else {
            return Err(invalid("the PROXY header ends within a value"));
        };
        if *kind == TLV_CRC32C {
            let start = header.len() - behind.len() - length;
            let sent = value.try_into().ok().map(u32::from_be_bytes);
            if sent != Some(crc32c(header, start)) {
                return Err(invalid("the PROXY header has a wrong checksum"));
            }
        }
        values = behind;
    }
    Ok(())
}

/// CRC-32C (Castagnoli) of the header with zeros in place of the four bytes of the checksum. Bit by bit: it is needed
/// once a connection, where a proxy sends it at all.
fn crc32c(header: &[u8], checksum: usize) -> u32 {
    let mut remainder = u32::MAX;
    for (index, &byte) in header.iter().enumerate() {
        let byte = if (checksum..checksum + 4).contains(&index) { 0 } else { byte };
        remainder ^= u32::from(byte);
        for _ in 0..8 {
            remainder = (remainder >> 1) ^ if remainder & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !remainder
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(super::crc32c(b"123456789", 9), 0xe306_9283);
        assert_eq!(super::crc32c(&[7; 32], 0), super::crc32c(&[[0; 4].as_slice(), &[7; 28]].concat(), 32));
    }
}
