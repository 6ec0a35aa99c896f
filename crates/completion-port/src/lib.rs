//! One completion port over Windows IOCP, Linux io_uring and readiness.
//!
//! A program submits operations that own their buffers, and waits for completions that bring them home. Every accepted
//! operation ends in exactly one terminal completion, whatever is dropped, cancelled or closed in between; for one handle,
//! one worker at a time gets completions, in the order of submission for each direction. The contract is the same on every
//! backend; which one works is chosen when the port is made.

mod backend;
mod buffer;
mod chain;
mod completion;
mod configuration;
mod error;
mod file;
#[cfg(any(windows, test))]
mod gate;
mod identity;
mod operation;
mod pool;
mod port;
mod queue;
mod sequencer;
mod shutdown;
#[cfg(unix)]
mod slab;
mod source;
mod timers;
mod worker;

pub use buffer::{Buffer, BufferClass, Buffers, Slice};
pub use chain::BufferChain;
pub use completion::{Completion, Packet, Payload, Rejected};
pub use configuration::{Backend, Configuration};
pub use error::{Error, ErrorKind};
pub use file::{Directory, FileKind, Metadata, OpenOptions};
pub use identity::{Handle, Token};
pub use operation::{Operation, OperationKind, Work};
pub use port::Port;
pub use sequencer::Sequencer;
pub use shutdown::ShutdownReport;
pub use source::Source;
pub use worker::Worker;
