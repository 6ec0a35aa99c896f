//! A copy of a large file that is in memory, against the standard library and tokio. See README.md.

use port_bench::{
    Failure,
    arguments::Arguments,
    child::{Own, say},
    figures::{median, median_ratio, print_table},
    processor,
};
use std::{
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// What is measured of ours is the example, as it stands.
#[allow(dead_code, reason = "its main has no use here")]
#[path = "../../../../crates/completion-port/examples/copy.rs"]
mod example;

const NAMES: [&str; 6] = [
    "ours, io_uring",
    "ours, readiness",
    "std::fs::copy",
    "read and write",
    "tokio::fs::copy",
    "tokio::fs::File",
];
/// Others are compared with this one.
const YARDSTICK: usize = 2;
/// As large as the slices of the example.
const BUFFER_BYTES: usize = 256 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copy: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut arguments = Arguments::of_process();
    if let Some([name, from, to]) = arguments.of_child() {
        let (used, begun) = (processor::used_here(), Instant::now());
        copy(name, from.as_ref(), to.as_ref())?;
        let (elapsed, used) = (begun.elapsed().as_secs_f64(), processor::used_here() - used);
        return say(&format!("{elapsed} {}", used.as_secs_f64()));
    }
    let rounds: usize = arguments.value("--rounds", 9)?;
    let mebibytes: u64 = arguments.value("--mebibytes", 1024)?;
    let folder: PathBuf = arguments.value("--folder", default_folder())?;
    arguments.end()?;
    if rounds == 0 || mebibytes == 0 {
        return Err("at least one round and one MiB".into());
    }
    let folder = Folder::make(&folder)?;
    let (from, to) = (folder.0.join("from"), folder.0.join("to"));
    fill(&from, mebibytes)?;
    let mut elapsed = vec![Vec::new(); NAMES.len()];
    let mut used = elapsed.clone();
    for round in 0..rounds {
        for place in 0..NAMES.len() {
            // Another begins each time.
            let place = (place + round) % NAMES.len();
            let mut child = Own::start(&[NAMES[place], text(&from)?, text(&to)?])?;
            let line = child.line()?;
            let (time, processor) = line.split_once(' ').ok_or("a child said something else")?;
            elapsed[place].push(time.parse()?);
            used[place].push(processor.parse()?);
            if round == 0 && !same(&from, &to)? {
                return Err(format!("{}: the copy differs", NAMES[place]).into());
            }
            fs::remove_file(&to)?;
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    let gibibytes = mebibytes as f64 / 1024.0;
    println!("Copies of {mebibytes} MiB in memory, in {}; medians of {rounds} rounds", folder.0.display());
    let rows: Vec<_> = (0..NAMES.len())
        .map(|place| {
            vec![
                NAMES[place].to_owned(),
                format!("{:.2}", gibibytes / median(elapsed[place].iter().copied())),
                format!("{:.3}", median_ratio(&elapsed[place], &elapsed[YARDSTICK])),
                format!("{:.3}", median(used[place].iter().copied()) / gibibytes),
                format!("{:.3}", median_ratio(&used[place], &used[YARDSTICK])),
            ]
        })
        .collect();
    print_table(&["copier", "GiB/s", "ratio of time", "CPU s a GiB", "ratio of CPU"], &rows);
    Ok(())
}

/// A folder in memory where there is one: there no disk writes behind the copier's back.
fn default_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// A folder of this run's own, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn make(parent: &Path) -> Result<Self, Failure> {
        let folder = parent.join(format!("port-bench-copy-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| "the folder's name is not UTF-8".into())
}

/// Writes a file in which no two blocks are alike.
fn fill(path: &Path, mebibytes: u64) -> Result<(), Failure> {
    let mut file = File::create(path)?;
    let mut block = vec![0; 1 << 20];
    for number in 0..mebibytes {
        for (place, word) in block.chunks_exact_mut(8).enumerate() {
            let value = (number << 17 | place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&value.to_ne_bytes());
        }
        file.write_all(&block)?;
    }
    // What a disk has to write it writes now. It stays in memory.
    Ok(file.sync_all()?)
}

fn same(one: &Path, other: &Path) -> Result<bool, Failure> {
    let open = |path| File::open(path).map(|file| BufReader::with_capacity(1 << 20, file));
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let bytes = one.read(&mut left)?;
        if bytes == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        if other.read_exact(&mut right[..bytes]).is_err() || left[..bytes] != right[..bytes] {
            return Ok(false);
        }
    }
}

fn copy(name: &str, from: &Path, to: &Path) -> Result<(), Failure> {
    match name {
        "ours, io_uring" => ours(completion_port::Backend::IoUring, from, to),
        "ours, readiness" => ours(completion_port::Backend::Readiness, from, to),
        "std::fs::copy" => Ok(fs::copy(from, to).map(drop)?),
        "read and write" => {
            let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                match from.read(&mut buffer)? {
                    0 => return Ok(()),
                    bytes => to.write_all(&buffer[..bytes])?,
                }
            }
        }
        "tokio::fs::copy" => tokio()?.block_on(async { Ok(tokio::fs::copy(from, to).await.map(drop)?) }),
        "tokio::fs::File" => tokio()?.block_on(async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut from, mut to) =
                (tokio::fs::File::open(from).await?, tokio::fs::File::create_new(to).await?);
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                match from.read(&mut buffer).await? {
                    0 => return Ok(to.flush().await?),
                    bytes => to.write_all(&buffer[..bytes]).await?,
                }
            }
        }),
        _ => Err(format!("no copier {name}").into()),
    }
}

fn ours(backend: completion_port::Backend, from: &Path, to: &Path) -> Result<(), Failure> {
    let mut configuration = example::configuration();
    configuration.backend = Some(backend);
    let mut worker = completion_port::Port::new(configuration)?.worker()?;
    example::copy(&mut worker, from, to).map(drop)
}

fn tokio() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?)
}
