//! The server at its socket: the same behaviour on every backend.

#[path = "../common/mod.rs"]
mod common;

mod authentication;
mod changes;
mod clients;
mod conditional;
mod files;
mod hosts;
mod limits;
mod listening;
mod paths;
mod protocol;
mod refusals;
mod rough;
mod time_limits;
mod uploads;
mod whole;
