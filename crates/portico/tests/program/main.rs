//! The program at its socket, its standard output, and its end.

#[path = "../common/mod.rs"]
mod common;

mod trace_listing;

#[cfg(unix)]
mod few_descriptors;
#[cfg(unix)]
mod killed_uploads;
#[cfg(unix)]
mod log_reopen;
#[cfg(unix)]
mod shutdown;
