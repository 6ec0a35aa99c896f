//! HTTP/1.1 without I/O: bytes in, decisions and bytes out.
#![forbid(unsafe_code)]
