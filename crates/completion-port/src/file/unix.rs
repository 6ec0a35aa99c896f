//! Opening on Unix: openat2(2) beneath a folder on Linux, a walk with openat(2) elsewhere.

use super::{FileKind, Metadata, OpenOptions};
use crate::{counters::SystemCall, tally};
use rustix::fs::{CWD, Mode, OFlags};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, SystemTime},
};

pub(super) struct Directory {
    pub(super) descriptor: OwnedFd,
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { descriptor: rustix::fs::openat(CWD, path, flags, Mode::empty())? })
    }

    pub(super) fn open_beneath(&self, path: &Path, options: OpenOptions) -> io::Result<(File, Metadata)> {
        let file = File::from(open_beneath(self.descriptor.as_fd(), path, options)?);
        let metadata = metadata(&file)?;
        Ok((file, metadata))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens a file and reads its metadata. May block.
pub(crate) fn open(
    directory: Option<&super::Directory>,
    path: &Path,
    options: OpenOptions,
) -> io::Result<(File, Metadata)> {
    let file = match directory {
        Some(directory) => return directory.system.open_beneath(path, options),
        None => {
            tally::call(SystemCall::Open);
            File::from(rustix::fs::openat(CWD, path, flags(options), mode())?)
        }
    };
    let metadata = metadata(&file)?;
    Ok((file, metadata))
}

/// Gives a file that was opened without a name one, and has the folder's change reach the storage. May block.
#[cfg(target_os = "linux")]
pub(crate) fn link(file: &File, directory: &super::Directory, path: &Path, replace: bool) -> io::Result<()> {
    use rustix::fs::AtFlags;
    use std::os::fd::AsRawFd;
    let folder = &directory.system.descriptor;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |name: &Path| {
        tally::call(SystemCall::Link);
        rustix::fs::linkat(CWD, source.as_str(), folder, name, AtFlags::SYMLINK_FOLLOW)
    };
    match link(path) {
        Err(rustix::io::Errno::EXIST) if replace => {
            // A link cannot replace; a rename can. The inode is unique among files that exist, so the passing name is too.
            let passing = path.with_file_name(format!(
                ".completion-port-{}-{}.link",
                std::process::id(),
                metadata(file)?.identity.1
            ));
            link(&passing)?;
            tally::call(SystemCall::Link);
            if let Err(error) = rustix::fs::renameat(folder, &passing, folder, path) {
                tally::call(SystemCall::Link);
                let _ = rustix::fs::unlinkat(folder, &passing, AtFlags::empty());
                return Err(error.into());
            }
        }
        linked => linked?,
    }
    tally::call(SystemCall::Sync);
    Ok(rustix::fs::fsync(folder)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn link(_: &File, _: &super::Directory, _: &Path, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether it lies on a file system that lives in memory (tmpfs(5)): no disk can hold up what is done to it.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_memory(file: impl AsFd) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    tally::call(SystemCall::Metadata);
    // Of the type some architectures have 32 bits, with a sign.
    rustix::fs::fstatfs(file).is_ok_and(|system| matches!(system.f_type as u64 & 0xffff_ffff, TMPFS | RAMFS))
}

/// As [`open`], but only from what the kernel has in memory (RESOLVE_CACHED); fails with EAGAIN where it would have to wait.
#[cfg(target_os = "linux")]
pub(crate) fn open_cached(
    directory: Option<&super::Directory>,
    path: &Path,
    options: OpenOptions,
) -> io::Result<(File, Metadata)> {
    use rustix::fs::ResolveFlags;
    if options.unnamed && path == Path::new(".") && directory.is_some_and(|it| is_in_memory(it.descriptor()))
    {
        // Refused with RESOLVE_CACHED, and does not wait.
        return open(directory, path, options);
    }
    let beneath = match directory {
        Some(_) => ResolveFlags::BENEATH,
        None => ResolveFlags::empty(),
    };
    let from = directory.map_or(CWD, |directory| directory.system.descriptor.as_fd());
    let resolve = beneath | links(options) | ResolveFlags::CACHED;
    tally::call(SystemCall::Open);
    let file = File::from(rustix::fs::openat2(from, path, flags(options), mode_for(options), resolve)?);
    let metadata = metadata(&file)?;
    Ok((file, metadata))
}

/// The metadata of an open file. Answered from memory by local file systems.
pub(crate) fn metadata(file: &File) -> io::Result<Metadata> {
    tally::call(SystemCall::Metadata);
    Ok(metadata_of(&rustix::fs::fstat(file)?))
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these numbers differ between systems")]
pub(super) fn metadata_of(stat: &rustix::fs::Stat) -> Metadata {
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => FileKind::File,
        rustix::fs::FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    };
    let nanoseconds = Duration::from_nanos(stat.st_mtime_nsec as u64);
    let modified = match u64::try_from(stat.st_mtime) {
        Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + nanoseconds,
        Err(_) => SystemTime::UNIX_EPOCH,
    };
    Metadata {
        length: stat.st_size as u64,
        kind,
        modified,
        identity: (stat.st_dev as u64, stat.st_ino as u64),
    }
}

/// A pipe or device that somebody put into the folder must not block the opening, nor become a controlling terminal.
fn flags(options: OpenOptions) -> OFlags {
    #[cfg(target_os = "linux")]
    if options.unnamed {
        return OFlags::CLOEXEC | OFlags::TMPFILE | OFlags::RDWR;
    }
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= match (options.read, options.write || options.append) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    for (chosen, flag) in [
        (options.append, OFlags::APPEND),
        (options.create, OFlags::CREATE),
        (options.create_new, OFlags::CREATE | OFlags::EXCL),
        (options.truncate, OFlags::TRUNC),
        (options.refuse_links, OFlags::NOFOLLOW),
    ] {
        if chosen {
            flags |= flag;
        }
    }
    flags
}

fn mode() -> Mode {
    Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH
}

#[cfg(target_os = "linux")]
fn mode_for(options: OpenOptions) -> Mode {
    // openat2 refuses a mode where nothing is created.
    if options.create || options.create_new || options.unnamed { mode() } else { Mode::empty() }
}

#[cfg(target_os = "linux")]
fn links(options: OpenOptions) -> rustix::fs::ResolveFlags {
    use rustix::fs::ResolveFlags;
    ResolveFlags::NO_MAGICLINKS
        | if options.refuse_links { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() }
}

#[cfg(target_os = "linux")]
fn open_beneath(directory: BorrowedFd<'_>, path: &Path, options: OpenOptions) -> io::Result<OwnedFd> {
    use rustix::{fs::ResolveFlags, io::Errno};
    let resolve = ResolveFlags::BENEATH | links(options);
    // The kernel answers EAGAIN when something in the tree was renamed meanwhile and it cannot vouch for the result.
    for _ in 0..64 {
        tally::call(SystemCall::Open);
        match rustix::fs::openat2(directory, path, flags(options), mode_for(options), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS) => return walk_beneath(directory, path, options),
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(directory: BorrowedFd<'_>, path: &Path, options: OpenOptions) -> io::Result<OwnedFd> {
    walk_beneath(directory, path, options)
}

/// Opens one name after the other, each relative to the folder before, following no links: those are refused where the
/// kernel cannot hold them inside.
fn walk_beneath(directory: BorrowedFd<'_>, path: &Path, options: OpenOptions) -> io::Result<OwnedFd> {
    use std::path::Component;
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(io::Error::from_raw_os_error(libc::EXDEV)),
        }
    }
    let last = names.pop();
    let mut folder: Option<OwnedFd> = None;
    for name in names {
        let from = folder.as_ref().map_or(directory, AsFd::as_fd);
        let through = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        tally::call(SystemCall::Open);
        folder = Some(rustix::fs::openat(from, name, through, Mode::empty())?);
    }
    let from = folder.as_ref().map_or(directory, AsFd::as_fd);
    tally::call(SystemCall::Open);
    match last {
        Some(name) => Ok(rustix::fs::openat(from, name, flags(options) | OFlags::NOFOLLOW, mode())?),
        None => Ok(rustix::fs::openat(from, ".", flags(options), mode())?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use std::io::Write;

    fn read() -> OpenOptions {
        OpenOptions::new().read(true)
    }

    #[test]
    fn what_lies_outside_cannot_be_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = outside.path().join("site");
        std::fs::create_dir_all(inside.join("sub")).unwrap();
        std::fs::write(inside.join("sub/page"), "page").unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("climbing")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", inside.join("absolute")).unwrap();
        std::os::unix::fs::symlink("sub/page", inside.join("within")).unwrap();
        let directory = super::super::Directory::open(&inside).unwrap();
        for path in ["../secret", "sub/../../secret", "climbing", "absolute", "/etc/passwd"] {
            assert!(open(Some(&directory), Path::new(path), read()).is_err(), "{path} was opened");
            assert!(walk_beneath(directory.system.descriptor.as_fd(), Path::new(path), read()).is_err());
        }
        let (_, metadata) = open(Some(&directory), Path::new("sub/page"), read()).unwrap();
        assert_eq!((metadata.length, metadata.kind), (4, FileKind::File));
        let (_, metadata) = open(Some(&directory), Path::new("sub"), read()).unwrap();
        assert_eq!(metadata.kind, FileKind::Directory);
        #[cfg(target_os = "linux")]
        assert!(open(Some(&directory), Path::new("within"), read()).is_ok());
        assert!(open(Some(&directory), Path::new("within"), read().refuse_links(true)).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unnamed_file_appears_only_when_it_is_linked() {
        let folder = tempfile::tempdir().unwrap();
        let directory = super::super::Directory::open(folder.path()).unwrap();
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let unnamed = || {
            open(Some(&directory), Path::new("."), OpenOptions::new().write(true).unnamed(true)).unwrap().0
        };
        let first = unnamed();
        (&first).write_all(b"first").unwrap();
        assert_eq!(names(), 0);
        link(&first, &directory, Path::new("page"), false).unwrap();
        let second = unnamed();
        (&second).write_all(b"second").unwrap();
        assert_eq!(
            link(&second, &directory, Path::new("page"), false).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(folder.path().join("page")).unwrap(), b"first");
        link(&second, &directory, Path::new("page"), true).unwrap();
        assert_eq!(std::fs::read(folder.path().join("page")).unwrap(), b"second");
        assert_eq!(names(), 1);
    }

    #[test]
    fn a_pipe_does_not_block_the_opening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, mode(), 0).unwrap();
        let (_, metadata) = open(None, &path, read()).unwrap();
        assert_eq!(metadata.kind, FileKind::Other);
    }
}
