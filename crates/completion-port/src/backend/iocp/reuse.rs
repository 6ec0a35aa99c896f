//! Sockets that serve one connection after the other: DisconnectEx with TF_REUSE_SOCKET feeds AcceptEx.
//!
//! Making a socket is a slow call; a socket that both sides have ended can be accepted into again. Wine's cannot send afterwards, so this
//! is used only where a test at start has seen it work.

use super::{
    handle::{Object, State},
    slot::{Body, Slot, Stage},
    trial,
    turn::Turn,
    winsock::{self, Functions, Issued},
};
use crate::{
    counters::SystemCall, error::Error, identity::Handle, operation::OperationKind, shutdown::Phase,
    sync::lock, tally,
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::windows::io::AsRawSocket,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use windows_sys::Win32::{Foundation::HANDLE, Networking::WinSock::SOCKET, System::IO::CancelIoEx};

/// A socket for AcceptEx.
pub(super) struct Fresh {
    pub(super) socket: socket2::Socket,
    /// It served a connection before, and is associated with the port since then.
    pub(super) associated: bool,
}

impl Fresh {
    pub(super) fn raw(&self) -> SOCKET {
        self.socket.as_raw_socket() as SOCKET
    }
}

/// The sockets that wait for their next connection.
#[derive(Default)]
pub(super) struct Reuse {
    /// The test at start has seen it work.
    pub(super) works: AtomicBool,
    /// Sockets that wait here, or are being disconnected.
    count: AtomicUsize,
    sockets: Mutex<Vec<(socket2::Domain, socket2::Socket)>>,
}

impl Reuse {
    /// A socket like the listener: used before if there is one, else new.
    pub(super) fn socket_for(&self, listener: &socket2::Socket) -> Result<Fresh, Error> {
        let domain = winsock::domain_of(listener)?;
        let mut sockets = self.lock();
        if let Some(place) = sockets.iter().position(|(of, _)| *of == domain) {
            let (_, socket) = sockets.swap_remove(place);
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Ok(Fresh { socket, associated: true });
        }
        drop(sockets);
        Ok(Fresh { socket: winsock::new_socket(domain)?, associated: false })
    }

    /// Has a socket wait for its next connection.
    #[cfg(test)]
    pub(super) fn put(&self, domain: socket2::Domain, socket: socket2::Socket) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.lock().push((domain, socket));
    }

    /// How many sockets wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(socket2::Domain, socket2::Socket)>> {
        lock(&self.sockets)
    }
}

impl Turn<'_> {
    /// Lets go of what a closed handle stood for: closes it, or keeps an accepted socket for the next connection.
    pub(super) fn retire(&mut self, state: &mut State) {
        let object = std::mem::replace(&mut state.object, Object::None);
        let reuse = &self.core.reuse;
        let ended_well = state.accepted && state.peer_ended && self.shared.phase.get() == Phase::Running;
        let Object::Socket(socket) = object else { return tally::call(SystemCall::Close) };
        if !ended_well
            || !reuse.works.load(Ordering::Relaxed)
            || reuse.count.load(Ordering::Relaxed) >= self.shared.configuration.accepts_posted
        {
            return tally::call(SystemCall::Close);
        }
        let Some((index, slot)) = self.core.slots.take(Slot::new) else { return };
        reuse.count.fetch_add(1, Ordering::Relaxed);
        let raw = socket.as_raw_socket() as SOCKET;
        slot.fill(Handle::NONE, OperationKind::Disconnect, Body::Reuse(socket), None);
        slot.job().stage = Stage::Kernel;
        // SAFETY: the slot is fresh and owns the socket. Nobody touches it before the packet has come but to cancel it.
        match unsafe { winsock::disconnect(&self.core.functions, slot, raw, state.skips) } {
            Issued::Pending => {}
            Issued::Done(_) => self.disconnected(index, true),
            Issued::Failed(_) => self.disconnected(index, false),
        }
    }

    /// A socket was disconnected for its next connection, or could not be.
    pub(super) fn disconnected(&mut self, index: u32, succeeded: bool) {
        let mut job = self.core.slot(index).job();
        let Body::Reuse(socket) = std::mem::take(&mut job.body) else { return };
        job.stage = Stage::Free;
        drop(job);
        self.core.slots.give_back(index);
        let reuse = &self.core.reuse;
        match winsock::domain_of(&socket) {
            Ok(domain) if succeeded && self.shared.phase.get() == Phase::Running => {
                reuse.lock().push((domain, socket));
            }
            _ => {
                reuse.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Closes what waits, and asks for the end of what is being disconnected.
    pub(super) fn end_reuse(&mut self) {
        let sockets = std::mem::take(&mut *self.core.reuse.lock());
        self.core.reuse.count.fetch_sub(sockets.len(), Ordering::Relaxed);
        for slot in self.core.slots.iter() {
            if let Body::Reuse(socket) = &slot.job().body {
                tally::call(SystemCall::Cancel);
                // SAFETY: the socket is open, for the slot owns it; the OVERLAPPED only names the call.
                unsafe { CancelIoEx(socket.as_raw_socket() as HANDLE, slot.overlapped()) };
            }
        }
    }
}

/// Whether a socket can serve a second connection here, found out once by doing it on the loopback.
pub(super) fn works(functions: &Functions) -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| try_it(functions).is_some())
}

fn try_it(functions: &Functions) -> Option<()> {
    const LIMIT: Duration = Duration::from_secs(1);
    let listener = TcpListener::bind(("127.0.0.1", 0)).ok()?;
    let address = listener.local_addr().ok()?;
    let listening = listener.as_raw_socket() as SOCKET;
    let socket = winsock::new_socket(socket2::Domain::IPV4).ok()?;
    let raw = socket.as_raw_socket() as SOCKET;
    let accept = || {
        let mut peer = TcpStream::connect_timeout(&address, LIMIT).ok()?;
        peer.set_read_timeout(Some(LIMIT)).ok()?;
        trial::accept_and_wait(functions, listening, raw, LIMIT)?;
        winsock::update_accept_context(raw, listening).ok()?;
        (&socket).write_all(b"x").ok()?;
        peer.read_exact(&mut [0; 1]).ok()?;
        Some(peer)
    };
    drop(accept()?);
    socket.set_read_timeout(Some(LIMIT)).ok()?;
    (&socket).read(&mut [0; 1]).ok().filter(|&bytes| bytes == 0)?;
    trial::disconnect_and_wait(functions, raw, LIMIT)?;
    accept().map(drop)
}
