//! Portico beside other servers: the same files, the same requests, the same machine, in turns. `README.md` says how to run and read it.

#![deny(unsafe_code)]

pub mod client;
pub mod load;
pub mod peer;
pub mod report;
pub mod response;
pub mod round;
pub mod row;
pub mod site;
pub mod usage;

pub use measure::Failure;
