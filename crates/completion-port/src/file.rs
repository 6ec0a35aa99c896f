//! Files and folders as the port opens them, and what it tells of them.

use std::{fmt, path::Path, time::SystemTime};

mod contents;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

pub use contents::{DirectoryEntries, DirectoryEntry};
#[cfg(windows)]
pub(crate) use system::{END_OF_FILE, write_and_wait};
#[cfg(target_os = "linux")]
pub(crate) use system::{is_in_memory, open_cached};
pub(crate) use system::{link, metadata, open};

/// A folder that paths are opened beneath: whatever a path or a link in it says, what is opened lies inside.
///
/// On Linux it is a descriptor for openat2(2) with RESOLVE_BENEATH. On Windows the opened file's final path is compared with
/// the folder's, after opening and on the handle itself, so that a link that is swapped meanwhile gains nothing.
pub struct Directory {
    system: system::Directory,
}

impl Directory {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    ///
    /// What the system says: no such folder, not a folder, access denied.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { system: system::Directory::open(path)? })
    }

    /// Opens `path` beneath this folder, as [`Operation::Open`](crate::Operation::Open) does, for work that blocks anyway
    /// ([`Operation::Call`](crate::Operation::Call)). On Windows the file is opened for overlapped use.
    ///
    /// # Errors
    ///
    /// What the system says; also where the path leads out of the folder.
    pub fn open_file(&self, path: &Path, options: OpenOptions) -> std::io::Result<(std::fs::File, Metadata)> {
        open(Some(self), path, options)
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.system.descriptor()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Directory(..)")
    }
}

/// How to open a file. The default opens nothing; name at least one of read, write and append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) truncate: bool,
    pub(crate) refuse_links: bool,
    pub(crate) unnamed: bool,
}

macro_rules! option {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[must_use]
        pub const fn $name(mut self, yes: bool) -> Self {
            self.$name = yes;
            self
        }
    };
}

impl OpenOptions {
    /// Nothing chosen.
    pub const fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            create: false,
            create_new: false,
            truncate: false,
            refuse_links: false,
            unnamed: false,
        }
    }
    option! {
        /// For reading. A folder can be opened for reading too; its metadata tells.
        read
    }
    option! {
        /// For writing.
        write
    }
    option! {
        /// For [`Operation::Append`](crate::Operation::Append).
        append
    }
    option! {
        /// Create the file if it is not there.
        create
    }
    option! {
        /// Create the file, and fail if it is there.
        create_new
    }
    option! {
        /// Empty the file when it is opened.
        truncate
    }
    option! {
        /// Follow no symbolic link (nor junction), at any place of the path. Otherwise links are followed as long as they stay inside the
        /// [`Directory`] that the path starts from.
        refuse_links
    }
    option! {
        /// Create a file without a name in the folder that the path names. It is gone when it is closed, and after a crash, unless
        /// [`Operation::Link`](crate::Operation::Link) gave it a name. Linux only (O_TMPFILE), and not on every file system: elsewhere the
        /// open fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
        unnamed
    }
}

/// What a [`Metadata`] describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// Anything else: a device, a pipe, a socket.
    Other,
}

/// Length, kind and time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes in the file.
    pub length: u64,
    /// What it is.
    pub kind: FileKind,
    /// When its content last changed.
    pub modified: SystemTime,
    /// Device and file number: the same for two names of one file, different for a file that replaced another.
    pub identity: (u64, u64),
}
