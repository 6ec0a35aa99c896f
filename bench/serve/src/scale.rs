//! What a request costs as the work grows: connections, files, the size of a file, workers. A plot each, with nginx beside Portico.

use crate::{
    Failure,
    bench::{Bench, Task},
    load::{Beside, Load, Pace},
    peer::{OURS, PEERS, Peer},
    plot::{self, Plot},
    site,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files of the plots.
pub const FILES: [&str; 4] = ["connections.svg", "files.svg", "size.svg", "workers.svg"];

const BUSY: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const FILE_COUNTS: [usize; 5] = [1, 100, 10_000, 100_000, 1_000_000];
const SIZES: [usize; 9] =
    [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];
const CONNECTIONS: usize = 64;
/// Each file of the tree, a page of memory whatever it holds.
const FILE_BYTES: usize = 64;
const FILES_IN_FOLDER: usize = 1_000;
/// Of a file in memory and what the kernel knows about it, rounded up.
const BYTES_OF_FILE: u64 = 8 << 10;
/// Requests for files at random, more than are sent in all rounds.
const DRAWS: usize = 1_000_000;

/// Measures all, and writes the plots into `plots`.
pub fn draw_all(
    bench: &Bench,
    folder: &Path,
    (first, second): (usize, usize),
    plots: &Path,
) -> Result<(), Failure> {
    fs::create_dir_all(plots)?;
    let wanted: Vec<&'static Peer> =
        PEERS.iter().filter(|peer| peer.name == PEERS[0].name || peer.name.starts_with(OURS)).collect();
    let root = folder.join("scale");
    fs::create_dir_all(root.join("upload"))?;
    let small = || vec![get("1024.bin")];
    for bytes in SIZES {
        site::write(&root.join(format!("{bytes}.bin")), bytes)?;
    }
    let one = [first];
    let point = |name: String, processors: &[usize], requests, connections| {
        let load =
            Load { requests, first: 0, status: "200", connections, pace: Pace::Closed { pipelined: 1 } };
        let task = Task {
            name: &name,
            root: &root,
            wanted: &wanted,
            processors,
            load,
            share: None,
            beside: Beside::Nothing,
            body_bytes: 0,
        };
        let compared = bench.compare(&task)?;
        if let Some((server, why)) = compared.failed.first() {
            return Err(Failure::from(format!("{name}, {server}: {why}")));
        }
        Ok(compared.measured.iter().map(|one| (one.name, one.middle(|round| round.processor_us))).collect())
    };
    let draw = |plot: &Plot, file: &str| -> Result<(), Failure> {
        plot.draw(&plots.join(file))?;
        println!("\n{}: us of the server's processor for a request", plot.title);
        plot.print();
        Ok(())
    };

    let mut plot = Plot::new("1 KiB, by busy connections", "connections", plot::count);
    for connections in BUSY {
        plot.add(connections, point(format!("{connections} connections"), &one, small(), connections)?);
    }
    draw(&plot, FILES[0])?;

    let mut plot = Plot::new("64 bytes, by files in the tree, asked for at random", "files", plot::count);
    let mut there = 0;
    for count in FILE_COUNTS {
        if let Err(why) = fits(&root, count - there) {
            println!("{count} files are left out: {why}");
            break;
        }
        grow(&root, there, count)?;
        there = count;
        plot.add(count, point(format!("{count} files"), &one, at_random(count), CONNECTIONS)?);
    }
    draw(&plot, FILES[1])?;

    let mut plot = Plot::new("A file, by its size", "size of the file", plot::bytes).with_log_cost();
    for bytes in SIZES {
        // So few that what is under way stays within what the processors cache and the sockets hold.
        let connections = if bytes > 1 << 20 { 2 } else { CONNECTIONS };
        plot.add(bytes, point(plot::bytes(bytes), &one, vec![get(&format!("{bytes}.bin"))], connections)?);
    }
    draw(&plot, FILES[2])?;

    let mut plot =
        Plot::new("1 KiB, by workers (with 2, the client shares a processor)", "workers", plot::count);
    let both = [first, second];
    for workers in 1..=2 {
        plot.add(workers, point(format!("{workers} workers"), &both[..workers], small(), CONNECTIONS)?);
    }
    draw(&plot, FILES[3])
}

fn get(target: &str) -> &'static [u8] {
    format!("GET /{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes().leak()
}

/// Whether so many more files have room in memory.
fn fits(root: &Path, more: usize) -> Result<(), String> {
    let disk = rustix::fs::statvfs(root).map_err(|error| error.to_string())?;
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available =
        memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next());
    let available = available.and_then(|kibibytes| kibibytes.parse::<u64>().ok()).unwrap_or(0) << 10;
    let (room, wanted) = (available.min(disk.f_bavail * disk.f_frsize), more as u64 * BYTES_OF_FILE);
    // A file system that has no table of inodes says 0 of 0.
    if disk.f_files > 0 && disk.f_ffree < more as u64 + more as u64 / 500 {
        return Err(format!("{} inodes are free", disk.f_ffree));
    }
    if room < wanted {
        return Err(format!("{} MiB are free, {} MiB are wanted", room >> 20, wanted >> 20));
    }
    Ok(())
}

fn path(number: usize) -> String {
    format!("tree/{:03}/{:03}.bin", number / FILES_IN_FOLDER, number % FILES_IN_FOLDER)
}

fn grow(root: &Path, from: usize, to: usize) -> Result<(), Failure> {
    for number in from..to {
        let path: PathBuf = root.join(path(number));
        if number == from || number.is_multiple_of(FILES_IN_FOLDER) {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
        }
        fs::write(path, [b'x'; FILE_BYTES])?;
    }
    Ok(())
}

/// Requests for `count` files, each as likely as the other, the same in each run.
fn at_random(count: usize) -> Vec<&'static [u8]> {
    let requests: Vec<String> = (0..count)
        .map(|number| format!("GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path(number)))
        .collect();
    // All are of one length.
    let (length, all) = (requests[0].len(), requests.concat().into_bytes().leak());
    let all: &'static [u8] = all;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let draw = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (((state >> 32) * count as u64) >> 32) as usize;
        &all[number * length..(number + 1) * length]
    };
    (0..if count == 1 { 1 } else { DRAWS }).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_as_likely_as_the_other() {
        let requests = at_random(100);
        let mut times = std::collections::HashMap::new();
        for request in &requests {
            *times.entry(*request).or_insert(0) += 1;
        }
        assert_eq!(times.len(), 100);
        let mean = DRAWS / 100;
        assert!(times.values().all(|times| (mean * 9 / 10..mean * 11 / 10).contains(times)));
        assert!(requests[0].starts_with(b"GET /tree/0"));
        assert!(requests[0].ends_with(b"\r\n\r\n"));
    }
}
