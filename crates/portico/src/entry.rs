//! What the server knows of one path: a file with its ready-made head, a redirect, or that there is nothing.

use crate::{listing::Page, variants::Variants};
use completion_port::{Handle, Metadata, Port, Slice};
use portico_http::{
    body::BodyLength,
    coding::Coding,
    conditional::Representation,
    date::HttpDate,
    etag::{ETag, StoredETag},
    response::{ContentRange, ResponseHead},
    status::Status,
};
use std::{
    borrow::Cow,
    hash::Hasher,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// The most bytes that a head of a file may have: names and types are ours, and short; texts of settings are bounded.
const MOST_HEAD_BYTES: usize = 2_048;
/// How long the clock that stamps files may stand still: a tick of the kernel, on Windows 15.6 ms.
const TICK: Duration = Duration::from_millis(20);
/// The same where files are stamped with whole seconds; on some file systems with every other one.
const COARSE_TICK: Duration = Duration::from_secs(2);
/// What a date in a field tells apart.
const SECOND: Duration = Duration::from_secs(1);

/// One path. Shared by the cache and the connections that are sending it.
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// The status whose page this is.
    pub(crate) page_of: Option<Status>,
    /// When it was last compared with the disk, in microseconds of the port's clock.
    checked_us: AtomicU64,
}

pub(crate) enum Kind {
    File(Box<File>),
    /// A folder that was asked for without its trailing slash.
    Folder,
    /// Another address, without the query of the request.
    Redirect(Status, Box<str>),
    /// Another entry of the cache answers, by its name there.
    Alias(Box<str>),
    /// A folder without an index, which may be listed.
    Listed,
    /// The listing of a folder, in one of its forms.
    Page(Page),
    /// Nothing to serve, and with which status.
    Nothing(Status),
}

impl Kind {
    /// The length of the text that it holds.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Kind::Redirect(_, text) | Kind::Alias(text) => text.len(),
            _ => 0,
        }
    }
}

impl Entry {
    pub(crate) fn new(kind: Kind, now: Duration) -> Self {
        Self { kind, page_of: None, checked_us: AtomicU64::new(now.as_micros() as u64) }
    }

    /// The same, for the page of a status.
    pub(crate) fn for_page_of(self, status: Status) -> Self {
        Self { page_of: Some(status), ..self }
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
            Kind::Folder
            | Kind::Redirect(..)
            | Kind::Alias(_)
            | Kind::Listed
            | Kind::Page(_)
            | Kind::Nothing(_) => None,
        }
    }
}

/// A file that can be sent.
pub(crate) struct File {
    pub(crate) metadata: Metadata,
    pub(crate) content_type: Cow<'static, str>,
    /// All its bytes, where it is small; otherwise `handle` is open.
    pub(crate) bytes: Option<Slice>,
    pub(crate) handle: OpenFile,
    /// The head of a plain 200, without date and end.
    pub(crate) head: Box<[u8]>,
    /// Field lines that depend on the path only. They end `head`, and belong behind every other head of this file.
    pub(crate) lines: Box<[u8]>,
    language_ruled: bool,
    /// Whether an answer says something to the origin of its request.
    pub(crate) cors: bool,
    /// How its bytes are coded: it is a representation of another file.
    coding: Option<Coding>,
    /// The coded representations of this file, where there may be any.
    variants: Option<Box<Variants>>,
    /// It was read so long after its last change that another change has another time.
    pub(crate) settled: bool,
    etag: StoredETag,
    last_modified: SystemTime,
    /// The same as a field has it.
    last_modified_date: HttpDate,
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
    /// For text.
    pub(crate) content_language: Option<&'a str>,
    /// Field lines that depend on the path only.
    pub(crate) lines: &'a [u8],
    /// Whether a rule decides about `Content-Language`.
    pub(crate) language_ruled: bool,
    pub(crate) cors: bool,
}

impl<'a> HeadFields<'a> {
    /// Without anything that depends on the path.
    pub(crate) fn new(server: Option<&'a str>, content_language: Option<&'a str>) -> Self {
        Self { server, content_language, lines: &[], language_ruled: false, cors: false }
    }
}

/// Of what in a file a head tells.
#[derive(Clone, Copy)]
pub(crate) enum Extent<'a> {
    /// All of it: 200.
    Whole,
    /// That the client has it: 304.
    Unchanged,
    /// First and last byte: 206.
    Part(u64, u64),
    /// Several ranges, in content of this type and length: 206.
    Parts(&'a str, u64),
}

impl File {
    /// A file as it was found at the time `seen`.
    pub(crate) fn new(
        metadata: Metadata,
        content_type: Cow<'static, str>,
        bytes: Option<Slice>,
        handle: OpenFile,
        seen: SystemTime,
        fields: &HeadFields<'_>,
    ) -> Self {
        let (etag, settled) = validator(&metadata, bytes.as_deref(), seen);
        // No answer may say that it was changed after the answer's own date (RFC 9110 section 8.8.2.1).
        let last_modified = metadata.modified.min(seen);
        let mut file = Self {
            metadata,
            content_type,
            bytes,
            handle,
            head: Box::default(),
            lines: fields.lines.into(),
            language_ruled: fields.language_ruled,
            cors: fields.cors,
            coding: None,
            variants: None,
            settled,
            etag,
            last_modified,
            last_modified_date: HttpDate::new(last_modified),
        };
        file.make_head(fields);
        file
    }

    /// The same as a coded representation of another file.
    pub(crate) fn coded(mut self, coding: Coding, fields: &HeadFields<'_>) -> Self {
        // Representations may have length and time alike, or even their bytes.
        self.etag = self.etag.with_number(coding as u64);
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

    /// How heads are made of this file, but for what `of_host` says.
    pub(crate) fn head_fields<'a>(&'a self, of_host: HeadFields<'a>) -> HeadFields<'a> {
        let (language_ruled, cors) = (self.language_ruled, self.cors);
        HeadFields { lines: &self.lines, language_ruled, cors, ..of_host }
    }

    /// The language of its text, where no rule decides about it.
    pub(crate) fn language<'a>(&self, of_host: Option<&'a str>) -> Option<&'a str> {
        of_host.filter(|_| !self.language_ruled && self.content_type.starts_with("text/"))
    }

    pub(crate) fn is_coded(&self) -> bool {
        self.coding.is_some()
    }

    fn make_head(&mut self, fields: &HeadFields<'_>) {
        let mut room = [0; MOST_HEAD_BYTES];
        let length = self.head_for(Extent::Whole, false, fields, &mut room);
        self.head = [&room[..length], &self.lines].concat().into();
    }

    pub(crate) fn length(&self) -> u64 {
        self.metadata.length
    }

    pub(crate) fn stored_etag(&self) -> StoredETag {
        self.etag
    }

    pub(crate) fn etag(&self) -> ETag<'_> {
        self.etag.as_etag()
    }

    pub(crate) fn representation(&self) -> Representation<'_> {
        Representation {
            etag: Some(self.etag()),
            last_modified: Some(self.last_modified),
            date_is_strong: self.settled && self.last_modified == self.metadata.modified,
        }
    }

    /// Writes a head without `lines`, date and end. A client that `has_some` of the file, and said so with If-Range, is not told again
    /// when it was modified (RFC 9110 section 15.3.7).
    pub(crate) fn head_for(
        &self,
        extent: Extent<'_>,
        has_some: bool,
        fields: &HeadFields<'_>,
        room: &mut [u8],
    ) -> usize {
        let length = self.length();
        let (status, body, content_range) = match extent {
            Extent::Whole => (Status::OK, BodyLength::Length(length), None),
            Extent::Unchanged => (Status::NOT_MODIFIED, BodyLength::Unsaid, None),
            Extent::Part(first, last) => {
                let range = ContentRange::Part { first, last, length };
                (Status::PARTIAL_CONTENT, BodyLength::Length(last - first + 1), Some(range))
            }
            Extent::Parts(_, content_bytes) => {
                (Status::PARTIAL_CONTENT, BodyLength::Length(content_bytes), None)
            }
        };
        // A 304 leaves out what the client has already, but for what caches go by (RFC 9110 section 15.4.5).
        let unchanged = status == Status::NOT_MODIFIED;
        let language = self.language(fields.content_language).filter(|_| !unchanged);
        let language = language.map(|value| ("Content-Language", value.as_bytes()));
        let last_modified = (!unchanged && !has_some).then_some(&self.last_modified_date);
        let head = ResponseHead {
            content_type: match extent {
                Extent::Parts(media_type, _) => Some(media_type),
                _ => (!unchanged).then_some(&*self.content_type),
            },
            body,
            content_encoding: self.coding.filter(|_| !unchanged),
            vary: self.is_negotiated().then_some(VARY),
            content_range,
            accept_ranges: status == Status::OK,
            last_modified,
            etag: Some(self.etag()),
            server: fields.server,
            fields: language.as_slice(),
            ..ResponseHead::new(status)
        };
        head.write_open(room).expect("the settings were checked, and a head of a file is short")
    }
}

/// The `Vary` of a resource whose answer depends on what codings a request accepts.
pub(crate) const VARY: &str = "Accept-Encoding";
/// The entity tag of a file that was read at the time `seen`, and whether no further change can have the same time.
///
/// A tag of time and length alone is strong only if the clock has gone on since the change (RFC 9110 section 8.8.1); that of a
/// file in memory has its content in it too.
fn validator(metadata: &Metadata, bytes: Option<&[u8]>, seen: SystemTime) -> (StoredETag, bool) {
    let since = metadata.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let coarse = since.subsec_nanos() == 0;
    // A time ahead of the clock does not come from it, and a change made now would have another.
    let age = seen.duration_since(metadata.modified).unwrap_or_else(|ahead| ahead.duration());
    let settled = age >= if coarse { COARSE_TICK } else { SECOND };
    let (time, length) = (since.as_nanos() as u64, metadata.length);
    let etag = match bytes {
        Some(bytes) => {
            let mut hasher = rustc_hash::FxHasher::default();
            hasher.write(bytes);
            StoredETag::from_numbers(&[time, length, hasher.finish()])
        }
        None => {
            let etag = StoredETag::from_numbers(&[time, length]);
            let strong = age >= if coarse { COARSE_TICK } else { TICK };
            if strong { etag } else { etag.weakened() }
        }
    };
    (etag, settled)
}

/// Room that [`File::head_for`] never exceeds.
pub(crate) const HEAD_ROOM: usize = MOST_HEAD_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use completion_port::FileKind;

    /// Whether the tag of a file is weak, and whether the file is settled.
    fn validators(modified: SystemTime, seen: SystemTime, bytes: Option<&[u8]>) -> (bool, bool) {
        let metadata = Metadata { length: 1, kind: FileKind::File, modified, identity: (0, 0) };
        let (etag, settled) = validator(&metadata, bytes, seen);
        (etag.as_etag().is_weak(), settled)
    }

    #[test]
    fn a_tag_is_strong_once_the_clock_has_gone_on() {
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        // What the clock of Windows tells apart.
        let fine = second + Duration::from_nanos(100);
        let ms = Duration::from_millis;
        for (modified, seen, weak, settled) in [
            (fine, fine, true, false),
            (fine, fine + ms(19), true, false),
            (fine, fine + ms(20), false, false),
            (fine, fine + ms(999), false, false),
            (fine, fine + ms(1_000), false, true),
            // Stamped with whole seconds.
            (second, second, true, false),
            (second, second + ms(1_999), true, false),
            (second, second + ms(2_000), false, true),
            // Ahead of the clock, a little and far.
            (fine, fine - ms(19), true, false),
            (fine, fine - ms(5_000), false, true),
        ] {
            assert_eq!(validators(modified, seen, None), (weak, settled), "{modified:?}, {seen:?}");
            assert_eq!(validators(modified, seen, Some(b"x")), (false, settled), "{modified:?}, {seen:?}");
        }
    }

    #[test]
    fn content_in_memory_is_in_the_tag() {
        let now = SystemTime::now();
        let tag = |bytes: &[u8]| {
            let metadata = Metadata { length: 1, kind: FileKind::File, modified: now, identity: (0, 0) };
            validator(&metadata, Some(bytes), now).0
        };
        assert_ne!(tag(b"a"), tag(b"b"));
        assert_eq!(tag(b"a"), tag(b"a"));
    }

    #[test]
    fn the_longest_head_has_room() {
        let long = "x".repeat(512);
        let fields = HeadFields::new(Some("Portico/1000.1000.1000"), Some(&long));
        let length = u64::MAX;
        let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX);
        let metadata = Metadata { length, kind: FileKind::File, modified, identity: (0, 0) };
        let content_type = format!("text/{}; charset={0}", "x".repeat(80));
        let file = File::new(
            metadata,
            content_type.into(),
            Some(Slice::from_static(b"x")),
            OpenFile::none(),
            modified,
            &fields,
        );
        let mut room = [0; HEAD_ROOM];
        for extent in [Extent::Part(u64::MAX - 1, u64::MAX - 1), Extent::Parts(&long[..80], u64::MAX)] {
            assert!(file.head_for(extent, false, &fields, &mut room) < HEAD_ROOM);
        }
    }

    #[test]
    fn a_date_that_is_not_over_is_not_strong() {
        let fields = HeadFields::new(None, None);
        let seen = SystemTime::now();
        for (age_s, strong) in [(-5_000, false), (0, false), (5_000, true)] {
            let modified = if age_s < 0 {
                seen + Duration::from_secs(5_000)
            } else {
                seen - Duration::from_secs(age_s as u64)
            };
            let metadata = Metadata { length: 1, kind: FileKind::File, modified, identity: (0, 0) };
            let file = File::new(metadata, "a/b".into(), None, OpenFile::none(), seen, &fields);
            let representation = file.representation();
            assert_eq!(representation.date_is_strong, strong, "{age_s}");
            assert!(representation.last_modified.unwrap() <= seen);
        }
    }
}
