//! Removing a file from the upload folder.

use super::{Activity, Connection, answer::LateRecord, lookup::status_of};
use crate::{context::Context, decide::Simple};
use completion_port::{Completion, Error, Operation, OperationKind, Payload};
use portico_http::{
    request::{Request, Version},
    status::Status,
};
use std::io;

/// A file that is being removed.
pub(super) struct Deletion {
    name: String,
    version: Version,
    /// The connection ends after the answer.
    close: bool,
    log: Option<Box<LateRecord>>,
}

impl Connection {
    /// Has the pool remove the file `name`.
    pub(super) fn begin_deletion(
        &mut self,
        request: &Request<'_>,
        name: String,
        close: bool,
        context: &mut Context,
    ) {
        let Some(folder) = &context.site.hosts[self.host].upload else { return };
        let work = folder.delete(name.clone());
        let log = self.late_record(Some(request), Status::NO_CONTENT);
        self.activity = Activity::Deleting(Box::new(Deletion { name, version: request.version, close, log }));
        let operation = Operation::Call { work: Box::new(move || Box::new(work())) };
        if context.port.submit(self.handle, operation).is_err() {
            self.finish_deletion(Status::SERVICE_UNAVAILABLE, context);
        }
    }

    pub(super) fn on_deleted(&mut self, completion: Completion, context: &mut Context) {
        let returned = match (completion.result, completion.payload) {
            (Ok(_), Payload::Returned(returned)) => returned.downcast::<io::Result<bool>>().ok(),
            _ => None,
        };
        let status = match returned.map(|returned| *returned) {
            Some(Ok(true)) => Status::NO_CONTENT,
            // A folder, a link, a device.
            Some(Ok(false)) => Status::CONFLICT,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Status::NOT_FOUND,
            Some(Err(error)) => {
                tracing::warn!(%error, "a file could not be deleted");
                status_of(Some(Error::from_io(&error, OperationKind::Call)))
            }
            None => Status::INTERNAL_SERVER_ERROR,
        };
        self.finish_deletion(status, context);
    }

    fn finish_deletion(&mut self, status: Status, context: &mut Context) {
        let Activity::Deleting(deletion) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        // Whatever came of it: what the cache knows may be older.
        self.forget_uploaded(&deletion.name, context);
        if self.closing {
            return;
        }
        let simple = Simple { close: deletion.close || context.draining, ..Simple::new(status) };
        self.answer_late(deletion.version, simple, deletion.log, context);
    }
}
