//! Accepting: multishot while there is plenty of room for handles, one by one where there is little.

use super::{Event, Ring, Stage, descriptor};
use crate::{
    backend::local::{Core, Descriptor},
    completion::Payload,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
};
use ::io_uring::{opcode, types::DestinationSlot};
use socket2::Socket;
use std::{
    collections::VecDeque,
    os::fd::{FromRawFd, OwnedFd},
    time::Duration,
};

/// Below this room for handles, connections are taken one by one, so that few are taken that have no handle.
const AMPLE_ROOM: usize = 64;
/// Descriptors can become free elsewhere in the process, which nobody tells.
const RETRY: Duration = Duration::from_millis(100);
/// Not blocking, as all sockets here; and no program that this one starts inherits it. The listener gives TCP_NODELAY on.
const FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// What waits for handles or descriptors.
#[derive(Default)]
pub(super) struct Accepting {
    /// Operations that ran out of one or the other.
    parked: Vec<Token>,
    /// Connections of listeners that came when there was no handle for them.
    unplaced: VecDeque<(Handle, Descriptor)>,
    closed: u64,
    retry_at: Duration,
}

impl Accepting {
    fn has_unplaced(&self, listener: Handle) -> bool {
        self.unplaced.iter().any(|(of, _)| *of == listener)
    }

    fn take_unplaced(&mut self, listener: Handle) -> Option<Descriptor> {
        let place = self.unplaced.iter().position(|(of, _)| *of == listener)?;
        self.unplaced.remove(place).map(|(_, socket)| socket)
    }

    pub(super) fn retry_after(&self, now: Duration) -> Option<Duration> {
        (!self.parked.is_empty()).then(|| self.retry_at.saturating_sub(now))
    }
}

impl Ring {
    pub(super) fn accept(&mut self, core: &mut Core, token: Token) {
        if self.place_waiting(core, token) {
            return;
        }
        let room = core.room_for_handles();
        let (direct, plenty_direct) = self.direct.room();
        if room == 0 || !direct {
            let lack = if room == 0 { ErrorKind::HandlesExhausted } else { ErrorKind::DescriptorsExhausted };
            return self.park_or_fail(core, token, lack);
        }
        let slot = core.slot(token);
        let (listener, kind) = (descriptor(core, slot.handle), slot.kind);
        // What is in a table of the ring is inherited by nobody.
        let (direct, flags) = if self.direct.is_on() { (true, libc::SOCK_NONBLOCK) } else { (false, FLAGS) };
        let entry = if kind == OperationKind::AcceptStream && room >= AMPLE_ROOM && plenty_direct {
            opcode::AcceptMulti::new(listener).allocate_file_index(direct).flags(flags).build()
        } else {
            opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut())
                .file_index(direct.then(DestinationSlot::auto_target))
                .flags(flags)
                .build()
        };
        self.direct.begin_accept();
        // SAFETY: no memory of ours is named; the listener's descriptor is open while the operation is pending.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn accepted(&mut self, core: &mut Core, token: Token, event: &Event) {
        let listener = core.slot(token).handle;
        if !event.more {
            self.direct.end_accept();
        }
        if event.result >= 0 {
            let socket = if self.direct.is_on() {
                self.direct.took();
                Descriptor::Direct(event.result as u32)
            } else {
                // SAFETY: the kernel made this descriptor for us just now, and nobody else has it.
                Descriptor::Socket(Socket::from(unsafe { OwnedFd::from_raw_fd(event.result) }))
            };
            let has_no_handle = core.room_for_handles() == 0 || self.accepting.has_unplaced(listener);
            if has_no_handle {
                self.accepting.unplaced.push_back((listener, socket));
            } else if self.place(core, token, socket) {
                return;
            }
            let slot = core.slot_mut(token);
            if event.more && slot.stage & Stage::STOPS == 0 && (has_no_handle || self.direct.is_short()) {
                // Enough: no more before there is room.
                slot.stage |= Stage::STOPS;
                self.push_cancel(token);
            }
        }
        if event.more {
            return;
        }
        let slot = core.slot_mut(token);
        slot.stage &= !Stage::STOPS;
        let code = -event.result;
        if slot.cancelled || slot.timed_out {
            self.forget_accept(token);
            return self.fail(core, token, libc::ECANCELED);
        }
        match code {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM
                if slot.kind == OperationKind::AcceptStream =>
            {
                self.accepting.parked.push(token);
            }
            // There is a connection, or the one is gone that would have been accepted, or the stream was stopped for want of room.
            _ if code <= 0 || is_of_the_connection(code) => self.accept(core, token),
            _ => self.fail(core, token, code),
        }
    }

    /// Gives the connection its handle and reports it; whether that ended the operation.
    fn place(&mut self, core: &mut Core, token: Token, socket: Descriptor) -> bool {
        let kind = core.slot(token).kind;
        match core.add(socket, 0) {
            Ok(handle) if kind == OperationKind::AcceptStream => {
                core.item(token, 0, Payload::Accepted(handle));
                false
            }
            Ok(handle) => {
                core.complete(token, Ok(0), Payload::Accepted(handle));
                true
            }
            Err((error, _)) => unreachable!("there was room: {error}"),
        }
    }

    /// Gives connections their handles that came when there was none, oldest first. Whether that ended the operation.
    fn place_waiting(&mut self, core: &mut Core, token: Token) -> bool {
        let listener = core.slot(token).handle;
        while core.room_for_handles() > 0
            && let Some(socket) = self.accepting.take_unplaced(listener)
        {
            if self.place(core, token, socket) {
                return true;
            }
        }
        false
    }

    /// A stream waits for what it lacks; a single accept says so, and the connection waits for the next.
    fn park_or_fail(&mut self, core: &mut Core, token: Token, lack: ErrorKind) {
        match core.slot(token).kind {
            OperationKind::AcceptStream => self.accepting.parked.push(token),
            kind => core.complete(token, Err(Error::new(lack, kind)), Payload::None),
        }
    }

    /// The operation ends. What came for it and found no handle waits for the next accept.
    pub(super) fn forget_accept(&mut self, token: Token) {
        self.accepting.parked.retain(|parked| *parked != token);
    }

    /// The listener closes, and with it what nobody will take any more.
    pub(super) fn forget_listener(&mut self, listener: Handle) {
        while let Some(socket) = self.accepting.take_unplaced(listener) {
            if let Descriptor::Direct(place) = socket {
                self.close_direct(place);
            }
        }
    }

    /// Places and accepts again once a handle was closed, or after a time.
    pub(super) fn resume_accepts(&mut self, core: &mut Core) {
        let accepting = &mut self.accepting;
        if accepting.parked.is_empty() {
            return;
        }
        if accepting.closed == core.closed() && core.now() < accepting.retry_at {
            return;
        }
        accepting.closed = core.closed();
        accepting.retry_at = core.now() + RETRY;
        for token in std::mem::take(&mut accepting.parked) {
            self.accept(core, token);
        }
    }
}

/// Errors of accept(2) that concern the connection, not the listener: the next one may be taken.
fn is_of_the_connection(code: i32) -> bool {
    matches!(
        code,
        libc::ECANCELED
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::EINTR
            | libc::EAGAIN
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENONET
            | libc::ENOPROTOOPT
    )
}
