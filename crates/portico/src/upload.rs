//! Uploads: a request body on its way into a file.
//!
//! The file has no name until it is whole and has reached the storage: on Linux it is opened without one and linked at the end;
//! elsewhere it has a temporary name, and is renamed. A broken upload therefore leaves nothing that could be taken for a file,
//! and one that was answered with success survives a crash.

use crate::path::{MOST_SEGMENT_BYTES, Rules};
use crate::{connection::LateRecord, entry::OpenFile};
use completion_port::{BufferChain, Buffers, Directory, Error, OpenOptions, Slice};
use portico_http::{
    body::{BodyDecoder, BodyFraming},
    limits::Limits,
    multipart::{Decoder, Event},
    rejection::Rejection,
    request::{Request, Version},
    status::Status,
};
use std::{
    fs, io,
    path::{MAIN_SEPARATOR, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Temporary names begin and end like this. No client can name one: names that begin with a dot are not uploaded.
const TEMPORARY: (&str, &str) = (".portico-upload-", ".part");
/// And so do those that a file passes through when it takes the place of another.
const PASSING: (&str, &str) = (".completion-port-", ".link");

/// What the body of a request is to become.
pub(crate) enum Goal {
    /// One file.
    File { name: String, replace: bool },
    /// What a form says: `folder` is the path that it was sent to, as it was written.
    Form { folder: String },
}

/// The folder that uploads go to.
pub(crate) struct UploadFolder {
    /// Each upload opens the folder anew beneath the root: one that was removed and made again is taken.
    root: Arc<Directory>,
    relative: PathBuf,
    path: PathBuf,
    /// Its path below the root, with a separator behind it, as decoded paths begin that lie in it.
    prefix: String,
    next: AtomicU64,
    changes: AtomicU64,
}

impl UploadFolder {
    /// Opens the folder and removes what an earlier process left unfinished in it.
    pub(crate) fn open(root: &Arc<Directory>, root_path: &Path, relative: &Path) -> io::Result<Self> {
        let path = root_path.join(relative);
        for found in fs::read_dir(&path)? {
            let found = found?;
            let name = found.file_name();
            let name = name.to_string_lossy();
            let left = [TEMPORARY, PASSING]
                .iter()
                .any(|(begin, end)| name.starts_with(begin) && name.ends_with(end));
            if left {
                fs::remove_file(found.path())?;
            }
        }
        let mut prefix = relative.to_string_lossy().into_owned();
        if !prefix.is_empty() {
            prefix.push(MAIN_SEPARATOR);
        }
        let relative = relative.to_owned();
        let (next, changes) = (AtomicU64::new(0), AtomicU64::new(0));
        let folder = Self { root: Arc::clone(root), relative, path, prefix, next, changes };
        folder.prepare(None)()?;
        Ok(folder)
    }

    /// Work for the pool: opens the folder, and sees whether there is room for so many bytes.
    pub(crate) fn prepare(
        &self,
        bytes: Option<u64>,
    ) -> impl FnOnce() -> io::Result<Arc<Directory>> + Send + use<> {
        let (root, relative) = (Arc::clone(&self.root), self.relative.clone());
        move || with_room(root.directory(&relative, OpenOptions::new().refuse_links(true))?, bytes)
    }

    /// What [`prepare`](Self::prepare) yields, where the folder lives in memory and nothing has to be waited for.
    pub(crate) fn prepare_in_memory(&self, bytes: Option<u64>) -> Option<io::Result<Arc<Directory>>> {
        let directory =
            self.root.directory_in_memory(&self.relative, OpenOptions::new().refuse_links(true))?;
        Some(with_room(directory, bytes))
    }

    /// Work for the pool: removes a file. Yields false if there is something else of this name.
    pub(crate) fn delete(&self, name: String) -> impl FnOnce() -> io::Result<bool> + Send + use<> {
        let open = self.prepare(None);
        move || open()?.remove_file(name.as_ref())
    }

    /// Whether a decoded path is that of this folder.
    pub(crate) fn is(&self, key: &str) -> bool {
        self.prefix.trim_end_matches(MAIN_SEPARATOR) == key
    }

    /// Whether a file that a client names so may be made here.
    pub(crate) fn accepts(&self, name: &str, rules: Rules) -> bool {
        !name.starts_with('.') && rules.allow(name, self.prefix.is_empty()).is_ok()
    }

    /// How many files were made and removed: a listing from before the last of them is too old.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The name in this folder that a decoded path stands for; none if it lies elsewhere, or deeper.
    pub(crate) fn name_in<'k>(&self, key: &'k str) -> Option<&'k str> {
        let name = key.strip_prefix(self.prefix.as_str())?;
        (!name.is_empty() && !name.starts_with('.') && !name.contains(MAIN_SEPARATOR)).then_some(name)
    }

    /// The decoded path that a name in this folder has.
    pub(crate) fn key_of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The decoded path of the folder itself, as the cache names folders.
    pub(crate) fn own_key(&self) -> String {
        format!("{}/", self.prefix.trim_end_matches(MAIN_SEPARATOR))
    }

    /// A name for a file that is not whole yet.
    pub(crate) fn temporary_name(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        PathBuf::from(format!("{}{}-{number}{}", TEMPORARY.0, std::process::id(), TEMPORARY.1))
    }

    /// Work for the pool: gives a whole file its name. Yields whether the name is new; with `replace` off, fails if it is not.
    pub(crate) fn publish(
        &self,
        temporary: &Path,
        name: &str,
        replace: bool,
    ) -> impl FnOnce() -> io::Result<bool> + use<> {
        let (folder, from, to) = (self.path.clone(), self.path.join(temporary), self.path.join(name));
        move || {
            // A link fails where the name is taken, in one step; a rename would replace.
            let new = match fs::hard_link(&from, &to) {
                Ok(()) => fs::remove_file(&from).map(|()| true)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !replace => return Err(error),
                Err(error) => {
                    let new = error.kind() != io::ErrorKind::AlreadyExists && !to.try_exists()?;
                    if !new && !replace {
                        return Err(io::ErrorKind::AlreadyExists.into());
                    }
                    rename(&from, &to).map(|()| new)?
                }
            };
            sync_folder(&folder)?;
            Ok(new)
        }
    }

    /// Work for the pool: removes what did not become whole.
    pub(crate) fn remove(&self, temporary: &Path) -> impl FnOnce() -> io::Result<()> + use<> {
        let path = self.path.join(temporary);
        move || fs::remove_file(path)
    }
}

fn with_room(directory: Directory, bytes: Option<u64>) -> io::Result<Arc<Directory>> {
    match bytes {
        Some(bytes) if bytes > directory.available_bytes()? => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(Arc::new(directory)),
    }
}

#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Windows refuses to replace a file while somebody has it open: an indexer, a virus scanner, another upload that just gave it this
/// name. That passes.
#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    /// In all half a second.
    const ATTEMPTS: u64 = 10;
    for attempt in 1..ATTEMPTS {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !to.is_dir() => {
                std::thread::sleep(std::time::Duration::from_millis(10 * attempt));
            }
            renamed => return renamed,
        }
    }
    fs::rename(from, to)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Windows has no such call for folders; NTFS writes its journal before a rename is visible after a crash.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Finding the folder, and whether there is room.
    Preparing,
    Opening,
    /// Between two files of a form.
    Between,
    Receiving,
    Syncing,
    /// Getting its name; whether it takes the place of another file.
    Publishing {
        replacing: bool,
    },
}

/// An upload under way.
pub(crate) struct Upload {
    pub(crate) stage: Stage,
    /// Once it is prepared.
    pub(crate) directory: Option<Arc<Directory>>,
    /// The client waits for 100 (Continue).
    pub(crate) continues: bool,
    pub(crate) form: Option<Box<Form>>,
    pub(crate) name: String,
    pub(crate) replace: bool,
    pub(crate) file: OpenFile,
    /// The name it has until it is whole, where it needs one.
    pub(crate) temporary: Option<PathBuf>,
    pub(crate) decoder: BodyDecoder,
    /// Worth large pieces: nothing is received while one is being written.
    pub(crate) is_large: bool,
    /// Its file lives in memory and its length is known: it may be received and written within calls, until that is seen not to work.
    pub(crate) moves_at_once: bool,
    /// What is written next.
    pub(crate) gathered: BufferChain,
    pub(crate) writing: bool,
    /// Bytes written.
    pub(crate) offset: u64,
    pub(crate) version: Version,
    /// As the request had it: where the new file is to be found.
    pub(crate) target: Box<str>,
    /// The connection ends after the answer.
    pub(crate) close: bool,
    pub(crate) log: Option<Box<LateRecord>>,
}

/// What takes the body of an upload out of its framing.
///
/// # Errors
///
/// How to refuse it.
pub(crate) fn body_of(request: &Request<'_>, limits: Limits) -> Result<BodyDecoder, Status> {
    if request.body == BodyFraming::None {
        return Err(Status::LENGTH_REQUIRED);
    }
    // A part would be taken for the whole (RFC 9110 section 14.5).
    if request.field("content-range").is_some() {
        return Err(Status::BAD_REQUEST);
    }
    BodyDecoder::new(request.body, &limits).map_err(|rejection| rejection.status)
}

/// A body of at least so many bytes, or one that does not say, is received in large pieces.
const LARGE_BYTES: u64 = 65_536;

/// Whether the body that `decoder` begins with is worth large pieces.
pub(crate) fn is_large(decoder: &BodyDecoder) -> bool {
    decoder.remaining_bytes().is_none_or(|length| length >= LARGE_BYTES)
}

/// Bytes that are gathered for one write at most.
pub(crate) const GATHER_BYTES: u64 = 262_144;

impl Upload {
    /// Whether bytes of the body are taken at all now.
    pub(crate) fn is_receiving(&self) -> bool {
        matches!(self.stage, Stage::Receiving | Stage::Between)
    }

    /// Whether more of the body can be taken in.
    pub(crate) fn wants_input(&self) -> bool {
        let has_room = !self.is_full() && self.form.as_ref().is_none_or(|form| form.wants_input());
        let waits = self.is_large && self.writing;
        self.is_receiving() && !self.decoder.is_finished() && has_room && !waits
    }

    /// How many of the next `taken` bytes lie in a page of the file that they do not fill, if more comes. Of a form nothing is known.
    pub(crate) fn odd_bytes(&self, taken: usize) -> usize {
        const PAGE_BYTES: u64 = 4_096;
        if self.form.is_some() || self.ends_with(taken) {
            return 0;
        }
        let end = self.offset + self.gathered.len() + taken as u64;
        taken.min((end % PAGE_BYTES) as usize)
    }

    /// Whether what comes next of the body may go into the file within calls.
    pub(crate) fn can_move(&self) -> bool {
        let is_idle = self.is_receiving() && !self.writing && self.gathered.is_empty();
        self.moves_at_once && is_idle && !self.decoder.is_finished()
    }

    /// How long the next piece of the file has to be so that it ends with a page, of `taken` bytes.
    pub(crate) fn whole_pages(&self, taken: usize) -> usize {
        taken - self.odd_bytes(taken)
    }

    /// Whether `waiting` bytes are all that is to come of the body.
    pub(crate) fn ends_with(&self, waiting: usize) -> bool {
        self.decoder.remaining_bytes().is_some_and(|left| left <= waiting as u64)
    }

    fn is_full(&self) -> bool {
        self.gathered.is_full() || self.gathered.len() >= GATHER_BYTES
    }

    /// Whether all of the file is gathered or written.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.form {
            Some(form) => form.part == InForm::Ended,
            None => self.decoder.is_finished(),
        }
    }

    /// Whether nothing more comes of a form.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Between
            && self.decoder.is_finished()
            && self.form.as_ref().is_some_and(|form| form.pending.is_empty() && form.decoder.is_finished())
    }

    /// Takes bytes of the body.
    ///
    /// # Errors
    ///
    /// How to refuse what is no form.
    pub(crate) fn take(&mut self, data: Slice) -> Result<(), Rejection> {
        match &mut self.form {
            Some(form) => {
                debug_assert!(form.pending.is_empty(), "what came before is taken first");
                form.pending = data;
                self.take_pending()
            }
            None => {
                let pushed = self.gathered.push(data);
                debug_assert!(pushed.is_ok(), "there was room for a slice");
                Ok(())
            }
        }
    }

    /// Takes what is left of the bytes of a form, up to the end of a file.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub(crate) fn take_pending(&mut self) -> Result<(), Rejection> {
        while !self.is_full()
            && let Some(form) = &mut self.form
            && form.goes_on()
        {
            if let Some(data) = form.step()? {
                let pushed = self.gathered.push(data);
                debug_assert!(pushed.is_ok(), "there was room for a slice");
            }
        }
        let cut_short = |form: &Form| form.goes_on_without_end() && self.decoder.is_finished();
        if self.form.as_ref().is_some_and(|form| cut_short(form)) {
            return Err(Rejection::closing(Status::BAD_REQUEST, "the form ends before its last boundary"));
        }
        Ok(())
    }
}

/// Where in a form the bytes are that come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InForm {
    /// In front of a part, or in one that is no file to be kept.
    Passing,
    /// At the start of a file with this name, which has to be opened first.
    Begun(String),
    File,
    /// At the end of a file, which has to get its name first.
    Ended,
}

/// A form with files on its way into the folder.
pub(crate) struct Form {
    pub(crate) decoder: Decoder,
    /// What is between two parts, for bytes that only looked like it.
    delimiter: Slice,
    /// Bytes of the body that are to be read next.
    pending: Slice,
    pub(crate) part: InForm,
    /// Each file, and what came of it.
    pub(crate) results: Vec<(String, Status)>,
    pub(crate) folder: String,
    pub(crate) wants_json: bool,
    accepts: Box<dyn Fn(&str) -> bool + Send>,
}

impl Form {
    pub(crate) fn new(
        decoder: Decoder,
        folder: String,
        wants_json: bool,
        buffers: &Buffers,
        accepts: Box<dyn Fn(&str) -> bool + Send>,
    ) -> Result<Self, Error> {
        let mut delimiter = buffers.acquire(decoder.delimiter().len())?;
        delimiter.extend_from_slice(decoder.delimiter());
        Ok(Self {
            decoder,
            delimiter: delimiter.freeze(),
            pending: Slice::from_static(b""),
            part: InForm::Passing,
            results: Vec::new(),
            folder,
            wants_json,
            accepts,
        })
    }

    fn wants_input(&self) -> bool {
        self.pending.is_empty() && self.is_reading()
    }

    fn is_reading(&self) -> bool {
        matches!(self.part, InForm::Passing | InForm::File)
    }

    fn goes_on(&self) -> bool {
        !self.pending.is_empty() && self.is_reading()
    }

    /// Whether its end is still to come and nothing is left to be read.
    fn goes_on_without_end(&self) -> bool {
        self.wants_input() && !self.decoder.is_finished()
    }

    /// Reads the next piece; gives bytes of a file.
    fn step(&mut self) -> Result<Option<Slice>, Rejection> {
        let step = self.decoder.decode(&self.pending)?;
        let kept = self.part == InForm::File;
        let data = match step.event {
            Event::Data(range) if kept => Some(self.pending.slice(range)),
            Event::Held(length) if kept => Some(self.delimiter.slice(..length)),
            Event::PartEnds if kept => {
                self.part = InForm::Ended;
                None
            }
            Event::PartBegins(part) => {
                match part.file_name {
                    // The field for files, and none was chosen.
                    Some(name) if name.is_empty() => {}
                    Some(name) if (self.accepts)(&name) => self.part = InForm::Begun(name),
                    Some(name) => self.results.push((shortened(name), Status::BAD_REQUEST)),
                    None => {}
                }
                None
            }
            _ => None,
        };
        self.pending.cut(step.consumed..);
        Ok(data)
    }

    /// The name of the file that begins here, if one does: it is being opened from now on.
    pub(crate) fn begin_file(&mut self) -> Option<String> {
        match &mut self.part {
            InForm::Begun(name) => {
                let name = std::mem::take(name);
                self.part = InForm::File;
                Some(name)
            }
            _ => None,
        }
    }

    /// A file is done with. What is still to come of it, if it ended early, is passed over.
    pub(crate) fn end_part(&mut self) {
        self.part = InForm::Passing;
    }
}

/// A name to be shown that is not taken, and may be as long as the head of its part.
fn shortened(mut name: String) -> String {
    if name.len() > MOST_SEGMENT_BYTES {
        name.truncate(name.floor_char_boundary(MOST_SEGMENT_BYTES));
        name.push_str("...");
        name.shrink_to_fit();
    }
    name
}

/// Whether a page of another site sent the request: a form needs no leave to be sent anywhere, so that the server has to refuse it
/// (Fetch Metadata Request Headers; RFC 6454 section 7).
pub(crate) fn is_foreign(request: &Request<'_>) -> bool {
    if let Some(site) = request.field("sec-fetch-site") {
        return !matches!(site, b"same-origin" | b"none");
    }
    let Some(origin) = request.field("origin") else { return false };
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    // An origin without a host is "null": of a page that has none.
    !origin.split_once("://").is_some_and(|(_, host)| host.eq_ignore_ascii_case(request.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_directly_in_the_folder() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("in")).unwrap();
        fs::write(root.path().join("in/.portico-upload-1-2.part"), "x").unwrap();
        fs::write(root.path().join("in/.completion-port-1-2.link"), "x").unwrap();
        let open = |relative| {
            let directory = Arc::new(Directory::open(root.path()).unwrap());
            UploadFolder::open(&directory, root.path(), Path::new(relative)).unwrap()
        };
        let folder = open("in");
        assert_eq!(fs::read_dir(root.path().join("in")).unwrap().count(), 0, "leftovers stay");
        let inside = |name: &str| format!("in{MAIN_SEPARATOR}{name}");
        assert_eq!(folder.name_in(&inside("page.html")), Some("page.html"));
        for key in [
            "page.html",
            "in",
            "inner",
            &inside(""),
            &inside(".hidden"),
            &inside(&format!("a{MAIN_SEPARATOR}b")),
        ] {
            assert_eq!(folder.name_in(key), None, "{key}");
        }
        let whole = open("");
        assert!(whole.is("") && !whole.is("in") && folder.is("in") && !folder.is("inner"));
        assert_eq!(whole.name_in("page.html"), Some("page.html"));
    }

    #[test]
    fn publishing_replaces_only_when_told_to() {
        let root = tempfile::tempdir().unwrap();
        let directory = Arc::new(Directory::open(root.path()).unwrap());
        let folder = UploadFolder::open(&directory, root.path(), Path::new("")).unwrap();
        let publish = |content: &str, replace| {
            let temporary = folder.temporary_name();
            fs::write(root.path().join(&temporary), content).unwrap();
            let published = folder.publish(&temporary, "page", replace)();
            if published.is_err() {
                folder.remove(&temporary)().unwrap();
            }
            published.map_err(|error| error.kind())
        };
        assert_eq!(publish("one", false), Ok(true));
        assert_eq!(publish("two", false), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(publish("three", true), Ok(false));
        assert_eq!(fs::read(root.path().join("page")).unwrap(), b"three");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
