//! What the four benchmarks share. `README.md` beside this crate says how to run and read them.

#![deny(unsafe_code)]

pub mod arguments;
pub mod child;
pub mod echo;
pub mod figures;
pub mod post;
pub mod processor;
pub mod socket;

/// What ends a benchmark: said in one line.
pub type Failure = Box<dyn std::error::Error>;
