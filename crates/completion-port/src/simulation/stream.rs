//! The sockets of a world.

use super::{World, network::Outcome, state::Name, state::State};
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
};

/// A connection, or a socket that is not connected yet, in a [`World`]; as std's `TcpStream`, or for
/// [`Worker::associate`](crate::Worker::associate).
///
/// A call that would block lets the world go on until it need not. On a thread that has a worker of the world, where nothing can come
/// any more, it fails with [`io::ErrorKind::TimedOut`]; on other threads it waits for what others do. Dropping it ends the
/// connection in order, or resets it where bytes that came were not read.
pub struct Stream {
    world: World,
    name: Name,
    nonblocking: AtomicBool,
}

impl Stream {
    pub(super) fn new(world: &World, name: Name) -> Self {
        Self { world: world.clone(), name, nonblocking: AtomicBool::new(false) }
    }

    fn call<T>(&self, attempt: impl FnMut(&mut State) -> Outcome<T>) -> io::Result<T> {
        self.world.call(self.nonblocking.load(Ordering::Relaxed), attempt)
    }

    /// Whether calls that would block fail with [`io::ErrorKind::WouldBlock`] instead.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// Connects a socket that [`World::socket`] made.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionRefused`] where nobody listens, or too many wait already to be accepted.
    pub fn connect(&self, address: SocketAddr) -> io::Result<()> {
        self.call(|state| state.connect(self.name, address))
    }

    /// Ends the sending direction in order, has the receiving one give nothing but what is there, or both.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.call(|state| {
            if how != Shutdown::Write {
                state.stop_receiving(self.name)?;
            }
            if how == Shutdown::Read { Ok(()) } else { state.shutdown(self.name) }
        })
    }

    /// Breaks the connection: the peer gets an error where it would get the end.
    pub fn reset(self) {
        self.world.change(|state| state.reset(self.name));
    }

    /// Has [`World::turn`] name `client` whenever something changes on the connection, beginning now; none ends that.
    pub fn notify(&self, client: Option<u64>) {
        self.world.change(|state| state.tell(self.name, client));
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// None; as std has it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.world.lock().end(self.name).local)
    }

    /// The address of the other side.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.world.lock().end(self.name).remote.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN))
    }

    /// The world that it is in.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Bytes that the connection took from this end.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.world.lock().end(self.name).sent.bytes
    }

    /// Has the close of this end reset the connection.
    pub(crate) fn reset_on_close(&self) {
        self.world.lock().end_mut(self.name).abortive = true;
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }
}

impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.call(|state| state.receive(self.name, into))
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.call(|state| state.send(self.name, [bytes].into_iter()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&mut &*self).read(into)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.world.change(|state| state.close(self.name));
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Stream")
            .field("local", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .finish()
    }
}

/// A listening socket in a [`World`], for [`Worker::associate`](crate::Worker::associate) or to accept from by hand.
pub struct Listener {
    world: World,
    name: Name,
    address: SocketAddr,
}

impl Listener {
    pub(super) fn new(world: &World, name: Name, address: SocketAddr) -> Self {
        Self { world: world.clone(), name, address }
    }

    /// Takes the next connection; lets the world go on until there is one, as the calls of a [`Stream`] do.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] where none can come.
    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let name = self.world.call(false, |state| state.accept(self.name))?;
        let stream = Stream::new(&self.world, name);
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// None; as std has it.
    pub const fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// The world that it is in.
    pub const fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.world.change(|state| state.close_listener(self.name));
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Listener({})", self.address)
    }
}
