//! Portico beside nginx, h2o, lighttpd, Caddy, static-web-server, tower-http, actix-files and a bare loop. See README.md.

use measure::{arguments::Arguments, figures::print_bars, processor};
use serve_bench::{
    Failure,
    load::Load,
    peer::{PEERS, Peer, Running, Start, free_port},
    report::{self, Measured},
    round,
    row::{Kind, ROWS, Row},
    site,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

/// In memory, where there is such a folder.
const IN_MEMORY: &str = "/dev/shm";

struct Bench {
    folder: tempfile::TempDir,
    root: PathBuf,
    programs: PathBuf,
    peers: PathBuf,
    rounds: usize,
    time: Duration,
    /// Processors of the servers, and of the client.
    servers: Vec<usize>,
    client: usize,
    wanted: Vec<&'static Peer>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("serve: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut arguments = Arguments::of_process();
    let check = arguments.flag("--check");
    let both = arguments.flag("--both-processors");
    let rounds: usize = arguments.value("--rounds", 5)?;
    let time = Duration::from_millis(arguments.value("--round-ms", 2_000)?);
    let rows: String = arguments.value("--rows", String::new())?;
    let names: String = arguments.value("--servers", String::new())?;
    let page: String = arguments.value("--report", String::new())?;
    arguments.end()?;
    let listed = |list: &str, name: &str| list.is_empty() || list.split(',').any(|part| name.contains(part));
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| rows.is_empty() || rows.split(',').any(|name| name == row.name)).collect();
    let wanted: Vec<&Peer> = PEERS.iter().filter(|peer| listed(&names, peer.name)).collect();
    if rounds == 0 || rows.is_empty() || wanted.is_empty() {
        return Err("no rounds, rows or servers; README.md lists them".into());
    }
    let (first, second) = processor::pair();
    let place = if Path::new(IN_MEMORY).is_dir() { PathBuf::from(IN_MEMORY) } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place)?;
    let with_gibibyte = rows.iter().any(|row| row.name == "1g");
    let bench = Bench {
        root: site::make(folder.path(), with_gibibyte)?,
        folder,
        programs: build("../../Cargo.toml", &["--package", "portico"])?,
        peers: build("../peers/Cargo.toml", &[])?,
        rounds,
        time,
        servers: if both { vec![first, second] } else { vec![first] },
        client: second,
        wanted,
    };
    let mut text = heading(&bench);
    let mut bars = Vec::new();
    for row in rows {
        let measured = bench.measure(row)?;
        report::print(row, &measured);
        text.push_str(&report::markdown(row, &measured));
        bars.extend(report::bar(row, &measured));
    }
    if !page.is_empty() {
        fs::write(&page, text)?;
    }
    Ok(print_bars(&bars) || !check)
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

fn heading(bench: &Bench) -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let all = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&all).lines().next()?.to_owned())
    };
    let mut text = format!(
        "# Benchmarks\n\nMade by `bench/serve` ({} rounds of {} ms, medians; ratios are medians of the ratios of each round).\n\n",
        bench.rounds,
        bench.time.as_millis()
    );
    for (program, arguments) in [
        ("date", &["-u", "+%Y-%m-%d"][..]),
        ("uname", &["-sr"]),
        ("nginx", &["-v"]),
        ("h2o", &["--version"]),
        ("lighttpd", &["-v"]),
        ("caddy", &["version"]),
        ("static-web-server", &["--version"]),
    ] {
        let line = said(program, arguments).unwrap_or_else(|| "not here".to_owned());
        text.push_str(&format!("- {program}: {line}\n"));
    }
    text
}

impl Bench {
    /// All rounds of one workload, the servers taking turns.
    fn measure(&self, row: &Row) -> Result<Vec<Measured>, Failure> {
        let mut rate = 0.0;
        let plain = row.kind.load(1.0);
        let lengths = (plain.requests[0].len(), row.kind.bare_body_bytes().unwrap_or(0));
        let mut running: Vec<(Measured, Running)> = Vec::new();
        for (number, peer) in self.wanted.iter().enumerate() {
            let fits = (peer.takes_uploads || row.kind != Kind::Upload)
                && (peer.name != "bare loop" || row.kind.bare_body_bytes().is_some());
            if !fits {
                continue;
            }
            match self.start(peer, number, lengths)? {
                Some(server) => running.push((Measured { name: peer.name, rounds: Vec::new() }, server)),
                None => eprintln!("{} is not here (package {}): left out", peer.name, peer.package),
            }
        }
        processor::pin(self.client)?;
        if let (Kind::Rate { .. }, Some((_, first))) = (row.kind, running.first()) {
            let load = Kind::File { name: "1k.bin", connections: plain.connections }.load(0.0);
            rate = round::run(first, &load, self.time, 0, false)?.requests_per_s;
        }
        let load: Load = row.kind.load(rate);
        let idle = if let Kind::Beside { idle } = row.kind { idle } else { 0 };
        for number in 0..self.rounds {
            for (measured, server) in &mut running {
                let last = number + 1 == self.rounds;
                let round = round::run(server, &load, self.time, idle, last);
                measured
                    .rounds
                    .push(round.map_err(|error| format!("{}, {}: {error}", row.name, measured.name))?);
            }
            eprint!("\r{}: round {} of {}", row.name, number + 1, self.rounds);
        }
        eprintln!();
        Ok(running.into_iter().map(|(measured, _)| measured).collect())
    }

    fn start(&self, peer: &Peer, number: usize, lengths: (usize, usize)) -> Result<Option<Running>, Failure> {
        let folder = self.folder.path().join(number.to_string());
        fs::create_dir_all(&folder)?;
        processor::pin_to(&self.servers)?;
        peer.start(&Start {
            root: &self.root,
            folder,
            port: free_port()?,
            workers: self.servers.len(),
            lengths,
            programs: &self.programs,
            peers: &self.peers,
        })
    }
}
