//! How other threads wake a worker that sleeps in its ring: a counter that the ring polls.

use crate::{buffer::Wake, counters::SystemCall, tally};
use rustix::event::{EventfdFlags, eventfd};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

/// An eventfd(2). The ring's multishot poll completes at each write. Nobody reads it: 2^64 wakes do not come.
pub(super) struct Waker {
    descriptor: OwnedFd,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { descriptor: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Wake for Waker {
    fn wake(&self) -> bool {
        // Fails only when the counter is full, and then a wake is on its way.
        tally::call(SystemCall::Wake);
        let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
        true
    }
}
