//! What every backend has to do, in one suite: a behaviour is what these tests say, not what one kernel does.
//!
//! Each test runs on every backend that works here, one after the other. It gets a [`Rig`](harness::Rig): a port with one
//! worker, made on the test's own thread. A case for one backend alone belongs into that backend's own file.

#[macro_use]
#[path = "conformance/cases.rs"]
mod cases;

#[path = "conformance/cancelling.rs"]
mod cancelling;
#[path = "conformance/connections.rs"]
mod connections;
#[path = "conformance/control.rs"]
mod control;
#[path = "conformance/datagrams.rs"]
mod datagrams;
#[path = "conformance/files.rs"]
mod files;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "conformance/limits.rs"]
mod limits;
#[path = "conformance/misuse.rs"]
mod misuse;
#[path = "conformance/packets.rs"]
mod packets;
#[cfg(unix)]
#[path = "conformance/pipes.rs"]
mod pipes;
#[path = "conformance/posting.rs"]
mod posting;
#[path = "conformance/random.rs"]
mod random;
#[path = "conformance/scatter.rs"]
mod scatter;
#[path = "conformance/shutting_down.rs"]
mod shutting_down;
#[path = "conformance/transmitting.rs"]
mod transmitting;
#[cfg(unix)]
#[path = "conformance/unix_sockets.rs"]
mod unix_sockets;
#[path = "conformance/watching.rs"]
mod watching;
