//! Watching folders: ReadDirectoryChangesW, called again and again. Between two calls the system keeps what changes, as far as it
//! has room.

use super::{
    handle::{Entry, State},
    slot::{Body, NONE, Slot, Stage},
    start::judge,
    turn::Turn,
    winsock::Issued,
};
use crate::{
    completion::Payload,
    error::Error,
    file::{self, OpenOptions},
    identity::Handle,
    operation::OperationKind,
    watch::{Change, ChangeKind},
};
use std::{
    ffi::OsString,
    os::windows::{ffi::OsStringExt, io::AsRawHandle},
    path::{Path, PathBuf},
    ptr::null_mut,
    sync::atomic::Ordering,
};
use windows_sys::Win32::{Foundation::ERROR_NOTIFY_ENUM_DIR, Storage::FileSystem as fs};

/// Room for what one call tells, and for what the system keeps between two, in bytes. Above 64 KiB the call fails on folders of other
/// machines.
const ROOM_BYTES: usize = 32_768;

/// What is in front of a name: the offset of the next, the action, the length in bytes.
const HEADER_BYTES: usize = 12;

impl Turn<'_> {
    /// Opens the folder anew, for a handle of the operation's own, and begins to watch it. In place, so that no change is missed
    /// after the submit; the system has the folder open already.
    pub(super) fn begin_watching(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let of = OperationKind::WatchDirectory;
        let slot = self.core.slot(index);
        let prepared = (|| {
            let mut job = slot.job();
            let Body::Watch { directory, file, room, .. } = &mut job.body else { return Ok(()) };
            let (opened, _) = file::open(Some(directory), Path::new(""), OpenOptions::new().read(true))
                .map_err(|error| Error::from_io(&error, of))?;
            self.core.port.associate(opened.as_raw_handle(), 0)?;
            *room = Some(self.shared.buffers.allocate(ROOM_BYTES)?);
            *file = Some(opened);
            Ok(())
        })();
        match prepared {
            Ok(()) => {
                state.watches += 1;
                self.watch_on(entry, state, index);
            }
            Err(error) => {
                let error: Error = error;
                let error = Error::with_code(error.kind(), error.code().unwrap_or(0), of);
                self.complete(state, index, Err(error), Payload::None);
            }
        }
    }

    fn watch_on(&mut self, entry: &Entry, state: &mut State, index: u32) {
        let slot = self.core.slot(index);
        // SAFETY: the operation has no call in the kernel, and the owner's lock is held.
        let issued = unsafe { issue(slot) };
        self.follow(entry, state, index, issued);
    }

    /// A call of a watch has ended.
    pub(super) fn folder_changed(
        &mut self,
        entry: &Entry,
        state: &mut State,
        index: u32,
        result: Result<u32, u32>,
    ) {
        let slot = self.core.slot(index);
        let mut job = slot.job();
        let ended = job.ended.is_some();
        let Body::Watch { room: Some(room), .. } = &mut job.body else { return };
        let changes = match result {
            Ok(bytes) if bytes > 0 => {
                room.advance(bytes as usize);
                let changes = parse(room);
                room.clear();
                changes
            }
            // More than there is room for.
            Ok(_) | Err(ERROR_NOTIFY_ENUM_DIR) => {
                vec![Change { kind: ChangeKind::Missed, path: PathBuf::new() }]
            }
            Err(code) => {
                drop(job);
                let error = Error::from_code(code as i32, OperationKind::WatchDirectory);
                return self.complete(state, index, Err(error), Payload::None);
            }
        };
        job.stage = Stage::Resting;
        drop(job);
        let some = !changes.is_empty();
        for change in changes {
            self.item(state, index, 0, Payload::Change(change));
        }
        if ended {
            self.complete_ended(state, index);
        } else if !some || slot.owner() == Handle::NONE {
            self.watch_on(entry, state, index);
        }
    }

    /// The last changes of the handle's watches were dealt with: they may go on. Until then the system keeps what changes.
    pub(super) fn watch_again(&mut self, entry: &Entry, state: &mut State) {
        if state.watches == 0 {
            return;
        }
        let mut next = state.operations;
        while next != NONE {
            let (index, slot) = (next, self.core.slot(next));
            next = slot.links.after.load(Ordering::Relaxed);
            let job = slot.job();
            let rests = job.stage == Stage::Resting && job.kind == OperationKind::WatchDirectory;
            drop(job);
            if rests {
                self.watch_on(entry, state, index);
            }
        }
    }
}

/// ReadDirectoryChangesW.
///
/// # Safety
///
/// The kernel does not have `slot`, and the owner's lock is held.
unsafe fn issue(slot: &Slot) -> Issued {
    let mut job = slot.job();
    let Body::Watch { recursive, file: Some(file), room: Some(room), .. } = &mut job.body else {
        return Issued::Failed(0);
    };
    let (pointer, bytes) = room.spare_pointer();
    // SAFETY: as the caller promises; the slot owns the file and the room, which is aligned as a page.
    unsafe {
        slot.prepare(0);
        let begun = fs::ReadDirectoryChangesW(
            file.as_raw_handle(),
            pointer.cast(),
            bytes as u32,
            i32::from(*recursive),
            fs::FILE_NOTIFY_CHANGE_FILE_NAME
                | fs::FILE_NOTIFY_CHANGE_DIR_NAME
                | fs::FILE_NOTIFY_CHANGE_ATTRIBUTES
                | fs::FILE_NOTIFY_CHANGE_SIZE
                | fs::FILE_NOTIFY_CHANGE_LAST_WRITE
                | fs::FILE_NOTIFY_CHANGE_CREATION
                | fs::FILE_NOTIFY_CHANGE_SECURITY,
            null_mut(),
            slot.overlapped(),
            None,
        );
        judge(begun, false, slot)
    }
}

/// The changes that a call told (FILE_NOTIFY_INFORMATION).
fn parse(mut told: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    };
    loop {
        let (next, action, length) = (number(told, 0), number(told, 4), number(told, 8) as usize);
        let kind = match action {
            fs::FILE_ACTION_ADDED | fs::FILE_ACTION_RENAMED_NEW_NAME => Some(ChangeKind::Appeared),
            fs::FILE_ACTION_REMOVED | fs::FILE_ACTION_RENAMED_OLD_NAME => Some(ChangeKind::Disappeared),
            fs::FILE_ACTION_MODIFIED => Some(ChangeKind::Modified),
            _ => None,
        };
        let name = told.get(HEADER_BYTES..).and_then(|rest| rest.get(..length));
        if let (Some(kind), Some(name)) = (kind, name) {
            let units: Vec<u16> =
                name.chunks_exact(2).map(|unit| u16::from_ne_bytes([unit[0], unit[1]])).collect();
            changes.push(Change { kind, path: OsString::from_wide(&units).into() });
        }
        match told.get(next as usize..) {
            Some(rest) if next > 0 => told = rest,
            _ => return changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(next: u32, action: u32, name: &str) -> Vec<u8> {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_ne_bytes).collect();
        let mut bytes = [next, action, name.len() as u32].map(u32::to_ne_bytes).concat();
        bytes.extend(name);
        bytes
    }

    #[test]
    fn changes_are_read_one_behind_the_other() {
        let mut told = entry(24, fs::FILE_ACTION_ADDED, "new");
        told.resize(24, 0xff);
        told.extend(entry(0, fs::FILE_ACTION_MODIFIED, r"sub\old"));
        let change = |kind, path: &str| Change { kind, path: path.into() };
        assert_eq!(
            parse(&told),
            [change(ChangeKind::Appeared, "new"), change(ChangeKind::Modified, r"sub\old")]
        );
    }

    #[test]
    fn nonsense_ends_the_list() {
        for told in [&[][..], &[1; 11], &entry(9_999, 1, "far")[..14], &[0xff; 40]] {
            assert!(parse(told).len() <= 1);
        }
    }
}
