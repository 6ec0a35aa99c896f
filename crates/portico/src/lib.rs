//! An HTTP server on I/O completion ports.
#![forbid(unsafe_code)]

pub mod mime;
pub mod path;
pub mod settings;
