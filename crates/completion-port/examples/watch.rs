//! A directory watcher: says what changes in a folder and below. `cargo run --example watch FOLDER`.
//!
//! One operation watches until it is cancelled, and completes once for each change. Nobody asks the disk again and again.

use completion_port::{
    Change, ChangeKind, Configuration, Directory, Error, ErrorKind, Handle, Operation, OperationKind,
    Payload, Port,
};
use std::{path::Path, sync::Arc};

#[allow(clippy::print_stdout, reason = "a program prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("say which folder: watch FOLDER")?;
    let say = |change: Change| match change.kind {
        ChangeKind::Appeared => println!("+ {}", change.path.display()),
        ChangeKind::Disappeared => println!("- {}", change.path.display()),
        ChangeKind::Missed => println!("? too much at once: look at all of it"),
        _ => println!("~ {}", change.path.display()),
    };
    Ok(watch(&Port::new(configuration())?, folder.as_ref(), || println!("Watching."), say)?)
}

pub(crate) fn configuration() -> Configuration {
    let mut configuration = Configuration::default();
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    configuration
}

/// Watches on the calling thread, until another shuts the port down. Calls `ready` once, and `changed` for whatever changes after that.
pub(crate) fn watch(
    port: &Port,
    folder: &Path,
    ready: impl FnOnce(),
    mut changed: impl FnMut(Change),
) -> Result<(), Error> {
    let mut worker = port.worker()?;
    let open = |error| Error::from_io(&error, OperationKind::WatchDirectory);
    let directory = Arc::new(Directory::open(folder).map_err(open)?);
    let operation = Operation::WatchDirectory { directory, recursive: true };
    let token = worker.submit(Handle::NONE, operation).map_err(|rejected| rejected.error)?;
    ready();
    let mut completions = Vec::new();
    loop {
        worker.wait(&mut completions, None)?;
        for completion in completions.drain(..) {
            match (completion.kind, completion.result, completion.payload) {
                (OperationKind::WatchDirectory, Ok(_), Payload::Change(change)) => changed(change),
                // It was asked to end.
                (OperationKind::WatchDirectory, Err(error), _) if error.kind() == ErrorKind::Cancelled => {}
                (OperationKind::WatchDirectory, Err(error), _) => return Err(error),
                (OperationKind::Draining, ..) => worker.cancel(token),
                (OperationKind::Shutdown, ..) => return Ok(()),
                _ => {}
            }
        }
    }
}
