//! What a folder has in it: listing it beneath another, removing a file from it, and how much room there is. All of it may
//! block: it is work for [`Operation::Call`](crate::Operation::Call).

use super::{Directory, FileKind, Metadata, OpenOptions, open, system};
use std::{ffi::OsStr, ffi::OsString, io, path::Path, time::SystemTime};

/// A name in a folder, from [`Directory::entries`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name, without the folder.
    pub name: OsString,
    /// What it is; of a link, what it leads to.
    pub kind: FileKind,
    /// Bytes in the file. Of a folder it says nothing.
    pub length: u64,
    /// When it last changed.
    pub modified: SystemTime,
}

impl DirectoryEntry {
    fn new(name: OsString, metadata: &Metadata) -> Self {
        Self { name, kind: metadata.kind, length: metadata.length, modified: metadata.modified }
    }
}

/// The names of a folder, from [`Directory::entries`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryEntries {
    /// In the order of the file system, which is none.
    pub entries: Vec<DirectoryEntry>,
    /// There were more names than were asked for.
    pub cut_off: bool,
}

impl Directory {
    /// Opens a folder beneath this one, as [`Operation::Open`](crate::Operation::Open) opens files. An empty path is this folder
    /// itself, opened once more. Blocks.
    ///
    /// # Errors
    ///
    /// As for files: no such folder, not a folder, access denied, or a path that leads outside.
    pub fn directory(&self, path: &Path, options: OpenOptions) -> io::Result<Self> {
        Ok(Self { system: self.system.directory(this_at_least(path), options.read(true))? })
    }

    /// As [`directory`](Self::directory), where that is certain not to wait: the folder is known to the system without a look at a disk,
    /// and lies on a file system that lives in memory (tmpfs, on Linux), so that nothing waits for one in it either, nor does
    /// [`available_bytes`](Self::available_bytes). None where it is not, or where anything else is amiss: that is
    /// [`directory`](Self::directory)'s to say.
    #[cfg(target_os = "linux")]
    pub fn directory_in_memory(&self, path: &Path, options: OpenOptions) -> Option<Self> {
        let (file, metadata) =
            super::open_cached(Some(self), this_at_least(path), options.read(true)).ok()?;
        let lies_there = metadata.kind == FileKind::Directory && super::is_in_memory(&file);
        lies_there.then(|| Self { system: system::Directory { descriptor: file.into() } })
    }

    /// As [`directory`](Self::directory), where that is certain not to wait. Here no folder is known to be such: none.
    #[cfg(not(target_os = "linux"))]
    pub fn directory_in_memory(&self, _: &Path, _: OpenOptions) -> Option<Self> {
        None
    }

    /// Lists the folder at `path` beneath this one: up to `most` of the names that are `wanted`. An empty path is this folder itself. A
    /// link is listed as what it leads to; one that leads nowhere, or outside this folder, is left out, and so is every one where
    /// `options` refuse links. A name that goes meanwhile may be there or not. Blocks.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory), and what the system says while it reads.
    pub fn entries(
        &self,
        path: &Path,
        options: OpenOptions,
        most: usize,
        mut wanted: impl FnMut(&OsStr) -> bool,
    ) -> io::Result<DirectoryEntries> {
        let mut found = DirectoryEntries::default();
        let options = options.read(true);
        let path = this_at_least(path);
        self.system.walk(path, options, |name, metadata| {
            if !wanted(name) {
                return true;
            }
            if found.entries.len() == most {
                found.cut_off = true;
                return false;
            }
            let metadata = match metadata() {
                // A link: what it leads to, as the same options open it.
                Some(metadata) if metadata.kind == FileKind::Other => {
                    open(Some(self), &path.join(name), options)
                        .map_or(Some(metadata), |(_, led_to)| Some(led_to))
                }
                other => other,
            };
            found.entries.extend(metadata.map(|metadata| DirectoryEntry::new(name.to_owned(), &metadata)));
            true
        })?;
        found.entries.retain(|entry| entry.kind != FileKind::Other);
        Ok(found)
    }

    /// Removes the regular file `name` from this folder, and has that reach the storage where the system can. False if what has the
    /// name is no regular file: a folder, a link, a device; it stays. Blocks.
    ///
    /// # Errors
    ///
    /// What the system says: no such file, access denied. [`io::ErrorKind::InvalidInput`] for what is no single name.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<bool> {
        let mut components = Path::new(name).components();
        let single = matches!(components.next(), Some(std::path::Component::Normal(only)) if only == name);
        if !single || components.next().is_some() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.system.remove_file(name)
    }

    /// Bytes that this user may still write to the file system that the folder is on. May block, where that is a network's.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn available_bytes(&self) -> io::Result<u64> {
        self.system.available_bytes()
    }
}

fn this_at_least(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use rustix::{
        fs::{AtFlags, Dir, FileType},
        io::Errno,
    };
    use std::os::{fd::OwnedFd, unix::ffi::OsStrExt};

    impl system::Directory {
        pub(super) fn directory(&self, path: &Path, options: OpenOptions) -> io::Result<Self> {
            let (file, metadata) = self.open_beneath(path, options)?;
            if metadata.kind != FileKind::Directory {
                return Err(Errno::NOTDIR.into());
            }
            Ok(Self { descriptor: file.into() })
        }

        /// Gives each name, with what it is where the second argument is asked, until told to stop.
        pub(super) fn walk(
            &self,
            path: &Path,
            options: OpenOptions,
            mut each: impl FnMut(&OsStr, &mut dyn FnMut() -> Option<Metadata>) -> bool,
        ) -> io::Result<()> {
            let folder: OwnedFd = self.directory(path, options)?.descriptor;
            for entry in Dir::read_from(&folder)? {
                let entry = match entry {
                    Ok(entry) => entry,
                    // A folder that was removed meanwhile has no more names.
                    Err(Errno::NOENT) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let mut metadata = || {
                    let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                    Some(system::metadata_of(&stat))
                };
                if !each(OsStr::from_bytes(name.to_bytes()), &mut metadata) {
                    break;
                }
            }
            Ok(())
        }

        pub(super) fn remove_file(&self, name: &OsStr) -> io::Result<bool> {
            let folder = &self.descriptor;
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(false);
            }
            // Whatever takes the name between the two: this removes no folder, and of a link the link.
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            rustix::fs::fsync(folder)?;
            Ok(true)
        }

        pub(super) fn available_bytes(&self) -> io::Result<u64> {
            let system = rustix::fs::fstatvfs(&self.descriptor)?;
            Ok(system.f_bavail.saturating_mul(system.f_frsize))
        }
    }
}

#[cfg(windows)]
mod windows {
    use super::*;
    use std::os::windows::ffi::OsStrExt;
    use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;

    impl system::Directory {
        /// Gives each name, with what it is where the second argument is asked, until told to stop. By the folder's final path: while it is held
        /// open, neither it nor a folder above it can be renamed or replaced.
        pub(super) fn walk(
            &self,
            path: &Path,
            options: OpenOptions,
            mut each: impl FnMut(&OsStr, &mut dyn FnMut() -> Option<Metadata>) -> bool,
        ) -> io::Result<()> {
            let folder = self.directory(path, options)?;
            for entry in std::fs::read_dir(folder.path())? {
                let entry = entry?;
                // What the system found along with the name: of a link, the link.
                let mut metadata = || {
                    let found = entry.metadata().ok()?;
                    let kind = match found.file_type() {
                        kind if kind.is_file() => FileKind::File,
                        kind if kind.is_dir() => FileKind::Directory,
                        _ => FileKind::Other,
                    };
                    let modified = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    Some(Metadata { length: found.len(), kind, modified, identity: (0, 0) })
                };
                if !each(&entry.file_name(), &mut metadata) {
                    break;
                }
            }
            Ok(())
        }

        pub(super) fn remove_file(&self, name: &OsStr) -> io::Result<bool> {
            // The path is verbatim: a colon would still name a stream.
            if name.encode_wide().any(|unit| unit == u16::from(b':')) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let path = self.path().join(name);
            if !std::fs::symlink_metadata(&path)?.is_file() {
                return Ok(false);
            }
            std::fs::remove_file(&path)?;
            Ok(true)
        }

        pub(super) fn available_bytes(&self) -> io::Result<u64> {
            let mut path: Vec<u16> = self.path().as_os_str().encode_wide().collect();
            path.push(0);
            let mut available = 0;
            // SAFETY: the path is terminated and lives through the call, as does the number; the other pointers may be null.
            let done = unsafe {
                GetDiskFreeSpaceExW(
                    path.as_ptr(),
                    &raw mut available,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                )
            };
            if done == 0 { Err(io::Error::last_os_error()) } else { Ok(available) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn listed(directory: &Directory, path: &str, options: OpenOptions) -> Vec<(String, FileKind, u64)> {
        let found = directory.entries(Path::new(path), options, 100, |_| true).unwrap();
        assert!(!found.cut_off);
        let mut names: Vec<_> = found
            .entries
            .into_iter()
            .map(|entry| {
                let length = if entry.kind == FileKind::File { entry.length } else { 0 };
                (entry.name.into_string().unwrap(), entry.kind, length)
            })
            .collect();
        names.sort_by(|one, other| one.0.cmp(&other.0));
        names
    }

    #[test]
    fn a_folder_is_listed_with_what_its_names_are() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sub/deeper")).unwrap();
        fs::write(folder.path().join("sub/page"), "12345").unwrap();
        fs::write(folder.path().join(".hidden"), "").unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let options = OpenOptions::new();
        let whole = [(".hidden".into(), FileKind::File, 0), ("sub".into(), FileKind::Directory, 0)];
        assert_eq!(listed(&directory, "", options), whole);
        assert_eq!(listed(&directory, ".", options.refuse_links(true)), whole);
        let below = [("deeper".into(), FileKind::Directory, 0), ("page".into(), FileKind::File, 5)];
        assert_eq!(listed(&directory, "sub", options), below);
        let sub = directory.directory(Path::new("sub"), options).unwrap();
        assert_eq!(listed(&sub, "", options), below);
        let some = directory.entries(Path::new("sub"), options, 1, |_| true).unwrap();
        assert_eq!((some.entries.len(), some.cut_off), (1, true));
        let some = directory.entries(Path::new("sub"), options, 1, |name| name == "page").unwrap();
        assert_eq!((some.entries.len(), some.cut_off), (1, false));
        let age = SystemTime::now().duration_since(some.entries[0].modified).unwrap_or_default();
        assert!(age.as_secs() < 3600, "the time of the last change is off by {age:?}");
        for path in ["none", "sub/page", "..", "sub/../..", "/"] {
            assert!(directory.entries(Path::new(path), options, 1, |_| true).is_err(), "{path}");
            assert!(directory.directory(Path::new(path), options).is_err(), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_listed_where_they_may_be_followed() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = outside.path().join("site");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::write(inside.join("page"), "12345").unwrap();
        symlink("../../secret", inside.join("sub/climbing")).unwrap();
        symlink("/etc", inside.join("sub/absolute")).unwrap();
        symlink("nothing", inside.join("sub/dangling")).unwrap();
        symlink("../page", inside.join("sub/within")).unwrap();
        symlink("../sub", inside.join("sub/round")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let directory = Directory::open(&inside).unwrap();
        let options = OpenOptions::new();
        if cfg!(target_os = "linux") {
            let both = [("round".into(), FileKind::Directory, 0), ("within".into(), FileKind::File, 5)];
            assert_eq!(listed(&directory, "sub", options), both);
            assert_eq!(listed(&directory, "sub/round", options), both);
        }
        assert_eq!(listed(&directory, "sub", options.refuse_links(true)), []);
        assert!(directory.entries(Path::new("sub/round"), options.refuse_links(true), 9, |_| true).is_err());
        assert!(directory.directory(Path::new("up"), options).is_err());
    }

    #[test]
    fn only_a_regular_file_of_this_folder_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("in");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::write(folder.path().join("kept"), "").unwrap();
        fs::write(inside.join("page"), "").unwrap();
        let directory = Directory::open(&inside).unwrap();
        assert!(directory.remove_file("page".as_ref()).unwrap());
        assert_eq!(
            directory.remove_file("page".as_ref()).map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
        assert!(!directory.remove_file("sub".as_ref()).unwrap());
        for name in ["../kept", "..", ".", "", "sub/page", "/kept", "page/"] {
            let error = directory.remove_file(name.as_ref()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../kept", inside.join("link")).unwrap();
            assert!(!directory.remove_file("link".as_ref()).unwrap());
            assert!(inside.join("link").is_symlink());
        }
        assert!(folder.path().join("kept").exists() && inside.join("sub").is_dir());
    }

    #[test]
    fn there_is_some_room() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Directory::open(folder.path()).unwrap().available_bytes().unwrap() > 0);
    }
}
