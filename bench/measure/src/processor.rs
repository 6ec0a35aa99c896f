//! Processors: who runs where, and how much of one was used.

use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use std::{fs, io, time::Duration};

/// The two processors that a benchmark uses, the same one twice where there is no other.
pub fn pair() -> (usize, usize) {
    let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number));
    let first = allowed.next().unwrap_or(0);
    (first, allowed.next().unwrap_or(first))
}

/// Binds the calling thread, and what it starts from here on, to one processor.
pub fn pin(processor: usize) -> io::Result<()> {
    pin_to(&[processor])
}

/// The same, to some.
pub fn pin_to(processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    Ok(sched_setaffinity(None, &set)?)
}

/// What all threads of a process used so far, to the nanosecond: also those of the kernel that work for it (io-wq). A thread that has
/// ended is no longer counted, which no server here does.
pub fn used_by(process: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let used = text.split(' ').next().and_then(|used| used.parse::<u64>().ok());
        nanoseconds += used.ok_or_else(|| io::Error::other("the kernel keeps no /proc/PID/schedstat"))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// What this process used so far, its ended threads included.
pub fn used_here() -> Duration {
    used(ClockId::ProcessCPUTime)
}

/// What the calling thread used so far.
pub fn used_by_this_thread() -> Duration {
    used(ClockId::ThreadCPUTime)
}

fn used(clock: ClockId) -> Duration {
    let used = clock_gettime(clock);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// Memory of a process that is its own (RssAnon), in bytes.
pub fn anonymous_memory(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes =
        line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
    kibibytes
        .map(|number: u64| number * 1024)
        .ok_or_else(|| io::Error::other("no RssAnon in /proc/PID/status"))
}
