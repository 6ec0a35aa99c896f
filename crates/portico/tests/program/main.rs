//! The program at its socket, its standard output, and its end.

#[path = "../common/mod.rs"]
mod common;

#[cfg(unix)]
mod few_descriptors;
#[cfg(unix)]
mod full_disk;
// Under Wine the connections of a killed program stay open for as long as its server lives.
#[cfg(unix)]
mod killed_uploads;
#[cfg(unix)]
mod log_reopen;
#[cfg(unix)]
mod permissions;
#[cfg(unix)]
mod shutdown;
mod trace_listing;
