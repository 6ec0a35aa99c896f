//! Runs the server until it is told to stop.

use crate::{
    explain,
    signals::{self, Order},
};
use completion_port::Port;
use portico::{Server, StartError, settings::Settings};
use std::process::ExitCode;

/// One line for each implementation of the completion port: whether it works here, and why not.
pub(crate) fn backends() -> Vec<String> {
    Port::backends(None)
}

/// Serves until the program is told to stop; the exit code says whether the end was clean.
pub(crate) fn run(settings: Settings) -> ExitCode {
    let orders = match signals::listen() {
        Ok(orders) => orders,
        Err(error) => {
            explain::say(&format_args!("cannot listen for signals: {error}"));
            return ExitCode::from(explain::FAILED);
        }
    };
    let (root, deadline) = (settings.root.clone(), settings.shutdown_timeout);
    let upload = settings.upload.clone();
    let server = match Server::start(settings) {
        Ok(server) => server,
        Err(StartError::Listen(address, error)) => {
            explain::say(&explain::cannot_listen(address, &error));
            return ExitCode::from(explain::FAILED);
        }
        Err(error @ StartError::Port(_)) => {
            explain::say(&format_args!("{error}\n  {}", backends().join("\n  ")));
            return ExitCode::from(explain::FAILED);
        }
        Err(error) => {
            explain::say(&error);
            return ExitCode::from(explain::FAILED);
        }
    };
    let uploads = upload.map_or(String::new(), |folder| format!("Uploads go to {}.\n", folder.display()));
    let workers =
        if server.workers() == 1 { "1 worker".into() } else { format!("{} workers", server.workers()) };
    explain::print(&format!(
        "Serving {} at http://{}/ on {}, with {workers}.\n{uploads}Open that address in a browser; Ctrl-C stops the server, \
         `portico --help` shows its settings.\n",
        root.display(),
        server.address(),
        server.backend().name(),
    ));
    while let Ok(Order::Reopen) = orders.recv() {
        server.reopen_log();
    }
    explain::print(&format!(
        "Stopping: what runs may finish within {} s; Ctrl-C again stops at once.\n",
        deadline.as_secs_f32()
    ));
    let end = server.stop(deadline);
    explain::print(&format!("Stopped: {end}.\n"));
    if end.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(explain::FAILED) }
}
