//! What the program says when it cannot go on: one sentence on standard error, and an exit code.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use portico::settings::ListenAddress;

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
pub(crate) fn cannot_listen(address: &ListenAddress, error: &io::Error) -> String {
    let address = match address {
        ListenAddress::Internet(address) => *address,
        ListenAddress::Unix(path) => return cannot_listen_at(path, error),
    };
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

fn cannot_listen_at(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the socket {path} is in use by another program: stop it, or choose another path in `listen`"
        ),
        io::ErrorKind::AlreadyExists => {
            format!("{path} is a file that is no socket: remove it, or choose another path in `listen`")
        }
        io::ErrorKind::NotFound => format!("the folder of the socket {path} does not exist: create it"),
        io::ErrorKind::PermissionDenied => {
            format!("no permission to create the socket {path}: let this user write to its folder")
        }
        _ => format!("cannot listen on unix:{path}: {error}"),
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
            cannot_listen(&address.into(), &error),
            format!(
                "port {port} of 127.0.0.1 is in use by another program: stop it, or choose another port with --port"
            )
        );
    }

    #[test]
    fn a_socket_that_cannot_be_is_said_with_the_way_out() {
        let address = ListenAddress::Unix("/run/portico.sock".into());
        for (kind, part) in [
            (io::ErrorKind::AddrInUse, "is in use by another program"),
            (io::ErrorKind::AlreadyExists, "is a file that is no socket"),
            (io::ErrorKind::NotFound, "does not exist"),
            (io::ErrorKind::PermissionDenied, "let this user write"),
            (io::ErrorKind::Other, "cannot listen on unix:/run/portico.sock: "),
        ] {
            let sentence = cannot_listen(&address, &kind.into());
            assert!(sentence.contains(part) && sentence.contains("/run/portico.sock"), "{sentence}");
        }
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
            let sentence = cannot_listen(&address.parse().unwrap(), error);
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
