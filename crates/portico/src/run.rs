//! Runs the server until it is told to stop.

use crate::{
    explain,
    signals::{self, Order},
};
use completion_port::{Backend, ErrorKind, Port};
use portico::{
    Server, StartError,
    settings::{BackendChoice, ListenAddress, LogTarget, Settings},
};
use std::{net::SocketAddr, process::ExitCode};

/// One line for each implementation of the completion port: whether it works here, and why not.
pub(crate) fn backends() -> Vec<String> {
    Port::backends(None)
}

/// Lets the process open as many files as the system allows; by default it is few, for programs that cannot cope with more.
#[cfg(unix)]
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Serves until the program is told to stop; the exit code says whether the end was clean.
pub(crate) fn run(settings: Settings) -> ExitCode {
    #[cfg(unix)]
    raise_descriptor_limit();
    let orders = match signals::listen() {
        Ok(orders) => orders,
        Err(error) => {
            explain::say(&format_args!("cannot listen for signals: {error}"));
            return ExitCode::from(explain::FAILED);
        }
    };
    let (root, deadline, wanted) = (settings.root.clone(), settings.shutdown_timeout, settings.backend);
    let upload = settings.upload.clone();
    let admin = settings.admin_listen.as_ref().map(|admin| admin.address().clone());
    // Standard output is the access log's where that goes there.
    let taken = settings.access_log == Some(LogTarget::StandardOutput);
    let announce = |text: &str| {
        if taken {
            explain::announce(text);
        } else {
            let _ = explain::print(text);
        }
    };
    let server = match Server::start(settings) {
        Ok(server) => server,
        Err(StartError::Listen(address, error)) if admin.as_ref() == Some(&address) => {
            let way_out = "choose another address with --admin-listen";
            explain::say(&format_args!("cannot show the counters at {address}: {error}; {way_out}"));
            return ExitCode::from(explain::FAILED);
        }
        Err(StartError::Listen(address, error)) => {
            explain::say(&explain::cannot_listen(&address, &error));
            return ExitCode::from(explain::FAILED);
        }
        Err(StartError::Port(error)) if error.kind() == ErrorKind::Unsupported => {
            let lines = Port::backends(backend(wanted)).join("\n  ");
            explain::say(&format_args!("the backend {} does not work here:\n  {lines}", wanted.name()));
            return ExitCode::from(explain::FAILED);
        }
        Err(error) => {
            explain::say(&error);
            return ExitCode::from(explain::FAILED);
        }
    };
    let uploads = upload.map_or(String::new(), |folder| format!("Uploads go to {}.\n", folder.display()));
    let counters = server.admin_address().map_or(String::new(), |address| {
        format!("The counters are at {}.\n", places(std::slice::from_ref(address)))
    });
    let workers =
        if server.workers() == 1 { "1 worker".into() } else { format!("{} workers", server.workers()) };
    announce(&format!(
        "Serving {} at {} on {}, with {workers}.\n{uploads}Open that address in a browser; Ctrl-C stops the server, \
         `portico --help` shows its settings.\n{counters}",
        root.display(),
        places(server.addresses()),
        server.backend().name(),
    ));
    while let Ok(Order::Reopen) = orders.recv() {
        server.reopen_log();
    }
    announce(&format!(
        "Stopping: what runs may finish within {} s; Ctrl-C again stops at once.\n",
        deadline.as_secs_f32()
    ));
    let end = server.stop(deadline);
    announce(&format!("Stopped: {end}.\n"));
    if end.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(explain::FAILED) }
}

fn backend(choice: BackendChoice) -> Option<Backend> {
    match choice {
        BackendChoice::Auto => None,
        BackendChoice::Iocp => Some(Backend::Iocp),
        BackendChoice::IoUring => Some(Backend::IoUring),
        BackendChoice::Readiness => Some(Backend::Readiness),
    }
}

/// Where to find the server.
fn places(addresses: &[ListenAddress]) -> String {
    let place = |address: &ListenAddress| match address {
        ListenAddress::Internet(address) => url(*address),
        ListenAddress::Unix(_) => address.to_string(),
    };
    addresses.iter().map(place).collect::<Vec<_>>().join(", ")
}

/// An address that a browser on this machine can open: "every interface" is none.
fn url(address: SocketAddr) -> String {
    let every = address.ip().is_unspecified();
    let shown = match address {
        SocketAddr::V4(_) if every => SocketAddr::from(([127, 0, 0, 1], address.port())),
        SocketAddr::V6(_) if every => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => address,
    };
    format!("http://{shown}/{}", if every { " (and at every other address of this machine)" } else { "" })
}
