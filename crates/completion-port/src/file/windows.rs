//! Opening on Windows: overlapped, and beneath a folder by comparing final paths on the handles themselves.

use super::{FileKind, Metadata, OpenOptions};
use crate::{counters::SystemCall, tally};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::windows::{
        ffi::{OsStrExt, OsStringExt},
        io::{AsRawHandle, FromRawHandle, OwnedHandle},
    },
    path::{Component, Path},
    time::{Duration, SystemTime},
};
use windows_sys::Win32::{
    Foundation::{
        ERROR_ACCESS_DENIED, ERROR_DIRECTORY, ERROR_IO_PENDING, ERROR_STOPPED_ON_SYMLINK, FILETIME,
        GENERIC_READ, GENERIC_WRITE, GetLastError, INVALID_HANDLE_VALUE,
    },
    Storage::FileSystem as fs,
    System::{
        IO::{GetOverlappedResult, OVERLAPPED},
        Threading::CreateEventW,
    },
};

const SEPARATOR: u16 = b'\\' as u16;

/// From 1601, where Windows counts from, to 1970.
const EPOCH_DIFFERENCE: Duration = Duration::from_secs(11_644_473_600);

/// A folder: held open, so that it is not replaced by another while it is used, with its final path.
pub(super) struct Directory {
    _handle: File,
    /// As the system spells it, with the `\\?\` that takes all magic out of names: no device names, no dropped dots and spaces.
    path: Vec<u16>,
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Renaming the folder, or one above it, fails while the handle is open: it is not shared for deleting.
        let share = fs::FILE_SHARE_READ | fs::FILE_SHARE_WRITE;
        let access = fs::FILE_LIST_DIRECTORY | fs::FILE_READ_ATTRIBUTES;
        let wide = terminated(path.as_os_str())?;
        let handle = create(&wide, access, share, fs::OPEN_EXISTING, fs::FILE_FLAG_BACKUP_SEMANTICS)?;
        if metadata(&handle)?.kind != FileKind::Directory {
            return Err(code(ERROR_DIRECTORY));
        }
        let path = final_path(&handle)?;
        Ok(Self { _handle: handle, path })
    }

    pub(super) fn directory(&self, path: &Path, options: OpenOptions) -> io::Result<Self> {
        let expected = join(&self.path, &names(path)?);
        let access = fs::FILE_LIST_DIRECTORY | fs::FILE_READ_ATTRIBUTES;
        let share = fs::FILE_SHARE_READ | fs::FILE_SHARE_WRITE;
        let flags = fs::FILE_FLAG_BACKUP_SEMANTICS;
        let handle = create(&with_end(&expected), access, share, fs::OPEN_EXISTING, flags)?;
        if metadata(&handle)?.kind != FileKind::Directory {
            return Err(code(ERROR_DIRECTORY));
        }
        let path = check(&handle, self, &expected, options)?;
        Ok(Self { _handle: handle, path })
    }

    /// The final path.
    pub(super) fn path(&self) -> std::path::PathBuf {
        std::ffi::OsString::from_wide(&self.path).into()
    }
}

/// Windows has no files without a name.
pub(crate) fn link(_: &File, _: &super::Directory, _: &Path, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens a file and reads its metadata. May block.
pub(crate) fn open(
    directory: Option<&super::Directory>,
    path: &Path,
    options: OpenOptions,
) -> io::Result<(File, Metadata)> {
    if options.unnamed {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let file = match directory {
        Some(directory) => open_beneath(&directory.system, path, options)?,
        None => {
            if options.refuse_links && has_link(path)? {
                return Err(code(ERROR_STOPPED_ON_SYMLINK));
            }
            open_as(&terminated(path.as_os_str())?, options, 0)?
        }
    };
    if options.truncate {
        // Only now: what was opened is what was meant.
        file.set_len(0)?;
    }
    let metadata = metadata(&file)?;
    if metadata.kind == FileKind::Directory && (options.write || options.append) {
        return Err(code(ERROR_DIRECTORY));
    }
    Ok((file, metadata))
}

fn open_beneath(directory: &Directory, path: &Path, options: OpenOptions) -> io::Result<File> {
    let names = names(path)?;
    let expected = join(&directory.path, &names);
    if (options.create || options.create_new)
        && let Some((name, folders)) = names.split_last()
    {
        // Nothing may be created outside either: the folder is looked at first, and held while the file is made in it.
        let share = fs::FILE_SHARE_READ | fs::FILE_SHARE_WRITE;
        let wanted = join(&directory.path, folders);
        let folder = create(
            &with_end(&wanted),
            fs::FILE_READ_ATTRIBUTES,
            share,
            fs::OPEN_EXISTING,
            fs::FILE_FLAG_BACKUP_SEMANTICS,
        )?;
        let actual = check(&folder, directory, &wanted, options)?;
        let file = open_as(&with_end(&join(&actual, &[name])), options, fs::FILE_FLAG_OPEN_REPARSE_POINT)?;
        check(&file, directory, &join(&actual, &[name]), options)?;
        return Ok(file);
    }
    let file = open_as(&with_end(&expected), options, 0)?;
    check(&file, directory, &expected, options)?;
    Ok(file)
}

/// Whether what was opened lies inside, and is what was named where links are refused. Returns its final path.
fn check(file: &File, directory: &Directory, expected: &[u16], options: OpenOptions) -> io::Result<Vec<u16>> {
    let actual = final_path(file)?;
    let root = trim(&directory.path);
    let inside =
        actual.strip_prefix(root).is_some_and(|rest| rest.first().is_none_or(|&first| first == SEPARATOR));
    let direct = !options.refuse_links || same_but_for_case(trim(&actual), trim(expected));
    if inside && direct { Ok(actual) } else { Err(code(ERROR_STOPPED_ON_SYMLINK)) }
}

/// The names of a relative path that climbs nowhere and means no stream.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name)
                if name.encode_wide().all(|unit| unit != 0 && unit != u16::from(b':')) =>
            {
                names.push(name);
            }
            _ => return Err(code(ERROR_STOPPED_ON_SYMLINK)),
        }
    }
    Ok(names)
}

fn join(folder: &[u16], names: &[&OsStr]) -> Vec<u16> {
    let mut path = folder.to_vec();
    for name in names {
        if path.last() != Some(&SEPARATOR) {
            path.push(SEPARATOR);
        }
        path.extend(name.encode_wide());
    }
    path
}

fn trim(path: &[u16]) -> &[u16] {
    path.strip_suffix(&[SEPARATOR]).unwrap_or(path)
}

fn same_but_for_case(one: &[u16], other: &[u16]) -> bool {
    let lower = |path: &[u16]| String::from_utf16(path).map(|path| path.to_lowercase());
    match (lower(one), lower(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Whether a name in the path is a symbolic link or a junction.
fn has_link(path: &Path) -> io::Result<bool> {
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        match std::fs::symlink_metadata(part) {
            Ok(metadata) if metadata.is_symlink() => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn open_as(path: &[u16], options: OpenOptions, flags: u32) -> io::Result<File> {
    let mut access = 0;
    if options.read {
        access |= GENERIC_READ;
    }
    if options.write {
        access |= GENERIC_WRITE;
    }
    if options.append {
        access |= fs::FILE_GENERIC_WRITE & !fs::FILE_WRITE_DATA;
    }
    if access == 0 {
        access = fs::FILE_READ_ATTRIBUTES;
    }
    let disposition = match (options.create_new, options.create) {
        (true, _) => fs::CREATE_NEW,
        (false, true) => fs::OPEN_ALWAYS,
        (false, false) => fs::OPEN_EXISTING,
    };
    let share = fs::FILE_SHARE_READ | fs::FILE_SHARE_WRITE | fs::FILE_SHARE_DELETE;
    let flags = fs::FILE_FLAG_OVERLAPPED | fs::FILE_FLAG_BACKUP_SEMANTICS | flags;
    create(path, access, share, disposition, flags).map_err(|error| {
        let writes = options.write || options.append;
        let denied = error.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32);
        if denied && writes && is_folder(path) { code(ERROR_DIRECTORY) } else { error }
    })
}

fn is_folder(path: &[u16]) -> bool {
    // SAFETY: the path is terminated.
    let attributes = unsafe { fs::GetFileAttributesW(path.as_ptr()) };
    attributes != fs::INVALID_FILE_ATTRIBUTES && attributes & fs::FILE_ATTRIBUTE_DIRECTORY != 0
}

fn create(path: &[u16], access: u32, share: u32, disposition: u32, flags: u32) -> io::Result<File> {
    debug_assert_eq!(path.last(), Some(&0), "a path for the system is terminated");
    tally::call(SystemCall::Open);
    // SAFETY: the path is terminated and lives through the call; the other pointers may be null.
    let handle = unsafe {
        fs::CreateFileW(
            path.as_ptr(),
            access,
            share,
            std::ptr::null(),
            disposition,
            flags,
            std::ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

fn terminated(path: &OsStr) -> io::Result<Vec<u16>> {
    let wide: Vec<u16> = path.encode_wide().collect();
    if wide.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path contains NUL"));
    }
    Ok(with_end(&wide))
}

fn with_end(path: &[u16]) -> Vec<u16> {
    let mut path = path.to_vec();
    path.push(0);
    path
}

/// Where the handle leads, with every link resolved.
fn final_path(file: &File) -> io::Result<Vec<u16>> {
    let mut path = vec![0u16; 512];
    loop {
        // SAFETY: the handle is open, and the buffer has the size given.
        let length = unsafe {
            fs::GetFinalPathNameByHandleW(
                file.as_raw_handle(),
                path.as_mut_ptr(),
                path.len() as u32,
                fs::VOLUME_NAME_DOS,
            )
        } as usize;
        if length == 0 {
            return Err(io::Error::last_os_error());
        }
        let fits = length < path.len();
        path.resize(length, 0);
        if fits {
            return Ok(path);
        }
        path.resize(length + 1, 0);
    }
}

/// The offset that stands for the end of the file, wherever that is when the bytes are written.
pub(crate) const END_OF_FILE: u64 = u64::MAX;

/// Bytes of one WriteFile, whose count has 32 bits.
const MAXIMUM_WRITE_BYTES: usize = 0x7fff_f000;

thread_local! {
    /// For waiting on the calling thread's own write.
    static WRITTEN: io::Result<OwnedHandle> = {
        // SAFETY: the pointers may be null; a fresh handle has one owner.
        unsafe {
            let event = CreateEventW(std::ptr::null(), 1, 0, std::ptr::null());
            if event.is_null() { Err(io::Error::last_os_error()) } else { Ok(OwnedHandle::from_raw_handle(event)) }
        }
    };
}

/// Writes to a file that is open for overlapped calls, and waits for that. Returns how many bytes were written.
pub(crate) fn write_and_wait(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    WRITTEN.with(|event| {
        let event = event.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        let mut overlapped = OVERLAPPED::default();
        overlapped.Anonymous.Anonymous.Offset = offset as u32;
        overlapped.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
        // The lowest bit says that no packet is to be queued at the completion port.
        overlapped.hEvent = event.as_raw_handle().map_addr(|address| address | 1);
        let length = bytes.len().min(MAXIMUM_WRITE_BYTES) as u32;
        let mut written = 0;
        // SAFETY: the bytes and the OVERLAPPED live until the wait is over, which lasts until the system is done with both: it
        // waits for the event, which only this write sets.
        unsafe {
            let begun = fs::WriteFile(
                file.as_raw_handle(),
                bytes.as_ptr(),
                length,
                std::ptr::null_mut(),
                &raw mut overlapped,
            );
            if begun == 0 && GetLastError() != ERROR_IO_PENDING {
                return Err(io::Error::last_os_error());
            }
            if GetOverlappedResult(file.as_raw_handle(), &raw const overlapped, &raw mut written, 1) == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(written as usize)
    })
}

/// The metadata of an open file.
pub(crate) fn metadata(file: &File) -> io::Result<Metadata> {
    let handle = file.as_raw_handle();
    // SAFETY: plain data, for which zeros are valid.
    let mut information: fs::BY_HANDLE_FILE_INFORMATION = unsafe { std::mem::zeroed() };
    tally::call(SystemCall::Metadata);
    // SAFETY: the handle is open, and the structure lives through the call.
    if unsafe { fs::GetFileInformationByHandle(handle, &raw mut information) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open.
    let on_disk = unsafe { fs::GetFileType(handle) } == fs::FILE_TYPE_DISK;
    let kind = match (on_disk, information.dwFileAttributes & fs::FILE_ATTRIBUTE_DIRECTORY != 0) {
        (false, _) => FileKind::Other,
        (true, true) => FileKind::Directory,
        (true, false) => FileKind::File,
    };
    let wide = |high: u32, low: u32| (u64::from(high) << 32) | u64::from(low);
    Ok(Metadata {
        length: wide(information.nFileSizeHigh, information.nFileSizeLow),
        kind,
        modified: time(information.ftLastWriteTime),
        identity: (
            u64::from(information.dwVolumeSerialNumber),
            wide(information.nFileIndexHigh, information.nFileIndexLow),
        ),
    })
}

fn time(time: FILETIME) -> SystemTime {
    let ticks = (u64::from(time.dwHighDateTime) << 32) | u64::from(time.dwLowDateTime);
    let since_1601 = Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as u32 * 100);
    SystemTime::UNIX_EPOCH + since_1601.saturating_sub(EPOCH_DIFFERENCE)
}

fn code(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> OpenOptions {
        OpenOptions::new().read(true)
    }

    #[test]
    fn each_writer_waits_for_its_own_write_wherever_that_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (file, _) = open(None, &path, read().write(true).create(true)).unwrap();
        std::thread::scope(|scope| {
            for number in 0..4_u8 {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..50 {
                        let offset = (round * 4 + u64::from(number)) * 64;
                        assert_eq!(write_and_wait(file, offset, &[number; 64]).unwrap(), 64);
                    }
                });
            }
        });
        assert_eq!(write_and_wait(&file, END_OF_FILE, &[0; 64]).unwrap(), 64);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 201 * 64);
        for (number, record) in bytes.chunks(64).enumerate() {
            assert_eq!(record, [number as u8 % 4; 64], "record {number}");
        }
        assert_eq!(write_and_wait(&file, 5 << 30, b"far").unwrap(), 3);
        assert_eq!(metadata(&file).unwrap().length, (5 << 30) + 3);
    }

    #[test]
    fn what_lies_outside_cannot_be_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = outside.path().join("site");
        std::fs::create_dir_all(inside.join("sub")).unwrap();
        std::fs::create_dir_all(outside.path().join("site2")).unwrap();
        std::fs::write(outside.path().join("site2/page"), "page").unwrap();
        std::fs::write(inside.join("sub/page"), "page").unwrap();
        let directory = super::super::Directory::open(&inside).unwrap();
        for path in [
            "../secret",
            r"..\secret",
            "sub/../../secret",
            "../site2/page",
            "sub/page:stream",
            "sub/page::$DATA",
            "C:",
            r"C:\windows\win.ini",
            r"\windows\win.ini",
            r"\\?\C:\windows\win.ini",
            r"\\.\NUL",
            r"\\.\GLOBALROOT\Device\Null",
            r"\\?\GLOBALROOT\Device\Null",
            r"\\?\UNC\host\share\page",
            r"\\host\share\page",
            "//host/share/page",
            "//?/C:/windows/win.ini",
            r"\??\C:\windows\win.ini",
            r"\Device\Null",
            "C:page",
            "/page",
            "sub/page:",
            "sub::$INDEX_ALLOCATION/page",
            r"sub\..\..\secret",
        ] {
            for options in [read(), read().write(true).create(true)] {
                let error = open(Some(&directory), Path::new(path), options).expect_err(path);
                assert_eq!(error.raw_os_error(), Some(ERROR_STOPPED_ON_SYMLINK as i32), "{path}: {error}");
            }
        }
        // No devices and nothing dropped: names like any others, of files that are not there.
        for path in
            ["NUL", "CON", "aux.txt", "COM1", "COM\u{b9}", "CONIN$", "sub/page.", "sub/page ", "sub /page"]
        {
            let error = open(Some(&directory), Path::new(path), read()).expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}: {error}");
        }
        let (_, metadata) = open(Some(&directory), Path::new("sub/page"), read().refuse_links(true)).unwrap();
        assert_eq!((metadata.length, metadata.kind), (4, FileKind::File));
        for path in ["sub", "", "."] {
            let (_, metadata) = open(Some(&directory), Path::new(path), read()).unwrap();
            assert_eq!(metadata.kind, FileKind::Directory, "{path}");
        }
    }

    #[test]
    fn links_are_followed_inside_only() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = outside.path().join("site");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("page"), "page").unwrap();
        let made = std::os::windows::fs::symlink_file(outside.path().join("secret"), inside.join("climbing"))
            .and_then(|()| std::os::windows::fs::symlink_file(inside.join("page"), inside.join("within")));
        if made.is_err() || std::fs::read(inside.join("within")).is_err() {
            // Windows wants a privilege for making links, and Wine only says that it made them.
            return;
        }
        let directory = super::super::Directory::open(&inside).unwrap();
        assert!(open(Some(&directory), Path::new("climbing"), read()).is_err());
        assert!(open(Some(&directory), Path::new("within"), read()).is_ok());
        assert!(open(Some(&directory), Path::new("within"), read().refuse_links(true)).is_err());
        assert!(open(None, &inside.join("within"), read().refuse_links(true)).is_err());
    }

    #[test]
    fn opening_creates_and_truncates_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let directory = super::super::Directory::open(folder.path()).unwrap();
        let directory = Some(&directory);
        let path = Path::new("new");
        let write = OpenOptions::new().write(true);
        assert_eq!(open(directory, path, write).unwrap_err().kind(), io::ErrorKind::NotFound);
        open(directory, path, write.create_new(true)).unwrap();
        assert_eq!(
            open(directory, path, write.create_new(true)).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        std::fs::write(folder.path().join("new"), "12345").unwrap();
        let (_, metadata) = open(directory, path, write.create(true)).unwrap();
        assert_eq!(metadata.length, 5);
        let age = SystemTime::now().duration_since(metadata.modified).unwrap_or_default();
        assert!(age < Duration::from_secs(3600), "the time of the last change is off by {age:?}");
        assert_eq!(open(directory, path, write.truncate(true)).unwrap().1.length, 0);
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let error = open(directory, Path::new("sub"), write).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ERROR_DIRECTORY as i32));
    }
}
