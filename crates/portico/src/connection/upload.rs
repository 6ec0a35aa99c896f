//! Taking a request body into a file.

use super::{Activity, Connection, answer::LateRecord, lookup::status_of};
use crate::{
    context::Context,
    decide::Simple,
    entry::OpenFile,
    upload::{GATHER_BYTES, Stage, Upload},
};
use completion_port::{
    BufferChain, Completion, Error, ErrorKind, Handle, OpenOptions, Operation, OperationKind, Payload, Slice,
};
use portico_http::{
    body::{BodyDecoder, BodyFraming},
    limits::Limits,
    request::Request,
    response::CONTINUE,
    status::Status,
};
use std::{io, path::PathBuf, sync::Arc};

impl Connection {
    /// Begins to take the body of `request` into a file. What is wrong with it is said before the body is read. None if there is
    /// no room to say it.
    pub(super) fn begin_upload(
        &mut self,
        request: &Request<'_>,
        name: &str,
        replace: bool,
        context: &mut Context,
    ) -> Option<()> {
        if request.body == BodyFraming::None {
            return self.refuse_upload(request, Status::LENGTH_REQUIRED, context);
        }
        // A part would be taken for the whole (RFC 9110 section 14.5).
        if request.field("content-range").is_some() {
            return self.refuse_upload(request, Status::BAD_REQUEST, context);
        }
        let body_bytes = context.site.hosts[self.host].settings.upload_bytes;
        let limits = Limits { body_bytes, ..context.site.limits };
        let decoder = match BodyDecoder::new(request.body, &limits) {
            Ok(decoder) => decoder,
            Err(rejection) => return self.refuse_upload(request, rejection.status, context),
        };
        let continues = request.expect_continue && !decoder.is_finished();
        if continues && !self.output.has_room_for_slice() {
            // The answers before it go first.
            return None;
        }
        let keep = request.keep_alive && context.site.settings.keep_alive && !context.draining;
        let log = self.remote.map(|_| LateRecord::new(request, Status::CREATED, self.arrived));
        if continues {
            self.output.join(Slice::from_static(CONTINUE));
        }
        self.activity = Activity::Uploading(Box::new(Upload {
            stage: Stage::Opening,
            name: name.to_owned(),
            replace,
            file: OpenFile::none(),
            temporary: None,
            decoder,
            gathered: BufferChain::new(),
            writing: false,
            offset: 0,
            version: request.version,
            close: !keep,
            log,
        }));
        self.open_upload(
            PathBuf::from("."),
            OpenOptions::new().read(true).write(true).unnamed(true),
            context,
        );
        Some(())
    }

    fn refuse_upload(&mut self, request: &Request<'_>, status: Status, context: &mut Context) -> Option<()> {
        let sent = self.write_simple(request.version, &Simple::closing(status), 0, context)?;
        self.still_sends = true;
        self.log(Some(request), status, sent, context);
        Some(())
    }

    fn open_upload(&mut self, path: PathBuf, options: OpenOptions, context: &mut Context) {
        let Some(folder) = &context.site.hosts[self.host].upload else { return };
        let directory = Some(Arc::clone(&folder.directory));
        if context.port.submit(self.handle, Operation::Open { directory, path, options }).is_err() {
            self.fail_upload(Status::SERVICE_UNAVAILABLE, context);
        }
    }

    pub(super) fn on_upload_opened(&mut self, completion: Completion, context: &mut Context) {
        let site = Arc::clone(&context.site);
        let (Activity::Uploading(upload), Some(folder)) = (&mut self.activity, &site.hosts[self.host].upload)
        else {
            return;
        };
        if let Payload::Opened { file, .. } = completion.payload {
            upload.file = OpenFile::new(context.port.port(), file);
            upload.stage = Stage::Receiving;
        }
        if self.closing {
            return self.abandon_upload(context);
        }
        match completion.result {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported && upload.temporary.is_none() => {
                let name = folder.temporary_name();
                upload.temporary = Some(name.clone());
                self.open_upload(name, OpenOptions::new().write(true).create_new(true), context);
            }
            Err(error) => {
                upload.temporary = None;
                self.fail_upload_with(error, context);
            }
        }
    }

    /// Takes in what has come of the body, writes it, and goes on to the next stage when it is whole.
    pub(super) fn pump_upload(&mut self, context: &mut Context) {
        // Once to write, and once more to gather what is written next: what is left behind that goes no further than the input.
        while self.gather_upload(context) {
            let Activity::Uploading(upload) = &mut self.activity else { return };
            if upload.writing {
                return;
            }
            let file = upload.file.handle();
            if upload.gathered.is_empty() {
                if upload.decoder.is_finished() {
                    upload.stage = Stage::Syncing;
                    self.submit(Operation::Sync { file, data_only: false }, context);
                }
                return;
            }
            upload.writing = true;
            let (offset, chain) = (upload.offset, std::mem::take(&mut upload.gathered));
            debug_assert!(chain.len() < 2 * GATHER_BYTES);
            self.submit(Operation::WriteAt { file, offset, chain }, context);
        }
    }

    /// Takes bytes of the body out of the input, up to what one write holds. False if this upload is past that, or has failed.
    fn gather_upload(&mut self, context: &mut Context) -> bool {
        let Activity::Uploading(upload) = &mut self.activity else { return false };
        if upload.stage != Stage::Receiving || self.closing {
            return false;
        }
        while upload.wants_input() {
            let Some(mut rest) = self.input.take_slice() else { break };
            let mut stuck = false;
            while !stuck && !upload.is_full() && !upload.decoder.is_finished() && !rest.is_empty() {
                match upload.decoder.decode(&rest) {
                    Ok(step) => {
                        stuck = step.consumed == 0;
                        let pushed = upload.gathered.push(rest.slice(step.data));
                        debug_assert!(pushed.is_ok(), "there was room for a slice");
                        rest.cut(step.consumed..);
                    }
                    Err(rejection) => {
                        self.fail_upload(rejection.status, context);
                        return false;
                    }
                }
            }
            if !self.input.put_slice_back(&rest, context.port.buffers()) {
                self.fail_upload(Status::SERVICE_UNAVAILABLE, context);
                return false;
            }
            if stuck && !self.input.join(context.port.buffers()) {
                break;
            }
        }
        if self.ended && upload.wants_input() {
            // The client is gone before its body was whole.
            self.close(context);
            return false;
        }
        true
    }

    pub(super) fn on_upload_step(&mut self, completion: Completion, context: &mut Context) {
        let Activity::Uploading(upload) = &mut self.activity else { return };
        if self.closing {
            return;
        }
        match (completion.kind, completion.result) {
            (OperationKind::WriteAt, Ok(bytes)) => {
                upload.writing = false;
                upload.offset += bytes;
                if let Some(trace) = &context.site.trace {
                    trace.written(context.port.number(), bytes, upload.offset);
                }
                self.disk_moved(context);
            }
            (OperationKind::Sync, Ok(_)) => self.publish_upload(false, context),
            (OperationKind::Link, Ok(_)) => {
                let replaced = upload.stage == Stage::Publishing { replacing: true };
                self.finish_upload(!replaced, context);
            }
            (OperationKind::Link, Err(error))
                if error.kind() == ErrorKind::AlreadyExists
                    && upload.replace
                    && upload.stage == (Stage::Publishing { replacing: false }) =>
            {
                self.publish_upload(true, context);
            }
            (OperationKind::Call, Ok(_)) => {
                let returned = match completion.payload {
                    Payload::Returned(returned) => returned.downcast::<io::Result<bool>>().ok(),
                    _ => None,
                };
                match returned.map(|result| *result) {
                    Some(Ok(new)) => {
                        upload.temporary = None;
                        self.finish_upload(new, context);
                    }
                    Some(Err(error)) => {
                        self.fail_upload_with(Error::from_io(&error, OperationKind::Link), context)
                    }
                    None => self.fail_upload(Status::INTERNAL_SERVER_ERROR, context),
                }
            }
            (_, Err(error)) => self.fail_upload_with(error, context),
            (_, Ok(_)) => {}
        }
    }

    /// The body is whole and on the storage: gives it its name.
    fn publish_upload(&mut self, replacing: bool, context: &mut Context) {
        let site = Arc::clone(&context.site);
        let (Activity::Uploading(upload), Some(folder)) = (&mut self.activity, &site.hosts[self.host].upload)
        else {
            return;
        };
        upload.stage = Stage::Publishing { replacing };
        let operation = match &upload.temporary {
            None => Operation::Link {
                file: upload.file.handle(),
                directory: Arc::clone(&folder.directory),
                path: PathBuf::from(&upload.name),
                replace: replacing,
            },
            Some(temporary) => {
                // Windows lets nobody replace a file that is open: not this one's successor either.
                upload.file = OpenFile::none();
                let work = folder.publish(temporary, &upload.name, upload.replace);
                Operation::Call { work: Box::new(move || Box::new(work())) }
            }
        };
        if context.port.submit(self.handle, operation).is_err() {
            self.fail_upload(Status::SERVICE_UNAVAILABLE, context);
        }
    }

    fn finish_upload(&mut self, new: bool, context: &mut Context) {
        let Activity::Uploading(upload) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        // The cache may know of nothing there, or of another file. (Other workers see the change when they next ask the disk.)
        let host = &context.site.hosts[self.host];
        if let Some(folder) = &host.upload {
            context.cache.remove(self.host, &folder.key_of(&upload.name));
            if host.settings.index.contains(&upload.name) {
                context.cache.remove(self.host, &folder.own_key());
            }
        }
        let status = if new { Status::CREATED } else { Status::NO_CONTENT };
        let simple = Simple { close: upload.close || context.draining, ..Simple::new(status) };
        match self.write_simple(upload.version, &simple, 0, context) {
            Some(sent) => {
                if let Some(late) = upload.log {
                    late.record_as(status, self.remote, sent, context);
                }
            }
            // Only when no buffer is free; the file is there, and the client will see it.
            None => self.last_answer = true,
        }
    }

    fn fail_upload_with(&mut self, error: Error, context: &mut Context) {
        let status = match error.kind() {
            // Of a file, or of a folder, which no file replaces.
            ErrorKind::AlreadyExists | ErrorKind::WrongFileKind => Status::CONFLICT,
            ErrorKind::StorageFull => Status::INSUFFICIENT_STORAGE,
            _ => status_of(Some(error)),
        };
        if status != Status::CONFLICT
            && let Some(held_back) = context.warnings.may_warn(context.port.now())
        {
            tracing::warn!(%error, held_back, "an upload failed");
        }
        self.fail_upload(status, context);
    }

    /// Ends an upload with an error; nothing of it is left.
    pub(super) fn fail_upload(&mut self, status: Status, context: &mut Context) {
        self.abandon_upload(context);
        if let Activity::Uploading(upload) = std::mem::replace(&mut self.activity, Activity::Reading) {
            self.last_answer = true;
            self.still_sends |= !upload.decoder.is_finished();
            let sent = self.write_simple(upload.version, &Simple::closing(status), 0, context);
            // Without room the end of the connection says it, behind the answers that wait to be sent.
            if let (Some(sent), Some(late)) = (sent, upload.log) {
                late.record_as(status, self.remote, sent, context);
            }
        }
    }

    /// Removes the temporary name of an upload that will not become whole. (A file without a name goes with its handle.)
    pub(super) fn abandon_upload(&mut self, context: &mut Context) {
        let site = Arc::clone(&context.site);
        let (Activity::Uploading(upload), Some(folder)) = (&mut self.activity, &site.hosts[self.host].upload)
        else {
            return;
        };
        if upload.stage == Stage::Opening {
            // Not there yet: this is called again when it is.
            return;
        }
        if let Some(temporary) = upload.temporary.take() {
            upload.file = OpenFile::none();
            let work = folder.remove(&temporary);
            let operation = Operation::Call {
                work: Box::new(move || {
                    if let Err(error) = work() {
                        tracing::warn!(%error, "a broken upload could not be removed; the next start does");
                    }
                    Box::new(())
                }),
            };
            if context.port.submit(Handle::NONE, operation).is_err() {
                tracing::warn!("a broken upload could not be removed; the next start does");
            }
        }
    }
}
