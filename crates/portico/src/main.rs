//! The program `portico`.
#![forbid(unsafe_code)]

fn main() {}
