//! The program at its socket, its standard output, and its end.

#[path = "../common/mod.rs"]
mod common;

mod trace_listing;

#[cfg(unix)]
mod killed_uploads;
#[cfg(unix)]
mod log_reopen;
#[cfg(unix)]
mod open_files;
#[cfg(unix)]
mod shutdown;
