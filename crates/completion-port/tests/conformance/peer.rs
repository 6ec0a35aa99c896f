//! The other side of the port's connections: of the kernel's loopback, or of a network in memory.

use crate::harness::PATIENCE;
#[cfg(unix)]
use completion_port::Backend;
#[cfg(unix)]
use completion_port::simulation::{Listener, Stream, World};
use completion_port::{Configuration, Source};
use socket2::{Domain, SockRef, Socket, Type};
#[cfg(unix)]
use std::net::IpAddr;
use std::{
    any::Any,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

/// Where a backend's connections run. Cases reach peers through it only, so that they say nothing about whose network it is.
#[derive(Clone)]
pub(crate) enum Network {
    Kernel,
    #[cfg(unix)]
    Simulated(World),
}

/// A plain socket at the other end of a connection. Its reads and writes wait, but not for ever.
pub(crate) enum Peer {
    Kernel(TcpStream),
    #[cfg(unix)]
    Simulated(Stream),
}

/// A plain listening socket, for connections that the port makes.
pub(crate) enum PeerListener {
    Kernel(TcpListener),
    #[cfg(unix)]
    Simulated(Listener),
}

impl Network {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        match configuration.backend {
            #[cfg(unix)]
            Some(Backend::Simulated) => {
                Self::Simulated(configuration.simulation.clone().expect("a world for the port and its peers"))
            }
            _ => Self::Kernel,
        }
    }

    /// The time of its own that passes there, if it is not the system's.
    pub(crate) fn now(&self) -> Option<Duration> {
        match self {
            Self::Kernel => None,
            #[cfg(unix)]
            Self::Simulated(world) => Some(world.now()),
        }
    }

    /// A connection: one end for a port, one for the case.
    pub(crate) fn pair(&self) -> (Source, Peer) {
        match self {
            Self::Kernel => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                let peer = self.connect(listener.local_addr().expect("an address"));
                (listener.accept().expect("the connection").0.into(), peer)
            }
            #[cfg(unix)]
            Self::Simulated(world) => {
                let (source, peer) = world.pair();
                (source.into(), Peer::Simulated(peer))
            }
        }
    }

    /// As [`Network::pair`]; the port's end takes little at once from what is sent.
    pub(crate) fn narrow_pair(&self) -> (Source, Peer) {
        match self {
            Self::Kernel => {
                let (source, peer) = self.pair();
                if let Source::Socket(socket) = &source {
                    socket.set_send_buffer_size(4_096).expect("a small buffer");
                }
                (source, peer)
            }
            #[cfg(unix)]
            Self::Simulated(_) => self.pair(),
        }
    }

    /// A listening socket for a port.
    pub(crate) fn listener(&self) -> (Source, SocketAddr) {
        match self {
            Self::Kernel => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                let address = listener.local_addr().expect("an address");
                (listener.into(), address)
            }
            #[cfg(unix)]
            Self::Simulated(world) => listener_of(world, Ipv4Addr::LOCALHOST.into()),
        }
    }

    /// As [`Network::listener`], of IPv6. None where the machine has none.
    pub(crate) fn listener_v6(&self) -> Option<(Source, SocketAddr)> {
        match self {
            Self::Kernel => {
                let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok()?;
                let address = listener.local_addr().expect("an address");
                Some((listener.into(), address))
            }
            #[cfg(unix)]
            Self::Simulated(world) => Some(listener_of(world, Ipv6Addr::LOCALHOST.into())),
        }
    }

    /// A datagram socket for a port. None where the network has none.
    pub(crate) fn datagrams(&self) -> Option<(Source, SocketAddr)> {
        match self {
            Self::Kernel => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                let address = socket.local_addr().expect("an address");
                Some((socket.into(), address))
            }
            #[cfg(unix)]
            Self::Simulated(_) => None,
        }
    }

    /// A socket that is to be connected to such an address, for a port.
    pub(crate) fn socket_for(&self, address: SocketAddr) -> Source {
        match self {
            Self::Kernel => {
                Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket").into()
            }
            #[cfg(unix)]
            Self::Simulated(world) => world.socket().into(),
        }
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> Peer {
        self.try_connect(address).expect("somebody listens")
    }

    pub(crate) fn try_connect(&self, address: SocketAddr) -> io::Result<Peer> {
        match self {
            Self::Kernel => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE)).expect("a limit for reads");
                stream.set_write_timeout(Some(PATIENCE)).expect("a limit for writes");
                Ok(Peer::Kernel(stream))
            }
            #[cfg(unix)]
            Self::Simulated(world) => world.connect(address).map(Peer::Simulated),
        }
    }

    pub(crate) fn peer_listener(&self) -> PeerListener {
        match self {
            Self::Kernel => {
                PeerListener::Kernel(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
            }
            #[cfg(unix)]
            Self::Simulated(world) => PeerListener::Simulated(world.listen((Ipv4Addr::LOCALHOST, 0).into())),
        }
    }

    /// Has accepts find no descriptor or no memory from here on, or no more. Only a network in memory can be told to.
    pub(crate) fn fail_accepts(&self, fail: bool) {
        match self {
            Self::Kernel => unreachable!("no case asks a kernel for that, but {fail}"),
            #[cfg(unix)]
            Self::Simulated(world) => {
                let mut faults = world.faults();
                faults.accept_failures = if fail { 1.0 } else { 0.0 };
                world.set_faults(faults);
            }
        }
    }

    /// An address where connections are refused for as long as the guard lives.
    pub(crate) fn refusing(&self) -> (SocketAddr, Box<dyn Any>) {
        match self {
            Self::Kernel => {
                // Bound but not listening: nobody else can listen there meanwhile.
                let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
                let address = bound.local_addr().expect("an address").as_socket().expect("of the internet");
                (address, Box::new(bound))
            }
            #[cfg(unix)]
            Self::Simulated(_) => ((Ipv4Addr::LOCALHOST, 1).into(), Box::new(())),
        }
    }
}

#[cfg(unix)]
fn listener_of(world: &World, ip: IpAddr) -> (Source, SocketAddr) {
    let listener = world.listen((ip, 0).into());
    let address = listener.local_addr().expect("an address");
    (listener.into(), address)
}

impl Peer {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Kernel(stream) => stream.local_addr().expect("an address"),
            #[cfg(unix)]
            Self::Simulated(stream) => stream.local_addr().expect("an address"),
        }
    }

    /// Ends one direction or both. The other side may have ended the connection already.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Kernel(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Self::Simulated(stream) => stream.shutdown(how),
        }
    }

    /// Breaks the connection: the other side sees a reset.
    pub(crate) fn reset(self) {
        match self {
            Self::Kernel(stream) => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
            }
            #[cfg(unix)]
            Self::Simulated(stream) => stream.reset(),
        }
    }

    /// Reads and writes that would wait fail instead.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        match self {
            Self::Kernel(stream) => stream.set_nonblocking(nonblocking).expect("the mode is set"),
            #[cfg(unix)]
            Self::Simulated(stream) => stream.set_nonblocking(nonblocking),
        }
    }
}

impl Read for Peer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Kernel(stream) => stream.read(into),
            #[cfg(unix)]
            Self::Simulated(stream) => stream.read(into),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Kernel(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Simulated(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PeerListener {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Kernel(listener) => listener.local_addr().expect("an address"),
            #[cfg(unix)]
            Self::Simulated(listener) => listener.local_addr().expect("an address"),
        }
    }

    /// The next connection, which is there or on its way.
    pub(crate) fn accept(&self) -> Peer {
        match self {
            Self::Kernel(listener) => {
                let (stream, _) = listener.accept().expect("the connection");
                stream.set_read_timeout(Some(PATIENCE)).expect("a limit for reads");
                stream.set_write_timeout(Some(PATIENCE)).expect("a limit for writes");
                Peer::Kernel(stream)
            }
            #[cfg(unix)]
            Self::Simulated(listener) => Peer::Simulated(listener.accept().expect("the connection").0),
        }
    }
}
