//! An HTTP server on I/O completion ports.
//!
//! The program `portico` serves a folder; this library is the same server, to be started from a program of one's own: see
//! [`Server`].
#![forbid(unsafe_code)]

mod connection;
mod connections;
mod context;
mod decide;
mod entry;
mod file_cache;
mod input;
pub mod log;
pub mod mime;
mod output;
pub mod path;
mod server;
pub mod settings;
mod site;
mod trace;
mod upload;
mod worker;

pub use completion_port::{Backend, ShutdownReport};
pub use server::{End, Server, StartError};
