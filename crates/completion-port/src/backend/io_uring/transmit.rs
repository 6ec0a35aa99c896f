//! A file to a socket: straight from the page cache where it is known to be there; otherwise read into a buffer of the pool, sent behind the
//! head, again until all is sent.
//!
//! The buffer holds exactly what was read and not yet sent, so that `transferred` says where the next read begins.

use super::{
    MAXIMUM_TRANSFER, Ring, Stage, descriptor,
    file::{Cached, HAS_A_FILE, may_block, read_cached},
    stream::{send_entry, send_message_entry},
};
use crate::{
    backend::local::{Body, Core, FromCache},
    error::ErrorKind,
    identity::Token,
};
use ::io_uring::{opcode, types::Fd};
use std::os::fd::AsRawFd;

/// The least that is worth a read of its own, where large buffers are gone.
const SMALLEST_SLICE: usize = 4_096;

impl Ring {
    /// The next step: read if nothing of the file is at hand, then send. False if it has to wait for a buffer.
    pub(super) fn transmit(&mut self, core: &mut Core, token: Token) -> bool {
        let slot = core.slot(token);
        let (transferred, range) = (slot.transferred, slot.range);
        let Body::Transmit { head, buffer } = &slot.body else { unreachable!("a transmit-file has a head") };
        let file_sent = transferred.saturating_sub(head.len());
        let at_hand = buffer.as_ref().map_or(0, |buffer| buffer.len());
        if transferred == head.len() + range.length {
            self.finish(core, token, Ok(transferred));
        } else if at_hand > 0 || file_sent == range.length {
            self.transmit_send(core, token);
        } else if self.transmit_cached(core, token) {
            // Its end, or the poll for room in the socket, goes on with it.
        } else {
            return self.transmit_by_reading(core, token);
        }
        true
    }

    /// The next bytes have to be read. False if that has to wait for a buffer.
    fn transmit_by_reading(&mut self, core: &mut Core, token: Token) -> bool {
        let slot = core.slot(token);
        let offset = slot.file_position();
        let left = slot.range.length - (offset - slot.range.offset);
        if core.buffers.largest() == 0 {
            // It would wait for ever.
            self.fail_as(core, token, ErrorKind::InvalidArgument);
        } else if self.ensure_buffer(core, token, left) {
            self.transmit_read(core, token, offset, left);
        } else {
            self.starved_others.push_back(token);
            return false;
        }
        true
    }

    /// Sends in place what the page cache has. False if the next bytes have to be read.
    fn transmit_cached(&mut self, core: &mut Core, token: Token) -> bool {
        let slot = core.slot(token);
        let handle = slot.handle;
        let Body::Transmit { head, .. } = &slot.body else { unreachable!("checked by the caller") };
        let length = head.len() + slot.range.length;
        loop {
            if core.slot(token).transferred == length {
                self.finish(core, token, Ok(length));
                return true;
            }
            let outcome =
                if self.budget.take_once(handle) { core.send_from_cache(token) } else { FromCache::Full };
            match outcome {
                FromCache::Sent => {}
                FromCache::Absent => return false,
                FromCache::Failed(error) => {
                    self.fail(core, token, error.raw_os_error());
                    return true;
                }
                FromCache::Full => {
                    let socket = descriptor(core, handle);
                    self.poll(core, token, socket, libc::POLLOUT);
                    return true;
                }
            }
        }
    }

    /// Reads what comes next of the file: from the page cache in place, otherwise by the ring.
    fn transmit_read(&mut self, core: &mut Core, token: Token, offset: u64, left: u64) {
        let slot = core.slot(token);
        let at_once = slot.stage & Stage::MAY_BLOCK == 0 && self.budget.take(slot.handle);
        let (slot, file) = core.slot_and_file(token).expect(HAS_A_FILE);
        let Body::Transmit { buffer: Some(buffer), .. } = &mut slot.body else {
            unreachable!("it was ensured")
        };
        let room =
            buffer.spare_capacity().min(MAXIMUM_TRANSFER).min(usize::try_from(left).unwrap_or(usize::MAX));
        let cached =
            if at_once { read_cached(file, offset, &mut buffer.spare_mut()[..room]) } else { Cached::Absent };
        match cached {
            Cached::Read(0) => self.fail_as(core, token, ErrorKind::Other),
            Cached::Read(bytes) => {
                buffer.advance(bytes);
                self.transmit_send(core, token);
            }
            Cached::Failed(code) => self.fail(core, token, code),
            Cached::Absent => {
                let (pointer, _) = buffer.spare_pointer();
                let entry =
                    opcode::Read::new(Fd(file.as_raw_fd()), pointer, room as u32).offset(offset).build();
                let entry = may_block(entry, slot.stage);
                slot.stage |= Stage::READS;
                // SAFETY: the spare room of the buffer in the slot, which nobody looks at before the completion.
                unsafe { self.push(core, token, entry) };
            }
        }
    }

    /// Sees that there is an empty buffer; false if the pool has none.
    fn ensure_buffer(&mut self, core: &mut Core, token: Token, left: u64) -> bool {
        let mut capacity = core.configuration.transmit_bytes.min(core.buffers.largest()).max(1);
        capacity = capacity.min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffers = core.buffers.clone();
        let Body::Transmit { buffer, .. } = &mut core.slot_mut(token).body else {
            unreachable!("checked by the caller")
        };
        while buffer.is_none() {
            *buffer = buffers.acquire(capacity).ok();
            if capacity <= SMALLEST_SLICE {
                break;
            }
            capacity = (capacity / 4).max(SMALLEST_SLICE);
        }
        buffer.is_some()
    }

    /// Sends what is left of the head, and what is at hand of the file, as one.
    fn transmit_send(&mut self, core: &mut Core, token: Token) {
        let number = self.scratch(core, token);
        let slot = core.slot(token);
        let Body::Transmit { head, buffer } = &slot.body else { unreachable!("checked by the caller") };
        let socket = descriptor(core, slot.handle);
        let at_hand = buffer.iter().map(|buffer| &buffer[..]).filter(|bytes| !bytes.is_empty());
        let entry = match (slot.transferred < head.len(), buffer) {
            (false, Some(buffer)) => send_entry(socket, buffer),
            _ => {
                let pieces = head.pieces_from(slot.transferred).chain(at_hand);
                send_message_entry(socket, self.scratches.get(number).message(pieces))
            }
        };
        // SAFETY: the bytes belong to head and buffer in the slot, header and vectors to the operation's scratch; all are left
        // alone until the completion.
        unsafe { self.push(core, token, entry) };
    }

    pub(super) fn transmitted(&mut self, core: &mut Core, token: Token, result: i32) {
        let (cargo, stage) = core.slot_mut(token).parts();
        let reads = *stage & Stage::READS != 0;
        *stage &= !Stage::READS;
        let Body::Transmit { head, buffer } = &mut cargo.body else {
            unreachable!("a transmit-file has a head")
        };
        match result {
            // The file is shorter than promised, or the socket takes nothing.
            0 => self.fail_as(core, token, ErrorKind::Other),
            1.. => {
                let bytes = result as u64;
                if let Some(buffer) = buffer {
                    if reads {
                        buffer.advance(result as usize);
                    } else {
                        let of_head = bytes.min(head.len().saturating_sub(cargo.transferred));
                        buffer.consume((bytes - of_head) as usize);
                    }
                }
                if !reads {
                    cargo.transferred += bytes;
                }
                let done = cargo.transferred == head.len() + cargo.range.length;
                if done {
                    let transferred = cargo.transferred;
                    self.finish(core, token, Ok(transferred));
                } else {
                    self.transmit_again(core, token);
                }
            }
            code if code == -libc::EINTR => self.transmit_again(core, token),
            code if code == -libc::EAGAIN && reads && *stage & Stage::MAY_BLOCK == 0 => {
                *stage |= Stage::MAY_BLOCK;
                self.transmit_again(core, token);
            }
            code => self.fail(core, token, -code),
        }
    }

    fn transmit_again(&mut self, core: &mut Core, token: Token) {
        self.again(core, token, |ring, core, token| {
            ring.transmit(core, token);
        });
    }
}
