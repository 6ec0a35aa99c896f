//! The server at its socket: the same behaviour on every backend.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod coding;
mod conditional;
mod files;
mod hosts;
mod limits;
mod paths;
mod protocol;
mod refusals;
mod rough;
mod time_limits;
mod uploads;
mod whole;
