//! A worker: one thread's view of its queue.

use crate::{
    backend::{self, Driver},
    buffer::Buffers,
    completion::{Completion, Rejected},
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::{Operation, OperationKind, Work},
    port::{Port, Seat, Shared},
    source::Source,
    tally,
};
use std::{
    fmt,
    marker::PhantomData,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// Submits operations and waits for completions. Made by [`Port::worker`] on the thread that uses it, and bound to it.
///
/// In the terms of Win32 it is a thread in the loop around GetQueuedCompletionStatusEx. Dropping it brings home what is
/// in flight on a queue that no other worker serves: it cancels, and waits for the kernel.
pub struct Worker {
    shared: Arc<Shared>,
    driver: backend::WorkerDriver,
    /// Behind the driver, so that it is left when everything that the driver holds has been given back.
    seat: Seat,
    _bound_to_its_thread: PhantomData<*const ()>,
}

impl Worker {
    pub(crate) fn new(seat: Seat) -> Result<Self, Error> {
        let shared = Arc::clone(&seat.shared);
        // What the thread did before is no business of this port.
        tally::take(|_, _| {});
        let driver = backend::WorkerDriver::new(&shared, seat.number % shared.queues.len())?;
        Ok(Self { shared, driver, seat, _bound_to_its_thread: PhantomData })
    }

    /// Associates a socket or file with this worker's queue, under the program's `key`. Once, for its life.
    /// Sockets and files are put into the mode that the backend needs; on Windows they must have been opened for
    /// overlapped I/O (std's sockets are; files through [`Operation::Open`]).
    ///
    /// # Errors
    ///
    /// The source comes back, with [`ErrorKind::HandlesExhausted`] at the limit or what the system says.
    pub fn associate(&mut self, source: impl Into<Source>, key: u64) -> Result<Handle, (Error, Source)> {
        self.driver.associate(source.into(), key)
    }

    /// Changes the key of a handle of this queue: the way to give an accepted connection its own. Completions carry the key that
    /// is set when they are delivered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StaleHandle`], [`ErrorKind::WrongQueue`].
    pub fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error> {
        self.check(handle, OperationKind::Associate)?;
        self.driver.set_key(handle, key)
    }

    /// Submits an operation for `handle`: sockets act on it, and the completion carries its key and passes its gate. For
    /// operations that concern no handle (a timer, an open, a call) it may be [`Handle::NONE`].
    ///
    /// Operations of one direction on a handle run, and complete, in the order of submission.
    ///
    /// # Errors
    ///
    /// The operation comes back whole, with the reason: a limit, a stale handle, an argument that does not fit.
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub fn submit(&mut self, handle: Handle, operation: Operation) -> Result<Token, Rejected> {
        self.submit_until(handle, operation, None)
    }

    /// As [`Worker::submit`], with a time limit: once it passes the operation is cancelled, and completes with
    /// [`ErrorKind::TimedOut`] unless it was done already. A stream operation ends at the limit.
    ///
    /// # Errors
    ///
    /// As [`Worker::submit`].
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub fn submit_with_limit(
        &mut self,
        handle: Handle,
        operation: Operation,
        limit: Duration,
    ) -> Result<Token, Rejected> {
        // Fresh, not the time of the last wait: a limit never counts what was spent before it was set.
        let deadline = self.shared.now().saturating_add(limit);
        self.submit_until(handle, operation, Some(deadline))
    }

    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    fn submit_until(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        let kind = operation.kind();
        let checked = match handle {
            Handle::NONE
                if matches!(
                    kind,
                    OperationKind::Timer
                        | OperationKind::Open
                        | OperationKind::WatchDirectory
                        | OperationKind::Call
                ) =>
            {
                Ok(())
            }
            _ => self.check(handle, kind),
        };
        let checked = checked.and_then(|()| operation.files().try_for_each(|file| self.check(file, kind)));
        match checked {
            Ok(()) => self.driver.submit(handle, operation, deadline),
            Err(error) => Err(Rejected { error, operation }),
        }
    }

    /// Has `work` done, which may block, while the port's other connections stay served. What it returns comes as a completion of kind
    /// [`OperationKind::Call`] for `handle` (which may be [`Handle::NONE`]) with
    /// [`Payload::Returned`](crate::Payload::Returned); a panic in it is caught and reported as there.
    ///
    /// On [`Backend::Iocp`](crate::Backend::Iocp), where a queue has several workers, it runs on the calling thread, and the call
    /// returns when it is done: the kernel wakes another worker for the queue, which is what more workers than processors are for. That
    /// worker also gets what this one would have handed out next, and minds its timers. What waits with it are the completions of the last wait that
    /// the program has not dealt with, and others of the same handles, whose gates it holds: block at the end of a batch, or keep the batch
    /// small ([`Configuration::batch`](crate::Configuration::batch)). When all other workers of the queue block already, where a queue has one
    /// worker, and on the other backends, the call returns at once and the work is done on the port's pool, as [`Operation::Call`].
    ///
    /// # Errors
    ///
    /// As [`Worker::submit`] of an [`Operation::Call`]: the work comes back in one.
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    pub fn blocking(&mut self, handle: Handle, work: Work) -> Result<Token, Rejected> {
        let checked = if handle == Handle::NONE { Ok(()) } else { self.check(handle, OperationKind::Call) };
        if let Err(error) = checked {
            return Err(Rejected { error, operation: Operation::Call { work } });
        }
        self.driver.blocking(handle, work)
    }

    fn check(&self, handle: Handle, operation: OperationKind) -> Result<(), Error> {
        match handle {
            Handle::NONE => Err(Error::new(ErrorKind::StaleHandle, operation)),
            _ if handle.queue() != self.queue() => Err(Error::new(ErrorKind::WrongQueue, operation)),
            _ => Ok(()),
        }
    }

    /// Reads from a file, within this call, as far as that means no waiting: how many bytes of `into` are filled, from `offset` of the file on.
    /// No operation, and so no completion; it counts as a turn of `handle`. Fewer than asked for says nothing about the file, whose end may be there, or whose next
    /// bytes may be on the disk: submit an [`Operation::ReadAt`], which tells. Zero where the backend has no such thing: it is Linux's
    /// (`RWF_NOWAIT`, preadv2(2)).
    pub fn read_at_once(&mut self, handle: Handle, file: Handle, offset: u64, into: &mut [u8]) -> usize {
        let kind = OperationKind::ReadAt;
        match self.check(handle, kind).and_then(|()| self.check(file, kind)) {
            Ok(()) => self.driver.read_at_once(handle, file, offset, into),
            Err(_) => 0,
        }
    }

    /// Sends `head`, and behind it the bytes `range` of a file, within this call, as far as that means no waiting: how many bytes, in that
    /// order, the system has taken. No operation, and so no completion. What is not taken is for an [`Operation::TransmitFile`], which also
    /// tells of errors: of a part of the file that is not in memory, for a socket that is full or closed, or whose turn is over, or has a send
    /// under way. Zero where the backend has no such thing: it is Linux's (sendfile(2)).
    ///
    /// A range without a byte is none to be sent here, nor its head.
    pub fn transmit_at_once(&mut self, handle: Handle, head: &[u8], file: Handle, range: Range<u64>) -> u64 {
        let kind = OperationKind::TransmitFile;
        match self.check(handle, kind).and_then(|()| self.check(file, kind)) {
            Ok(()) => self.driver.transmit_at_once(handle, head, file, range),
            Err(_) => 0,
        }
    }

    /// Receives, within this call, what a connection has there: how many bytes of `into` are filled. No operation, and so no completion; it
    /// counts as a turn of `handle`. Zero says nothing about the connection, which may have nothing there now, or be at its end, or have a
    /// receive under way or its turn over: submit an [`Operation::Receive`], which waits, and tells. So a client that sends much may have a
    /// small buffer, or none to speak of, while it is waited for, and a large one for as long as it takes to use what came. Zero where the
    /// backend has no such thing: it is Linux's (recv(2)).
    ///
    /// # Errors
    ///
    /// That of the connection. It is told once: what is received later may find an orderly end instead.
    pub fn receive_at_once(&mut self, handle: Handle, into: &mut [u8]) -> Result<usize, Error> {
        match self.check(handle, OperationKind::Receive) {
            Ok(()) => self.driver.receive_at_once(handle, into),
            Err(_) => Ok(0),
        }
    }

    /// Writes to a file, from `offset` on, within this call, where no disk can hold that up: how many of `bytes`, from the first on. No
    /// operation, and so no completion; it counts as a turn of `handle`. What is not written is for an [`Operation::WriteAt`], which also
    /// tells of errors. The caller sees to it that no write to the same place is under way. Zero for a file that does not live in memory,
    /// and where the backend has no such thing: it is Linux's (tmpfs(5)).
    pub fn write_at_once(&mut self, handle: Handle, file: Handle, offset: u64, bytes: &[u8]) -> usize {
        let kind = OperationKind::WriteAt;
        match self.check(handle, kind).and_then(|()| self.check(file, kind)) {
            Ok(()) => self.driver.write_at_once(handle, file, offset, bytes),
            Err(_) => 0,
        }
    }

    /// Asks for the end of an operation. A request, not a promise: the completion says what became of it, and still may be success.
    /// A token that has completed is ignored.
    pub fn cancel(&mut self, token: Token) {
        if token != Token::NONE && token.queue() == self.queue() {
            self.driver.cancel(token);
        }
    }

    /// Closes a handle without a completion of its own. What is in flight on it is cancelled and still completes.
    pub fn close(&mut self, handle: Handle) {
        if self.check(handle, OperationKind::Close).is_ok() {
            self.driver.close(handle);
        }
    }

    /// Waits until at least one completion is there or `timeout` is over (none waits without limit), and appends up to
    /// [`Configuration::batch`](crate::Configuration::batch) of them to `completions`. Returns how many.
    ///
    /// Entering the wait releases the gates of the completions that the last wait returned: until then no other worker gets
    /// completions of the same handles.
    ///
    /// # Errors
    ///
    /// Only what makes the queue unusable; a failed operation is a completion, not an error here.
    pub fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        timeout: Option<Duration>,
    ) -> Result<usize, Error> {
        let before = completions.len();
        self.driver.wait(completions, self.shared.configuration.batch, timeout)?;
        self.shared.blocks[self.seat.number].count_wait(&completions[before..]);
        Ok(completions.len() - before)
    }

    /// The address of the peer of a connected socket.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StaleHandle`], [`ErrorKind::InvalidArgument`] for what is no socket or one of the Unix domain, or what the system says.
    pub fn peer_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.check(handle, OperationKind::Associate)?;
        self.driver.peer_address(handle)
    }

    /// The address that a socket is bound to.
    ///
    /// # Errors
    ///
    /// As [`Worker::peer_address`].
    pub fn local_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        self.check(handle, OperationKind::Associate)?;
        self.driver.local_address(handle)
    }

    /// How many bytes the peer's system has acknowledged since a TCP connection began: what really went out, while a send is under way
    /// too. Costs a system call (TCP_INFO, tcp(7)): for looking now and then whether a peer takes what it is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StaleHandle`]; [`ErrorKind::Unsupported`] for what is no TCP connection, for direct descriptors, on Windows, and on Unix
    /// systems that are not Linux.
    pub fn acknowledged_bytes(&self, handle: Handle) -> Result<u64, Error> {
        self.check(handle, OperationKind::Send)?;
        self.driver.acknowledged_bytes(handle)
    }

    /// Has the close of a connection reset it: what was sent and has not been taken is thrown away, where the system would go on holding it
    /// for a peer that takes nothing (SO_LINGER of zero, socket(7)).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StaleHandle`]; [`ErrorKind::Unsupported`] or [`ErrorKind::InvalidArgument`] for what is no connection, and for direct
    /// descriptors.
    pub fn reset_on_close(&self, handle: Handle) -> Result<(), Error> {
        self.check(handle, OperationKind::Close)?;
        self.driver.reset_on_close(handle)
    }

    /// The time since the port was made, as of the last wait's end. What timers and limits count from; costs nothing.
    pub fn now(&self) -> Duration {
        self.driver.now()
    }

    /// The instant that [`Worker::now`] stands for.
    pub fn instant(&self) -> Instant {
        self.shared.started + self.now()
    }

    /// When the worker has something to do, in the time of its world.
    #[cfg(all(unix, feature = "simulation"))]
    pub(crate) fn due(&self) -> crate::simulation::Due {
        match &self.driver {
            backend::WorkerDriver::Simulated(driver) => driver.due(),
            _ => crate::simulation::Due::Never,
        }
    }

    /// Which queue the worker serves.
    pub fn queue(&self) -> usize {
        self.seat.number % self.shared.queues.len()
    }

    /// Which worker of the port this is, counted from 0.
    pub fn number(&self) -> usize {
        self.seat.number
    }

    /// The port.
    pub fn port(&self) -> Port {
        Port { shared: Arc::clone(&self.shared) }
    }

    /// The buffers of the port.
    pub fn buffers(&self) -> &Buffers {
        &self.shared.buffers
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Dropped last, without a lock held: it may hold objects of the program, whose drop may panic, or call the port.
        let mut discarded = Vec::new();
        self.seat.leaked = self.driver.drain(&mut discarded);
        self.shared.blocks[self.seat.number].take_tally();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Worker({} of queue {})", self.number(), self.queue())
    }
}
