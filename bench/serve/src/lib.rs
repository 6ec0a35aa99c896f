//! Portico beside other servers: the same files, the same requests, the same machine, in turns. `README.md` says how to run and read it.

#![deny(unsafe_code)]

pub mod bench;
pub mod client;
pub mod idle;
pub mod load;
pub mod page;
pub mod peer;
pub mod plot;
pub mod report;
pub mod response;
pub mod round;
pub mod row;
pub mod scale;
pub mod site;
pub mod slow_disk;
pub mod tuned;
pub mod usage;
pub mod verdict;

pub use measure::Failure;
