//! What the server knows of one path: a file with its ready-made head, a redirect, or that there is nothing.

use crate::variants::Variants;
use completion_port::{Handle, Metadata, Port, Slice};
use portico_http::{
    body::BodyLength,
    coding::Coding,
    conditional::Representation,
    date::HttpDate,
    etag::StoredETag,
    response::{ContentRange, ResponseHead},
    status::Status,
};
use std::{sync::atomic::AtomicU64, sync::atomic::Ordering, time::Duration, time::SystemTime};

/// The most bytes that a head of a file may have: names and types are ours, and short.
const MOST_HEAD_BYTES: usize = 1024;

/// One path. Shared by the cache and the connections that are sending it.
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// When it was last compared with the disk, in microseconds of the port's clock.
    checked_us: AtomicU64,
}

pub(crate) enum Kind {
    File(Box<File>),
    /// A folder that was asked for without its trailing slash.
    Folder,
    /// Nothing to serve, and with which status.
    Nothing(Status),
}

impl Entry {
    pub(crate) fn new(kind: Kind, now: Duration) -> Self {
        Self { kind, checked_us: AtomicU64::new(now.as_micros() as u64) }
    }

    /// Whether the disk should be asked again. Says so once an interval, so that one of many requests asks.
    pub(crate) fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let checked = self.checked_us.load(Ordering::Relaxed);
        let now = now.as_micros() as u64;
        let due = now.saturating_sub(checked) >= interval.as_micros() as u64;
        if due {
            self.checked_us.store(now, Ordering::Relaxed);
        }
        due
    }

    pub(crate) fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            Kind::Folder | Kind::Nothing(_) => None,
        }
    }
}

/// A file that can be sent.
pub(crate) struct File {
    pub(crate) metadata: Metadata,
    pub(crate) content_type: &'static str,
    /// All its bytes, where it is small; otherwise `handle` is open.
    pub(crate) bytes: Option<Slice>,
    pub(crate) handle: OpenFile,
    /// The head of a plain 200, without date and end.
    pub(crate) head: Box<[u8]>,
    /// How its bytes are coded: it is a representation of another file.
    coding: Option<Coding>,
    /// The coded representations of this file, where there may be any.
    variants: Option<Box<Variants>>,
    etag: StoredETag,
    last_modified: HttpDate,
}

/// A file that is closed when it is dropped, or none.
pub(crate) struct OpenFile {
    port: Option<Port>,
    handle: Handle,
}

impl OpenFile {
    pub(crate) fn new(port: Port, handle: Handle) -> Self {
        Self { port: Some(port), handle }
    }

    pub(crate) fn none() -> Self {
        Self { port: None, handle: Handle::NONE }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(port) = &self.port {
            port.close(self.handle);
        }
    }
}

/// How the heads of files are made.
pub(crate) struct HeadFields<'a> {
    pub(crate) server: Option<&'a str>,
    pub(crate) cache_control: Option<&'a str>,
}

impl File {
    pub(crate) fn new(
        metadata: Metadata,
        content_type: &'static str,
        bytes: Option<Slice>,
        handle: OpenFile,
        fields: &HeadFields<'_>,
    ) -> Self {
        let since = metadata.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let etag = StoredETag::from_numbers(&[since.as_nanos() as u64, metadata.length]);
        let last_modified = HttpDate::new(metadata.modified);
        let (head, coding, variants) = (Box::default(), None, None);
        let mut file =
            Self { metadata, content_type, bytes, handle, head, coding, variants, etag, last_modified };
        file.make_head(fields);
        file
    }

    /// The same as a coded representation of another file. `tag` tells it from all others of the same length and time.
    pub(crate) fn coded(mut self, coding: Coding, tag: u64, fields: &HeadFields<'_>) -> Self {
        let since = self.metadata.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.etag = StoredETag::from_numbers(&[since.as_nanos() as u64, self.metadata.length, tag]);
        self.coding = Some(coding);
        self.make_head(fields);
        self
    }

    /// The same with coded representations beside it.
    pub(crate) fn with_variants(mut self, variants: Variants, fields: &HeadFields<'_>) -> Self {
        self.variants = Some(Box::new(variants));
        self.make_head(fields);
        self
    }

    pub(crate) fn variants(&self) -> Option<&Variants> {
        self.variants.as_deref()
    }

    /// Whether the answer depends on what codings a request accepts.
    pub(crate) fn is_negotiated(&self) -> bool {
        self.coding.is_some() || self.variants.is_some()
    }

    fn make_head(&mut self, fields: &HeadFields<'_>) {
        let mut room = [0; MOST_HEAD_BYTES];
        let length = self.head_for(Status::OK, None, fields, &mut room);
        self.head = room[..length].into();
    }

    pub(crate) fn length(&self) -> u64 {
        self.metadata.length
    }

    pub(crate) fn representation(&self) -> Representation<'_> {
        Representation { etag: Some(self.etag.as_etag()), last_modified: Some(self.metadata.modified) }
    }

    /// Writes a head without date and end, for the whole file or a range of it.
    pub(crate) fn head_for(
        &self,
        status: Status,
        range: Option<(u64, u64)>,
        fields: &HeadFields<'_>,
        room: &mut [u8],
    ) -> usize {
        let length = self.length();
        let (body, content_range) = match range {
            Some((first, last)) => (last - first + 1, Some(ContentRange::Part { first, last, length })),
            None => (length, None),
        };
        let cache_control = fields.cache_control.map(|value| ("Cache-Control", value.as_bytes()));
        let head = ResponseHead {
            // A 304 leaves out what the client has already (RFC 9110 section 15.4.5).
            content_type: (status != Status::NOT_MODIFIED).then_some(self.content_type),
            body: if status == Status::NOT_MODIFIED { BodyLength::Unsaid } else { BodyLength::Length(body) },
            content_encoding: self.coding.filter(|_| status != Status::NOT_MODIFIED),
            vary: self.is_negotiated().then_some(VARY),
            content_range,
            accept_ranges: status == Status::OK,
            last_modified: Some(&self.last_modified),
            etag: Some(self.etag.as_etag()),
            server: fields.server,
            fields: cache_control.as_slice(),
            ..ResponseHead::new(status)
        };
        head.write_open(room).expect("the settings were checked, and a head of a file is short")
    }
}

/// The `Vary` of a resource whose answer depends on what codings a request accepts.
pub(crate) const VARY: &str = "Accept-Encoding";

/// Room that [`File::head_for`] never exceeds.
pub(crate) const HEAD_ROOM: usize = MOST_HEAD_BYTES;
