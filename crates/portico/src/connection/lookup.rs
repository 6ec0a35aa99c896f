//! Looking a path up: open it, read it if it is small, and remember what was found.

use super::{Activity, Connection, buffer_of};
use crate::{
    context::Context,
    entry::{Entry, File, HeadFields, Kind, OpenFile},
    host::Host,
    seek::{self, Lookup, Purpose},
    variants::Original,
};
use completion_port::{Buffer, Completion, Error, ErrorKind, FileKind, Metadata, Operation, Payload, Slice};
use portico_http::status::Status;
use std::sync::Arc;

/// A small file on its way into the cache.
pub(super) struct Loading {
    lookup: Box<Lookup>,
    file: OpenFile,
    metadata: Metadata,
}

impl Connection {
    /// Asks the disk about a path. The request in front is read once more when the answer is there.
    pub(super) fn look_up(&mut self, lookup: Lookup, context: &mut Context) {
        let host = &context.site.hosts[lookup.host];
        let Some(path) = lookup.candidate(host) else {
            let nothing = lookup.nothing(host);
            return self.found(&lookup, nothing, context);
        };
        let (directory, options) = (Some(Arc::clone(&host.root)), host.open_options());
        match context.port.submit(self.handle, Operation::Open { directory, path, options }) {
            Ok(_) => self.activity = Activity::LookingUp(Box::new(lookup)),
            // The pool is full: what is waited for would come too late for many.
            Err(_) if matches!(lookup.purpose, Purpose::Page(_)) => {
                self.know(&lookup, Kind::Nothing(Status::SERVICE_UNAVAILABLE), context);
            }
            Err(_) => self.refuse(Status::SERVICE_UNAVAILABLE, context),
        }
    }

    pub(super) fn on_opened(&mut self, completion: Completion, context: &mut Context) {
        if let Activity::Uploading(_) = self.activity {
            return self.on_upload_opened(completion, context);
        }
        let opened = match completion.payload {
            Payload::Opened { file, metadata } => Some((OpenFile::new(context.port.port(), file), metadata)),
            _ => None,
        };
        let Activity::LookingUp(mut lookup) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        if self.closing {
            return;
        }
        if lookup.beside.is_some() {
            return self.on_beside_opened(lookup, opened, context);
        }
        match (completion.result, opened) {
            (Ok(_), Some((file, metadata))) => self.found_something(lookup, file, metadata, context),
            (Err(error), _) if is_missing(&error) => {
                lookup.next();
                self.look_up(*lookup, context);
            }
            (result, _) => {
                if let Err(error) = result
                    && let Some(held_back) = context.warnings.may_warn(context.port.now())
                {
                    tracing::warn!(path = &*lookup.key, %error, held_back, "a file could not be opened");
                }
                // Not remembered: it may be over in a moment. What was known is forgotten, and with it an open file that a deletion on
                // Windows may be waiting for.
                context.cache.remove(lookup.host, &lookup.key);
                self.know(&lookup, Kind::Nothing(status_of(result.err())), context);
            }
        }
    }

    fn found_something(
        &mut self,
        mut lookup: Box<Lookup>,
        file: OpenFile,
        metadata: Metadata,
        context: &mut Context,
    ) {
        match metadata.kind {
            FileKind::File => {
                if let Some(location) = lookup.clean_location(&context.site.hosts[lookup.host]) {
                    let redirect = Kind::Redirect(Status::MOVED_PERMANENTLY, location.into());
                    return self.found(&lookup, redirect, context);
                }
            }
            FileKind::Directory => {
                lookup.found_folder |= !lookup.is_folder();
                lookup.next();
                return self.look_up(*lookup, context);
            }
            FileKind::Other => return self.found(&lookup, Kind::Nothing(Status::FORBIDDEN), context),
        }
        // The same as before: what is in the cache goes on being good.
        if let Some(entry) = context.cache.get(lookup.host, &lookup.key)
            && entry.file().is_some_and(|known| known.settled && known.metadata == metadata)
        {
            let entry = Arc::clone(entry);
            if self.has_neighbours(&lookup, context) {
                return self.look_beside(lookup, Original::Known(entry), context);
            }
            self.known = Some(entry);
            return;
        }
        self.load(lookup, file, metadata, context);
    }

    /// Reads a file into memory, if it is small.
    pub(super) fn load(
        &mut self,
        lookup: Box<Lookup>,
        file: OpenFile,
        metadata: Metadata,
        context: &mut Context,
    ) {
        let small = metadata.length <= context.site.settings.file_cache_file_bytes as u64
            && context.cache.would_keep(metadata.length);
        if !small {
            return self.found_file(lookup, metadata, None, file, context);
        }
        if metadata.length == 0 {
            return self.found_file(
                lookup,
                metadata,
                Some(Slice::from_static(b"")),
                OpenFile::none(),
                context,
            );
        }
        match context.port.buffers().allocate(metadata.length as usize) {
            Ok(buffer) => {
                let operation = Operation::ReadAt { file: file.handle(), offset: 0, buffer };
                self.activity = Activity::Loading(Box::new(Loading { lookup, file, metadata }));
                self.submit(operation, context);
            }
            Err(_) => self.found_file(lookup, metadata, None, file, context),
        }
    }

    pub(super) fn on_read(&mut self, completion: Completion, context: &mut Context) {
        if let Activity::Streaming(_) = self.activity {
            return self.on_slice_read(completion, context);
        }
        let Activity::Loading(loading) = std::mem::replace(&mut self.activity, Activity::Reading) else {
            return;
        };
        if self.closing {
            return;
        }
        let Loading { lookup, file, mut metadata } = *loading;
        match completion.result {
            Ok(bytes) => {
                if let Some(trace) = &context.site.trace {
                    trace.read(context.port.number(), bytes, bytes, metadata.length);
                }
                let buffer: Buffer = buffer_of(completion.payload);
                // A file that shrank since it was opened is sent as it was read: head and body agree in any case.
                metadata.length = bytes;
                drop(file);
                self.found_file(lookup, metadata, Some(buffer.freeze()), OpenFile::none(), context);
            }
            Err(_) if lookup.beside.is_some() => self.on_beside_opened(lookup, None, context),
            Err(error) => {
                tracing::warn!(path = &*lookup.key, %error, "a file could not be read");
                self.know(&lookup, Kind::Nothing(Status::INTERNAL_SERVER_ERROR), context);
            }
        }
    }

    fn found_file(
        &mut self,
        lookup: Box<Lookup>,
        metadata: Metadata,
        bytes: Option<Slice>,
        file: OpenFile,
        context: &mut Context,
    ) {
        let host = &context.site.hosts[lookup.host];
        let path = lookup.candidate(host).unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let content_type = host.content_type(name);
        let (lines, language_ruled, cors) = fields_for(&lookup, &path.to_string_lossy(), host);
        let fields = HeadFields { lines: &lines, language_ruled, cors, ..host.head_fields() };
        let file = File::new(metadata, content_type, bytes, file, context.wall, &fields);
        if lookup.beside.is_some() {
            self.found_beside(lookup, file, context);
        } else if self.has_neighbours(&lookup, context) {
            self.look_beside(lookup, Original::New(Box::new(file)), context);
        } else {
            self.found_with_variants(&lookup, file, Vec::new(), context);
        }
    }

    pub(super) fn found(&mut self, lookup: &Lookup, kind: Kind, context: &mut Context) {
        self.know(lookup, kind, context);
        if let Some(entry) = &self.known {
            context.cache.insert(lookup.host, &lookup.key, Arc::clone(entry));
        }
    }

    /// Takes this for what the look-up brought, this once.
    fn know(&mut self, lookup: &Lookup, kind: Kind, context: &Context) {
        let entry = Entry::new(kind, context.port.now());
        self.known = Some(Arc::new(match lookup.purpose {
            Purpose::Page(status) => entry.for_page_of(status),
            Purpose::Path | Purpose::Inside => entry,
        }));
    }
}

/// The field lines that depend on the path of a file only, whether a rule decides about its language, and whether an answer depends
/// on the origin of its request as well.
fn fields_for(lookup: &Lookup, file: &str, host: &Host) -> (Vec<u8>, bool, bool) {
    let is_page = matches!(lookup.purpose, Purpose::Page(_));
    // An error is over sooner than any file grows old.
    let cache_control = host.settings.cache_control.as_deref().filter(|_| !is_page);
    let audience = host.audience(lookup.file());
    let (asked, file) = (seek::url(lookup.file()), seek::url(file));
    let asked = if asked == "/" { "" } else { &asked };
    let (lines, language_ruled) = host.fields.lines_for(asked, &file, cache_control, audience);
    let mut lines = Vec::from(lines);
    // What a page says to other origins is for the path that was asked for, which differs.
    let Some(cors) = host.cors.as_ref().filter(|cors| !is_page && cors.covers(asked)) else {
        return (lines, language_ruled, false);
    };
    match cors.lines_for_any() {
        Some(for_any) => {
            lines.extend_from_slice(for_any);
            (lines, language_ruled, false)
        }
        None => (lines, language_ruled, true),
    }
}

/// Whether the name leads nowhere, for whatever reason that does not pass.
pub(super) fn is_missing(error: &Error) -> bool {
    use ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound | Kind::WrongFileKind | Kind::OutsideDirectory | Kind::InvalidArgument
    )
}

pub(super) fn status_of(error: Option<Error>) -> Status {
    match error.map(|error| error.kind()) {
        Some(ErrorKind::PermissionDenied) => Status::FORBIDDEN,
        Some(
            ErrorKind::DescriptorsExhausted
            | ErrorKind::HandlesExhausted
            | ErrorKind::SystemResources
            | ErrorKind::BuffersExhausted,
        ) => Status::SERVICE_UNAVAILABLE,
        _ => Status::INTERNAL_SERVER_ERROR,
    }
}
