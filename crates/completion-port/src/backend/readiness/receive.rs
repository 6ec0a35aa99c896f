//! What comes in: connections and bytes.

use super::{Poll, Turn};
use crate::{
    backend::local::{Body, Core, Descriptor, pipe},
    buffer::Buffer,
    completion::Payload,
    counters::SystemCall,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
    tally,
};
use rustix::{io::Errno, net::RecvFlags};
use std::os::fd::{AsFd, BorrowedFd};

impl Poll {
    pub(super) fn accept(&mut self, core: &mut Core, token: Token) -> Turn {
        let (handle, kind) = (core.slot(token).handle, core.slot(token).kind);
        let stream = kind == OperationKind::AcceptStream;
        loop {
            // Taken out of the backlog, the connection would have to wait somewhere else.
            if !stream && !core.has_room_for_handle() {
                return self.finish(core, token, Err(Error::new(ErrorKind::HandlesExhausted, kind)));
            }
            if let Err(turn) = self.try_now(core, token) {
                return turn;
            }
            if !core.has_room_for_handle() {
                return Turn::Crowded;
            }
            let descriptor = core.descriptor(handle).expect("a handle with an operation is open").as_fd();
            let accepted = match accept_one(descriptor) {
                Ok(socket) => self.enter_accepted(core, handle, socket),
                Err(Errno::AGAIN) => {
                    self.socket(handle).receive.ready = false;
                    continue;
                }
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) if stream => {
                    return Turn::Crowded;
                }
                Err(error) if concerns_one_peer(error) => continue,
                Err(error) => Err(Error::from_code(error.raw_os_error(), kind)),
            };
            match accepted {
                Ok(accepted) if stream => core.item(token, 0, Payload::Accepted(accepted)),
                Ok(accepted) => {
                    self.forget(core, token);
                    core.complete(token, Ok(0), Payload::Accepted(accepted));
                    return Turn::Over;
                }
                Err(error) => return self.finish(core, token, Err(error)),
            }
        }
    }

    fn enter_accepted(
        &mut self,
        core: &mut Core,
        listener: Handle,
        socket: socket2::Socket,
    ) -> Result<Handle, Error> {
        let stream = self.socket(listener).stream;
        let accepted = core.add(Descriptor::Socket(socket), 0).map_err(|(error, _)| error)?;
        self.enter(accepted, stream);
        self.socket(accepted).accepted = true;
        Ok(accepted)
    }

    pub(super) fn receive(&mut self, core: &mut Core, token: Token) -> Turn {
        let handle = core.slot(token).handle;
        loop {
            if let Err(turn) = self.try_now(core, token) {
                return turn;
            }
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let Body::Buffer(buffer) = &mut slot.body else { unreachable!("a receive has a buffer") };
            match receive_some(descriptor, buffer.spare_mut()) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    let short = bytes > 0 && buffer.spare_capacity() > 0;
                    self.socket(handle).took(short);
                    return self.finish(core, token, Ok(bytes as u64));
                }
                Err(Errno::AGAIN) => self.socket(handle).receive.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }

    pub(super) fn receive_scattered(&mut self, core: &mut Core, token: Token) -> Turn {
        let handle = core.slot(token).handle;
        loop {
            if let Err(turn) = self.try_now(core, token) {
                return turn;
            }
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let Body::Buffers(buffers) = &mut slot.body else {
                unreachable!("a scattered receive has buffers")
            };
            let room: usize = buffers.iter().map(Buffer::spare_capacity).sum();
            let received = pipe::read_scattered(descriptor, buffers);
            match received {
                Ok(bytes) => {
                    self.socket(handle).took(bytes > 0 && bytes < room);
                    self.forget(core, token);
                    core.complete_scattered(token, bytes);
                    return Turn::Over;
                }
                Err(Errno::AGAIN) => self.socket(handle).receive.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }

    pub(super) fn receive_stream(&mut self, core: &mut Core, token: Token) -> Turn {
        let handle = core.slot(token).handle;
        loop {
            if let Err(turn) = self.try_now(core, token) {
                return turn;
            }
            let mut buffer = match core.buffers.acquire(core.configuration.receive_bytes) {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::BuffersExhausted => return Turn::Starved,
                Err(error) => {
                    let error = Error::new(error.kind(), OperationKind::ReceiveStream);
                    return self.finish(core, token, Err(error));
                }
            };
            let descriptor = core.descriptor(handle).expect("a handle with an operation is open");
            match receive_some(descriptor, buffer.spare_mut()) {
                Ok(0) => return self.finish(core, token, Ok(0)),
                Ok(bytes) => {
                    buffer.advance(bytes);
                    self.socket(handle).took(buffer.spare_capacity() > 0);
                    core.item(token, bytes as u64, Payload::Buffer(buffer));
                }
                Err(Errno::AGAIN) => self.socket(handle).receive.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }
}

fn receive_some(descriptor: &Descriptor, into: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| match descriptor {
        Descriptor::Pipe(end) => {
            tally::call(SystemCall::Read);
            rustix::io::read(end, &mut *into)
        }
        socket => {
            tally::call(SystemCall::Receive);
            rustix::net::recv(socket, &mut *into, RecvFlags::empty()).map(|(_, bytes)| bytes)
        }
    })
}

/// Takes one connection, not blocking and closed on exec from its birth where the system can do that.
fn accept_one(listener: BorrowedFd<'_>) -> Result<socket2::Socket, Errno> {
    tally::call(SystemCall::Accept);
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "illumos",
        target_os = "solaris",
    ))]
    {
        use rustix::net::SocketFlags;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        rustix::net::accept_with(listener, flags).map(socket2::Socket::from)
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "illumos",
        target_os = "solaris",
    )))]
    {
        let socket = socket2::Socket::from(rustix::net::accept(listener)?);
        let prepared = socket.set_cloexec(true).and_then(|()| socket.set_nonblocking(true));
        // A peer that has gone meanwhile makes this fail on some systems.
        prepared.map(|()| socket).map_err(|_| Errno::CONNABORTED)
    }
}

/// Errors of a connection that broke before it was accepted, which accept(2) passes on (its section "Error handling"): the next
/// one may be well. Each takes one connection off the queue, so going on cannot spin.
fn concerns_one_peer(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
    )
}
