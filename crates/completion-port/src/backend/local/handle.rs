//! What the core knows of a handle.

#[cfg(target_os = "linux")]
use super::{acknowledged, warmth::Warmth};
use super::{order::Line, pipe::is_pipe, socket::DatagramTraits};
#[cfg(feature = "simulation")]
use crate::simulation;
use crate::{
    counters::SystemCall,
    direction::Nature,
    error::{Error, ErrorKind},
    identity::Token,
    operation::OperationKind,
    source::Source,
    tally,
};
use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

/// An owned descriptor, and what it is good for.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Socket(socket2::Socket),
    Listener(socket2::Socket),
    /// Shared with the pool while it works on the file.
    File(Arc<File>),
    Pipe(OwnedFd),
    /// A connection in the engine's own table, which nothing but the engine can use, and which the engine closes.
    #[cfg(target_os = "linux")]
    Direct(u32),
    #[cfg(feature = "simulation")]
    Simulated(simulation::Stream),
    /// With the socket of the kernel that it stands for, if the program gave one.
    #[cfg(feature = "simulation")]
    SimulatedListener(simulation::Listener, Option<socket2::Socket>),
}

#[cfg(feature = "simulation")]
const IN_MEMORY: &str = "only the simulated engine has sockets without a descriptor";

impl Descriptor {
    /// The descriptor's number; of a direct one, its place in the table.
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            Self::Socket(socket) | Self::Listener(socket) => socket.as_raw_fd(),
            Self::File(file) => file.as_raw_fd(),
            Self::Pipe(end) => end.as_raw_fd(),
            #[cfg(target_os = "linux")]
            Self::Direct(place) => *place as RawFd,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) | Self::SimulatedListener(..) => unreachable!("{IN_MEMORY}"),
        }
    }

    /// Whether dropping it closes a descriptor of the process.
    pub(super) fn is_of_process(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Direct(_) => false,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) | Self::SimulatedListener(_, None) => false,
            _ => true,
        }
    }

    /// The address that it is bound to, or that of its peer.
    pub(super) fn address(&self, of_peer: bool) -> io::Result<SocketAddr> {
        if self.socket().is_some() {
            tally::call(SystemCall::Option);
        }
        let address = match self {
            Self::Socket(socket) | Self::Listener(socket) if of_peer => socket.peer_addr()?,
            Self::Socket(socket) | Self::Listener(socket) => socket.local_addr()?,
            Self::File(_) | Self::Pipe(_) => return Err(io::ErrorKind::InvalidInput.into()),
            #[cfg(target_os = "linux")]
            Self::Direct(_) => return Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) if of_peer => return stream.peer_addr(),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => return stream.local_addr(),
            #[cfg(feature = "simulation")]
            Self::SimulatedListener(..) if of_peer => {
                return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
            }
            #[cfg(feature = "simulation")]
            Self::SimulatedListener(listener, _) => return listener.local_addr(),
        };
        address.as_socket().ok_or(io::ErrorKind::InvalidInput.into())
    }

    /// How many bytes of a connection have reached its peer's system.
    pub(super) fn acknowledged_bytes(&self) -> io::Result<u64> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Socket(socket) => {
                tally::call(SystemCall::Option);
                acknowledged::bytes(socket)
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Ok(stream.bytes_sent()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has the close of a connection reset it.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => {
                tally::call(SystemCall::Option);
                socket.set_linger(Some(Duration::ZERO))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => {
                stream.reset_on_close();
                Ok(())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(crate) fn socket(&self) -> Option<&socket2::Socket> {
        match self {
            Self::Socket(socket) | Self::Listener(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn into_source(self) -> Source {
        match self {
            Self::Socket(socket) | Self::Listener(socket) => Source::Socket(socket),
            Self::Pipe(end) => Source::Pipe(end),
            #[cfg(target_os = "linux")]
            Self::Direct(_) => unreachable!("what was associated has a descriptor"),
            Self::File(file) => {
                Source::File(Arc::into_inner(file).expect("only the pool shares files, and it has none yet"))
            }
            #[cfg(feature = "simulation")]
            Self::SimulatedListener(_, Some(socket)) => Source::Socket(socket),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Source::SimulatedStream(stream),
            #[cfg(feature = "simulation")]
            Self::SimulatedListener(listener, None) => Source::SimulatedListener(listener),
        }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) | Self::Listener(socket) => socket.as_fd(),
            Self::File(file) => file.as_fd(),
            Self::Pipe(end) => end.as_fd(),
            #[cfg(target_os = "linux")]
            Self::Direct(_) => unreachable!("only the ring uses direct descriptors"),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) | Self::SimulatedListener(..) => unreachable!("{IN_MEMORY}"),
        }
    }
}

impl TryFrom<Source> for Descriptor {
    type Error = (Error, Source);

    fn try_from(source: Source) -> Result<Self, (Error, Source)> {
        match source {
            Source::File(file) => Ok(Self::File(Arc::new(file))),
            Source::Pipe(end) if !is_pipe(&end) => {
                let error = Error::new(ErrorKind::InvalidArgument, OperationKind::Associate);
                Err((error, Source::Pipe(end)))
            }
            Source::Pipe(end) => match rustix::io::ioctl_fionbio(&end, true) {
                Ok(()) => Ok(Self::Pipe(end)),
                Err(error) => {
                    Err((Error::from_io(&error.into(), OperationKind::Associate), Source::Pipe(end)))
                }
            },
            #[cfg(feature = "simulation")]
            source @ (Source::SimulatedStream(_) | Source::SimulatedListener(_)) => {
                Err((Error::new(ErrorKind::InvalidArgument, OperationKind::Associate), source))
            }
            Source::Socket(socket) => {
                let prepared = socket.set_nonblocking(true).and_then(|()| socket.is_listener());
                match prepared {
                    Ok(true) => Ok(Self::Listener(socket)),
                    Ok(false) => Ok(Self::Socket(socket)),
                    Err(error) => {
                        Err((Error::from_io(&error, OperationKind::Associate), Source::Socket(socket)))
                    }
                }
            }
        }
    }
}

/// Per-handle state. It lives until its last operation has come home: the seed's count of pending I/O.
pub(super) struct State {
    pub(super) descriptor: Descriptor,
    pub(super) key: u64,
    /// Operations that must come home before the descriptor may be closed: submitted for the handle, or using it as their file.
    pub(super) pending: u32,
    /// All operations submitted for the handle, in a list through their slots.
    pub(super) operations: Token,
    pub(super) receive: Line,
    pub(super) send: Line,
    /// Bytes of its operations that wait to be sent, and whether a send was refused for them.
    pub(super) send_bytes: u64,
    pub(super) send_refused: bool,
    /// Known from the first operation on that is about datagrams.
    pub(super) datagrams: Option<DatagramTraits>,
    /// Of a file: what of it is in memory.
    #[cfg(target_os = "linux")]
    pub(super) warmth: Option<Box<Warmth>>,
    pub(super) closing: bool,
    /// The close operation that completes at the end, if there is one.
    pub(super) close: Token,
}

impl State {
    pub(super) fn new(descriptor: Descriptor, key: u64) -> Self {
        Self {
            descriptor,
            key,
            pending: 0,
            operations: Token::NONE,
            receive: Line::EMPTY,
            send: Line::EMPTY,
            send_bytes: 0,
            send_refused: false,
            datagrams: None,
            #[cfg(target_os = "linux")]
            warmth: None,
            closing: false,
            close: Token::NONE,
        }
    }

    /// Whether an operation of `kind` makes sense on the handle.
    pub(super) fn fits(&self, kind: OperationKind) -> Result<(), ErrorKind> {
        let nature = match self.descriptor {
            Descriptor::Listener(_) => Nature::Listener,
            Descriptor::Socket(_) => Nature::Socket,
            Descriptor::File(_) => Nature::File,
            Descriptor::Pipe(_) => Nature::Pipe,
            #[cfg(target_os = "linux")]
            Descriptor::Direct(_) => Nature::Socket,
            #[cfg(feature = "simulation")]
            Descriptor::SimulatedListener(..) => Nature::Listener,
            #[cfg(feature = "simulation")]
            Descriptor::Simulated(_) => Nature::Socket,
        };
        if self.closing {
            Err(ErrorKind::StaleHandle)
        } else if nature.takes(kind) {
            Ok(())
        } else {
            Err(ErrorKind::InvalidArgument)
        }
    }
}
