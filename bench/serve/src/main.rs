//! Portico beside nginx, h2o, lighttpd, Caddy, static-web-server, tower-http, actix-files and a bare loop. See README.md.

use measure::{arguments::Arguments, processor};
use serve_bench::{
    Failure,
    bench::{Bench, Task},
    page,
    peer::{LIMIT, PEERS, Peer},
    report,
    row::{Kind, ROWS, Row},
    scale, site,
    slow_disk::{self, SlowDisk},
    verdict::{self, Verdict},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// In memory, where there is such a folder.
const IN_MEMORY: &str = "/dev/shm";

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
    match arguments.of_child() {
        Some([word, point]) if word == slow_disk::CHILD => {
            return slow_disk::serve(Path::new(point)).map(|()| true);
        }
        Some(_) => return Err("not a child of this program".into()),
        None => {}
    }
    if arguments.flag("--list") {
        list();
        return Ok(true);
    }
    let check = arguments.flag("--check");
    let both = arguments.flag("--both-processors");
    let rounds: usize = arguments.value("--rounds", 5)?;
    let time = Duration::from_millis(arguments.value("--round-ms", 800)?);
    let rows: String = arguments.value("--rows", String::new())?;
    let names: String = arguments.value("--servers", String::new())?;
    let file: String = arguments.value("--report", String::new())?;
    let plots: String = arguments.value("--plots", String::new())?;
    arguments.end()?;
    let listed = |list: &str, name: &str| list.is_empty() || list.split(',').any(|part| name.contains(part));
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| rows.is_empty() || rows.split(',').any(|name| name == row.name)).collect();
    let mut wanted: Vec<&Peer> = PEERS.iter().filter(|peer| listed(&names, peer.name)).collect();
    if rounds == 0 || rows.is_empty() || wanted.is_empty() {
        return Err("no rounds, rows or servers; --list lists them".into());
    }
    if let Some(name) = page::congestion_control().filter(|name| name != "cubic") {
        eprintln!("loopback uses {name}, which large transfers show: ./run measures with cubic");
    }
    let mut verdicts = Vec::new();
    wanted.retain(|peer| {
        let here = peer.said_version().is_some();
        if !here {
            let why = format!("it is not here ({})", peer.get);
            verdicts.push(Verdict::server_not_measured(peer.name, peer.name.to_owned(), &why));
        }
        here
    });
    let place = if Path::new(IN_MEMORY).is_dir() { PathBuf::from(IN_MEMORY) } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place)?;
    let (first, second) = processor::pair();
    let bench = Bench::new(folder.path(), rounds, time, second)?;
    if !plots.is_empty() {
        scale::draw_all(&bench, folder.path(), (first, second), Path::new(&plots))?;
        return Ok(true);
    }
    let root = site::make(folder.path(), rows.iter().any(|row| row.name == "1g"))?;
    let processors = if both { vec![first, second] } else { vec![first] };
    let mut text = page::heading(rounds, time, both);
    let mut sections = String::new();
    for row in rows {
        let begun = Instant::now();
        // Unmounted again when the row is done.
        let disk = (row.kind == Kind::SlowDisk).then(|| {
            processor::pin(second)?;
            SlowDisk::mount(&root)
        });
        if let Some(Err(error)) = &disk {
            eprintln!("{}: left out: {error}", row.name);
            verdicts.push(Verdict::not_measured(row.name.to_owned(), &error.to_string()));
            continue;
        }
        let wanted: Vec<&Peer> = wanted.iter().copied().filter(|peer| does(peer, row)).collect();
        let compared = bench.compare(&Task {
            name: row.name,
            root: &root,
            wanted: &wanted,
            processors: &processors,
            load: row.kind.load(),
            share: if let Kind::Rate { share } = row.kind { Some(share) } else { None },
            beside: row.kind.beside(),
            body_bytes: row.kind.bare_body_bytes().unwrap_or(0),
        })?;
        report::print(row, &compared.measured);
        eprintln!("{} took {} s", row.name, begun.elapsed().as_secs());
        sections.push_str(&report::markdown(row, &compared.measured));
        verdicts.extend(verdict::judge(row, &compared));
    }
    verdict::print(&verdicts);
    if !file.is_empty() {
        text.push_str(&verdict::markdown(&verdicts));
        text.push_str("\n## Workloads\n");
        text.push_str(&sections);
        page::write(Path::new(&file), text)?;
    }
    Ok(verdicts.iter().all(|verdict| verdict.holds != Some(false)) || !check)
}

/// Whether the server does what the row asks for.
fn does(peer: &Peer, row: &Row) -> bool {
    (peer.takes_uploads || row.kind != Kind::Upload)
        && (peer.name != LIMIT || row.kind.bare_body_bytes().is_some())
}

/// What there is to measure.
fn list() {
    println!("Servers:");
    for peer in PEERS {
        let version = peer.said_version().unwrap_or_else(|| format!("not here ({})", peer.get));
        println!("  {:<20}{version}", peer.name);
    }
    println!("Workloads:");
    ROWS.iter().for_each(|row| println!("  {:<20}{}", row.name, row.what));
}
