//! What all benchmarks share: processes of their own, processors, medians and tables.

#![deny(unsafe_code)]

pub mod arguments;
pub mod child;
pub mod figures;
pub mod processor;

/// What ends a benchmark: said in one line.
pub type Failure = Box<dyn std::error::Error>;
