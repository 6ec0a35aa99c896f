//! What the program says when it cannot go on: one sentence on standard error, and an exit code.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

/// The exit code for a mistake in flags, environment or configuration.
pub(crate) const USAGE: u8 = 2;
/// The exit code for what went wrong while running.
pub(crate) const FAILED: u8 = 1;

/// Says one sentence on standard error.
pub(crate) fn say(sentence: &dyn Display) {
    // Nothing is left to do where even standard error is closed.
    let _ = writeln!(io::stderr(), "portico: {sentence}");
}

/// Prints to standard output; a reader that has gone, as in `portico --help | head`, is no error.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(&format_args!("cannot write to standard output: {error}"));
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints to standard error what would go to standard output, were that not the access log's.
pub(crate) fn announce(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Why listening at `address` failed, and what to do.
pub(crate) fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} of {} is in use by another program: stop it, or choose another port with --port",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied if port < 1024 => format!(
            "no permission to listen on port {port}: ports below 1024 need a privilege; use --port 8080, or run with it"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "no permission to listen on {address}: the system reserves this port; choose another with --port"
            )
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is not an address of this machine: use 127.0.0.1 for this machine only, or 0.0.0.0 for every interface",
            address.ip()
        ),
        _ => format!("cannot listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_in_use_is_said_with_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = TcpListener::bind(address).unwrap_err();
        let port = address.port();
        assert_eq!(
            cannot_listen(address, &error),
            format!(
                "port {port} of 127.0.0.1 is in use by another program: stop it, or choose another port with --port"
            )
        );
    }

    #[test]
    fn other_failures_are_told_apart() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        for (address, error, part) in [
            ("0.0.0.0:80", &denied, "ports below 1024 need a privilege; use --port 8080"),
            ("0.0.0.0:8080", &denied, "the system reserves this port"),
            (
                "192.0.2.1:80",
                &io::ErrorKind::AddrNotAvailable.into(),
                "192.0.2.1 is not an address of this machine",
            ),
            ("127.0.0.1:80", &io::ErrorKind::Other.into(), "cannot listen on 127.0.0.1:80: "),
        ] {
            let sentence = cannot_listen(address.parse().unwrap(), error);
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
