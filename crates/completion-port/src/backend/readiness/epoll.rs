//! epoll(7), edge-triggered.
//!
//! The `polling` crate has epoll too, but adds four system calls to each wait (it re-arms a timer and its notifier) and cannot
//! ask for EPOLLRDHUP, without which every receive needs a second one.

use super::Readiness;
use crate::{buffer::Wake, counters::SystemCall, tally};
use rustix::event::{
    EventfdFlags, Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
    eventfd,
};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

const EVENTS: usize = 256;
/// The key of the descriptor that wakes; those of sockets are below 2^32.
const WAKE: u64 = u64::MAX;
/// A longer sleep is cut to this: the caller sleeps on.
const LONGEST_SLEEP_MS: u128 = 3_600_000;

pub(super) struct Poller {
    epoll: OwnedFd,
    bell: Arc<Bell>,
    list: Vec<Event>,
}

/// Wakes a wait, from any thread.
struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(&self) -> bool {
        tally::call(SystemCall::Wake);
        // It could fail only after 2^64 wakes.
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).is_ok()
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: every write is news, so that it need never be read.
        epoll::add(&epoll, &bell, EventData::new_u64(WAKE), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, bell: Arc::new(Bell(bell)), list: Vec::with_capacity(EVENTS) })
    }

    pub(super) fn describe(&self) -> String {
        "epoll, edge-triggered; files from the page cache on the spot, others on the pool".into()
    }

    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        Arc::<Bell>::clone(&self.bell)
    }

    pub(super) fn events_at_once(&self) -> usize {
        EVENTS
    }

    #[allow(clippy::unused_self, reason = "the other poller has to look")]
    pub(super) fn has_edges(&self) -> bool {
        true
    }

    /// Whether an event tells of an end that comes behind bytes.
    #[allow(clippy::unused_self, reason = "the other poller differs")]
    pub(super) fn tells_end(&self) -> bool {
        true
    }

    /// Whether closing the last descriptor of a socket deletes it here (epoll(7), "Questions and answers", 6).
    #[allow(clippy::unused_self, reason = "the other poller differs")]
    pub(super) fn forgets_closed(&self) -> bool {
        true
    }

    pub(super) fn add(&self, descriptor: BorrowedFd<'_>, key: u32) -> io::Result<()> {
        let interest =
            EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET;
        tally::call(SystemCall::Register);
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(u64::from(key)), interest)?)
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the other poller has to ask")]
    pub(super) fn arm(&self, _: BorrowedFd<'_>, _: u32, _readable: bool, _writable: bool) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn delete(&self, descriptor: BorrowedFd<'_>) {
        tally::call(SystemCall::Register);
        // Fails only for what was never added.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Sleeps up to `timeout`, in whole milliseconds rounded up, and appends what is new to `events`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Readiness>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| {
            let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(LONGEST_SLEEP_MS) as i64;
            Timespec { tv_sec: milliseconds / 1_000, tv_nsec: (milliseconds % 1_000 * 1_000_000) as _ }
        });
        self.list.clear();
        tally::call(SystemCall::EpollWait);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.list), timeout.as_ref()) {
            // A signal ends the sleep early, which a caller must expect.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let beyond = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR | EventFlags::PRI;
        for event in &self.list {
            let (flags, data) = (event.flags, event.data);
            if data.u64() == WAKE {
                continue;
            }
            let ended = flags.intersects(beyond);
            let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            events.push(Readiness {
                key: data.u64() as u32,
                readable: ended || flags.contains(EventFlags::IN),
                writable: broken || flags.contains(EventFlags::OUT),
                ended,
            });
        }
        Ok(())
    }
}
