//! Echo servers: who connects gets back what it sends. One for each peer, and the client that drives them.

pub mod client;
mod compio;
mod epoll;
mod monoio;
pub mod ours;
#[allow(unsafe_code, reason = "the yardstick is what a program can do that talks to the kernel itself")]
/// It needs `unsafe`, which lives in one crate only.
#[path = "../../../../crates/completion-port/benches/bare/ring.rs"]
mod ring;
mod tokio;

use crate::{Failure, child, processor, socket};
use completion_port::Backend;

/// The servers, by the names that a command line and a table know.
pub const NAMES: [&str; 8] = [
    "raw epoll",
    "raw io_uring",
    "ours, io_uring",
    "ours, direct",
    "ours, readiness",
    "tokio",
    "monoio",
    "compio",
];
/// The yardsticks among them.
pub const RAW: [usize; 2] = [0, 1];
/// Ours.
pub const OURS: [usize; 3] = [2, 3, 4];
/// The rest.
pub const PEERS: [usize; 3] = [5, 6, 7];

/// The room that each has for what one receive brings.
const RECEIVE_BYTES: usize = 4096;

/// Serves for ever, on one processor; says which port first.
pub fn serve(name: &str, processor: usize) -> Result<(), Failure> {
    processor::pin(processor)?;
    let listener = socket::listen()?;
    child::say(&listener.local_addr()?.port().to_string())?;
    child::end_with_parent();
    match name {
        "raw epoll" => epoll::serve(&listener),
        "raw io_uring" => ring::serve(&listener),
        "ours, io_uring" => ours::serve(listener, ours::configuration(Backend::IoUring)),
        "ours, direct" => ours::serve(listener, ours::direct()),
        "ours, readiness" => ours::serve(listener, ours::configuration(Backend::Readiness)),
        "tokio" => tokio::serve(listener),
        "monoio" => monoio::serve(listener),
        "compio" => compio::serve(listener),
        _ => Err(format!("no server {name}").into()),
    }
}
