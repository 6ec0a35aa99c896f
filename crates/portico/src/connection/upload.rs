//! Taking a request body into a file.

use super::{
    Activity, Connection,
    lookup::status_of,
    receive::{Receiving, WAKING_BYTES, certain_piece_bytes, goes_on_growing},
};
use crate::{
    context::Context,
    decide::Simple,
    entry::OpenFile,
    listing::wants_json,
    routing::inside_key,
    upload::{Form, GATHER_BYTES, Goal, Stage, Upload, body_of, is_large},
};
use completion_port::{
    Buffer, BufferChain, Completion, Directory, Error, ErrorKind, Handle, OpenOptions, Operation,
    OperationKind, Payload, Slice,
};
use portico_http::{multipart::Decoder, request::Request, response::CONTINUE, status::Status};
use std::{io, path::PathBuf, rc::Rc, sync::Arc};

/// Pieces that one connection moves before others get their turn.
const MOST_MOVES: usize = 4;

impl Connection {
    /// Begins to take the body of `request` into a file. What is wrong with it is said before the body is read. None if there is
    /// no room to say it.
    pub(super) fn begin_upload(
        &mut self,
        request: &Request<'_>,
        goal: Goal,
        context: &mut Context,
    ) -> Option<()> {
        let decoder = match body_of(request, context.site.upload_limits(self.host)) {
            Ok(decoder) => decoder,
            Err(status) => return self.refuse_upload(request, status, context),
        };
        let continues = request.expect_continue && !decoder.is_finished();
        if continues && !self.output.has_room_for_slice() {
            // The answers before it go first.
            return None;
        }
        let (name, replace, form) = match goal {
            Goal::File { name, replace } => (name, replace, None),
            Goal::Form { folder } => match self.form(request, folder, context) {
                Ok(form) => (String::new(), false, Some(Box::new(form))),
                Err(status) => return self.refuse_upload(request, status, context),
            },
        };
        let keep = request.keep_alive && context.site.settings.keep_alive && !context.draining;
        let log = self.late_record(Some(request), Status::CREATED);
        let Some(folder) = &context.site.hosts[self.host].upload else { return Some(()) };
        let length = decoder.remaining_bytes();
        let prepared = folder.prepare_in_memory(length);
        let work = prepared.is_none().then(|| folder.prepare(length));
        let moves_at_once =
            prepared.is_some() && length.is_some() && form.is_none() && context.site.trace.is_none();
        self.activity = Activity::Uploading(Box::new(Upload {
            stage: Stage::Preparing,
            directory: None,
            continues,
            form,
            name,
            replace,
            file: OpenFile::none(),
            temporary: None,
            is_large: is_large(&decoder),
            moves_at_once,
            decoder,
            gathered: BufferChain::new(),
            writing: false,
            offset: 0,
            version: request.version,
            target: request.target.into(),
            close: !keep,
            log,
        }));
        if let Some(work) = work {
            let operation = Operation::Call { work: Box::new(move || Box::new(work())) };
            if context.port.submit(self.handle, operation).is_err() {
                self.fail_upload(Status::SERVICE_UNAVAILABLE, context);
            }
        } else if let Some(prepared) = prepared {
            self.upload_prepared(prepared, context);
        }
        Some(())
    }

    /// What is needed to read a form, or with which status to refuse it.
    fn form(&self, request: &Request<'_>, folder: String, context: &Context) -> Result<Form, Status> {
        let content_type = request.field("content-type").unwrap_or_default();
        let decoder = Decoder::new(content_type).map_err(|rejection| rejection.status)?;
        let decoder = decoder.ok_or(Status::UNSUPPORTED_MEDIA_TYPE)?;
        let (site, number) = (Arc::clone(&*context.site), self.host);
        let accepts = Box::new(move |name: &str| {
            let host = &site.hosts[number];
            host.upload.as_ref().is_some_and(|folder| folder.accepts(name, host.rules))
        });
        Form::new(decoder, folder, wants_json(request), context.port.buffers(), accepts)
            .map_err(|_| Status::SERVICE_UNAVAILABLE)
    }

    /// The folder is there, and room for the upload, as far as can be known.
    fn on_upload_prepared(&mut self, completion: Completion, context: &mut Context) {
        let prepared = match (completion.result, completion.payload) {
            (Ok(_), Payload::Returned(returned)) => returned.downcast::<io::Result<Arc<Directory>>>().ok(),
            _ => None,
        };
        match prepared {
            Some(prepared) => self.upload_prepared(*prepared, context),
            None => self.fail_upload(Status::INTERNAL_SERVER_ERROR, context),
        }
    }

    fn upload_prepared(&mut self, prepared: io::Result<Arc<Directory>>, context: &mut Context) {
        let Activity::Uploading(upload) = &mut self.activity else { return };
        match prepared {
            Ok(directory) => {
                upload.directory = Some(directory);
                if upload.form.is_some() {
                    upload.stage = Stage::Between;
                    self.say_continue();
                } else {
                    self.open_unnamed(context);
                }
            }
            Err(error) => self.fail_upload_with(Error::from_io(&error, OperationKind::Open), context),
        }
    }

    /// Tells a client that waits for it that its body is wanted.
    fn say_continue(&mut self) {
        if let Activity::Uploading(upload) = &mut self.activity
            && std::mem::take(&mut upload.continues)
        {
            // There was room for it when the upload began, and nothing was written since.
            self.output.join(Slice::from_static(CONTINUE));
        }
    }

    fn open_unnamed(&mut self, context: &mut Context) {
        if let Activity::Uploading(upload) = &mut self.activity {
            upload.stage = Stage::Opening;
            let options = OpenOptions::new().read(true).write(true).unnamed(true);
            self.open_upload(PathBuf::from("."), options, context);
        }
    }

    fn refuse_upload(&mut self, request: &Request<'_>, status: Status, context: &mut Context) -> Option<()> {
        let simple = Simple::closing(status);
        if self.has_page(status, context) {
            let log = self.late_record(Some(request), status);
            self.wait_for_page(request.version, simple, log);
        } else {
            let sent = self.write_simple(request.version, &simple, 0, context)?;
            self.log(Some(request), status, sent, context);
        }
        self.still_sends = true;
        Some(())
    }

    fn open_upload(&mut self, path: PathBuf, options: OpenOptions, context: &mut Context) {
        let Activity::Uploading(upload) = &self.activity else { return };
        let directory = upload.directory.clone();
        if context.port.submit(self.handle, Operation::Open { directory, path, options }).is_err() {
            self.fail_upload(Status::SERVICE_UNAVAILABLE, context);
        }
    }

    pub(super) fn on_upload_opened(&mut self, completion: Completion, context: &mut Context) {
        let site = Rc::clone(&context.site);
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
            Ok(_) => self.say_continue(),
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
        self.move_at_once(context);
        // Once to write, and once more to gather what is written next: what is left behind that goes no further than the input.
        while self.gather_upload(context) {
            let Activity::Uploading(upload) = &mut self.activity else { return };
            if upload.writing {
                return;
            }
            let file = upload.file.handle();
            if let Some(name) = upload.form.as_mut().and_then(|form| form.begin_file()) {
                upload.name = name;
                return self.open_unnamed(context);
            }
            if upload.gathered.is_empty() {
                if upload.is_over() {
                    self.finish_form(context);
                } else if upload.is_whole() {
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

    /// Receives what the client has sent of a large body, and writes it, within calls where that works: through a buffer that is back in the
    /// pool, and still in the processor's cache, when the next connection wants one. What is left is for operations.
    fn move_at_once(&mut self, context: &mut Context) {
        let Activity::Uploading(upload) = &self.activity else { return };
        if self.closing
            || self.ended
            || self.receiving != Receiving::Nothing
            || !upload.can_move()
            || self.input.buffers() > 1
        {
            return;
        }
        let Some(bytes) = certain_piece_bytes(upload, context) else { return };
        // All of it is there, and maybe more, which is another request.
        if upload.ends_with(self.input.len()) || self.input.len() >= bytes {
            return;
        }
        let Ok(mut piece) = context.port.buffers().acquire(bytes) else { return };
        piece.extend_from_slice(self.input.bytes());
        self.input.clear();
        for _ in 0..MOST_MOVES {
            if !self.move_piece(&mut piece, bytes, context) {
                break;
            }
        }
        let Activity::Uploading(upload) = &self.activity else { return };
        if piece.is_empty() || self.closing {
            return;
        }
        // Less than a page, unless it has to be written by an operation. It does not keep what others want.
        if upload.moves_at_once
            && let Ok(mut small) = context.port.buffers().acquire(WAKING_BYTES.max(piece.len()))
        {
            small.extend_from_slice(&piece);
            piece = small;
        }
        self.input.put_back(piece);
    }

    /// Fills the piece up to `bytes`, and writes its whole pages. False where it is somebody else's turn.
    fn move_piece(&mut self, piece: &mut Buffer, bytes: usize, context: &mut Context) -> bool {
        let Activity::Uploading(upload) = &mut self.activity else { return false };
        let left = upload.decoder.remaining_bytes().unwrap_or(0);
        let wanted = bytes.min(usize::try_from(left).unwrap_or(usize::MAX)) - piece.len();
        let received = match context.port.receive_at_once(self.handle, &mut piece.spare_mut()[..wanted]) {
            Ok(received) => received,
            Err(_) => {
                self.close(context);
                return false;
            }
        };
        piece.advance(received);
        self.clock.count_received(received as u64);
        let whole = upload.whole_pages(piece.len());
        let file = upload.file.handle();
        let written = context.port.write_at_once(self.handle, file, upload.offset, &piece[..whole]);
        upload.moves_at_once = written == whole;
        upload.offset += written as u64;
        if let Err(rejection) = upload.decoder.decode(&piece[..written]) {
            self.fail_upload(rejection.status, context);
            return false;
        }
        let goes_on = upload.moves_at_once && received == wanted && !upload.decoder.is_finished();
        piece.consume(written);
        goes_on
    }

    /// Takes bytes of the body out of the input, up to what one write holds. False if this upload is past that, or has failed.
    fn gather_upload(&mut self, context: &mut Context) -> bool {
        let Activity::Uploading(upload) = &mut self.activity else { return false };
        if !upload.is_receiving() || self.closing {
            return false;
        }
        if let Err(rejection) = upload.take_pending() {
            self.fail_upload(rejection.status, context);
            return false;
        }
        // What may become a larger piece is left where it is: the next receive goes on behind it.
        let grows = !self.ended && goes_on_growing(upload, &self.input, context);
        while upload.wants_input() && !grows {
            let Some(mut rest) = self.input.take_slice() else { break };
            let mut stuck = false;
            // What would begin a page of the file waits for the rest of that page.
            let whole =
                self.ended || !self.input.is_empty() || certain_piece_bytes(upload, context).is_none();
            let odd_bytes = if whole { 0 } else { upload.odd_bytes(rest.len()) };
            let odd = rest.slice(rest.len() - odd_bytes..);
            rest.cut(..rest.len() - odd_bytes);
            while !stuck && upload.wants_input() && !rest.is_empty() {
                let step = upload.decoder.decode(&rest);
                let taken = step.and_then(|step| upload.take(rest.slice(step.data)).map(|()| step.consumed));
                match taken {
                    Ok(consumed) => {
                        stuck = consumed == 0;
                        rest.cut(consumed..);
                    }
                    Err(rejection) => {
                        self.fail_upload(rejection.status, context);
                        return false;
                    }
                }
            }
            let buffers = context.port.buffers();
            if !self.input.put_slice_back(&odd, buffers) || !self.input.put_slice_back(&rest, buffers) {
                self.fail_upload(Status::SERVICE_UNAVAILABLE, context);
                return false;
            }
            if !odd.is_empty() {
                break;
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
            (OperationKind::Call, _) if upload.stage == Stage::Preparing => {
                self.on_upload_prepared(completion, context);
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
        let site = Rc::clone(&context.site);
        let (Activity::Uploading(upload), Some(folder)) = (&mut self.activity, &site.hosts[self.host].upload)
        else {
            return;
        };
        let Some(directory) = &upload.directory else { return };
        upload.stage = Stage::Publishing { replacing };
        let operation = match &upload.temporary {
            None => Operation::Link {
                file: upload.file.handle(),
                directory: Arc::clone(directory),
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

    /// A file of the upload folder was made or removed: the cache may know of nothing there, or of another file. (Other workers see the
    /// change when they next ask the disk; listings they make anew at once.)
    pub(super) fn forget_uploaded(&mut self, name: &str, context: &mut Context) {
        let host = &context.site.hosts[self.host];
        if let Some(folder) = &host.upload {
            folder.count_change();
            let key = folder.key_of(name);
            context.cache.remove(self.host, &key);
            context.cache.remove(self.host, &inside_key(&key));
            if host.settings.index.iter().any(|index| index == name) {
                context.cache.remove(self.host, &folder.own_key());
            }
        }
    }

    fn finish_upload(&mut self, new: bool, context: &mut Context) {
        let Activity::Uploading(upload) = &mut self.activity else { return };
        let name = std::mem::take(&mut upload.name);
        self.forget_uploaded(&name, context);
        let Activity::Uploading(upload) = &mut self.activity else { return };
        if upload.form.is_some() {
            upload.name = name;
            return self.end_file(Status::CREATED, context);
        }
        let Activity::Uploading(upload) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        let status = if new { Status::CREATED } else { Status::NO_CONTENT };
        let location = new.then(|| upload.target.split('?').next().unwrap_or_default().to_owned());
        let simple = Simple { location, close: upload.close || context.draining, ..Simple::new(status) };
        self.answer_late(upload.version, simple, upload.log, context);
    }

    fn fail_upload_with(&mut self, error: Error, context: &mut Context) {
        let status = match error.kind() {
            // Of a file, or of a folder, which no file replaces.
            ErrorKind::AlreadyExists | ErrorKind::WrongFileKind => Status::CONFLICT,
            ErrorKind::StorageFull => Status::INSUFFICIENT_STORAGE,
            // The folder is gone.
            ErrorKind::NotFound => Status::NOT_FOUND,
            _ => status_of(Some(error)),
        };
        if status == Status::CONFLICT {
            if matches!(&self.activity, Activity::Uploading(upload) if upload.form.is_some()) {
                // The other files of the form are none the worse for it.
                return self.end_file(status, context);
            }
        } else if let Some(held_back) = context.warnings.may_warn(context.port.now()) {
            tracing::warn!(%error, held_back, "an upload failed");
        }
        self.fail_upload(status, context);
    }

    /// Ends an upload with an error; nothing of it is left.
    pub(super) fn fail_upload(&mut self, status: Status, context: &mut Context) {
        self.abandon_upload(context);
        if let Activity::Uploading(upload) = std::mem::replace(&mut self.activity, Activity::Reading) {
            self.still_sends |= !upload.decoder.is_finished();
            self.answer_late(upload.version, Simple::closing(status), upload.log, context);
        }
    }

    /// Removes the temporary name of an upload that will not become whole. (A file without a name goes with its handle.)
    pub(super) fn abandon_upload(&mut self, context: &mut Context) {
        let site = Rc::clone(&context.site);
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
