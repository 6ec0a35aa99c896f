//! What other threads see of a queue: its inbox, and how to wake its worker.

use crate::{
    buffer::Wake,
    closes::Closes,
    completion::Packet,
    error::ErrorKind,
    identity::Handle,
    pool::{Finished, Reply},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence},
        lock,
    },
};
use std::{collections::VecDeque, sync::Arc};

/// The shared half of a queue. The worker's half is its backend's driver.
pub(crate) struct Queue {
    /// Behind a lock that is held for one packet or one batch: a batch costs the worker and those who post less than a lock-free
    /// queue does, whose every packet is a hand-over of its own between two processors' caches.
    packets: Mutex<Packets>,
    /// How many `packets` may hold; their places were allocated at start.
    posts: usize,
    /// How many `packets` holds, for who does not lock it.
    waiting: AtomicUsize,
    finished: Mutex<Vec<Finished>>,
    closes: Mutex<Closes>,
    /// Something is in `finished` or `closes`: spares the worker two locks at each wait.
    mail: AtomicBool,
    /// Set while the worker sleeps, or is about to: only then does a wake cost a system call.
    sleeping: AtomicBool,
    /// Of the worker that serves the queue now, or did last.
    waker: Mutex<Option<Arc<dyn Wake>>>,
    /// Workers that the queue has had.
    lives: AtomicU32,
    /// Operations in flight, as the driver reports them for shutdown.
    in_flight: AtomicUsize,
}

struct Packets {
    waiting: VecDeque<Packet>,
    /// No more are taken in.
    ended: bool,
}

impl Queue {
    pub(crate) fn new(posts: usize) -> Self {
        let posts = posts.max(1);
        Self {
            packets: Mutex::new(Packets { waiting: VecDeque::with_capacity(posts), ended: false }),
            posts,
            waiting: AtomicUsize::new(0),
            finished: Mutex::new(Vec::new()),
            closes: Mutex::new(Closes::default()),
            mail: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            waker: Mutex::new(None),
            lives: AtomicU32::new(0),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Sets how the queue's worker is woken, in place of the one before: a queue can have a new worker after its last one left.
    pub(crate) fn set_waker(&self, waker: Arc<dyn Wake>) {
        *lock(&self.waker) = Some(waker);
    }

    /// Counts one more worker that has the queue to itself; returns how many came before.
    #[cfg_attr(windows, allow(dead_code, reason = "workers of IOCP share their queue"))]
    pub(crate) fn count_life(&self) -> u32 {
        self.lives.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn post(&self, packet: Packet) -> Result<(), (ErrorKind, Packet)> {
        let mut packets = self.lock_packets();
        if packets.ended {
            return Err((ErrorKind::ShuttingDown, packet));
        }
        if packets.waiting.len() == self.posts {
            return Err((ErrorKind::QueueFull, packet));
        }
        packets.waiting.push_back(packet);
        self.announce(packets);
        Ok(())
    }

    /// Takes in as many as there is room for, from the front.
    pub(crate) fn post_many(&self, posted: &mut Vec<Packet>) -> Result<(), ErrorKind> {
        let mut packets = self.lock_packets();
        if packets.ended {
            return Err(ErrorKind::ShuttingDown);
        }
        let count = posted.len().min(self.posts - packets.waiting.len());
        if count > 0 {
            packets.waiting.extend(posted.drain(..count));
            self.announce(packets);
        }
        if posted.is_empty() { Ok(()) } else { Err(ErrorKind::QueueFull) }
    }

    /// Takes in no more packets, unless one is there already: whoever posts either comes before, and its packet is found here, or
    /// hears that it is too late. True if it is so.
    pub(crate) fn end_posts(&self) -> bool {
        let mut packets = self.lock_packets();
        packets.ended |= packets.waiting.is_empty();
        packets.waiting.is_empty()
    }

    /// Packets were put in: wakes the worker if it sleeps.
    fn announce(&self, packets: MutexGuard<'_, Packets>) {
        self.waiting.store(packets.waiting.len(), Ordering::Relaxed);
        // With the lock held, which spares the fence of `wake`: `prepare_to_sleep` locks too, and either comes later, and sees the
        // packets, or came before, and is seen here.
        let asleep = self.sleeping.load(Ordering::Relaxed);
        drop(packets);
        if asleep {
            self.wake_sleeper();
        }
    }

    fn lock_packets(&self) -> MutexGuard<'_, Packets> {
        lock(&self.packets)
    }

    /// Has the worker close a handle. What is not open is ignored.
    pub(crate) fn close(&self, handle: Handle) {
        if self.closes().want(handle) {
            self.mail.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// The worker says that it opened a handle, or begins to close it: see [`Closes`]. Never contended but by [`Queue::close`].
    pub(crate) fn opened(&self, handle: Handle) {
        self.closes().opened(handle);
    }

    /// As [`Queue::opened`].
    pub(crate) fn closing(&self, handle: Handle) {
        self.closes().closing(handle);
    }

    fn closes(&self) -> MutexGuard<'_, Closes> {
        lock(&self.closes)
    }

    /// Wakes the worker if it sleeps. Every change to the inbox comes before this call.
    pub(crate) fn wake(&self) {
        // Pairs with `prepare_to_sleep`: either the worker's second look sees the change, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.wake_sleeper();
        }
    }

    /// Wakes the worker unless another has seen to that.
    fn wake_sleeper(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.wake_always();
        }
    }

    /// Wakes the worker by its waker, asleep or not. For backends whose kernel counts the wakes.
    pub(crate) fn wake_always(&self) {
        // Contended at most by wakes of one sleeper; where the worker is awake, nobody comes here.
        if let Some(waker) = &*lock(&self.waker)
            && !waker.wake()
        {
            // Nothing is on its way: whoever comes next has to try again.
            self.sleeping.store(true, Ordering::SeqCst);
        }
    }

    /// Says that the worker is about to sleep; true if the inbox is empty, so that it may. Call [`Queue::awake`] after.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.lock_packets().waiting.is_empty() && self.is_idle()
    }

    #[cfg_attr(
        windows,
        expect(dead_code, reason = "with several workers, the flag means that no wake is queued")
    )]
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Nothing is in the inbox.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 && !self.mail.load(Ordering::Acquire)
    }

    /// Moves up to `limit` packets out of the inbox, in the order in which they were posted.
    pub(crate) fn take_packets(&self, limit: usize, into: &mut Vec<Packet>) {
        if limit == 0 || self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let packets = &mut self.lock_packets().waiting;
        let count = packets.len().min(limit);
        into.extend(packets.drain(..count));
        self.waiting.store(packets.len(), Ordering::Relaxed);
    }

    /// Moves the finished tasks of the pool, and the handles that other threads want closed, out of the inbox.
    pub(crate) fn take_mail(&self, finished: &mut Vec<Finished>, closes: &mut Vec<Handle>) {
        if self.mail.load(Ordering::Relaxed) && self.mail.swap(false, Ordering::Acquire) {
            finished.append(&mut lock(&self.finished));
            self.closes().take(closes);
        }
    }

    pub(crate) fn set_in_flight(&self, operations: usize) {
        self.in_flight.store(operations, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Reply for Queue {
    fn finish(&self, finished: Finished) {
        lock(&self.finished).push(finished);
        self.mail.store(true, Ordering::Release);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Fails as often as it says.
    struct Weak(AtomicUsize, AtomicUsize);

    impl Wake for Weak {
        fn wake(&self) -> bool {
            let fails =
                self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            self.1.fetch_add(usize::from(!fails), Ordering::SeqCst);
            !fails
        }
    }

    #[test]
    fn a_wake_that_fails_is_tried_again_with_the_next_packet() {
        let queue = Queue::new(8);
        let waker = Arc::new(Weak(AtomicUsize::new(1), AtomicUsize::new(0)));
        queue.set_waker(Arc::clone(&waker) as Arc<dyn Wake>);
        assert!(queue.prepare_to_sleep());
        for woken in [0, 1, 1] {
            queue.post(Packet::default()).unwrap();
            assert_eq!(waker.1.load(Ordering::SeqCst), woken);
        }
    }
}
