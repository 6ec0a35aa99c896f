//! An HTTP server on I/O completion ports.
//!
//! [`settings`] says what is served and within which limits, [`path`] which names are opened, [`mime`] what their
//! contents are called, and [`log`] writes down what was answered.
#![forbid(unsafe_code)]

pub mod log;
pub mod mime;
pub mod path;
pub mod settings;
