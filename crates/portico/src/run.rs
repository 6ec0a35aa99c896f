//! Runs the server until it is told to stop.

use std::process::ExitCode;

use portico::settings::{Folders, Settings};

use crate::explain;

/// One line for each implementation of the completion port: whether it works here, and why not.
pub(crate) fn backends() -> Vec<String> {
    Vec::new()
}

/// Serves until the program is told to stop; the exit code says whether the end was clean.
pub(crate) fn run(settings: Settings) -> ExitCode {
    match Folders::find(&settings) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            explain::say(&error);
            ExitCode::from(explain::FAILED)
        }
    }
}
