//! Buffers that the kernel picks from: taken from the port's pool, and replaced as they are handed out.

use super::system::System;
use crate::buffer::{Block, Buffer, Buffers};
use ::io_uring::types::BufRingEntry;
use std::{
    alloc::Layout,
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

/// The one group of provided buffers that a ring has.
pub(super) const GROUP: u16 = 0;
/// The most entries that the kernel takes.
const MAXIMUM_ENTRIES: usize = 32_768;
const PAGE_BYTES: usize = 4096;

/// What [`Buffer::into_raw`] gives.
type RawBuffer = (NonNull<Block>, u32);

/// A ring of provided buffers. Which buffer the kernel filled it says by number.
pub(super) struct Provided {
    entries: NonNull<BufRingEntry>,
    mask: u16,
    tail: u16,
    /// Buffers that the kernel has, by number.
    held: Box<[Option<RawBuffer>]>,
    /// Numbers that are not in use.
    free: Vec<u16>,
    registered: bool,
}

impl Provided {
    /// Registers room for `count` buffers.
    pub(super) fn new(system: &System, count: usize) -> io::Result<Self> {
        let count = count.clamp(1, MAXIMUM_ENTRIES);
        let size = count.next_power_of_two();
        // SAFETY: the layout has at least one entry.
        let memory = unsafe { std::alloc::alloc_zeroed(layout(size)) };
        let entries = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut this = Self {
            entries,
            mask: (size - 1) as u16,
            tail: 0,
            held: vec![None; count].into_boxed_slice(),
            free: (0..count as u16).rev().collect(),
            registered: false,
        };
        // SAFETY: page-aligned memory of `size` entries, freed only after it was unregistered or its ring closed at rest.
        unsafe {
            system.submitter().register_buf_ring_with_flags(
                entries.as_ptr() as u64,
                size as u16,
                GROUP,
                0,
            )?;
        }
        this.registered = true;
        Ok(this)
    }

    /// How many buffers the kernel can pick from.
    pub(super) fn count(&self) -> usize {
        self.held.len() - self.free.len()
    }

    /// Fills up from the pool, as far as it has buffers of `capacity`.
    pub(super) fn refill(&mut self, buffers: &Buffers, capacity: usize) {
        if self.free.is_empty() {
            return;
        }
        while let Some(&number) = self.free.last() {
            let Ok(mut buffer) = buffers.acquire(capacity) else { break };
            self.free.pop();
            let (pointer, length) = buffer.spare_pointer();
            // SAFETY: the masked index is within the ring; of this entry the kernel reads nothing before the tail passes it. Its
            // last two bytes are left alone: in the first entry they are the tail.
            let entry = unsafe { &mut *self.entries.as_ptr().add((self.tail & self.mask) as usize) };
            entry.set_addr(pointer as u64);
            entry.set_len(length as u32);
            entry.set_bid(number);
            self.held[number as usize] = Some(buffer.into_raw());
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail lies in the first entry, two-byte aligned; the kernel only reads it, and this side writes it only here.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        // Release: the entries come before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes back the buffer that the kernel says it has used.
    pub(super) fn take(&mut self, number: u16) -> Option<Buffer> {
        let raw = self.held.get_mut(number as usize)?.take()?;
        self.free.push(number);
        // SAFETY: put there by `refill`, taken out once; a buffer that a completion names is the kernel's no more.
        Some(unsafe { Buffer::from_raw(raw) })
    }

    /// Takes the ring from the kernel. Only when no receive is in flight.
    pub(super) fn unregister(&mut self, system: &System) {
        if self.registered {
            let _ = system.submitter().unregister_buf_ring(GROUP);
            self.registered = false;
        }
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        for number in 0..self.held.len() {
            drop(self.take(number as u16));
        }
        let size = usize::from(self.mask) + 1;
        // SAFETY: allocated in `new` with this layout; the ring was unregistered, or closed with nothing in flight.
        unsafe { std::alloc::dealloc(self.entries.as_ptr().cast(), layout(size)) };
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size * size_of::<BufRingEntry>(), PAGE_BYTES)
        .expect("at most 32,768 entries of 16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::io_uring::system::REAP, buffer::BufferClass};
    use ::io_uring::{cqueue, opcode, types::Fd};
    use std::{
        io::Write,
        mem::MaybeUninit,
        os::{fd::AsRawFd, unix::net::UnixStream},
        time::Duration,
    };

    /// None where io_uring is forbidden.
    fn ring(count: usize) -> Option<(System, Provided, Buffers)> {
        let system = System::new(1).ok()?;
        let provided = Provided::new(&system, count).unwrap();
        let buffers = Buffers::new(&[BufferClass { capacity: 64, count }], 0).unwrap();
        Some((system, provided, buffers))
    }

    #[test]
    fn a_buffer_is_taken_back_once_and_only_by_its_number() {
        let Some((system, mut provided, buffers)) = ring(3) else { return };
        provided.refill(&buffers, 64);
        assert_eq!((provided.count(), buffers.in_use()), (3, 3));
        let taken = provided.take(1).expect("the kernel has it");
        assert!(
            provided.take(1).is_none() && provided.take(3).is_none() && provided.take(u16::MAX).is_none()
        );
        assert_eq!((provided.count(), buffers.in_use()), (2, 3));
        drop(taken);
        provided.refill(&buffers, 64);
        assert_eq!(provided.count(), 3);
        provided.unregister(&system);
        drop(provided);
        assert_eq!(buffers.in_use(), 0);
    }

    #[test]
    fn what_was_unregistered_leaves_its_place_to_another() {
        let Some((system, mut provided, _)) = ring(4) else { return };
        assert!(Provided::new(&system, 4).is_err(), "the group is taken");
        provided.unregister(&system);
        drop(provided);
        Provided::new(&system, 4).expect("the group is free").unregister(&system);
    }

    /// The tail has 16 bits, and lies in an entry of the ring.
    #[test]
    fn each_message_comes_in_the_buffer_that_was_told_beyond_the_end_of_the_tail() {
        let Some((mut system, mut provided, buffers)) = ring(4) else { return };
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let mut receives = false;
        for message in 0..70_000_u32 {
            provided.refill(&buffers, 64);
            if !std::mem::replace(&mut receives, true) {
                let receive = opcode::RecvMulti::new(Fd(receiver.as_raw_fd()), GROUP).build();
                // SAFETY: the kernel writes into the provided buffers only, and is done with them before they are dropped below.
                unsafe { system.push(receive) };
            }
            sender.write_all(&message.to_ne_bytes()).unwrap();
            let mut entries = [const { MaybeUninit::uninit() }; REAP];
            let [entry] = (loop {
                system.enter(Some(Duration::from_secs(20))).unwrap();
                let batch = system.reap(&mut entries);
                if !batch.is_empty() {
                    break batch;
                }
            }) else {
                panic!("one message is one completion")
            };
            assert_eq!(entry.result(), 4, "of message {message}");
            receives = cqueue::more(entry.flags());
            let number = cqueue::buffer_select(entry.flags()).expect("it is in a provided buffer");
            let mut buffer = provided.take(number).expect("which the kernel had");
            buffer.advance(4);
            assert_eq!(buffer[..], message.to_ne_bytes());
        }
        drop(sender);
        while receives {
            system.enter(Some(Duration::from_secs(20))).unwrap();
            let mut entries = [const { MaybeUninit::uninit() }; REAP];
            receives = system.reap(&mut entries).iter().all(|entry| cqueue::more(entry.flags()));
        }
        provided.unregister(&system);
    }
}
