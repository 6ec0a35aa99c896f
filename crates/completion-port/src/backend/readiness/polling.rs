//! What the `polling` crate finds on other systems than Linux: kqueue, event ports, poll.

use super::Readiness;
use crate::{buffer::Wake, counters::SystemCall, tally};
use polling::{Event, Events, PollMode};
use std::{
    io,
    num::NonZero,
    os::fd::{AsRawFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

const EVENTS: NonZero<usize> = NonZero::new(256).expect("it is not zero");

pub(super) struct Poller {
    bell: Arc<Bell>,
    edges: bool,
    list: Events,
}

struct Bell(polling::Poller);

impl Wake for Bell {
    fn wake(&self) -> bool {
        tally::call(SystemCall::Wake);
        self.0.notify().is_ok()
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let poller = polling::Poller::new()?;
        let edges = poller.supports_edge();
        Ok(Self { bell: Arc::new(Bell(poller)), edges, list: Events::with_capacity(EVENTS) })
    }

    pub(super) fn describe(&self) -> String {
        let system = if cfg!(target_os = "linux") {
            "epoll by polling"
        } else if cfg!(any(target_os = "solaris", target_os = "illumos")) {
            "event ports"
        } else if self.edges {
            "kqueue"
        } else {
            "poll"
        };
        let mode = if self.edges { "edge-triggered" } else { "re-armed at each wait" };
        format!("{system}, {mode}; files on the pool")
    }

    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        Arc::<Bell>::clone(&self.bell)
    }

    pub(super) fn events_at_once(&self) -> usize {
        EVENTS.get()
    }

    pub(super) fn has_edges(&self) -> bool {
        self.edges
    }

    /// Whether an event tells of an end that comes behind bytes. What `polling` passes on does not.
    #[allow(clippy::unused_self, reason = "the other poller differs")]
    pub(super) fn tells_end(&self) -> bool {
        false
    }

    /// The promise to `polling` is to delete.
    #[allow(clippy::unused_self, reason = "the other poller differs")]
    pub(super) fn forgets_closed(&self) -> bool {
        false
    }

    fn mode(&self) -> PollMode {
        if self.edges { PollMode::Edge } else { PollMode::Oneshot }
    }

    pub(super) fn add(&self, descriptor: BorrowedFd<'_>, key: u32) -> io::Result<()> {
        let interest = Event::new(key as usize, self.edges, self.edges);
        tally::call(SystemCall::Register);
        // SAFETY: the descriptor has to stay open until it is deleted from the poller. The core owns it, and calls
        // `Engine::release`, which deletes it, before it closes it.
        unsafe { self.bell.0.add_with_mode(descriptor.as_raw_fd(), interest, self.mode()) }
    }

    pub(super) fn arm(
        &self,
        descriptor: BorrowedFd<'_>,
        key: u32,
        readable: bool,
        writable: bool,
    ) -> io::Result<()> {
        tally::call(SystemCall::Register);
        self.bell.0.modify_with_mode(descriptor, Event::new(key as usize, readable, writable), self.mode())
    }

    pub(super) fn delete(&self, descriptor: BorrowedFd<'_>) {
        tally::call(SystemCall::Register);
        // Fails only for what was never added.
        let _ = self.bell.0.delete(descriptor);
    }

    /// Sleeps up to `timeout`, and appends what is new to `events`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Readiness>) -> io::Result<()> {
        self.list.clear();
        tally::call(SystemCall::Poll);
        match self.bell.0.wait(&mut self.list, timeout) {
            Ok(_) => {}
            // On poll(2): several threads woke this one at once, and the byte that it was woken by has been read already. What else is
            // ready is told by the next call.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        for event in self.list.iter() {
            events.push(Readiness {
                key: event.key as u32,
                readable: event.readable,
                writable: event.writable,
                ended: false,
            });
        }
        Ok(())
    }
}
