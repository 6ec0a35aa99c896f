//! The connections of a queue, shared by the workers that serve it.

use crate::{
    alarms::Alarms,
    connection::{Audience, Connection, Fate, Idle, Spares},
    counters::Registry,
};
use completion_port::{Handle, Token};
use std::collections::VecDeque;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Accepting ends when the last place is taken and so many clients wait for one: at the limit one that leaves makes room for one that
/// waits, and accepting need not end and begin for each.
const ENOUGH_WAITING: usize = 64;
/// The system may have accepted more until accepting has ended: as many as its backlog held. Each takes a handle of the port, which has
/// [`SPARE_HANDLES`] more than connections.
const MOST_WAITING: usize = SPARE_HANDLES / 2;
/// Handles of a queue beside those of connections and cached files: for listening, for uploads, and for clients that wait.
pub(crate) const SPARE_HANDLES: usize = 2_048;

/// Places are allocated so many at a time: the table grows with use.
const CHUNK: usize = 256;

/// Connections by key. Each stands behind a lock of its own that is never waited for in the course of things: the port's gate
/// hands the completions of one connection to one worker at a time.
pub(crate) struct Connections {
    places: Box<[OnceLock<Chunk>]>,
    limit: usize,
    free: Mutex<Vec<u32>>,
    count: AtomicUsize,
    /// Accepted when there was no place left: they are served when a connection ends.
    waiting: Mutex<VecDeque<(Handle, Audience)>>,
    listening: Mutex<Vec<Listening>>,
    /// The listener whose connections are shown the counters.
    admin: OnceLock<Handle>,
    /// On some listener no accept stream is under way.
    paused: AtomicBool,
    alarms: Arc<Alarms>,
    counters: Arc<Registry>,
}

type Chunk = Box<[Mutex<Place>]>;

enum Place {
    Free,
    /// Between two requests.
    Idle(Idle),
    Active(Box<Connection>),
}

impl Place {
    /// The state machine of its connection, if there is one.
    fn wake(&mut self, key: u64, spares: &mut Spares) -> Option<&mut Connection> {
        if let Self::Idle(_) = self
            && let Self::Idle(idle) = std::mem::replace(self, Self::Free)
        {
            *self = Self::Active(spares.wake(idle, number_of(key)));
        }
        match self {
            Self::Active(connection) => Some(connection),
            Self::Free | Self::Idle(_) => None,
        }
    }

    /// Keeps no more than is needed of a connection that waits for its next request.
    fn rest(&mut self, spares: &mut Spares) {
        if let Self::Active(connection) = self
            && let Some(idle) = connection.rest()
            && let Self::Active(connection) = std::mem::replace(self, Self::Idle(idle))
        {
            spares.take_back(connection);
        }
    }
}

fn number_of(key: u64) -> u32 {
    (key - 1) as u32
}

/// The key of a connection in a place.
pub(crate) fn key_of(place: u32) -> u64 {
    u64::from(place) + 1
}

/// A listening socket, and the accept stream on it.
#[derive(Clone, Copy)]
pub(crate) struct Listening {
    pub(crate) listener: Handle,
    pub(crate) accepting: Token,
}

impl Connections {
    pub(crate) fn new(limit: usize, counters: Arc<Registry>) -> Self {
        Self {
            places: (0..limit.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            limit,
            free: Mutex::new((0..limit as u32).rev().collect()),
            count: AtomicUsize::new(0),
            waiting: Mutex::new(VecDeque::new()),
            listening: Mutex::new(Vec::new()),
            admin: OnceLock::new(),
            paused: AtomicBool::new(true),
            alarms: Arc::new(Alarms::new(Arc::clone(&counters))),
            counters,
        }
    }

    /// A key for a new connection; none at the limit.
    pub(crate) fn reserve(&self) -> Option<u64> {
        let place = self.lock(&self.free).pop()?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(key_of(place))
    }

    /// Lets an accepted client wait for a place. False if too many wait already.
    pub(crate) fn wait_for_place(&self, handle: Handle, audience: Audience) -> bool {
        let mut waiting = self.lock(&self.waiting);
        let room = waiting.len() < MOST_WAITING;
        if room {
            waiting.push_back((handle, audience));
        }
        room
    }

    /// A client that waited, and a key for it, where there are both.
    pub(crate) fn next_waiting(&self) -> Option<(Handle, Audience, u64)> {
        let mut waiting = self.lock(&self.waiting);
        let (handle, audience) = *waiting.front()?;
        let key = self.reserve()?;
        waiting.pop_front();
        Some((handle, audience, key))
    }

    /// All clients that wait, who then do so no more.
    pub(crate) fn take_waiting(&self) -> VecDeque<(Handle, Audience)> {
        std::mem::take(&mut *self.lock(&self.waiting))
    }

    /// Whether the limit is reached, and enough clients wait.
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) == self.limit && self.lock(&self.waiting).len() >= ENOUGH_WAITING
    }

    /// Enters a connection under its key.
    pub(crate) fn enter(&self, key: u64, connection: Idle) {
        if let Some(mut place) = self.lock_place(key) {
            *place = Place::Idle(connection);
        }
    }

    /// Lets the connection of `key` act; forgets it when it is gone.
    pub(crate) fn with(&self, key: u64, spares: &mut Spares, act: impl FnOnce(&mut Connection) -> Fate) {
        let Some(mut place) = self.lock_place(key) else { return };
        let Some(connection) = place.wake(key, spares) else { return };
        if act(connection) == Fate::Gone {
            *place = Place::Free;
            drop(place);
            self.lock(&self.free).push(number_of(key));
            self.count.fetch_sub(1, Ordering::Relaxed);
        } else {
            place.rest(spares);
        }
    }

    /// The keys of all places that were ever taken.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        let chunks = self.places.iter().enumerate().filter(|(_, chunk)| chunk.get().is_some());
        chunks.flat_map(|(number, _)| number * CHUNK..(number + 1) * CHUNK).map(|place| key_of(place as u32))
    }

    fn lock_place(&self, key: u64) -> Option<MutexGuard<'_, Place>> {
        let place = number_of(key) as usize;
        let chunk = self.places.get(place / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Mutex::new(Place::Free)).collect());
        Some(self.lock(&chunk[place % CHUNK]))
    }

    /// When they look at their deadlines.
    pub(crate) fn alarms(&self) -> Arc<Alarms> {
        Arc::clone(&self.alarms)
    }

    pub(crate) fn lock_listening(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.lock(&self.listening)
    }

    /// Says which listener's connections are shown the counters.
    pub(crate) fn set_admin(&self, listener: Handle) {
        self.admin.set(listener).expect("there is one admin listener");
    }

    /// Whom the connections of a listener are for.
    pub(crate) fn audience_of(&self, listener: Handle) -> Audience {
        if self.admin.get() == Some(&listener) { Audience::Report } else { Audience::Site }
    }

    /// A panic in one connection must not end the others.
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        self.counters.lock(mutex)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }
}
