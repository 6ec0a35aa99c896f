//! What a world knows: its time, what is to happen when, and the tables of everything in it.

use super::{
    Faults, Random,
    kernel::Kernel,
    network::{End, Listening},
};
use crate::{identity::Token, slab::Slab};
use std::{
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Name of an entry: index and generation.
pub(crate) type Name = (u32, u32);

/// What each table of a world holds at most.
const LIMIT: usize = 1 << 20;

/// How long news takes at least: so that two that answer each other do not stop the time.
const LEAST_DELAY: Duration = Duration::from_micros(1);

/// What lies behind it, in 584 years, never happens.
const HORIZON: Duration = Duration::from_nanos(u64::MAX);

/// Something that happens at its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// An operation of a queue is tried.
    Turn(Name, Token),
    /// A task of a queue, which its engine runs, is due.
    Task(Name, Token),
    /// A client that asked for it has its turn.
    Client(u64),
}

struct Event {
    at: Duration,
    /// Among those of one time, the seed chooses.
    tie: u64,
    what: What,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap has the greatest first.
        (other.at, other.tie).cmp(&(self.at, self.tie))
    }
}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Event {}

/// Everything in a world. It owns no [`Stream`](super::Stream) and no code of the program, whose drop would need the lock again.
pub(crate) struct State {
    now: Duration,
    /// For those who ask for the time without the lock, in nanoseconds.
    clock: Arc<AtomicU64>,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    events: BinaryHeap<Event>,
    pub(super) ends: Slab<End>,
    pub(super) listeners: Slab<Listening>,
    /// Several listeners may share an address.
    pub(super) addresses: HashMap<SocketAddr, Vec<Name>>,
    pub(super) kernels: Slab<Kernel>,
    /// Clients whose turn has come.
    pub(super) clients: Vec<u64>,
    pub(super) next_port: u16,
    pub(super) connections: u64,
}

impl State {
    pub(super) fn new(seed: u64, faults: Faults, clock: Arc<AtomicU64>) -> Self {
        Self {
            now: Duration::ZERO,
            clock,
            random: Random::new(seed),
            faults,
            events: BinaryHeap::new(),
            ends: Slab::new(LIMIT),
            listeners: Slab::new(LIMIT),
            addresses: HashMap::new(),
            kernels: Slab::new(LIMIT),
            clients: Vec::new(),
            next_port: 0,
            connections: 0,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    fn set_now(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.clock.store(u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub(crate) fn schedule(&mut self, after: Duration, what: What) {
        let tie = self.random.number();
        self.events.push(Event { at: self.now.saturating_add(after), tie, what });
    }

    /// How late something is because of the faults of the network.
    pub(super) fn lateness(&mut self) -> Duration {
        match self.random.chance(self.faults.delays) {
            true => self.random.time(self.faults.longest_delay),
            false => Duration::ZERO,
        }
    }

    /// How long news of what happened on the network takes.
    pub(super) fn delay(&mut self) -> Duration {
        LEAST_DELAY + self.lateness()
    }

    /// How long a file operation takes.
    pub(crate) fn disk_delay(&mut self) -> Duration {
        match self.random.chance(self.faults.slow_disk) {
            true => LEAST_DELAY + self.random.time(self.faults.longest_disk_delay),
            false => LEAST_DELAY,
        }
    }

    /// Whether a cancel comes too late.
    pub(crate) fn loses_race(&mut self) -> bool {
        self.random.chance(self.faults.cancel_races)
    }

    /// Whether a wait for the kernel brings nothing, though it may have something.
    pub(crate) fn early_return(&mut self) -> bool {
        self.random.chance(self.faults.early_returns)
    }

    /// Whether a submit finds no room.
    pub(crate) fn refuses_submit(&mut self) -> bool {
        self.random.chance(self.faults.refused_submits)
    }

    /// Whether a post finds no room.
    pub(crate) fn refuses_post(&mut self) -> bool {
        self.random.chance(self.faults.refused_posts)
    }

    /// How much of a transfer of `bytes` comes about; at least one byte of those that there are.
    pub(crate) fn shorten(&mut self, bytes: usize) -> usize {
        match bytes > 1 && self.random.chance(self.faults.short_transfers) {
            true => 1 + self.random.below(bytes),
            false => bytes,
        }
    }

    /// When the next event is.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.events.peek().map(|event| event.at)
    }

    /// Does all that is due now.
    pub(crate) fn run_due(&mut self) {
        while self.events.peek().is_some_and(|event| event.at <= self.now) {
            let Some(event) = self.events.pop() else { return };
            match event.what {
                What::Turn(kernel, token) => self.turn(kernel, token),
                What::Task(kernel, token) => self.task_due(kernel, token),
                What::Client(client) => self.clients.push(client),
            }
        }
    }

    /// Lets time pass to the next event, or to `limit` if that is sooner, and does what is due then. False if neither is there.
    pub(crate) fn pass_time(&mut self, limit: Option<Duration>) -> bool {
        let within = |time: &Duration| *time <= HORIZON;
        let next = match (self.next_event().filter(within), limit.filter(within)) {
            (Some(event), Some(limit)) => event.min(limit),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return false,
        };
        self.set_now(next);
        self.run_due();
        true
    }
}
