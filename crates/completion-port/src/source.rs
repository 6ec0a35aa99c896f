//! What can be associated with a port.

use std::{
    fs::File,
    net::{TcpListener, TcpStream, UdpSocket},
};

/// An owned socket or file on its way into a port.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// A socket of any kind; whether it listens is found out.
    Socket(socket2::Socket),
    /// A file.
    File(File),
    /// One end of a pipe or FIFO (pipe(7)), whichever; it is made not to block, for everybody who shares it. Another descriptor is refused with
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    #[cfg(unix)]
    Pipe(std::os::fd::OwnedFd),
    /// One end of a named pipe, opened for overlapped I/O. It is read as bytes, whatever its messages are.
    #[cfg(windows)]
    Pipe(std::os::windows::io::OwnedHandle),
    /// A connection, or a socket that is not connected, of a simulated world.
    #[cfg(all(unix, feature = "simulation"))]
    SimulatedStream(crate::simulation::Stream),
    /// A listening socket of a simulated world.
    #[cfg(all(unix, feature = "simulation"))]
    SimulatedListener(crate::simulation::Listener),
}

impl From<socket2::Socket> for Source {
    fn from(socket: socket2::Socket) -> Self {
        Self::Socket(socket)
    }
}
impl From<TcpListener> for Source {
    fn from(listener: TcpListener) -> Self {
        Self::Socket(listener.into())
    }
}
impl From<TcpStream> for Source {
    fn from(stream: TcpStream) -> Self {
        Self::Socket(stream.into())
    }
}
impl From<UdpSocket> for Source {
    fn from(socket: UdpSocket) -> Self {
        Self::Socket(socket.into())
    }
}
impl From<File> for Source {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}
#[cfg(unix)]
impl From<std::os::unix::net::UnixStream> for Source {
    fn from(stream: std::os::unix::net::UnixStream) -> Self {
        Self::Socket(stream.into())
    }
}
#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Source {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self::Socket(listener.into())
    }
}
#[cfg(unix)]
impl From<std::os::unix::net::UnixDatagram> for Source {
    fn from(socket: std::os::unix::net::UnixDatagram) -> Self {
        Self::Socket(socket.into())
    }
}
#[cfg(unix)]
impl From<std::io::PipeReader> for Source {
    fn from(end: std::io::PipeReader) -> Self {
        Self::Pipe(end.into())
    }
}
#[cfg(unix)]
impl From<std::io::PipeWriter> for Source {
    fn from(end: std::io::PipeWriter) -> Self {
        Self::Pipe(end.into())
    }
}
#[cfg(all(unix, feature = "simulation"))]
impl From<crate::simulation::Stream> for Source {
    fn from(stream: crate::simulation::Stream) -> Self {
        Self::SimulatedStream(stream)
    }
}
#[cfg(all(unix, feature = "simulation"))]
impl From<crate::simulation::Listener> for Source {
    fn from(listener: crate::simulation::Listener) -> Self {
        Self::SimulatedListener(listener)
    }
}
