//! Rounds of one load on several servers, in turns.

use crate::{
    Failure,
    load::{Beside, Load},
    peer::{Peer, Running, Start, free_port},
    report::{Compared, Measured},
    round,
};
use measure::processor;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// What all comparisons have in common.
pub struct Bench {
    /// Where servers write what is theirs.
    folder: PathBuf,
    programs: PathBuf,
    peers: PathBuf,
    pub rounds: usize,
    pub time: Duration,
    /// The client's processor.
    client: usize,
}

/// What the servers are compared in.
pub struct Task<'t> {
    pub name: &'t str,
    pub root: &'t Path,
    pub wanted: &'t [&'static Peer],
    /// Their processors.
    pub processors: &'t [usize],
    pub load: Load,
    /// The load goes at this share of the first server's highest rate.
    pub share: Option<f64>,
    pub beside: Beside,
    /// Of the body of an answer, for the bare loop.
    pub body_bytes: usize,
}

impl Bench {
    /// Builds the servers of this repository.
    pub fn new(folder: &Path, rounds: usize, time: Duration, client: usize) -> Result<Self, Failure> {
        let programs = build("../../Cargo.toml", &["--package", "portico"])?;
        let peers = build("../peers/Cargo.toml", &[])?;
        Ok(Self { folder: folder.to_owned(), programs, peers, rounds, time, client })
    }

    /// All rounds, the servers taking turns. A server that fails is out of it from there on, and is told with the reason.
    ///
    /// # Errors
    ///
    /// Where nobody can be compared: the first server does not say how fast it is where that sets the rate.
    pub fn compare(&self, task: &Task<'_>) -> Result<Compared, Failure> {
        let mut load = task.load.clone();
        let mut failed: Vec<(&'static str, String)> = Vec::new();
        let mut running: Vec<(Measured, Running)> = Vec::new();
        for (number, peer) in task.wanted.iter().enumerate() {
            match self.start(task, peer, number) {
                Ok(server) => running.push((Measured { name: peer.name, rounds: Vec::new() }, server)),
                Err(error) => failed.push((peer.name, error.to_string())),
            }
        }
        processor::pin(self.client)?;
        if let (Some(share), Some((first, server))) = (task.share, running.first()) {
            let full = Load { pace: crate::load::Pace::Closed { pipelined: 1 }, ..load.clone() };
            let rate = round::run(server, &full, self.time, Beside::Nothing, false)
                .map_err(|error| format!("{}, {}: {error}", task.name, first.name))?
                .requests_per_s;
            load.pace = crate::load::Pace::Open { requests_per_s: share * rate };
        }
        for number in 0..self.rounds {
            // Elsewhere in each round: what a server has not seen before it should not have seen in a round before.
            load.first = number * load.requests.len() / self.rounds;
            running.retain_mut(|(measured, server)| {
                let last = number + 1 == self.rounds;
                match round::run(server, &load, self.time, task.beside, last) {
                    Ok(round) => measured.rounds.push(round),
                    Err(error) => failed.push((measured.name, error.to_string())),
                }
                measured.rounds.len() > number
            });
            eprint!("\r{}: round {} of {}", task.name, number + 1, self.rounds);
        }
        eprintln!();
        for (name, why) in &failed {
            eprintln!("{}, {name}: {why}", task.name);
        }
        Ok(Compared { measured: running.into_iter().map(|(measured, _)| measured).collect(), failed })
    }

    fn start(&self, task: &Task<'_>, peer: &Peer, number: usize) -> Result<Running, Failure> {
        let folder = self.folder.join(number.to_string());
        fs::create_dir_all(&folder)?;
        processor::pin_to(task.processors)?;
        peer.start(&Start {
            root: task.root,
            folder,
            port: free_port()?,
            workers: task.processors.len(),
            lengths: (task.load.requests[0].len(), task.body_bytes),
            programs: &self.programs,
            peers: &self.peers,
        })
    }
}

/// Builds programs of this repository, and says where they are.
fn build(manifest: &str, more: &[&str]) -> Result<PathBuf, Failure> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--quiet", "--manifest-path"]).arg(&manifest).args(more);
    command.arg("--target-dir").arg(&target);
    if !command.status()?.success() {
        return Err(format!("{} does not build", manifest.display()).into());
    }
    Ok(target.join("release"))
}
