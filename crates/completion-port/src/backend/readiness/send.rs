//! What goes out: bytes, the content of files, and the beginning and end of a connection.

use super::{Poll, Turn};
#[cfg(target_os = "linux")]
use crate::backend::local::FromCache;
use crate::{
    backend::local::{Body, Core, Descriptor, connect_error, pipe},
    chain::BufferChain,
    counters::SystemCall,
    error::{Error, ErrorKind},
    identity::Token,
    tally,
};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, Shutdown},
};
use std::{io::IoSlice, os::fd::AsFd};

/// In a slot's stage: connect(2) was called, and its end is awaited.
const CONNECTING: u32 = 1;

/// Linux ends a call after this much: less than was asked for, and yet there is room.
const MOST_AT_ONCE: u64 = 0x7fff_f000;

impl Poll {
    pub(super) fn send(&mut self, core: &mut Core, token: Token) -> Turn {
        let handle = core.slot(token).handle;
        loop {
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let Body::Chain(chain) = &slot.body else { unreachable!("a send has a chain") };
            let left = chain.len() - slot.transferred;
            if left == 0 {
                let bytes = slot.transferred;
                return self.finish(core, token, Ok(bytes));
            }
            if !self.socket(handle).send.ready {
                return self.arm(core, token);
            }
            if !self.spend(handle) {
                return Turn::Later;
            }
            match send_some(descriptor, chain.pieces_from(slot.transferred), SendFlags::empty()) {
                Ok(bytes) => {
                    slot.transferred += bytes as u64;
                    self.socket(handle).gave((bytes as u64) < left.min(MOST_AT_ONCE));
                }
                Err(Errno::AGAIN) => self.socket(handle).send.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }

    pub(super) fn connect(&mut self, core: &mut Core, token: Token) -> Turn {
        let (slot, descriptor) = core.slot_and_descriptor(token);
        let (handle, kind) = (slot.handle, slot.kind);
        let Body::Connect { address, .. } = &slot.body else {
            // Connected: what is left are the first bytes.
            return self.send(core, token);
        };
        if slot.stage != CONNECTING {
            let socket = descriptor.socket().expect("a connect is for a socket");
            let Ok(address) = address.to_system() else {
                return self.finish(core, token, Err(Error::new(ErrorKind::InvalidArgument, kind)));
            };
            tally::call(SystemCall::Connect);
            match socket.connect(&address) {
                Ok(()) => return self.connected(core, token),
                // A signal does not stop it: it goes on as if it had not blocked.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
                    slot.stage = CONNECTING;
                }
                Err(error) => {
                    let code = error.raw_os_error().unwrap_or(libc::EINVAL);
                    return self.finish(core, token, Err(connect_error(code)));
                }
            }
            let socket = self.socket(handle);
            socket.send.ready = false;
            // What the poller said of the unconnected socket is over.
            socket.ended = false;
            return self.arm(core, token);
        }
        if !self.socket(handle).send.ready {
            return self.arm(core, token);
        }
        let socket = descriptor.socket().expect("a connect is for a socket");
        tally::call(SystemCall::Option);
        match socket.take_error() {
            Ok(Some(error)) | Err(error) => self.fail(core, token, &error),
            Ok(None) => match socket.peer_addr() {
                Ok(_) => self.connected(core, token),
                // Told too early.
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                    self.socket(handle).send.ready = false;
                    self.arm(core, token)
                }
                Err(error) => self.finish(core, token, Err(Error::from_io(&error, kind))),
            },
        }
    }

    fn connected(&mut self, core: &mut Core, token: Token) -> Turn {
        core.slot_mut(token).body.connected();
        self.send(core, token)
    }

    pub(super) fn disconnect(&mut self, core: &mut Core, token: Token) -> Turn {
        let (_, descriptor) = core.slot_and_descriptor(token);
        tally::call(SystemCall::Shutdown);
        match rustix::net::shutdown(descriptor, Shutdown::Write) {
            Ok(()) => self.finish(core, token, Ok(0)),
            Err(error) => self.fail(core, token, &error.into()),
        }
    }

    /// Straight from the page cache what is known to be there. Otherwise the head and the file's first bytes in one call, then the rest of the file
    /// piece by piece, through a buffer; a piece that is not in memory is read on the pool.
    pub(super) fn transmit(&mut self, core: &mut Core, token: Token) -> Turn {
        let handle = core.slot(token).handle;
        loop {
            let (slot, descriptor) = core.slot_and_descriptor(token);
            let (cargo, stage) = slot.parts();
            let Body::Transmit { head, buffer } = &mut cargo.body else {
                unreachable!("a transmit has a head")
            };
            let (sent, length) = (cargo.transferred.saturating_sub(head.len()), cargo.range.length);
            let in_buffer = buffer.as_ref().map_or(0, |buffer| buffer.len() - *stage as usize);
            if cargo.transferred == head.len() + length {
                let bytes = cargo.transferred;
                return self.finish(core, token, Ok(bytes));
            }
            if !self.socket(handle).send.ready {
                // Who does not read must not hold a buffer: what was read is in memory now, and is found there again.
                if cfg!(target_os = "linux") {
                    (*buffer, *stage) = (None, 0);
                }
                return self.arm(core, token);
            }
            if sent < length && in_buffer == 0 {
                #[cfg(target_os = "linux")]
                match self.transmit_cached(core, token) {
                    FromCache::Absent => {}
                    FromCache::Sent if !self.spend(handle) => return Turn::Later,
                    FromCache::Sent | FromCache::Full => continue,
                    FromCache::Failed(error) => return self.fail(core, token, &error.into()),
                }
                match self.fill(core, token, sent) {
                    Ok(()) => continue,
                    Err(turn) => return turn,
                }
            }
            if !self.spend(handle) {
                return Turn::Later;
            }
            let piece = buffer.as_ref().map_or(&[][..], |buffer| &buffer[*stage as usize..]);
            let piece =
                &piece[..usize::try_from(length - sent).map_or(piece.len(), |left| piece.len().min(left))];
            let piece_length = piece.len() as u64;
            let left_of_head = head.len().saturating_sub(cargo.transferred);
            let more = sent + piece_length < length;
            let pieces =
                head.pieces_from(cargo.transferred).chain(Some(piece).filter(|piece| !piece.is_empty()));
            match send_some(descriptor, pieces, if more { more_follows() } else { SendFlags::empty() }) {
                Ok(bytes) => {
                    let bytes = bytes as u64;
                    cargo.transferred += bytes;
                    *stage += bytes.saturating_sub(left_of_head) as u32;
                    self.socket(handle).gave(bytes < (left_of_head + piece_length).min(MOST_AT_ONCE));
                }
                Err(Errno::AGAIN) => self.socket(handle).send.ready = false,
                Err(error) => return self.fail(core, token, &error.into()),
            }
        }
    }

    /// Sends in place what the page cache has.
    #[cfg(target_os = "linux")]
    fn transmit_cached(&mut self, core: &mut Core, token: Token) -> FromCache {
        let outcome = core.send_from_cache(token);
        if outcome == FromCache::Full {
            self.socket(core.slot(token).handle).send.ready = false;
        }
        outcome
    }

    /// Reads the piece of the file that begins behind the `sent` bytes, if that does not mean waiting.
    fn fill(&mut self, core: &mut Core, token: Token, sent: u64) -> Result<(), Turn> {
        let wanted = piece_bytes(core, token);
        let mut buffer = match &mut core.slot_mut(token).body {
            Body::Transmit { buffer, .. } => buffer.take(),
            _ => None,
        };
        if buffer.is_none() {
            buffer = match core.buffers.acquire(wanted) {
                Ok(buffer) => Some(buffer),
                Err(error) if error.kind() == ErrorKind::BuffersExhausted => return Err(Turn::Starved),
                Err(error) => {
                    let error = Error::new(error.kind(), core.slot(token).kind);
                    return Err(self.finish(core, token, Err(error)));
                }
            };
        }
        let mut buffer = buffer.expect("taken just now");
        buffer.clear();
        let mut offset = core.slot(token).range.offset + sent;
        let read = match core.slot_and_file(token) {
            Some((_, file)) => super::files::read_cached(file, &mut offset, &mut buffer),
            None => Err(Errno::BADF),
        };
        let slot = core.slot_mut(token);
        slot.stage = 0;
        let empty = buffer.is_empty();
        if let Body::Transmit { buffer: place, .. } = &mut slot.body {
            *place = Some(buffer);
        }
        match read {
            // What is there goes out first.
            _ if !empty => Ok(()),
            // The file is shorter than was promised.
            Ok(()) => {
                let error = Error::new(ErrorKind::Other, core.slot(token).kind);
                Err(self.finish(core, token, Err(error)))
            }
            Err(_) => Err(Turn::OnPool),
        }
    }
}

/// The capacity of the buffer that an operation takes when it can go on.
fn piece_bytes(core: &Core, token: Token) -> usize {
    let slot = core.slot(token);
    match slot.transmits().then(|| &slot.body) {
        Some(Body::Transmit { head, .. }) => {
            let left = slot.range.length - slot.transferred.saturating_sub(head.len());
            let most = core.configuration.transmit_bytes.min(core.buffers.largest()).max(1);
            usize::try_from(left).map_or(most, |left| left.min(most))
        }
        _ => core.configuration.receive_bytes,
    }
}

/// Whether an operation that waits for a buffer, if it still does, would find one.
pub(super) fn finds_buffer(core: &mut Core, token: Token) -> bool {
    core.find_mut(token).is_none() || core.buffers.available(piece_bytes(core, token))
}

/// More bytes follow at once: the system need not send a packet that is not full. Kept from waiting by the last call, which
/// goes without.
fn more_follows() -> SendFlags {
    #[cfg(target_os = "linux")]
    return SendFlags::MORE;
    #[cfg(not(target_os = "linux"))]
    return SendFlags::empty();
}

/// Sends some of the pieces in one call, without SIGPIPE.
fn send_some<'a>(
    descriptor: &Descriptor,
    pieces: impl Iterator<Item = &'a [u8]>,
    flags: SendFlags,
) -> Result<usize, Errno> {
    if let Descriptor::Pipe(end) = descriptor {
        return pipe::write(end.as_fd(), pieces);
    }
    #[cfg(not(target_vendor = "apple"))]
    let flags = flags | SendFlags::NOSIGNAL;
    // A chain and one piece of a file.
    let mut vectors = [IoSlice::new(&[]); BufferChain::MAXIMUM_SLICES + 1];
    let mut count = 0;
    for (vector, piece) in vectors.iter_mut().zip(pieces) {
        *vector = IoSlice::new(piece);
        count += 1;
    }
    rustix::io::retry_on_intr(|| {
        tally::call(SystemCall::Send);
        match &vectors[..count] {
            [only] => rustix::net::send(descriptor, only, flags),
            several => rustix::net::sendmsg(descriptor, several, &mut SendAncillaryBuffer::default(), flags),
        }
    })
}
