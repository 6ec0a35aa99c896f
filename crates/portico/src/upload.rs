//! Uploads: a request body on its way into a file.
//!
//! The file has no name until it is whole and has reached the storage: on Linux it is opened without one and linked at the end;
//! elsewhere it has a temporary name, and is renamed. A broken upload therefore leaves nothing that could be taken for a file,
//! and one that was answered with success survives a crash.

use crate::{connection::LateRecord, entry::OpenFile};
use completion_port::{BufferChain, Directory};
use portico_http::{body::BodyDecoder, request::Version};
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

/// The folder that was opened for uploads.
pub(crate) struct UploadFolder {
    pub(crate) directory: Arc<Directory>,
    path: PathBuf,
    /// Its path below the root, with a separator behind it, as decoded paths begin that lie in it.
    prefix: String,
    next: AtomicU64,
}

impl UploadFolder {
    /// Opens the folder and removes what an earlier process left unfinished in it.
    pub(crate) fn open(root: &Path, relative: &Path) -> io::Result<Self> {
        let path = root.join(relative);
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
        Ok(Self { directory: Arc::new(Directory::open(&path)?), path, prefix, next: AtomicU64::new(0) })
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
    Opening,
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
    pub(crate) name: String,
    pub(crate) replace: bool,
    pub(crate) file: OpenFile,
    /// The name it has until it is whole, where it needs one.
    pub(crate) temporary: Option<PathBuf>,
    pub(crate) decoder: BodyDecoder,
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

/// Bytes that are gathered for one write at most.
pub(crate) const GATHER_BYTES: u64 = 262_144;

impl Upload {
    /// Whether more of the body can be taken in.
    pub(crate) fn wants_input(&self) -> bool {
        self.stage == Stage::Receiving && !self.decoder.is_finished() && !self.is_full()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.gathered.is_full() || self.gathered.len() >= GATHER_BYTES
    }
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
        let folder = UploadFolder::open(root.path(), Path::new("in")).unwrap();
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
        let whole = UploadFolder::open(root.path(), Path::new("")).unwrap();
        assert_eq!(whole.name_in("page.html"), Some("page.html"));
    }

    #[test]
    fn publishing_replaces_only_when_told_to() {
        let root = tempfile::tempdir().unwrap();
        let folder = UploadFolder::open(root.path(), Path::new("")).unwrap();
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
