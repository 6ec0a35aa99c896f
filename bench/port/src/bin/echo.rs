//! Server CPU per round trip, against bare loops and async runtimes. See README.md.

use port_bench::{
    Failure,
    arguments::Arguments,
    child::{Own, say, system_calls},
    echo::{self, NAMES, OURS, PEERS, RAW, client::Client},
    figures::{median, median_ratio, print_bars, print_table},
    processor,
};
use std::{process::ExitCode, time::Duration};

/// Ours may cost this much more than the better bare loop.
const BAR: f64 = 1.10;
/// A server that was busy for less of the time was waiting for the client.
const BUSY: f64 = 0.95;
const WARM_UP: Duration = Duration::from_millis(100);
const COUNTING: Duration = Duration::from_millis(100);

/// A server, and what was measured, round by round.
struct Contestant {
    name: &'static str,
    /// Microseconds of the server's processor time for each round trip.
    costs: Vec<f64>,
    rates: Vec<f64>,
    busy: Vec<f64>,
    client_costs: Vec<f64>,
    calls: Option<f64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut arguments = Arguments::of_process();
    match arguments.of_child() {
        Some([word, name, processor]) if word == "serve" => {
            echo::serve(name, processor.parse()?)?;
            return Ok(true);
        }
        Some([word, name, connections, time_ms]) if word == "measure" => {
            Round::say(name, connections.parse()?, Duration::from_millis(time_ms.parse()?))?;
            return Ok(true);
        }
        _ => {}
    }
    let check = arguments.flag("--check");
    let rounds: usize = arguments.value("--rounds", 15)?;
    let round = Duration::from_millis(arguments.value("--round-ms", 1_000)?);
    let connections: usize = arguments.value("--connections", 64)?;
    let only: String = arguments.value("--only", String::new())?;
    arguments.end()?;
    if rounds == 0 || connections == 0 || connections > 1_000 {
        return Err("at least one round, and 1 to 1,000 connections".into());
    }
    let (servers, clients) = processor::pair();
    if servers == clients {
        eprintln!("warning: one processor only; servers and client take turns on it");
    }
    let mut contestants = Vec::new();
    for name in NAMES {
        if only.is_empty() || name.contains(&only) {
            contestants.push(Contestant::new(name));
        }
    }
    for number in 0..rounds {
        // Another begins each time.
        contestants.rotate_left(1);
        for contestant in &mut contestants {
            contestant.take(&Round::of(contestant.name, connections, round)?);
        }
        eprint!("\rround {} of {rounds}", number + 1);
    }
    eprintln!();
    contestants.sort_by_key(|contestant| NAMES.iter().position(|name| *name == contestant.name));
    Ok(report(&contestants, connections) || !check)
}

/// What one round measured.
struct Round {
    cost: f64,
    rate: f64,
    busy: f64,
    client_cost: f64,
    calls: Option<f64>,
}

impl Round {
    /// Measures with a new server and a new client, each a process of its own: where the memory of one happens to lie is worth some per
    /// cent for as long as it lives.
    fn of(name: &str, connections: usize, time: Duration) -> Result<Self, Failure> {
        let words = ["measure", name, &connections.to_string(), &time.as_millis().to_string()];
        let line = Own::start(&words)?.line()?;
        let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let &[cost, rate, busy, client_cost, calls] = &figures[..] else {
            return Err(format!("a round of {name} measured {line:?}").into());
        };
        Ok(Self { cost, rate, busy, client_cost, calls: Some(calls).filter(|calls| !calls.is_nan()) })
    }

    /// In the process of the client: says what [`Round::of`] reads.
    fn say(name: &str, connections: usize, time: Duration) -> Result<(), Failure> {
        let (servers, clients) = processor::pair();
        processor::pin(clients)?;
        let mut server = Own::start(&["serve", name, &servers.to_string()])?;
        let mut client = Client::connect(server.line()?.parse()?, connections)?;
        client.drive(WARM_UP)?;
        let before = server.used()?;
        let driven = client.drive(time)?;
        let used = (server.used()? - before).as_secs_f64();
        let (round_trips, seconds) = (driven.round_trips as f64, driven.elapsed.as_secs_f64());
        let (counted, calls) = system_calls(server.number(), || client.drive(COUNTING));
        let counted = counted?.round_trips as f64;
        let (cost, client_cost) = (used * 1e6 / round_trips, driven.used.as_secs_f64() * 1e6 / round_trips);
        let calls = calls.map_or(f64::NAN, |calls| calls as f64 / counted);
        say(&format!("{cost} {} {} {client_cost} {calls}", round_trips / seconds, used / seconds))
    }
}

impl Contestant {
    fn new(name: &'static str) -> Self {
        let (costs, rates, busy, client_costs) = Default::default();
        Self { name, costs, rates, busy, client_costs, calls: None }
    }

    fn take(&mut self, round: &Round) {
        self.costs.push(round.cost);
        self.rates.push(round.rate);
        self.busy.push(round.busy);
        self.client_costs.push(round.client_cost);
        self.calls = round.calls;
    }

    fn cost(&self) -> f64 {
        median(self.costs.iter().copied())
    }
}

/// The one of some that costs least, if all of the names are there.
fn best<'a>(contestants: &'a [Contestant], among: &[usize]) -> Option<&'a Contestant> {
    let among = contestants.iter().filter(|one| among.iter().any(|&place| NAMES[place] == one.name));
    among.min_by(|one, other| one.cost().total_cmp(&other.cost()))
}

/// Prints the table, warnings and bars. False if a bar failed.
fn report(contestants: &[Contestant], connections: usize) -> bool {
    println!(
        "Echo over loopback TCP, {connections} connections, 64 bytes; medians of {} rounds",
        contestants[0].costs.len()
    );
    let raw = best(contestants, &RAW);
    let rows: Vec<_> = contestants
        .iter()
        .map(|one| {
            vec![
                one.name.to_owned(),
                format!("{:.0}", median(one.rates.iter().copied())),
                format!("{:.2}", one.cost()),
                raw.map_or("-".into(), |raw| format!("{:.3}", median_ratio(&one.costs, &raw.costs))),
                one.calls.map_or("-".into(), |calls| format!("{calls:.2}")),
                format!("{:.0}%", median(one.busy.iter().copied()) * 100.0),
                format!("{:.2}", median(one.client_costs.iter().copied())),
            ]
        })
        .collect();
    print_table(&["server", "round trips/s", "CPU us", "ratio to raw", "calls", "busy", "client us"], &rows);
    let waiting: Vec<_> = contestants
        .iter()
        .filter(|one| median(one.busy.iter().copied()) < BUSY)
        .map(|one| one.name)
        .collect();
    if !waiting.is_empty() {
        println!(
            "warning: the client was the limit for {}: their round trips/s are the client's, and",
            waiting.join("; ")
        );
        println!("         their CPU is that of a server that sleeps between smaller batches");
    }
    let (Some(raw), Some(ours)) = (raw, best(contestants, &OURS)) else { return true };
    let mut bars = Vec::new();
    let ratio = median_ratio(&ours.costs, &raw.costs);
    bars.push((format!("{} costs {ratio:.3} of {} (at most {BAR:.2})", ours.name, raw.name), ratio <= BAR));
    for peer in contestants.iter().filter(|one| PEERS.iter().any(|&place| NAMES[place] == one.name)) {
        let ratio = median_ratio(&ours.costs, &peer.costs);
        bars.push((format!("{} costs {ratio:.3} of {} (at most 1.00)", ours.name, peer.name), ratio <= 1.0));
    }
    print_bars(&bars)
}
