//! What a port counts, and where the counts lie.
//!
//! Each worker counts in a block of its own, which no other thread writes, and which shares no cache line with another: on the way of
//! an operation there is no lock and no contended memory for it. Whoever asks adds the blocks up.

use crate::{
    completion::Completion,
    operation::OperationKind,
    tally::{self, CONTENDED_LOCKS, COPIED_BYTES, PLACES},
};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! system_calls {
    ($($(#[$about:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// A system call that the port makes, or a family of them that do the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum SystemCall { $($(#[$about])* $name),+ }

        impl SystemCall {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name, as the system has it or nearly so.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

system_calls! {
    /// io_uring_enter(2): hands operations over, waits, or both.
    IoUringEnter = "io_uring_enter",
    /// epoll_wait(2).
    EpollWait = "epoll_wait",
    /// What the `polling` crate waits with: kevent(2), poll(2).
    Poll = "poll",
    /// GetQueuedCompletionStatusEx.
    GetQueuedCompletionStatus = "get_queued_completion_status",
    /// A socket is entered into a poller, or taken out: epoll_ctl(2), kevent(2), CreateIoCompletionPort.
    Register = "register",
    /// A socket is made for AcceptEx: WSASocketW.
    Socket = "socket",
    /// accept4(2), AcceptEx.
    Accept = "accept",
    /// connect(2), ConnectEx.
    Connect = "connect",
    /// recv(2) and its kin, WSARecv.
    Receive = "recv",
    /// send(2) and its kin, WSASend.
    Send = "send",
    /// sendfile(2), TransmitFile.
    SendFile = "sendfile",
    /// cachestat(2): whether a file is in memory.
    CacheState = "cachestat",
    /// SIGPIPE is kept away from a call that knows no other way: rt_sigaction(2), rt_sigprocmask(2), rt_sigpending(2).
    Signal = "signal",
    /// shutdown(2), DisconnectEx.
    Shutdown = "shutdown",
    /// close(2), closesocket, CloseHandle.
    Close = "close",
    /// openat2(2), CreateFile.
    Open = "open",
    /// fstat(2), GetFileInformationByHandle.
    Metadata = "fstat",
    /// preadv2(2), read(2) and their kin, ReadFile.
    Read = "read",
    /// pwritev2(2), write(2) and their kin, WriteFile.
    Write = "write",
    /// fsync(2), FlushFileBuffers.
    Sync = "fsync",
    /// linkat(2), renameat(2), unlinkat(2).
    Link = "link",
    /// A worker is woken: write(2) to an eventfd, PostQueuedCompletionStatus.
    Wake = "wake",
    /// CancelIoEx. (The other backends cancel by io_uring_enter, or without a call.)
    Cancel = "cancel",
    /// What is asked and set of sockets now and then: getpeername(2), getsockopt(2), setsockopt(2), ioctl(2) and their kin.
    Option = "option",
}

/// The kinds of operation that complete: all but those of errors.
const KINDS: usize = OperationKind::Shutdown as usize + 1;

/// Where the buckets of [`Counters::batches`] end: each counts waits that brought at most so many completions, and more than the bucket
/// before. One more bucket counts those beyond.
pub const BATCH_BOUNDS: [u64; 10] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The counts of one worker, or of the pool. Apart from its neighbours in the processor's cache.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Block {
    places: [AtomicU64; PLACES],
    completions: [AtomicU64; KINDS],
    batches: [AtomicU64; BATCH_BOUNDS.len() + 1],
}

/// Adds without a locked instruction, which it costs who is the only one to write. Orders nothing: a reader gets each count as it was a
/// moment ago.
#[inline]
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Block {
    /// A wait ended with these completions. Called by the block's worker only.
    pub(crate) fn count_wait(&self, completions: &[Completion]) {
        // First: who sees that something has completed sees what it took.
        self.take_tally();
        for completion in completions {
            if let Some(count) = self.completions.get(completion.kind as usize) {
                add(count, 1);
            }
        }
        let count = completions.len() as u64;
        // The first bound that is not below the count: powers of two behind 0.
        let bucket = if count == 0 { 0 } else { 1 + (u64::BITS - (count - 1).leading_zeros()) as usize };
        add(&self.batches[bucket.min(BATCH_BOUNDS.len())], 1);
    }

    /// Takes in what the calling thread, the block's worker, has counted.
    pub(crate) fn take_tally(&self) {
        tally::take(|place, count| add(&self.places[place], count));
    }

    /// As [`Block::take_tally`], for a block of several threads.
    pub(crate) fn take_tally_shared(&self) {
        tally::take(|place, count| {
            self.places[place].fetch_add(count, Ordering::Relaxed);
        });
    }

    pub(crate) fn add_to(&self, sum: &mut Counters) {
        let place = |place: usize| self.places[place].load(Ordering::Relaxed);
        for (number, (_, count)) in sum.system_calls.iter_mut().enumerate() {
            *count += place(number);
        }
        for (count, more) in sum.completions.iter_mut().zip(&self.completions) {
            count.1 += more.load(Ordering::Relaxed);
        }
        for (count, more) in sum.batches.iter_mut().zip(&self.batches) {
            *count += more.load(Ordering::Relaxed);
        }
        sum.contended_locks += place(CONTENDED_LOCKS);
        sum.bytes_copied += place(COPIED_BYTES);
    }
}

/// What a port has counted since it was made: [`Port::counters`](crate::Port::counters).
///
/// What workers and threads of the pool do is counted; a worker tells when a wait ends, so that the counts are at most one round of
/// its loop behind. What other threads do at the port (a post, a close from outside) is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Completions that were handed out, by their kind. Each item of a stream is one.
    pub completions: Vec<(OperationKind, u64)>,
    /// Waits by the number of completions that they brought; see [`BATCH_BOUNDS`].
    pub batches: [u64; BATCH_BOUNDS.len() + 1],
    /// System calls, by what they do. Those that make a port, a worker or a buffer pool are not in it, nor are pages that the
    /// system maps.
    pub system_calls: Vec<(SystemCall, u64)>,
    /// Bytes that were copied within this process into or inside of buffers ([`Buffer::extend_from_slice`](crate::Buffer::extend_from_slice),
    /// [`Buffer::consume`](crate::Buffer::consume)). What the kernel copies is not in it.
    pub bytes_copied: u64,
    /// Locks of the port's shared state that another thread held at the first try, so that they were waited for.
    pub contended_locks: u64,
    /// How often the system has taken the processor from a thread of this process. Of the process, and not of the port alone; none where
    /// the system does not say (Windows).
    pub context_switches: Option<ContextSwitches>,
    /// The buffers, by class, the smallest first.
    pub buffers: Vec<BufferCounts>,
    /// Threads that the pool has at this moment.
    pub pool_threads: usize,
    /// Tasks that wait for one of them at this moment.
    pub pool_waiting: usize,
}

/// Context switches of this process, by getrusage(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextSwitches {
    /// A thread went to sleep.
    pub voluntary: u64,
    /// Another thread was due.
    pub involuntary: u64,
}

/// The buffers of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferCounts {
    /// Bytes in each.
    pub capacity: usize,
    /// How many there are.
    pub count: usize,
    /// How many are taken at this moment.
    pub in_use: usize,
    /// How many were taken at one time, at most, since the pool was made.
    pub high_mark: usize,
}

impl Counters {
    /// The sum of `blocks`, and what the system says.
    pub(crate) fn of(blocks: &[Block]) -> Self {
        let mut sum = Self {
            completions: OperationKind::ALL[..KINDS].iter().map(|kind| (*kind, 0)).collect(),
            batches: Default::default(),
            system_calls: SystemCall::ALL.iter().map(|call| (*call, 0)).collect(),
            bytes_copied: 0,
            contended_locks: 0,
            context_switches: context_switches(),
            buffers: Vec::new(),
            pool_threads: 0,
            pool_waiting: 0,
        };
        blocks.iter().for_each(|block| block.add_to(&mut sum));
        sum
    }

    /// Completions of one kind.
    pub fn completed(&self, kind: OperationKind) -> u64 {
        self.completions.iter().find(|(of, _)| *of == kind).map_or(0, |(_, count)| *count)
    }

    /// System calls of one sort.
    pub fn called(&self, call: SystemCall) -> u64 {
        self.system_calls.iter().find(|(of, _)| *of == call).map_or(0, |(_, count)| *count)
    }

    /// All system calls.
    pub fn all_system_calls(&self) -> u64 {
        self.system_calls.iter().map(|(_, count)| count).sum()
    }

    /// All completions.
    pub fn all_completions(&self) -> u64 {
        self.completions.iter().map(|(_, count)| count).sum()
    }

    /// How often a worker has waited.
    pub fn waits(&self) -> u64 {
        self.batches.iter().sum()
    }
}

#[cfg(unix)]
fn context_switches() -> Option<ContextSwitches> {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local that outlives the call.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    (failed == 0).then(|| ContextSwitches {
        voluntary: usage.ru_nvcsw.max(0) as u64,
        involuntary: usage.ru_nivcsw.max(0) as u64,
    })
}

#[cfg(not(unix))]
fn context_switches() -> Option<ContextSwitches> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        completion::Payload,
        identity::{Handle, Token},
    };

    fn completions(kinds: &[OperationKind]) -> Vec<Completion> {
        let of = |kind: &OperationKind| Completion {
            handle: Handle::NONE,
            key: 0,
            token: Token::NONE,
            kind: *kind,
            result: Ok(0),
            payload: Payload::None,
            last: true,
        };
        kinds.iter().map(of).collect()
    }

    #[test]
    fn kinds_and_calls_stand_at_their_numbers() {
        for (number, kind) in OperationKind::ALL[..KINDS].iter().enumerate() {
            assert_eq!(*kind as usize, number, "{kind:?}");
        }
        for (number, call) in SystemCall::ALL.iter().enumerate() {
            assert_eq!(*call as usize, number, "{call:?}");
        }
    }

    #[test]
    fn blocks_add_up() {
        let blocks = [Block::default(), Block::default()];
        tally::take(|_, _| {});
        tally::call(SystemCall::Send);
        tally::copied(10);
        blocks[0].count_wait(&completions(&[OperationKind::Send, OperationKind::Shutdown]));
        tally::call(SystemCall::Send);
        blocks[1].count_wait(&completions(&[OperationKind::Send; 3]));
        blocks[1].count_wait(&[]);
        tally::copied(5);
        blocks[0].take_tally_shared();
        let sum = Counters::of(&blocks);
        assert_eq!((sum.completed(OperationKind::Send), sum.completed(OperationKind::Shutdown)), (4, 1));
        assert_eq!((sum.all_completions(), sum.waits()), (5, 3));
        assert_eq!((sum.called(SystemCall::Send), sum.all_system_calls()), (2, 2));
        assert_eq!((sum.bytes_copied, sum.contended_locks), (15, 0));
        assert_eq!(sum.batches[..4], [1, 0, 1, 1]);
    }

    #[test]
    fn a_wait_is_in_the_first_bucket_that_holds_it() {
        for count in [0, 1, 2, 3, 4, 5, 64, 65, 256, 257, 300] {
            let block = Block::default();
            block.count_wait(&completions(&vec![OperationKind::Timer; count]));
            let sum = Counters::of(&[block]);
            let bucket = BATCH_BOUNDS.iter().position(|bound| *bound >= count as u64);
            let found = sum.batches.iter().position(|waits| *waits == 1);
            assert_eq!(found, Some(bucket.unwrap_or(BATCH_BOUNDS.len())), "{count}");
        }
    }
}
