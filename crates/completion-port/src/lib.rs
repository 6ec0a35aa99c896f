//! One completion port over Windows IOCP, Linux io_uring and readiness.
//!
//! # What a completion port is
//!
//! There are two ways to read from many sockets with few threads. With *readiness* the system says "a read would not block now",
//! and the program reads. With *completion* the program says "read into this memory", goes on, and is told when that
//! **is done**. The second way also works for files, which are always ready; it saves the second call; and it can be
//! told to many threads through one queue. That queue is the completion port.
//!
//! A program that uses one is a loop: wait for completions, do a little for each, submit what comes next, wait again. No thread
//! waits for one client, so a thread a processor is enough, and nobody waits for a lock, because what happens to one
//! handle happens in one place at a time.
//!
//! The price is a question that readiness does not have: between submit and completion the memory belongs to the kernel. This
//! crate's answer is that an [`Operation`] **owns** its buffers, and its [`Completion`] brings them home. Whatever is dropped,
//! cancelled, closed or leaked in between, no safe call reaches memory that the kernel may still touch.
//!
//! # An echo server
//!
//! ```no_run
#![doc = include_str!("../examples/echo.rs")]
//! ```
//!
//! `examples/` has more: a framed protocol, a chat room over several queues, UDP echo, a file copier, a directory watcher, a job queue.
//!
//! # Chapters
//!
//! - [`guide`]: from nothing to a packet server, in twelve steps that run.
//! - [`win32`]: each type beside its Win32 counterpart, for those who know I/O completion ports.
//! - [`backends`]: which operation is what on which backend.
//! - [`soundness`]: why no safe call can reach memory that the kernel may still touch.
//! - [`limits`]: what happens at each limit, and how it passes.
//! - [`pitfalls`]: known faults of such programs, and the tests that keep them out of this one.
//!
//! # The parts
//!
//! A [`Port`] is what all threads share; a [`Worker`] is one thread's view of one of its queues. A [`Handle`] names a socket or file that was
//! associated with it, a [`Token`] an accepted [`Operation`]. A [`Completion`] is what became of that, with its [`Buffer`]s; a
//! [`Packet`] is a word from another thread. [`Slice`]s and [`BufferChain`]s are shared parts of buffers, and lists of those. A
//! [`Sequencer`] gives order to what comes in any.
//!
//! # What is promised
//!
//! - Every accepted operation ends in exactly one completion with [`last`](Completion::last) set. A stream
//!   ([`Operation::AcceptStream`], [`Operation::ReceiveStream`], [`Operation::WatchDirectory`]) completes many times before that.
//! - An operation that is not accepted comes back whole in [`Rejected`], with the reason. Everything has a limit
//!   ([`Configuration`]), and this is where it is felt.
//! - For one handle, one worker at a time gets completions; and operations of one direction complete in the order of submission.
//! - A cancel, a deadline and a close are requests to the kernel: the completion says what became of the operation.
//! - A failed completion brings its buffers home too.
//!
//! # Backends
//!
//! The best that works is chosen when the port is made, by really setting it up; [`Port::backends`] says which, and why not another.
//! [`Backend::Iocp`] serves a queue with several workers; [`Backend::IoUring`] (Linux 6.0 or newer) and [`Backend::Readiness`]
//! (epoll on Linux, the `polling` crate on other Unix systems) have a queue for each worker. The contract is the same; what
//! a system has no call for is built from what it has. [`OpenOptions::unnamed`] and [`Operation::Link`] are Linux only: elsewhere they fail
//! with [`ErrorKind::Unsupported`].
//!
//! With the feature `simulation`, [`Backend::Simulated`] runs a port and the program above it in a world in memory, with virtual time and faults
//! from a seed: see the module `simulation`.
//!
//! A program that runs one worker on every system says so: `queues = 1` and `workers_per_queue = 1`. The default is one queue for all
//! workers on Windows, two of them a processor, and elsewhere a queue and a worker a processor. A [`Handle`] belongs to the
//! queue of the worker that associated, accepted or opened it; other queues are told by [`Port::post`].
//!
//! "The seed", in places, is the description of an IOCP server that this crate began from; `IO_SOCKET_READ` and its like are its names.

#[cfg(any(doc, doctest))]
pub mod backends {
    #![doc = include_str!("../docs/backends.md")]
}
#[cfg(any(doc, doctest))]
pub mod guide {
    #![doc = include_str!("../docs/guide.md")]
    //!
    //! ```no_run
    #![doc = include_str!("../examples/framed.rs")]
    //! ```
}
#[cfg(any(doc, doctest))]
pub mod limits {
    #![doc = include_str!("../docs/limits.md")]
}
#[cfg(any(doc, doctest))]
pub mod pitfalls {
    #![doc = include_str!("../docs/pitfalls.md")]
}
#[cfg(any(doc, doctest))]
pub mod soundness {
    #![doc = include_str!("../docs/soundness.md")]
}
#[cfg(any(doc, doctest))]
pub mod win32 {
    #![doc = include_str!("../docs/win32.md")]
}

mod address;
mod backend;
mod buffer;
mod chain;
mod closes;
mod completion;
mod configuration;
mod control;
mod counters;
mod direction;
mod error;
mod fault;
mod file;
#[cfg(any(windows, test, all(unix, feature = "simulation")))]
mod gate;
mod identity;
mod message;
#[cfg(all(loom, test))]
mod models;
mod operation;
mod pool;
mod port;
mod queue;
mod rest;
mod seats;
mod sequencer;
mod shutdown;
#[cfg(all(unix, feature = "simulation"))]
pub mod simulation;
#[cfg(unix)]
mod slab;
mod source;
mod support;
mod sync;
#[cfg(any(windows, test))]
mod table;
mod tally;
mod timers;
mod transmit;
mod watch;
mod worker;

pub use address::Address;
pub use buffer::{Buffer, BufferClass, Buffers, Slice};
pub use chain::BufferChain;
pub use completion::{Completion, Packet, Payload, Rejected};
pub use configuration::{Backend, Configuration};
pub use control::{ControlRequest, KeepAlive};
pub use counters::{BATCH_BOUNDS, BufferCounts, ContextSwitches, Counters, SystemCall};
pub use error::{Error, ErrorKind};
pub use file::{Directory, DirectoryEntries, DirectoryEntry, FileKind, Metadata, OpenOptions};
pub use identity::{Handle, Token};
pub use message::{Ancillary, Message};
pub use operation::{Operation, OperationKind, Work};
pub use port::Port;
pub use sequencer::Sequencer;
pub use shutdown::ShutdownReport;
pub use source::Source;
pub use support::{Means, Support};
pub use transmit::{TransmitElement, TransmitList};
pub use watch::{Change, ChangeKind};
pub use worker::Worker;
