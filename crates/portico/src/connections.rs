//! The connections of a queue, shared by the workers that serve it.

use crate::{
    connection::{Audience, Connection, Fate},
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

/// Connections by key. Each stands behind a lock of its own that is never waited for in the course of things: the port's gate
/// hands the completions of one connection to one worker at a time.
pub(crate) struct Connections {
    places: Box<[Mutex<Option<Box<Connection>>>]>,
    free: Mutex<Vec<u32>>,
    count: AtomicUsize,
    /// Accepted when there was no place left: they are served when a connection ends.
    waiting: Mutex<VecDeque<(Handle, Audience)>>,
    listening: Mutex<Vec<Listening>>,
    /// The listener whose connections are shown the counters.
    admin: OnceLock<Handle>,
    /// On some listener no accept stream is under way.
    paused: AtomicBool,
    counters: Arc<Registry>,
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
            places: (0..limit).map(|_| Mutex::new(None)).collect(),
            free: Mutex::new((0..limit as u32).rev().collect()),
            count: AtomicUsize::new(0),
            waiting: Mutex::new(VecDeque::new()),
            listening: Mutex::new(Vec::new()),
            admin: OnceLock::new(),
            paused: AtomicBool::new(true),
            counters,
        }
    }

    /// A key for a new connection; none at the limit.
    pub(crate) fn reserve(&self) -> Option<u64> {
        let place = self.lock(&self.free).pop()?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(u64::from(place) + 1)
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
        self.count.load(Ordering::Relaxed) == self.places.len()
            && self.lock(&self.waiting).len() >= ENOUGH_WAITING
    }

    /// Enters a connection under its key and lets it act.
    pub(crate) fn enter(&self, key: u64, connection: Connection, act: impl FnOnce(&mut Connection)) {
        let mut place = self.lock_place(key);
        act(place.insert(Box::new(connection)));
    }

    /// Lets the connection of `key` act; forgets it when it is gone.
    pub(crate) fn with(&self, key: u64, act: impl FnOnce(&mut Connection) -> Fate) {
        let mut place = self.lock_place(key);
        let Some(connection) = place.as_deref_mut() else { return };
        if act(connection) == Fate::Gone {
            *place = None;
            drop(place);
            self.lock(&self.free).push((key - 1) as u32);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Lets every connection act.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&mut Connection)) {
        for place in &self.places {
            if let Some(connection) = self.lock(place).as_deref_mut() {
                act(connection);
            }
        }
    }

    fn lock_place(&self, key: u64) -> MutexGuard<'_, Option<Box<Connection>>> {
        self.lock(&self.places[(key - 1) as usize])
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
