//! The io_uring engine at its edges: pressure, cancels, drops. What all backends share is in the conformance suite.
#![cfg(target_os = "linux")]

#[path = "io_uring/accepts.rs"]
mod accepts;
#[path = "io_uring/bench.rs"]
mod bench;
#[path = "io_uring/connections.rs"]
mod connections;
#[path = "io_uring/ends.rs"]
mod ends;
#[path = "io_uring/files.rs"]
mod files;
#[path = "io_uring/queue.rs"]
mod queue;
