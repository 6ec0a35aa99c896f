//! What the queue knows of a handle.

use super::{reuse::Fresh, slot::NONE};
use crate::{
    buffer::Buffer,
    completion::Completion,
    direction::{Direction, Nature},
    error::ErrorKind,
    gate::Gate,
    identity::Handle,
    operation::OperationKind,
    sync::lock,
};
use std::{
    collections::VecDeque,
    fs::File,
    os::windows::io::{AsRawHandle, AsRawSocket, OwnedHandle},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};
use windows_sys::Win32::{Foundation::HANDLE, Networking::WinSock::SOCKET};

/// A place for a handle. Its lock guards the slots of all operations that were submitted for the handle.
pub(super) struct Entry {
    /// The program's key. Read at delivery without the lock: the gate keeps the entry from being used again.
    key: AtomicU64,
    state: Mutex<State>,
}

impl Entry {
    pub(super) fn new(index: u32) -> Self {
        Self { key: AtomicU64::new(0), state: Mutex::new(State::new(index)) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    pub(super) fn set_key(&self, key: u64) {
        self.key.store(key, Ordering::Relaxed);
    }
}

/// What the handle stands for.
pub(super) enum Object {
    None,
    /// Whose bytes are one stream.
    Socket(socket2::Socket),
    /// Whose bytes come and go in datagrams.
    Datagrams(socket2::Socket),
    Listener(socket2::Socket),
    File(Arc<File>),
    /// One end of a named pipe.
    Pipe(OwnedHandle),
}

/// The operations of one direction, first in first out. Those in front were started: one, or several that share.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) first: u32,
    pub(super) last: u32,
    /// The first that was not started.
    pub(super) waiting: u32,
    /// How many were started and have not come to their end.
    pub(super) started: u32,
    /// What was started has the direction to itself.
    pub(super) alone: bool,
}

impl Line {
    const EMPTY: Self = Self { first: NONE, last: NONE, waiting: NONE, started: 0, alone: false };
}

pub(super) struct State {
    index: u32,
    pub(super) generation: u32,
    pub(super) object: Object,
    /// Of a file, in bytes, as far as it is known.
    pub(super) length: u64,
    /// A success at once queues no packet.
    pub(super) skips: bool,
    pub(super) gate: Gate<Completion>,
    lines: [Line; 2],
    /// The first in the list of all operations of the handle.
    pub(super) operations: u32,
    /// Operations that were submitted for the handle, or name it as their file, and have not come home. The seed's count of
    /// pending I/O calls: what the handle stands for lives until it is zero.
    pub(super) pending: u32,
    /// Completions in a row that took no way through the kernel's queue.
    pub(super) inline: u32,
    /// Bytes that arrived with the connection.
    pub(super) early: Option<Buffer>,
    /// Of a listener: connections that came when there was no handle for them, or nobody wanted them any more, with their first bytes.
    pub(super) held: VecDeque<(Fresh, Option<Buffer>)>,
    /// The last receive of a stream filled its buffer: likely there is more.
    pub(super) more: bool,
    /// The port itself made the socket, for AcceptEx.
    pub(super) accepted: bool,
    /// The peer's orderly end was received.
    pub(super) peer_ended: bool,
    /// Bytes of its operations that wait to be sent, and whether a send was refused for them.
    pub(super) send_bytes: u64,
    pub(super) send_refused: bool,
    /// Watches among its operations.
    pub(super) watches: u32,
    pub(super) closing: bool,
    /// The slot of the close that waits.
    pub(super) close: u32,
    pub(super) closed: bool,
}

impl State {
    fn new(index: u32) -> Self {
        Self {
            index,
            generation: 0,
            object: Object::None,
            length: 0,
            skips: false,
            gate: Gate::default(),
            lines: [Line::EMPTY; 2],
            operations: NONE,
            pending: 0,
            inline: 0,
            early: None,
            held: VecDeque::new(),
            more: false,
            accepted: false,
            peer_ended: false,
            send_bytes: 0,
            send_refused: false,
            watches: 0,
            closing: false,
            close: NONE,
            closed: true,
        }
    }

    /// The entry gets something to stand for.
    pub(super) fn open(&mut self, object: Object, skips: bool) {
        *self = Self { generation: self.generation, object, skips, closed: false, ..Self::new(self.index) };
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Whether the entry is `handle`'s, and open.
    pub(super) fn is(&self, handle: Handle) -> bool {
        self.generation == handle.generation() && !self.closed
    }

    pub(super) fn line(&mut self, direction: Direction) -> &mut Line {
        &mut self.lines[direction as usize]
    }

    pub(super) fn socket(&self) -> Option<&socket2::Socket> {
        match &self.object {
            Object::Socket(socket) | Object::Listener(socket) | Object::Datagrams(socket) => Some(socket),
            Object::None | Object::File(_) | Object::Pipe(_) => None,
        }
    }

    pub(super) fn raw_socket(&self) -> SOCKET {
        self.socket().map_or(windows_sys::Win32::Networking::WinSock::INVALID_SOCKET, |socket| {
            socket.as_raw_socket() as SOCKET
        })
    }

    /// The system's handle, of a socket or file.
    pub(super) fn raw(&self) -> HANDLE {
        match &self.object {
            Object::None => std::ptr::null_mut(),
            Object::Socket(socket) | Object::Listener(socket) | Object::Datagrams(socket) => {
                socket.as_raw_socket() as HANDLE
            }
            Object::File(file) => file.as_raw_handle(),
            Object::Pipe(pipe) => pipe.as_raw_handle(),
        }
    }

    /// Counts bytes that wait to be sent, of which there may be up to `limit`, or any number alone.
    pub(super) fn take_bytes(&mut self, bytes: u64, limit: u64) -> Result<(), ErrorKind> {
        if self.send_bytes > 0 && bytes > limit.saturating_sub(self.send_bytes) {
            self.send_refused = true;
            return Err(ErrorKind::SendQueueFull);
        }
        self.send_bytes += bytes;
        Ok(())
    }

    /// Whether an operation of `kind` may be submitted for the handle.
    pub(super) fn fits(&self, kind: OperationKind) -> Result<(), ErrorKind> {
        let nature = match self.object {
            Object::Listener(_) => Nature::Listener,
            Object::Socket(_) | Object::Datagrams(_) => Nature::Socket,
            Object::Pipe(_) => Nature::Pipe,
            Object::File(_) | Object::None => Nature::File,
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
