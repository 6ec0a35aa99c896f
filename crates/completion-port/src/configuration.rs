//! What a port is made with. Everything has a limit, set here.

use crate::{buffer::BufferClass, identity::MAXIMUM_QUEUES};
use std::num::NonZero;

/// A backend: what stands behind the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Windows I/O completion ports.
    Iocp,
    /// Linux io_uring, a ring for each worker.
    IoUring,
    /// Readiness (epoll, kqueue and the like, by the `polling` crate), with files on a pool of threads.
    Readiness,
    /// A world in memory, for tests: the feature `simulation`, on Unix. Never chosen unless asked for.
    Simulated,
}

impl Backend {
    /// The name that settings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iocp => "iocp",
            Self::IoUring => "io-uring",
            Self::Readiness => "readiness",
            Self::Simulated => "simulated",
        }
    }
}

/// Limits and choices of a port. [`Configuration::default`] fits a small server on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Configuration {
    /// The backend, or none to take the best that this system allows.
    pub backend: Option<Backend>,
    /// How many queues (completion ports, rings). A handle belongs to one queue for its life. At most 255.
    pub queues: usize,
    /// How many workers serve each queue. More than one only on [`Backend::Iocp`] and [`Backend::Simulated`]; elsewhere a queue is one
    /// worker's own. At most 1,024.
    pub workers_per_queue: usize,
    /// How many workers of a queue run at once before the kernel holds the others back; 0 is one a processor. [`Backend::Iocp`] only; Wine ignores
    /// it, so that it has not been seen at work.
    pub concurrency: u32,
    /// Operations in flight, for each queue. At most 2^24.
    pub operations: usize,
    /// Handles open, for each queue. At most 2^24.
    pub handles: usize,
    /// Posted packets waiting, for each queue. Their places are allocated at start. At most 2^20.
    pub posts: usize,
    /// Bytes in memory that wait to be sent on one handle. A send that would go beyond is refused with
    /// [`ErrorKind::SendQueueFull`](crate::ErrorKind::SendQueueFull), unless nothing else waits.
    pub send_bytes: u64,
    /// Receives of a handle that are under way at once, 1 to 64. [`Backend::Iocp`] posts so many WSARecv calls, which the system
    /// fills one after the other. Elsewhere one is under way and the others wait behind it, because there several complete in
    /// another order than they were submitted. What the program sees is the same: they complete in the order of submission, each with the
    /// bytes behind those of the one before. A receive stream is always alone.
    pub receives_outstanding: usize,
    /// The same for sends (WSASend), 1 to 64: the peer's acknowledgement of one is not waited for before the next is posted. What takes
    /// more than one call of the system, and transmit-file, connect and disconnect, is always alone. When a send on a connection fails, but for a
    /// cancel, those that were posted behind it fail with it, whatever became of their bytes.
    pub sends_outstanding: usize,
    /// Completions that one wait returns at most. At most 65,536.
    pub batch: usize,
    /// The size classes of the buffer pool, shared by all queues.
    pub buffers: Vec<BufferClass>,
    /// Bytes that [`Buffers::allocate`](crate::Buffers::allocate) may take from the heap in all.
    pub heap_bytes: usize,
    /// Capacity of the buffers that receive streams bring, in bytes.
    pub receive_bytes: usize,
    /// Buffers that each queue keeps ready for receive streams.
    pub receive_buffers: usize,
    /// Entries of the table of direct descriptors that each queue has; 0 has none. With a table, connections that the port accepts take
    /// a place in it instead of a file descriptor: [`Backend::IoUring`] only, which is a little faster with them, and holds more
    /// connections than the process may have descriptors. Nothing but the port can use such a connection: its addresses and
    /// controls are [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). Accepting waits while the table is nearly full. At most the limit of open files (RLIMIT_NOFILE), or the
    /// worker fails with [`ErrorKind::DescriptorsExhausted`](crate::ErrorKind::DescriptorsExhausted).
    pub direct_descriptors: u32,
    /// AcceptEx calls kept posted on a listening socket. [`Backend::Iocp`] only. At most 4,096, which all listening sockets of a
    /// queue share.
    pub accepts_posted: usize,
    /// 0 reports a connection as soon as it is there; more, when its first bytes are there too. On [`Backend::Iocp`] it is for how many bytes an
    /// AcceptEx has room, which come with the connection and serve its first receives, and a connection that sends nothing for ten seconds is given up. On Linux
    /// any number sets TCP_DEFER_ACCEPT (tcp(7)) to ten seconds on listening sockets of TCP, which the kernel counts in answers to the client's
    /// first packet: a connection that sends nothing is reported after 15 seconds, without bytes, and the program's to time out; it takes no handle
    /// before. Elsewhere it has no effect.
    pub accept_first_bytes: usize,
    /// How often in a row a handle may complete at once, without the kernel's queue, before others get their turn.
    pub inline_budget: u32,
    /// Bytes of a file that a transmit-file reads at once, where the backend builds it from reads and sends.
    pub transmit_bytes: usize,
    /// Threads for what blocks, at least one and at most 65,536: open, sync, metadata, calls, and file reads where the system has no asynchronous ones.
    pub pool_threads: usize,
    /// Operations that wait for a thread of the pool at most; at least one.
    pub pool_queue: usize,
    /// The world of a port on [`Backend::Simulated`]; none is one of its own, of seed 0 and without faults.
    #[cfg(all(unix, feature = "simulation"))]
    pub simulation: Option<crate::simulation::World>,
}

impl Configuration {
    /// Whether every limit is one that can be kept without allocating beyond reason, and none contradicts another.
    pub(crate) fn is_sound(&self) -> bool {
        let limits = [
            (self.queues, 1, MAXIMUM_QUEUES),
            (self.workers_per_queue, 1, 1 << 10),
            (self.operations, 1, 1 << 24),
            (self.handles, 0, 1 << 24),
            (self.posts, 0, 1 << 20),
            (self.receives_outstanding, 1, 64),
            (self.sends_outstanding, 1, 64),
            (self.batch, 1, 1 << 16),
            (self.receive_bytes, 1, usize::MAX),
            (self.accepts_posted, 0, 1 << 12),
            (self.pool_threads, 0, 1 << 16),
        ];
        limits.into_iter().all(|(limit, least, most)| (least..=most).contains(&limit))
    }
}

impl Default for Configuration {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (queues, workers_per_queue) = if cfg!(windows) { (1, processors * 2) } else { (processors, 1) };
        Self {
            backend: None,
            queues,
            workers_per_queue,
            concurrency: 0,
            operations: 65_536,
            handles: 65_536,
            posts: 4_096,
            send_bytes: 64 << 20,
            receives_outstanding: 1,
            sends_outstanding: 1,
            batch: 256,
            buffers: vec![
                BufferClass { capacity: 1_024, count: 8_192 },
                BufferClass { capacity: 4_096, count: 8_192 },
                BufferClass { capacity: 16_384, count: 2_048 },
                BufferClass { capacity: 65_536, count: 1_024 },
                BufferClass { capacity: 262_144, count: 512 },
            ],
            heap_bytes: 256 << 20,
            receive_bytes: 4_096,
            receive_buffers: 256,
            direct_descriptors: 0,
            accepts_posted: 25,
            accept_first_bytes: 0,
            inline_budget: 16,
            transmit_bytes: 131_072,
            pool_threads: 4,
            pool_queue: 1_024,
            #[cfg(all(unix, feature = "simulation"))]
            simulation: None,
        }
    }
}
