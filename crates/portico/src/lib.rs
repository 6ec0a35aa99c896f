//! An HTTP server on I/O completion ports.
//!
//! The program `portico` serves a folder; this library is the same server, started from a program of one's own:
//!
//! ```no_run
//! use portico::{Server, settings::Settings};
//! use std::{io, time::Duration};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut settings = Settings::new("./site");
//!     settings.port = 0;
//!     let server = Server::start(settings)?;
//!     println!("http://{}/ on {}", server.address(), server.backend().name());
//!     io::stdin().read_line(&mut String::new())?;
//!     println!("{}", server.stop(Duration::from_secs(10)));
//!     Ok(())
//! }
//! ```
//!
//! [`Server::start`] opens the folders and the log, listens, and starts the workers: a thread for each, which wait on the completion
//! port of the crate `completion_port` and never block. [`Server::stop`] is the orderly end. Everything that can be set is a
//! field of [`settings::Settings`], each with a safe default; the server listens to this machine only unless told otherwise.
//!
//! It serves files: index files, redirects of folders, conditional requests, single ranges, keep-alive and pipelining, and, where a folder
//! was opened for them, uploads. What a request names is resolved beneath the root and cannot leave it ([`path`]).
//!
//! The library logs with `tracing`, and leaves it to the program to subscribe. Without the feature `program`, which is on by default,
//! the crate needs no command-line parser.
#![forbid(unsafe_code)]

mod alarms;
mod clients;
mod compression;
mod connection;
mod connections;
mod context;
mod cors;
pub mod counters;
mod decide;
mod descriptors;
mod entry;
mod field_rules;
mod file_cache;
mod host;
mod input;
mod listeners;
mod listing;
pub mod log;
pub mod mime;
mod output;
pub mod path;
pub mod pattern;
mod protection;
mod ready;
mod routing;
mod seek;
mod server;
pub mod settings;
#[cfg(all(unix, feature = "simulation"))]
pub mod simulation;
mod site;
mod trace;
#[cfg(unix)]
mod unix_socket;
mod upload;
mod users;
mod variants;
mod worker;

pub use completion_port::{Backend, ShutdownReport};
pub use protection::UsersError;
pub use server::{End, Server, StartError};
pub use users::hash_password;

// The examples of the project's front page compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct FrontPage;
