//! Listings of folders: which form a client wants, and the page that is made of what the disk says.

mod html;
mod json;

use crate::{entry::Entry, host::HostNumber, path::Rules};
use completion_port::{Buffers, Directory, Error, FileKind, OpenOptions, OperationKind, Slice};
use portico_http::{etag::StoredETag, request::Request, status::Status};
use std::{
    cmp::Ordering,
    hash::{DefaultHasher, Hasher},
    path::{MAIN_SEPARATOR, Path},
    sync::Arc,
    time::SystemTime,
};

pub(crate) use html::result_page;
pub(crate) use json::results;

/// A page is cut off before it is longer, whatever the names in the folder are.
const MOST_PAGE_BYTES: usize = 8 << 20;
/// Memory for pages that are being sent, beside those that the cache keeps; who asks for one beyond it has to come again.
pub(crate) const HEAP_BYTES: usize = 4 * MOST_PAGE_BYTES;

/// What stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Name,
    Size,
    Date,
}

/// The form of a listing that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    json: bool,
    sort: Sort,
    descending: bool,
}

impl View {
    /// `?format=json`, `?sort=name|size|date` and `?order=asc|desc` as the query says them; what it does not say, or says otherwise, is as
    /// `Accept` has it, by name and ascending.
    pub(crate) fn of(request: &Request<'_>, query: Option<&str>) -> Self {
        let mut view = Self { json: wants_json(request), sort: Sort::Name, descending: false };
        for (name, value) in query.unwrap_or("").split('&').filter_map(|pair| pair.split_once('=')) {
            match (name, value) {
                ("format", "json") => view.json = true,
                ("format", "html") => view.json = false,
                ("sort", "name") => view.sort = Sort::Name,
                ("sort", "size") => view.sort = Sort::Size,
                ("sort", "date") => view.sort = Sort::Date,
                ("order", "asc") => view.descending = false,
                ("order", "desc") => view.descending = true,
                _ => {}
            }
        }
        view
    }

    /// Makes of a folder's name in the cache that of its page in this form. No path has NUL in it.
    pub(crate) fn extend(self, key: &mut String) {
        key.push('\0');
        key.push(if self.json { 'j' } else { 'h' });
        key.push(match self.sort {
            Sort::Name => 'n',
            Sort::Size => 's',
            Sort::Date => 'd',
        });
        key.push(if self.descending { 'd' } else { 'a' });
    }

    /// The query that asks for this order again; empty for the usual one.
    fn query(self) -> &'static str {
        match (self.sort, self.descending) {
            (Sort::Name, false) => "",
            (Sort::Name, true) => "?sort=name&order=desc",
            (Sort::Size, false) => "?sort=size",
            (Sort::Size, true) => "?sort=size&order=desc",
            (Sort::Date, false) => "?sort=date",
            (Sort::Date, true) => "?sort=date&order=desc",
        }
    }
}

/// Whether a client asks for JSON by name, and not for HTML by name at least as much (RFC 9110 section 12.5.1).
pub(crate) fn wants_json(request: &Request<'_>) -> bool {
    let (mut json, mut html) = (0, 0);
    for value in request.fields().named("accept") {
        for range in value.split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
            let weight = weight.map_or(1_000, thousandths);
            if name.eq_ignore_ascii_case(b"application/json") {
                json = weight;
            } else if name.eq_ignore_ascii_case(b"text/html") {
                html = weight;
            }
        }
    }
    json > html
}

/// A weight of up to three decimals (RFC 9110 section 12.4.2); what is none weighs nothing.
fn thousandths(text: &[u8]) -> u32 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1_000.0) as u32,
        _ => 0,
    }
}

/// What a client asked for that the cache does not have.
pub(crate) struct Listing {
    pub(crate) host: HostNumber,
    /// The folder's name in the cache, and behind it the form.
    pub(crate) key: Box<str>,
    pub(crate) view: View,
}

impl Listing {
    /// The folder's own name in the cache.
    pub(crate) fn folder_key(&self) -> &str {
        self.key.split('\0').next().unwrap_or_default()
    }
}

/// A page that was made, as the cache keeps it.
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    pub(crate) policy: &'static str,
    /// Field lines that depend on the folder only.
    pub(crate) lines: Box<[u8]>,
    pub(crate) bytes: Slice,
    pub(crate) etag: StoredETag,
    /// How many files had been uploaded and deleted when the folder was read.
    pub(crate) changes: u64,
}

/// A page to be sent, or that it is still the client's.
pub(crate) struct PageAnswer {
    pub(crate) entry: Arc<Entry>,
    pub(crate) status: Status,
    pub(crate) with_body: bool,
}

/// What the pool needs in order to make a page.
pub(crate) struct Work {
    pub(crate) root: Arc<Directory>,
    /// The folder's name in the cache.
    pub(crate) key: String,
    pub(crate) options: OpenOptions,
    pub(crate) rules: Rules,
    pub(crate) most: usize,
    pub(crate) view: View,
    /// Files can be uploaded from the page, and how many were before.
    pub(crate) upload: bool,
    pub(crate) changes: u64,
    pub(crate) buffers: Buffers,
}

impl Work {
    /// Reads the folder and makes the page. Blocks on the disk.
    pub(crate) fn run(self) -> Result<Page, Error> {
        let folder = Folder::read(&self)?;
        let (content_type, policy, text) = match self.view.json {
            true => ("application/json", NO_POLICY, json::page(&folder, self.view)),
            false => {
                let policy = if self.upload { html::POLICY_UPLOAD } else { html::POLICY };
                ("text/html; charset=utf-8", policy, html::page(&folder, self.view, self.upload))
            }
        };
        let mut hash = DefaultHasher::new();
        hash.write(text.as_bytes());
        let etag = StoredETag::from_numbers(&[hash.finish(), text.len() as u64]);
        let mut buffer = self.buffers.allocate(text.len())?;
        buffer.extend_from_slice(text.as_bytes());
        let lines = Box::default();
        Ok(Page { content_type, policy, lines, bytes: buffer.freeze(), etag, changes: self.changes })
    }
}

/// Nothing may be loaded or run by what is no page of ours to begin with.
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// A folder as a page shows it.
struct Folder {
    /// The names of the folders that lead here from the root, itself included.
    path: Vec<String>,
    rows: Vec<Row>,
    cut_off: bool,
}

/// A name in it.
struct Row {
    name: String,
    folder: bool,
    length: u64,
    modified: SystemTime,
    /// What is compared.
    lower: String,
}

impl Folder {
    fn read(work: &Work) -> Result<Self, Error> {
        let key = work.key.trim_end_matches('/');
        let in_root = key.is_empty();
        // What a request could not name has no place in the listing either.
        let is_served = |name: &std::ffi::OsStr| {
            name.to_str().is_some_and(|name| work.rules.allow(name, in_root).is_ok())
        };
        let found = work
            .root
            .entries(Path::new(key), work.options, work.most, is_served)
            .map_err(|error| Error::from_io(&error, OperationKind::Open))?;
        let row = |entry: completion_port::DirectoryEntry| {
            let name = entry.name.into_string().ok()?;
            let lower = name.to_lowercase();
            let folder = entry.kind == FileKind::Directory;
            Some(Row { name, folder, length: entry.length, modified: entry.modified, lower })
        };
        let mut rows: Vec<Row> = found.entries.into_iter().filter_map(row).collect();
        rows.sort_unstable_by(|one, other| order(one, other, work.view));
        let path = key.split(MAIN_SEPARATOR).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(Self { path, rows, cut_off: found.cut_off })
    }

    /// How it is written for people to read, with a slash at both ends.
    fn title(&self) -> String {
        self.path.iter().fold("/".to_owned(), |title, name| title + name + "/")
    }
}

/// Folders first, whatever the order of the rest; and no two names are equal, so that the page is the same each time.
fn order(one: &Row, other: &Row, view: View) -> Ordering {
    let by_name = || one.lower.cmp(&other.lower).then_with(|| one.name.cmp(&other.name));
    let by_sort = match view.sort {
        Sort::Name => Ordering::Equal,
        // Of a folder the length says nothing.
        Sort::Size if one.folder => Ordering::Equal,
        Sort::Size => one.length.cmp(&other.length),
        Sort::Date => one.modified.cmp(&other.modified),
    };
    let ordered = by_sort.then_with(by_name);
    other.folder.cmp(&one.folder).then(if view.descending { ordered.reverse() } else { ordered })
}
