//! Addresses in settings: where to listen, which peers are meant, and which folders.

use super::field::{Field, Range, Shape, Value, list, text};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and TCP port of IPv4 or IPv6: `127.0.0.1:8080`, `[::1]:8080`.
    Internet(SocketAddr),
    /// A Unix-domain socket: `unix:` and its absolute path.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if cfg!(not(unix)) {
                Err(format!("{text:?}: Unix sockets are listened on only on Unix systems"))
            } else if Path::new(path).is_absolute() {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(format!("{text:?} needs an absolute path, such as unix:/run/portico.sock"))
            };
        }
        text.parse().map(Self::Internet).map_err(|_| {
            format!(
                "{text:?} is no address to listen on: 127.0.0.1:8080, [::1]:8080 and unix:/run/portico.sock are"
            )
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Where the counters are shown: an address that only this machine reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress(ListenAddress);

impl AdminAddress {
    /// The address itself.
    pub fn address(&self) -> &ListenAddress {
        &self.0
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            // Whoever can ask need not say who they are.
            ListenAddress::Internet(address) if !address.ip().to_canonical().is_loopback() => Err(format!(
                "{address} can be reached from other machines, and the counters are for this one only: \
                 use 127.0.0.1:{port}, [::1]:{port} or a Unix socket",
                port = address.port()
            )),
            address => Ok(Self(address)),
        }
    }
}

impl Field for AdminAddress {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        text(value)?.parse()
    }

    fn show(&self) -> Value {
        Value::Text(self.0.to_string())
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Internet(address)
    }
}

/// Peers of a connection: those in a network, or those at Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// A network in CIDR notation, `10.0.0.0/8`; an address alone is a network of one.
    Network {
        /// Its address; the bits behind the prefix are zero.
        address: IpAddr,
        /// How many bits of the address count.
        prefix: u8,
    },
    /// Whoever connects to a Unix-domain socket: `unix`.
    Unix,
}

impl Peers {
    /// Whether they include this one, where none stands for the peer of a Unix-domain socket. An IPv4 address in the IPv6 form
    /// is one of IPv4.
    pub fn include(&self, peer: Option<IpAddr>) -> bool {
        match (*self, peer.map(|peer| peer.to_canonical())) {
            (Self::Unix, None) => true,
            (Self::Network { address, prefix }, Some(peer)) => {
                let behind = |bits: u32| bits.saturating_sub(u32::from(prefix));
                match (address, peer) {
                    (IpAddr::V4(network), IpAddr::V4(peer)) => {
                        (network.to_bits() ^ peer.to_bits()).checked_shr(behind(32)).unwrap_or(0) == 0
                    }
                    (IpAddr::V6(network), IpAddr::V6(peer)) => {
                        (network.to_bits() ^ peer.to_bits()).checked_shr(behind(128)).unwrap_or(0) == 0
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let wrong = || format!("{text:?} is no network: 10.0.0.0/8, 2001:db8::/32, 192.0.2.1 and unix are");
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) => text.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?,
        };
        let peers = Self::Network { address, prefix };
        let host_bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits().checked_shl(prefix.into()).unwrap_or(0)),
            IpAddr::V6(address) => address.to_bits().checked_shl(prefix.into()).unwrap_or(0),
        };
        // Most often a slip: 10.1.2.3/8 means one address or the whole network, and only its writer knows which.
        if host_bits != 0 {
            return Err(format!(
                "{text:?} has bits behind its prefix: the address of a network ends in zeros"
            ));
        }
        Ok(peers)
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => formatter.write_str("unix"),
            Self::Network { address, prefix } => write!(formatter, "{address}/{prefix}"),
        }
    }
}

/// The permissions of a Unix-domain socket, in octal digits as chmod(1) takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl Field for SocketMode {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, range: Range, unit: &str) -> Result<Self, String> {
        let text = String::read(value, range, unit)?;
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| text.len() <= 4 && *mode <= 0o777);
        mode.map(Self).ok_or_else(|| format!("{text:?} is no mode of three octal digits, such as \"660\""))
    }

    fn show(&self) -> Value {
        Value::Text(format!("{:03o}", self.0))
    }
}

/// A folder of a site as clients name it: decoded, with a slash at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFolder(String);

impl SiteFolder {
    /// The whole site.
    pub fn whole() -> Self {
        Self("/".to_owned())
    }

    /// The folder as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let strange = |segment: &str| {
            segment.is_empty() || segment == "." || segment == ".." || segment.contains(['\\', '\0'])
        };
        let inside = text
            .strip_prefix('/')
            .and_then(|rest| if rest.is_empty() { Some("") } else { rest.strip_suffix('/') });
        match inside {
            Some("") if text == "/" => Ok(Self(text.to_owned())),
            Some(inside) if !inside.split('/').any(strange) => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "{text:?} is no folder of the site: begin and end it with a slash, as in /private/"
            )),
        }
    }
}

impl fmt::Display for SiteFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

macro_rules! lists {
    ($($type:ty),+) => {$(
        impl Field for Vec<$type> {
            const SHAPE: Shape = Shape::List;

            fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
                list(value)?.iter().map(|text| text.parse()).collect()
            }

            fn show(&self) -> Value {
                Value::List(self.iter().map(ToString::to_string).collect())
            }
        }
    )+};
}

lists!(ListenAddress, Peers, SiteFolder);

#[cfg(test)]
mod tests {
    use super::*;

    fn include(network: &str, peer: &str) -> bool {
        network.parse::<Peers>().unwrap().include(Some(peer.parse().unwrap()))
    }

    #[test]
    fn a_network_is_what_its_prefix_says() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("192.0.2.0/25", "192.0.2.127", "192.0.2.128"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.1/32", "::ffff:192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            assert!(include(network, inside), "{network} {inside}");
            assert!(!include(network, outside), "{network} {outside}");
            assert!(!network.parse::<Peers>().unwrap().include(None), "{network}");
        }
        assert!("unix".parse::<Peers>().unwrap().include(None));
        assert!(!Peers::Unix.include(Some(IpAddr::from([127, 0, 0, 1]))));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10",
            "Unix",
            "2001:db8::1/64",
        ] {
            assert!(wrong.parse::<Peers>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_of_the_site_has_a_slash_at_both_ends() {
        for text in ["/", "/private/", "/a b/ü/"] {
            assert_eq!(text.parse::<SiteFolder>().unwrap().as_str(), text);
        }
        for wrong in ["", "//", "private/", "/private", "/a//b/", "/../", "/./", "/a\\b/"] {
            assert!(wrong.parse::<SiteFolder>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn counters_are_shown_to_this_machine_only() {
        for text in ["127.0.0.1:9090", "127.8.9.10:0", "[::1]:9090", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(text.parse::<AdminAddress>().unwrap().address().to_string(), text);
        }
        for wrong in
            ["0.0.0.0:9090", "[::]:9090", "192.0.2.1:9090", "[2001:db8::1]:9090", "[::ffff:192.0.2.1]:1"]
        {
            let message = wrong.parse::<AdminAddress>().unwrap_err();
            assert!(message.contains(wrong) && message.contains("127.0.0.1:"), "{message}");
        }
        assert!("localhost".parse::<AdminAddress>().is_err());
        assert_eq!("unix:/run/admin.sock".parse::<AdminAddress>().is_ok(), cfg!(unix));
    }

    #[test]
    fn addresses_to_listen_on_are_shown_as_they_are_written() {
        for text in ["127.0.0.1:8080", "[::1]:0", "[::]:80"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for wrong in ["127.0.0.1", "8080", "localhost:8080", "::1:80", "unix:", "unix:relative", ""] {
            assert!(wrong.parse::<ListenAddress>().is_err(), "{wrong}");
        }
        let unix = "unix:/run/portico.sock".parse::<ListenAddress>();
        assert_eq!(unix.is_ok(), cfg!(unix), "{unix:?}");
    }
}
