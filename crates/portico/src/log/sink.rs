//! The log file: one write for each batch, rotation at a size, and opening anew.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::settings::LogTarget;

/// Where the lines go.
pub(super) struct Sink {
    /// None while the file could not be opened.
    output: Option<Box<dyn Write + Send>>,
    file: Option<LogFile>,
    /// The last write ended inside a line.
    torn: bool,
    /// A failed write was reported, and no success since; records lost in that time.
    failing: Option<u64>,
    /// A failure to open the file was reported, and no success since.
    unopened: bool,
}

/// What is known about the file, where the target is one.
struct LogFile {
    path: PathBuf,
    identity: Option<Identity>,
    size: u64,
    /// Rotate before the file is larger than this; 0 never does.
    rotate_bytes: u64,
    keep: u32,
}

impl Sink {
    pub(super) fn open(target: &LogTarget, rotate_bytes: u64, keep: u32) -> io::Result<Sink> {
        let mut sink = Sink { output: None, file: None, torn: false, failing: None, unopened: false };
        match target {
            LogTarget::StandardOutput => sink.output = Some(Box::new(io::stdout())),
            LogTarget::File(path) => {
                sink.file = Some(LogFile { path: path.clone(), identity: None, size: 0, rotate_bytes, keep });
                sink.open_file()?;
            }
        }
        Ok(sink)
    }

    /// Writes whole lines. Returns how many of them were lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        let mut rest = lines;
        while !rest.is_empty() {
            let now = match &self.file {
                Some(file) => file.fits(rest),
                None => rest.len(),
            };
            if now == 0 {
                self.rotate();
                continue;
            }
            let (part, after) = rest.split_at(now);
            if let Err((written, error)) = self.put(part) {
                return self.lost(&rest[written..], &error);
            }
            rest = after;
        }
        if let Some(lost) = self.failing.take() {
            tracing::info!(
                records = lost,
                "the access log can be written again; records were lost meanwhile"
            );
        }
        0
    }

    /// Opens the file anew; the old one stays where that fails.
    pub(super) fn reopen(&mut self) {
        if self.file.is_none() {
            return;
        }
        if let Err(error) = self.open_file()
            && !std::mem::replace(&mut self.unopened, true)
        {
            self.report("cannot open the access log again; the file that was open goes on", &error);
        }
    }

    /// Opens the file anew where somebody renamed or removed it.
    pub(super) fn reopen_if_gone(&mut self) {
        if self.file.as_ref().is_some_and(LogFile::is_gone) {
            self.reopen();
        }
    }

    fn open_file(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let opened = append(&file.path)?;
        let metadata = opened.metadata()?;
        file.identity = Some(Identity::of(&metadata));
        file.size = metadata.len();
        if !metadata.is_file() {
            // A device or a pipe must not be renamed.
            file.rotate_bytes = 0;
        }
        self.torn &= file.size > 0;
        self.output = Some(Box::new(opened));
        self.unopened = false;
        Ok(())
    }

    fn put(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.output.is_none() {
            self.open_file().map_err(|error| (0, error))?;
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        if self.torn {
            output.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match output.write(&lines[written..]) {
                Ok(0) => return self.tear(lines, written, io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    if let Some(file) = &mut self.file {
                        file.size += count as u64;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.tear(lines, written, error),
            }
        }
        output.flush().map_err(|error| (written, error))
    }

    fn tear(&mut self, lines: &[u8], written: usize, error: io::Error) -> Result<(), (usize, io::Error)> {
        self.torn = written > 0 && lines[written - 1] != b'\n';
        Err((written, error))
    }

    /// Counts the lines of `rest`, a begun one included, and reports the first failure of a row of them.
    fn lost(&mut self, rest: &[u8], error: &io::Error) -> u64 {
        let records = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        if self.failing.is_none() {
            self.report(
                "cannot write the access log; records are lost and counted until that works again",
                error,
            );
        }
        *self.failing.get_or_insert(0) += records;
        records
    }

    fn rotate(&mut self) {
        // Closed before it is renamed: Windows refuses to rename some open files.
        self.output = None;
        let Some(file) = &mut self.file else { return };
        let renamed = file.shift();
        // Where renaming failed the old file goes on; asking again for each line would only repeat the failure.
        file.size = 0;
        let opened = self.open_file();
        if let Err(error) = renamed.and(opened) {
            self.report("cannot rotate the access log", &error);
            if let Some(file) = &mut self.file {
                file.size = 0;
            }
        }
    }

    fn report(&self, what: &str, error: &io::Error) {
        let path = self.file.as_ref().map_or(Path::new("standard output"), |file| &file.path);
        tracing::error!(file = %path.display(), %error, "{what}");
    }
}

impl LogFile {
    /// How many bytes of these lines may be written before the file is rotated: whole lines; at least one where the
    /// file is empty, so that a line that is larger than the limit gets through.
    fn fits(&self, lines: &[u8]) -> usize {
        if self.rotate_bytes == 0 {
            return lines.len();
        }
        let room = usize::try_from(self.rotate_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return lines.len();
        }
        let end_of_line = |byte: &u8| *byte == b'\n';
        match lines[..room].iter().rposition(end_of_line) {
            Some(at) => at + 1,
            None if self.size == 0 => lines.iter().position(end_of_line).map_or(lines.len(), |at| at + 1),
            None => 0,
        }
    }

    /// FILE.1 becomes FILE.2 and so on, FILE becomes FILE.1, and the oldest is gone.
    fn shift(&self) -> io::Result<()> {
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    /// Whether somebody renamed or removed the file, or put another in its place.
    fn is_gone(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => self.identity.is_some_and(|identity| identity != Identity::of(&metadata)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Addresses of clients are nobody's business but the group's that looks after the logs.
        options.mode(0o640);
    }
    options.open(path)
}

/// Tells files apart where the system can; elsewhere only a missing file is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Identity {
        use std::os::unix::fs::MetadataExt;
        Identity(metadata.dev(), metadata.ino())
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Identity {
        Identity(0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way of cutting the same lines into batches gives the same files.
    #[test]
    fn batches_are_cut_at_the_end_of_a_line() {
        let lines =
            ["one\n", "two\n", "three\n", "a line that is larger than the limit\n", "four\n", "5\n", "6\n"];
        let expected = ["one\ntwo\n", "three\n", "a line that is larger than the limit\n", "four\n5\n6\n"];
        for batch in 1..=lines.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("access.log");
            let mut sink = Sink::open(&LogTarget::File(path.clone()), 11, 9).unwrap();
            for lines in lines.chunks(batch) {
                assert_eq!(sink.write(lines.concat().as_bytes()), 0);
            }
            let names = ["access.log.3", "access.log.2", "access.log.1", "access.log"];
            let found = names.map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap());
            assert_eq!(found, expected, "in batches of {batch}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), names.len());
        }
    }

    /// Takes a number of bytes, then fails once, then takes everything.
    struct Faulty {
        takes: usize,
        taken: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    }

    impl Write for Faulty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.takes == 0 {
                self.takes = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.takes).min(3);
            self.takes -= count;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_torn_is_lost_and_the_next_one_is_whole() {
        for (takes, failed, text) in [
            (0, 3, "four\n"),
            (2, 3, "on\nfour\n"),
            (4, 2, "one\nfour\n"),
            (6, 2, "one\ntw\nfour\n"),
            (13, 1, "one\ntwo\nthree\nfour\n"),
            (usize::MAX, 0, "one\ntwo\nthree\nfour\n"),
        ] {
            let taken = std::sync::Arc::default();
            let output = Box::new(Faulty { takes, taken: std::sync::Arc::clone(&taken) });
            let mut sink =
                Sink { output: Some(output), file: None, torn: false, failing: None, unopened: false };
            assert_eq!(sink.write(b"one\ntwo\nthree\n"), failed, "after {takes} bytes");
            assert_eq!(sink.write(b"four\n"), 0);
            assert_eq!(
                String::from_utf8(taken.lock().unwrap().clone()).unwrap(),
                text,
                "after {takes} bytes"
            );
        }
    }
}
