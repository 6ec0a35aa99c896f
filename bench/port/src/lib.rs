//! What the four benchmarks share. `README.md` beside this crate says how to run and read them.

#![deny(unsafe_code)]

pub mod echo;
pub mod post;
pub mod socket;

pub use measure::{Failure, arguments, child, figures, processor};
