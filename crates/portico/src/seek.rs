//! From a path to its entry: by the cache, by the rules, or by what the disk is to be asked.

use crate::{
    entry::{Entry, Kind},
    file_cache::FileCache,
    host::{Host, HostNumber},
    path::MOST_SEGMENT_BYTES,
    routing::{self, Routed},
    variants::Beside,
};
use portico_http::status::Status;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A path on its way into the cache.
pub(crate) struct Lookup {
    pub(crate) host: HostNumber,
    /// The cache's name for it: the relative path, with a slash at the end for a folder; see [`routing::inside_key`] for others.
    pub(crate) key: Box<str>,
    /// Which name is tried: an index name of a folder, or a file's own before the one with `.html`.
    pub(crate) index: usize,
    pub(crate) purpose: Purpose,
    /// A folder was found that is left for a file with `.html`, should there be one.
    pub(crate) found_folder: bool,
    /// The file is found, and its neighbours are looked for.
    pub(crate) beside: Option<Box<Beside>>,
}

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The path of a request.
    Path,
    /// Exactly this file: what a rule or the fallback serves, or what an upload would replace.
    Inside,
    /// The page of a status.
    Page(Status),
}

const HTML: &str = ".html";

impl Lookup {
    pub(crate) fn new(host: HostNumber, key: &str, purpose: Purpose) -> Self {
        Self { host, key: key.into(), index: 0, purpose, found_folder: false, beside: None }
    }

    /// The file of exactly this name. Where no other may stand in for it, that is what the cache knows of the path.
    pub(crate) fn exact(number: HostNumber, host: &Host, file: &str) -> Self {
        if host.settings.clean_urls || host.settings.fallback.is_some() {
            Self::new(number, &routing::inside_key(file), Purpose::Inside)
        } else {
            Self::new(number, file, Purpose::Path)
        }
    }

    /// The path below the root, with a slash at the end for a folder.
    pub(crate) fn file(&self) -> &str {
        routing::file_of(&self.key)
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.key.ends_with('/')
    }

    /// What to open next; none when there is no further name.
    pub(crate) fn candidate(&self, host: &Host) -> Option<PathBuf> {
        let file = self.file();
        if self.is_folder() {
            let mut path = PathBuf::from(file.trim_end_matches('/'));
            path.push(host.settings.index.get(self.index)?);
            return Some(path);
        }
        match self.index {
            0 => Some(PathBuf::from(file)),
            1 if self.has_clean_name(host) => Some(PathBuf::from(format!("{file}{HTML}"))),
            _ => None,
        }
    }

    /// Whether the name may stand for one with `.html`.
    fn has_clean_name(&self, host: &Host) -> bool {
        let name = self.file().rsplit(std::path::is_separator).next().unwrap_or("");
        host.settings.clean_urls
            && self.purpose == Purpose::Path
            && name.len() + HTML.len() <= MOST_SEGMENT_BYTES
    }

    /// Goes on to the next name, if there is one.
    pub(crate) fn next(&mut self) {
        self.index += 1;
    }

    /// What is known when there is no further name.
    pub(crate) fn nothing(&self, host: &Host) -> Kind {
        if self.found_folder {
            return Kind::Folder;
        }
        match host.routing.fallback_for(self.file()) {
            _ if self.purpose != Purpose::Path => Kind::Nothing(Status::NOT_FOUND),
            // There is nothing of this name, or a folder without an index: listing it tells which, where that is allowed.
            _ if self.is_folder() && host.settings.listing => Kind::Listed,
            Some(key) => Kind::Alias(key.into()),
            None => Kind::Nothing(Status::NOT_FOUND),
        }
    }

    /// Where a client is sent that asked for a page by the name of its file: `/about` for `/about.html`, `/docs/` for its index.
    pub(crate) fn clean_location(&self, host: &Host) -> Option<String> {
        if !host.settings.clean_urls || self.purpose != Purpose::Path || self.is_folder() || self.index > 0 {
            return None;
        }
        let file = self.file();
        let begin = file.rfind(std::path::is_separator).map_or(0, |slash| slash + 1);
        let name = &file[begin..];
        let stem = name.strip_suffix(HTML).filter(|stem| !stem.is_empty())?;
        let shown = if host.settings.index.iter().any(|index| index == name) { "" } else { stem };
        let mut location = String::from("/");
        crate::pattern::encode(&url(&file[..begin]), &mut location);
        crate::pattern::encode(shown, &mut location);
        Some(location)
    }
}

/// A relative path as a URL has it.
pub(crate) fn url(file: &str) -> String {
    if cfg!(windows) { file.replace('\\', "/") } else { file.to_owned() }
}

/// Where a rule leads is remembered up to this length. Longer ones, of which clients can make up any number, are worked out each time.
const MOST_CACHED_TEXT_BYTES: usize = 256;

/// A path that was asked for.
pub(crate) struct Asked<'a> {
    pub(crate) number: HostNumber,
    pub(crate) host: &'a Host,
    /// Decoded, without its leading slash.
    pub(crate) path: &'a str,
    /// The cache's name for it.
    pub(crate) key: &'a str,
    pub(crate) now: Duration,
    pub(crate) revalidate: Duration,
    /// Whether a file is not for this client: it is never taken from the cache for it.
    pub(crate) is_barred: &'a dyn Fn(&str) -> bool,
}

impl Asked<'_> {
    /// The entry that answers for the path; `known` is what has just been looked up for it.
    pub(crate) fn seek(
        &self,
        known: Option<Arc<Entry>>,
        cache: &mut FileCache,
    ) -> Result<Arc<Entry>, Lookup> {
        let entry = match known {
            Some(entry) => entry,
            None => match self.cached(self.key, cache) {
                Some(entry) => entry,
                None => match self.routed() {
                    Some(kind) => {
                        let is_short = kind.text_bytes() <= MOST_CACHED_TEXT_BYTES;
                        let entry = Arc::new(Entry::new(kind, self.now));
                        if is_short {
                            cache.insert(self.number, self.key, Arc::clone(&entry));
                        }
                        entry
                    }
                    None => return Err(Lookup::new(self.number, self.key, Purpose::Path)),
                },
            },
        };
        match &entry.kind {
            Kind::Alias(key) => {
                let cached = self.cached(key, cache).filter(|_| !(self.is_barred)(routing::file_of(key)));
                cached.ok_or_else(|| Lookup::new(self.number, key, Purpose::Inside))
            }
            _ => Ok(entry),
        }
    }

    fn cached(&self, key: &str, cache: &mut FileCache) -> Option<Arc<Entry>> {
        cache.get(self.number, key).filter(|entry| !entry.is_due(self.now, self.revalidate)).map(Arc::clone)
    }

    fn routed(&self) -> Option<Kind> {
        Some(match self.host.routing.route(self.path, self.host.rules)? {
            Routed::Redirect { status, location } => Kind::Redirect(status, location.into()),
            Routed::Rewrite(key) => Kind::Alias(key),
            Routed::Refused(status) => Kind::Nothing(status),
        })
    }
}
