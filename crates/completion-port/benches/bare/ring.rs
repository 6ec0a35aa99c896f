//! A bare io_uring loop, with what was measured to be best: single issuer, deferred task work, no submission array, the ring's own
//! descriptor and all connections registered, one multishot receive for each connection into provided buffers, and sends that
//! complete only when they fail.

use super::RECEIVE_BYTES;
use crate::Failure;
use io_uring::{
    CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue,
    types::{BufRingEntry, Fd, Fixed},
};
use std::{
    alloc::Layout,
    net::TcpListener,
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicU16, Ordering},
};

/// Provided buffers: two for each of many connections that speak at once. A power of two.
const BUFFERS: u16 = 1024;
const GROUP: u16 = 0;
const CONNECTIONS: u32 = 16_384;
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 4096;

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const CLOSE: u64 = 4 << 32;

/// A ring with its registered connections, named by index, and its provided buffers. Made once in a process, or a few times, and
/// never freed: the kernel may touch its memory as long as the process lives.
pub(super) struct Ring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    /// `BUFFERS` pieces of `RECEIVE_BYTES`. Only the kernel looks into them.
    memory: *mut u8,
    entries: *mut BufRingEntry,
    tail: u16,
}

/// What the kernel tells.
pub(super) enum Event {
    /// A connection was accepted, or that failed.
    Accepted(Result<u32, i32>),
    /// Bytes came for a connection, into a buffer.
    Received { connection: u32, bytes: u32, buffer: u16, more: bool },
    /// A receive ended without bytes: at the end of the connection, broken, or for want of buffers.
    ReceiveEnded { connection: u32, result: i32 },
    /// A send failed.
    SendFailed,
    /// Nothing that matters.
    Other,
}

impl Ring {
    /// With the given connections, or with room for those to be accepted.
    pub(super) fn new(connections: Option<&[RawFd]>) -> Result<Self, Failure> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all().setup_no_sqarray();
        let ring = Box::leak(Box::new(builder.setup_cqsize(COMPLETIONS).build(SUBMISSIONS)?));
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_ring_fd()?;
        match connections {
            Some(connections) => submitter.register_files(connections)?,
            None => submitter.register_files_sparse(CONNECTIONS)?,
        }
        let memory = vec![0; usize::from(BUFFERS) * RECEIVE_BYTES].leak().as_mut_ptr();
        let layout = Layout::array::<BufRingEntry>(usize::from(BUFFERS))?.align_to(4096)?;
        // SAFETY: the layout has more than no bytes.
        let entries: *mut BufRingEntry = unsafe { std::alloc::alloc_zeroed(layout) }.cast();
        if entries.is_null() {
            return Err("no memory for the list of buffers".into());
        }
        // SAFETY: page-aligned memory of as many entries, which is never freed.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)? };
        let mut this = Self { submitter, submissions, completions, memory, entries, tail: 0 };
        (0..BUFFERS).for_each(|buffer| this.provide(buffer));
        Ok(this)
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < BUFFERS);
        // SAFETY: within the memory, as was just asserted.
        unsafe { self.memory.add(usize::from(buffer) * RECEIVE_BYTES) }
    }

    /// Gives the kernel a buffer to receive into.
    pub(super) fn provide(&mut self, buffer: u16) {
        let address = self.address(buffer);
        // SAFETY: the masked index is within the list, and the kernel does not look at the entry before the tail passes it.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(address as u64);
        entry.set_len(RECEIVE_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies within the first entry, aligned; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), Failure> {
        loop {
            // SAFETY: every entry made here names memory that is never freed, and that only the kernel looks into.
            if unsafe { self.submissions.push(entry) }.is_ok() {
                return Ok(());
            }
            self.submissions.sync();
            self.submitter.submit()?;
            self.submissions.sync();
        }
    }

    /// Takes connections until the ring ends.
    pub(super) fn accept(&mut self, listener: RawFd) -> Result<(), Failure> {
        let accept = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(true);
        self.push(&accept.build().user_data(ACCEPT))
    }

    /// Receives from a connection until it ends.
    pub(super) fn receive(&mut self, connection: u32) -> Result<(), Failure> {
        let receive = opcode::RecvMulti::new(Fixed(connection), GROUP).build();
        self.push(&receive.user_data(RECEIVE | u64::from(connection)))
    }

    fn push_send(&mut self, connection: u32, from: *const u8, bytes: u32) -> Result<(), Failure> {
        let send = opcode::Send::new(Fixed(connection), from, bytes);
        let send = send.flags(libc_flags::NO_SIGNAL | libc_flags::WAIT_ALL).build();
        let send = send.flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&send.user_data(SEND | u64::from(connection)))
    }

    /// Sends what a buffer holds.
    pub(super) fn send(&mut self, connection: u32, buffer: u16, bytes: u32) -> Result<(), Failure> {
        let from = self.address(buffer);
        self.push_send(connection, from, bytes)
    }

    /// Sends bytes that are there for ever.
    pub(super) fn send_static(&mut self, connection: u32, bytes: &'static [u8]) -> Result<(), Failure> {
        self.push_send(connection, bytes.as_ptr(), bytes.len() as u32)
    }

    /// Lets a connection go.
    pub(super) fn close(&mut self, connection: u32) -> Result<(), Failure> {
        let close = opcode::Close::new(Fixed(connection)).build();
        self.push(&close.user_data(CLOSE))
    }

    /// Hands over what was asked for, and sleeps until something has completed.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        self.submissions.sync();
        self.completions.sync();
        match self.submitter.submit_and_wait(1) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        self.submissions.sync();
        self.completions.sync();
        Ok(())
    }

    /// What has completed, one by one.
    pub(super) fn event(&mut self) -> Option<Event> {
        let entry = self.completions.next()?;
        let (data, result) = (entry.user_data(), entry.result());
        let connection = data as u32;
        Some(match data & !0xffff_ffff {
            RECEIVE => match cqueue::buffer_select(entry.flags()) {
                Some(buffer) if result > 0 => {
                    let more = cqueue::more(entry.flags());
                    Event::Received { connection, bytes: result as u32, buffer, more }
                }
                _ => Event::ReceiveEnded { connection, result },
            },
            SEND => Event::SendFailed,
            ACCEPT => Event::Accepted(u32::try_from(result).map_err(|_| -result)),
            _ => Event::Other,
        })
    }
}

/// Flags of send(2), of which this crate has no other use for libc.
mod libc_flags {
    pub(super) const NO_SIGNAL: i32 = rustix::net::SendFlags::NOSIGNAL.bits() as i32;
    /// MSG_WAITALL: the kernel finishes a short send.
    pub(super) const WAIT_ALL: i32 = 0x100;
}

/// Serves for ever.
pub(super) fn serve(listener: &TcpListener) -> Result<(), Failure> {
    let mut ring = Ring::new(None)?;
    ring.accept(listener.as_raw_fd())?;
    // The buffer that was sent last to each connection. When the next message comes, the peer has it.
    let mut sent: Vec<Option<u16>> = vec![None; CONNECTIONS as usize];
    loop {
        ring.wait()?;
        while let Some(event) = ring.event() {
            match event {
                Event::Received { connection, bytes, buffer, more } => {
                    if let Some(before) = sent[connection as usize].replace(buffer) {
                        ring.provide(before);
                    }
                    ring.send(connection, buffer, bytes)?;
                    if !more {
                        ring.receive(connection)?;
                    }
                }
                Event::Accepted(Ok(connection)) => ring.receive(connection)?,
                Event::Accepted(Err(code)) => return Err(std::io::Error::from_raw_os_error(code).into()),
                Event::ReceiveEnded { connection, .. } => {
                    if let Some(before) = sent[connection as usize].take() {
                        ring.provide(before);
                    }
                    ring.close(connection)?;
                }
                // Its receive ends too.
                Event::SendFailed | Event::Other => {}
            }
        }
    }
}
