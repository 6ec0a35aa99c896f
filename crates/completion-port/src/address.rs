//! Where datagrams come from and go to, and what a socket connects to.

use socket2::SockAddr;
use std::{io, net::SocketAddr, path::Path, sync::Arc};

/// The address of a socket: of the internet families, or of the Unix-domain family.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An address and port of IPv4 or IPv6.
    Internet(SocketAddr),
    /// The path that a Unix-domain socket is bound to (unix(7), AF_UNIX on Windows).
    Path(Arc<Path>),
    /// A Unix-domain socket that has no name: what a datagram or connection of such a socket comes from.
    Unnamed,
}

impl Address {
    /// The internet address, if it is one.
    pub const fn as_internet(&self) -> Option<SocketAddr> {
        match self {
            Self::Internet(address) => Some(*address),
            Self::Path(_) | Self::Unnamed => None,
        }
    }

    /// As the system's calls want it.
    ///
    /// # Errors
    ///
    /// A path that is too long for such an address (about 100 bytes), and [`Address::Unnamed`], which names nothing.
    #[allow(dead_code, reason = "not every platform's backend connects in the same way")]
    pub(crate) fn to_system(&self) -> io::Result<SockAddr> {
        match self {
            Self::Internet(address) => Ok(SockAddr::from(*address)),
            Self::Path(path) => SockAddr::unix(path),
            Self::Unnamed => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// What the system's calls gave. On Windows a Unix-domain socket is unnamed here: peers of such sockets have no name there.
    #[allow(dead_code, reason = "not every platform's backend receives in the same way")]
    pub(crate) fn from_system(address: &SockAddr) -> Self {
        if let Some(address) = address.as_socket() {
            return Self::Internet(address);
        }
        #[cfg(unix)]
        if let Some(path) = address.as_pathname() {
            return Self::from(path);
        }
        Self::Unnamed
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Internet(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(Arc::from(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_system() {
        let path = std::env::temp_dir().join("socket");
        let internet = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(Address::from_system(&internet.to_system().unwrap()), internet);
        let path = Address::from(path.as_path());
        let expected = if cfg!(unix) { path.clone() } else { Address::Unnamed };
        assert_eq!(Address::from_system(&path.to_system().unwrap()), expected);
        assert!(Address::Unnamed.to_system().is_err());
        assert!(Address::from(Path::new(&"long".repeat(100))).to_system().is_err());
    }
}
