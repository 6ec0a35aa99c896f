//! What of a file is in memory, window by window.
//!
//! sendfile(2) waits for pages that are missing or still being read, and no flag forbids it. So a window goes that way only where a read that may
//! not wait has found all of it (`RWF_NOWAIT`; cachestat(2) alone would not do, since it counts pages that are being read). That is trusted for a second, in
//! which a page that is in use hardly leaves the memory; afterwards cachestat(2) tells whether it is all there still.

use crate::{counters::SystemCall, file::is_in_memory, tally};
use rustix::io::{Errno, ReadWriteFlags};
use std::{fs::File, io::IoSliceMut, os::fd::AsRawFd};

/// What is known together.
pub(super) const WINDOW_BYTES: u64 = 1 << 20;
/// How many windows of a file are known at most.
const MOST_WINDOWS: u64 = 4_096;
/// How long a window that was there is trusted to be there, and one that was not is not looked for.
const THERE_MS: u32 = 1_000;
const ABSENT_MS: u32 = 100;
/// What a probe reads at once.
const PROBE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Default)]
struct Window {
    number: u64,
    /// When it was looked for, by the clock of the port.
    looked_ms: u32,
    /// What was there from its begin on: all up to its end or the file's, or nothing.
    bytes: u32,
    known: bool,
}

/// Of one file.
pub(crate) struct Warmth {
    windows: Vec<Window>,
    /// Its file system knows reads that may not wait, as far as is known.
    pub(super) can_be_probed: bool,
}

impl Default for Warmth {
    fn default() -> Self {
        Self { windows: Vec::new(), can_be_probed: true }
    }
}

/// Memory for probes, which nobody reads.
#[derive(Default)]
pub(crate) struct Scratch(Vec<u8>);

impl Warmth {
    /// Whether `length` bytes from `offset`, which are in one window, can be had without waiting.
    pub(super) fn has(
        &mut self,
        file: &File,
        offset: u64,
        length: u64,
        now_ms: u32,
        scratch: &mut Scratch,
    ) -> bool {
        let number = offset / WINDOW_BYTES;
        let begin = number * WINDOW_BYTES;
        let place = (number % MOST_WINDOWS) as usize;
        if self.windows.len() <= place {
            self.windows.resize(place + 1, Window::default());
        }
        let window = &mut self.windows[place];
        if !window.known || window.number != number {
            *window = Window { number, ..Window::default() };
        }
        let age_ms = now_ms.wrapping_sub(window.looked_ms);
        let reaches = u64::from(window.bytes) >= offset + length - begin;
        match window.known {
            true if window.bytes == 0 && age_ms < ABSENT_MS => return false,
            true if reaches && age_ms < THERE_MS => return true,
            _ => {}
        }
        if !reaches || !is_cached(file, begin, window.bytes.into()) {
            window.bytes = probe(file, begin, scratch).unwrap_or(0);
        }
        (window.known, window.looked_ms) = (true, now_ms);
        u64::from(window.bytes) >= offset + length - begin
    }

    /// Nothing of the file can go this way.
    pub(super) fn refuse(&mut self, offset: u64, now_ms: u32) {
        let number = offset / WINDOW_BYTES;
        if let Some(window) = self.windows.get_mut((number % MOST_WINDOWS) as usize) {
            *window = Window { number, looked_ms: now_ms, bytes: 0, known: true };
        }
    }
}

/// Reads a window without waiting: how much there is up to its end or the file's. None where something is missing, or the file system cannot tell.
fn probe(file: &File, begin: u64, scratch: &mut Scratch) -> Option<u32> {
    scratch.0.resize(PROBE_BYTES, 0);
    let mut found = 0;
    while found < WINDOW_BYTES {
        tally::call(SystemCall::Read);
        let room = (WINDOW_BYTES - found).min(PROBE_BYTES as u64) as usize;
        let pieces = &mut [IoSliceMut::new(&mut scratch.0[..room])];
        match rustix::io::preadv2(file, pieces, begin + found, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(bytes) => found += bytes as u64,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) => return probe_memory(file, begin),
            Err(_) => return None,
        }
    }
    Some(found as u32)
}

/// As [`probe`], of files that live in memory (tmpfs(5)), which know no reads that may not wait: what is there is not being read, and what is
/// swapped out is not there.
fn probe_memory(file: &File, begin: u64) -> Option<u32> {
    if !is_in_memory(file) {
        return None;
    }
    let bytes = file.metadata().ok()?.len().saturating_sub(begin).min(WINDOW_BYTES);
    (bytes == 0 || is_cached(file, begin, bytes)).then_some(bytes as u32)
}

/// Whether the page cache has all pages of a range, by cachestat(2) (Linux 6.5). False where the system does not tell, as of files that the process neither
/// owns nor may write.
fn is_cached(file: &File, offset: u64, length: u64) -> bool {
    /// The same on all architectures.
    const CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Range {
        offset: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Found {
        cached: u64,
        dirty: u64,
        written_back: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    if length == 0 {
        return false;
    }
    let (range, mut found) = (Range { offset, length }, Found::default());
    tally::call(SystemCall::CacheState);
    // SAFETY: the kernel reads a range and writes what it found, both of the layout of cachestat(2) and alive for the call.
    let code = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut found, 0) };
    let page = rustix::param::page_size() as u64;
    let pages = (offset + length - 1) / page - offset / page + 1;
    code == 0 && found.cached >= pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; bytes]).unwrap();
        file
    }

    fn forget(file: &File) {
        file.sync_all().unwrap();
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }

    #[test]
    fn what_was_written_just_now_is_in_memory_and_what_was_dropped_is_not() {
        let file = file(300_000);
        assert!(is_cached(&file, 0, 300_000) && is_cached(&file, 4_095, 2) && is_cached(&file, 299_999, 1));
        assert!(!is_cached(&file, 0, 400_000), "there is nothing behind the end");
        let mut scratch = Scratch::default();
        assert_eq!(probe(&file, 0, &mut scratch), Some(300_000));
        assert_eq!(probe(&file, WINDOW_BYTES, &mut scratch), Some(0));
        forget(&file);
        assert!(!is_cached(&file, 0, 300_000));
        assert_eq!(probe(&file, 0, &mut scratch), None);
    }

    #[test]
    fn files_in_memory_are_in_memory() {
        let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else { return };
        file.write_all(&[7; 3_000]).unwrap();
        let mut scratch = Scratch::default();
        assert_eq!(probe(&file, 0, &mut scratch), Some(3_000));
        assert_eq!(probe(&file, WINDOW_BYTES, &mut scratch), Some(0));
        file.set_len(9_000).unwrap();
        assert_eq!(probe(&file, 0, &mut scratch), None, "a hole is not there until it is asked for");
    }

    #[test]
    fn a_window_is_trusted_for_a_while_and_looked_for_again() {
        let file = file(3_000_000);
        let (mut warmth, mut scratch) = (Warmth::default(), Scratch::default());
        let mut has =
            |file: &File, offset, length, now_ms| warmth.has(file, offset, length, now_ms, &mut scratch);
        assert!(has(&file, 5, 1_000, 0) && has(&file, 2_097_152, 902_848, 0));
        assert!(!has(&file, 2_097_152, 902_849, 0), "there is nothing behind the end");
        forget(&file);
        assert!(has(&file, 5, 1_000, THERE_MS - 1), "trusted");
        assert!(!has(&file, 5, 1_000, THERE_MS));
        std::io::copy(&mut &file, &mut std::io::sink()).unwrap();
        std::os::unix::fs::FileExt::read_at(&file, &mut vec![0; 3_000_000], 0).unwrap();
        assert!(!has(&file, 5, 1_000, THERE_MS + ABSENT_MS - 1), "not looked for");
        assert!(has(&file, 5, 1_000, THERE_MS + ABSENT_MS));
    }

    #[test]
    fn windows_far_apart_do_not_pass_for_each_other() {
        let file = file(0);
        let far = MOST_WINDOWS * WINDOW_BYTES;
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 1_000], far).unwrap();
        let (mut warmth, mut scratch) = (Warmth::default(), Scratch::default());
        assert!(warmth.has(&file, far, 1_000, 0, &mut scratch));
        assert_eq!((warmth.windows[0].number, warmth.windows[0].bytes), (MOST_WINDOWS, 1_000));
        // What a file has there in truth is the file system's: a hole is in memory or not.
        warmth.has(&file, 0, 1_000, 0, &mut scratch);
        assert_eq!(warmth.windows[0].number, 0);
        assert!(warmth.windows[0].bytes != 1_000);
    }
}
