//! Watching folders on Linux (inotify(7)).
//!
//! A watch is on one folder, so that folders below have watches of their own: those that are there are entered first, those that
//! appear are entered as they do. What is found in a new folder is told as having appeared, because it may have come
//! before the watch; it may then be told twice. A folder is opened beneath the root, name by name and through no link, and watched by that
//! descriptor, so that a name that is swapped meanwhile leads nowhere else.

use super::{Change, ChangeKind};
use crate::file::{self, Directory, FileKind, OpenOptions};
use rustix::{
    fs::{
        Dir, FileType,
        inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch},
    },
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// Folders below the watched one, and names in all, that are looked at in place, when the watch begins.
const AT_ONCE: Bounds = Bounds { folders: 64, names: 1_024 };
/// One read takes as many changes as fit in here, and one with the longest name does.
const READ_BYTES: usize = 4_096;

/// How much of a tree is looked at in one go.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) folders: usize,
    pub(crate) names: usize,
}

/// A watched folder, and its descriptor for notices.
pub(crate) struct Watcher {
    inotify: OwnedFd,
    root: Arc<Directory>,
    root_watch: i32,
    recursive: bool,
    /// Where each watched folder lies, from the root on.
    folders: HashMap<i32, PathBuf>,
    walk: Walk,
}

/// Folders that are still to be entered.
#[derive(Default)]
struct Walk {
    pending: Vec<PathBuf>,
    /// The one whose names are being read.
    current: Option<(PathBuf, Dir)>,
    /// What is found has been there before: it is no change.
    silent: bool,
    /// Changes may have been lost meanwhile, which is told at the end: whoever then looks at everything will hear of all that comes after.
    missed: bool,
}

/// What a look at the notices brought.
pub(crate) enum Looked {
    /// There may be more.
    Again,
    /// There is nothing more.
    Waits,
    /// The folder is gone.
    Gone,
}

impl Watcher {
    pub(crate) fn new(root: Arc<Directory>, recursive: bool) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let root_watch = watch(&inotify, root.descriptor())?;
        let folders = HashMap::from([(root_watch, PathBuf::new())]);
        let mut this = Self { inotify, root, root_watch, recursive, folders, walk: Walk::default() };
        if recursive {
            this.walk.silent = true;
            this.walk.pending.push(PathBuf::new());
            this.walk(AT_ONCE, &mut Vec::new())?;
            // Whatever changes in the folders that were not reached is not seen before they are.
            this.walk.missed = this.has_to_walk();
        }
        Ok(this)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Whether [`Watcher::walk`] has something to do, which comes before the next look.
    pub(crate) fn has_to_walk(&self) -> bool {
        self.walk.current.is_some() || !self.walk.pending.is_empty()
    }

    /// Takes the notices that are there, as many as one read brings. Never waits.
    pub(crate) fn look(&mut self, mut tell: impl FnMut(Change)) -> io::Result<Looked> {
        let Self { inotify, root_watch, recursive, folders, walk, .. } = self;
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut notices = Reader::new(&*inotify, &mut space);
        loop {
            let notice = match notices.next() {
                Ok(notice) => notice,
                Err(Errno::AGAIN) => return Ok(Looked::Waits),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let (watch, what) = (notice.wd(), notice.events());
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                if *recursive {
                    // Folders may have appeared unseen.
                    *walk = Walk { pending: vec![PathBuf::new()], current: None, silent: true, missed: true };
                } else {
                    tell(Change { kind: ChangeKind::Missed, path: PathBuf::new() });
                }
            } else if let Some(folder) = folders.get(&watch) {
                let name = notice.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                let path = name.map_or_else(PathBuf::new, |name| folder.join(name));
                // What happens to a folder itself, the one above it tells.
                if let Some(kind) = kind_of(what)
                    && (name.is_some() || watch == *root_watch)
                {
                    if *recursive && name.is_some() && what.contains(ReadFlags::ISDIR) {
                        match kind {
                            ChangeKind::Appeared => walk.pending.push(path.clone()),
                            ChangeKind::Disappeared => forget(inotify, folders, walk, &path),
                            _ => {}
                        }
                    }
                    tell(Change { kind, path });
                }
                if what.contains(ReadFlags::IGNORED) {
                    folders.remove(&watch);
                    if watch == *root_watch {
                        return Ok(Looked::Gone);
                    }
                }
            }
            if notices.is_buffer_empty() {
                return Ok(Looked::Again);
            }
        }
    }

    /// Enters folders, within bounds, and notes in `found` what is to be told. May wait for the disk.
    pub(crate) fn walk(&mut self, mut bounds: Bounds, found: &mut Vec<Change>) -> io::Result<()> {
        loop {
            let Some((path, names)) = &mut self.walk.current else {
                let Some(path) = self.walk.pending.pop() else { break };
                if bounds.folders == 0 {
                    self.walk.pending.push(path);
                    return Ok(());
                }
                bounds.folders -= 1;
                self.walk.current = self.enter(&path)?.map(|names| (path, names));
                continue;
            };
            if bounds.names == 0 {
                return Ok(());
            }
            bounds.names -= 1;
            let entry = match names.next() {
                Some(Ok(entry)) => entry,
                // A folder that was removed meanwhile has no more names.
                Some(Err(Errno::NOENT)) | None => {
                    self.walk.current = None;
                    continue;
                }
                Some(Err(error)) => return Err(error.into()),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name));
            // Entering finds out what it is where the file system does not tell.
            if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                self.walk.pending.push(path.clone());
            }
            if !self.walk.silent {
                found.push(Change { kind: ChangeKind::Appeared, path });
            }
        }
        if std::mem::take(&mut self.walk).missed {
            found.push(Change { kind: ChangeKind::Missed, path: PathBuf::new() });
        }
        Ok(())
    }

    /// Opens and watches a folder, to read its names from then on. None if it is gone, is no folder, or must not be read.
    fn enter(&mut self, path: &Path) -> io::Result<Option<Dir>> {
        let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let options = OpenOptions::new().read(true).refuse_links(true);
        let folder = match file::open(Some(&self.root), at, options) {
            Ok((folder, metadata)) if metadata.kind == FileKind::Directory => folder,
            Ok(_) => return Ok(None),
            Err(error) => {
                let lost = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
                return if lost { Err(error) } else { Ok(None) };
            }
        };
        match watch(&self.inotify, folder.as_fd()) {
            Ok(watch) => self.folders.insert(watch, path.to_owned()),
            // It is no longer allowed.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Dir::new(folder)?))
    }
}

/// Watches the folder that a descriptor is open for.
fn watch(inotify: &OwnedFd, folder: BorrowedFd<'_>) -> io::Result<i32> {
    let events = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    let name = format!("/proc/self/fd/{}", folder.as_raw_fd());
    add_watch(inotify, name, events).map_err(|error| match error {
        // As many watches as the user may have (fs.inotify.max_user_watches); no disk is full.
        Errno::NOSPC => Errno::NOMEM.into(),
        error => error.into(),
    })
}

fn kind_of(what: ReadFlags) -> Option<ChangeKind> {
    let any = |flags: ReadFlags| what.intersects(flags);
    if any(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
        Some(ChangeKind::Appeared)
    } else if any(ReadFlags::DELETE | ReadFlags::MOVED_FROM)
        || any(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT)
    {
        Some(ChangeKind::Disappeared)
    } else if any(ReadFlags::MODIFY | ReadFlags::ATTRIB) {
        Some(ChangeKind::Modified)
    } else {
        None
    }
}

/// A folder is gone, perhaps to another place: it and what is below are no longer watched under the old names.
fn forget(inotify: &OwnedFd, folders: &mut HashMap<i32, PathBuf>, walk: &mut Walk, gone: &Path) {
    folders.retain(|watch, path| {
        let keep = !path.starts_with(gone);
        if !keep {
            // Fails for what the kernel has removed already.
            let _ = remove_watch(inotify, *watch);
        }
        keep
    });
    if walk.current.as_ref().is_some_and(|(path, _)| path.starts_with(gone)) {
        walk.current = None;
    }
}
