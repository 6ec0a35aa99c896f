//! A disk that takes its time: a file system in user space, served by a process of its own that shares the client's processor, so that it
//! takes nothing from the servers. Any name in it is a file. What the kernel has not seen before costs [`DELAY`]: a name when it is looked
//! up, and the contents when they are read, as many at the same time as are asked for.

use crate::{
    Failure,
    load::{Load, Pace},
};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};
use rustix::mount::{UnmountFlags, unmount};
use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

/// What a disk with heads takes for a read, with others waiting.
pub const DELAY: Duration = Duration::from_millis(20);
/// Its folder in the site.
pub const FOLDER: &str = "slow";
/// One read of the disk.
const FILE_BYTES: u64 = 16 << 10;
/// What the kernel has seen it remembers; nothing is asked for twice.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// The word that makes a process of this program serve the file system.
pub const CHILD: &str = "slow-disk";

/// So many connections each ask for cold files, no file twice.
pub const COLD_CONNECTIONS: usize = 16;
/// More than a server can give within a round: a request takes a lookup and a read.
const COLD_REQUESTS: usize = 8_192;

/// Cold files that nobody asked for yet.
pub fn cold_load() -> Load {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = NEXT.fetch_add(COLD_REQUESTS, Ordering::Relaxed);
    let request = |number: usize| -> &'static [u8] {
        let text = format!("GET /{FOLDER}/{number}.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        text.into_bytes().leak()
    };
    Load {
        requests: (first..first + COLD_REQUESTS).map(request).collect(),
        first: 0,
        status: "200",
        connections: COLD_CONNECTIONS,
        pace: Pace::Closed { pipelined: 1 },
    }
}

/// The mounted file system. Unmounted when it is dropped, or when this process ends in whatever way.
pub struct SlowDisk {
    child: Child,
    point: PathBuf,
}

impl SlowDisk {
    /// Mounts it in the site, served on the processor that the calling thread is bound to.
    ///
    /// # Errors
    ///
    /// Where no file system can be mounted: that takes /dev/fuse, and root.
    pub fn mount(root: &Path) -> Result<Self, Failure> {
        let point = root.join(FOLDER);
        fs::create_dir_all(&point)?;
        // A group of its own: it must outlive an interrupt from the keyboard to unmount.
        let mut child = Command::new(std::env::current_exe()?)
            .args(["child", CHILD])
            .arg(&point)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let disk = Self { child, point };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        match line.trim_end() {
            "mounted" => disk.check().map(|()| disk),
            said => Err(format!("no slow disk can be mounted: {said}").into()),
        }
    }

    /// Reads a file: it must be there, and slow.
    fn check(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        let read = fs::read(self.point.join("check.bin"))?.len() as u64;
        let took = begun.elapsed();
        if read != FILE_BYTES || took < 2 * DELAY {
            return Err(format!("the slow disk gave {read} bytes after {} ms", took.as_millis()).into());
        }
        Ok(())
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the process does that [`SlowDisk::mount`] starts: serves until nobody holds its input.
pub fn serve(point: &Path) -> Result<(), Failure> {
    let (later, answers) = mpsc::channel::<Answer>();
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("slow-disk".to_owned())];
    config.acl = fuser::SessionACL::All;
    let session = match fuser::spawn_mount(Files { later }, point, &config) {
        Ok(session) => session,
        Err(error) => return measure::child::say(&format!("{error} (it takes /dev/fuse, and root)")),
    };
    // All are delayed alike, so they are due in the order in which they came.
    thread::spawn(move || {
        for (due, answer) in answers {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            answer();
        }
    });
    measure::child::say("mounted")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    // A server may still have a file of it open.
    unmount(point, UnmountFlags::DETACH)?;
    drop(session);
    Ok(())
}

type Answer = (Instant, Box<dyn FnOnce() + Send>);

struct Files {
    later: mpsc::Sender<Answer>,
}

impl Files {
    fn answer_later(&self, answer: impl FnOnce() + Send + 'static) {
        // The other end lives as long as the process.
        let _ = self.later.send((Instant::now() + DELAY, Box::new(answer)));
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, kernel: &mut KernelConfig) -> io::Result<()> {
        // Or the kernel would look up one name at a time, and have twelve reads under way at most.
        let _ = kernel.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS | InitFlags::FUSE_ASYNC_READ);
        let _ = kernel.set_max_background(1_024);
        let _ = kernel.set_congestion_threshold(1_024);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(number);
        self.answer_later(move || match number {
            Some(number) if parent == INodeNo::ROOT => {
                reply.entry(&REMEMBERED, &file(number), Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        });
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = if number == INodeNo::ROOT { folder() } else { file(number) };
        reply.attr(&REMEMBERED, &attributes);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = u64::from(size).min(FILE_BYTES.saturating_sub(offset));
        self.answer_later(move || reply.data(&vec![b'x'; bytes as usize]));
    }
}

/// The inode of `NAME.bin`: numbers from 0, and one file more for the check.
fn number(name: &str) -> Option<INodeNo> {
    let stem = name.strip_suffix(".bin")?;
    let number = if stem == "check" { 0 } else { stem.parse::<u64>().ok()? + 1 };
    Some(INodeNo(INodeNo::ROOT.0 + 1 + number))
}

fn file(number: INodeNo) -> FileAttr {
    FileAttr { ino: number, size: FILE_BYTES, kind: FileType::RegularFile, perm: 0o444, nlink: 1, ..folder() }
}

fn folder() -> FileAttr {
    let time = SystemTime::UNIX_EPOCH + crate::site::MODIFIED;
    FileAttr {
        ino: INodeNo::ROOT,
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::Directory,
        perm: 0o555,
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4_096,
        flags: 0,
    }
}
