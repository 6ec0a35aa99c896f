//! Packets from other threads to a worker, against channels. See README.md.

use port_bench::{
    Failure,
    arguments::Arguments,
    figures::{median, median_ratio, print_bars, print_table},
    post::{
        BATCH, CAPACITY, Cost, Crossbeam, CrossbeamBlocking, Flume, Gathered, IoUring, Readiness, Tokio,
        flood, hand_over,
    },
    processor,
};
use std::process::ExitCode;

/// One way, and what was measured of it, round by round, in nanoseconds a packet.
struct Contestant {
    name: &'static str,
    flood: fn(u64, u64, (usize, usize)) -> Result<Cost, Failure>,
    hand_over: fn(u64, (usize, usize)) -> Result<Cost, Failure>,
    floods: [Vec<f64>; SENDERS.len()],
    floods_used: [Vec<f64>; SENDERS.len()],
    hand_overs: Vec<f64>,
    hand_overs_used: Vec<f64>,
}

const SENDERS: [u64; 2] = [1, 4];
const OURS: [&str; 3] = ["ours, io_uring", "ours, readiness", "ours, posted by 32"];
const ONE_BY_ONE: [&str; 2] = ["ours, io_uring", "ours, readiness"];
const BAR: [&str; 2] = ["crossbeam-channel", "crossbeam-channel, blocking"];

macro_rules! contestants {
    ($($name:literal $way:ident),*) => {
        vec![$(Contestant {
            name: $name,
            flood: flood::<$way>,
            hand_over: hand_over::<$way>,
            floods: Default::default(),
            floods_used: Default::default(),
            hand_overs: Vec::new(),
            hand_overs_used: Vec::new(),
        }),*]
    };
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("post: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut arguments = Arguments::of_process();
    let check = arguments.flag("--check");
    let rounds: usize = arguments.value("--rounds", 25)?;
    let packets: u64 = arguments.value("--packets", 1_000_000)?;
    let handed: u64 = arguments.value("--handed", 10_000)?;
    let only: String = arguments.value("--only", String::new())?;
    arguments.end()?;
    if rounds == 0 || packets < 4 || handed < 2 {
        return Err("at least one round, four packets and two to be handed over".into());
    }
    let processors = processor::pair();
    if processors.0 == processors.1 {
        eprintln!("warning: one processor only; senders and receiver take turns on it");
    }
    let mut contestants = contestants![
        "ours, io_uring" IoUring,
        "ours, readiness" Readiness,
        "ours, posted by 32" Gathered,
        "crossbeam-channel" Crossbeam,
        "crossbeam-channel, blocking" CrossbeamBlocking,
        "flume" Flume,
        "tokio mpsc" Tokio
    ];
    contestants.retain(|one| one.name.contains(&only));
    for number in 0..rounds {
        for place in 0..contestants.len() {
            // Another begins each time.
            let place = (place + number) % contestants.len();
            contestants[place].measure(packets, handed, processors)?;
        }
        eprintln!("round {} of {rounds}", number + 1);
    }
    Ok(report(&contestants, rounds) || !check)
}

impl Contestant {
    fn measure(&mut self, packets: u64, handed: u64, processors: (usize, usize)) -> Result<(), Failure> {
        for (kind, senders) in SENDERS.into_iter().enumerate() {
            let cost = (self.flood)(senders, packets, processors)?;
            self.floods[kind].push(cost.elapsed_ns);
            self.floods_used[kind].push(cost.used_ns);
        }
        let handed = (self.hand_over)(handed, processors)?;
        self.hand_overs.push(handed.elapsed_ns);
        self.hand_overs_used.push(handed.used_ns);
        Ok(())
    }
}

fn best<'a>(contestants: &'a [Contestant], names: &[&str], kind: usize) -> Option<&'a Contestant> {
    let cost = |one: &Contestant| median(one.floods[kind].iter().copied());
    let among = contestants.iter().filter(|one| names.contains(&one.name));
    among.min_by(|one, other| cost(one).total_cmp(&cost(other)))
}

/// Prints the table and the bars. False if a bar failed.
fn report(contestants: &[Contestant], rounds: usize) -> bool {
    println!(
        "Packets of 32 bytes to one thread, {CAPACITY} may wait, taken in batches of up to {BATCH}; medians of {rounds} rounds"
    );
    let rows: Vec<_> = contestants
        .iter()
        .map(|one| {
            let middle = |figures: &[f64]| median(figures.iter().copied());
            let mut row = vec![one.name.to_owned()];
            for (floods, used) in one.floods.iter().zip(&one.floods_used) {
                row.extend([format!("{:.2}", 1e3 / middle(floods)), format!("{:.0}", middle(used))]);
            }
            row.push(format!("{:.2}", middle(&one.hand_overs) / 1e3));
            row.push(format!("{:.2}", middle(&one.hand_overs_used) / 1e3));
            row
        })
        .collect();
    print_table(
        &[
            "way",
            "1 sender, M/s",
            "receiver, ns",
            "4 senders, M/s",
            "receiver, ns",
            "one hand-over, us",
            "its CPU, us",
        ],
        &rows,
    );
    let mut bars = Vec::new();
    for (kind, senders) in SENDERS.into_iter().enumerate() {
        let (Some(ours), Some(peer)) = (best(contestants, &OURS, kind), best(contestants, &BAR, kind)) else {
            return true;
        };
        // Time for time is throughput the other way round.
        let ratio = median_ratio(&peer.floods[kind], &ours.floods[kind]);
        let text = format!(
            "{} has {ratio:.2} of the throughput of {} with {senders} sending (at least 1.00)",
            ours.name, peer.name
        );
        bars.push((text, ratio >= 1.0));
    }
    print_bars(&bars)
}
