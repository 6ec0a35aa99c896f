//! Server CPU per round trip, against bare loops and async runtimes. See README.md.

use port_bench::{
    Failure,
    arguments::Arguments,
    child::{Own, system_calls},
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
const COUNTING: Duration = Duration::from_millis(200);

/// A server, the client that is connected to it, and what was measured, round by round.
struct Contestant {
    name: &'static str,
    server: Own,
    client: Client,
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
    if let Some([name, processor]) = arguments.of_child() {
        echo::serve(name, processor.parse()?)?;
        return Ok(true);
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
    processor::pin(clients)?;
    let mut contestants = Vec::new();
    for name in NAMES {
        if only.is_empty() || name.contains(&only) {
            contestants.push(Contestant::start(name, servers, connections)?);
        }
    }
    for number in 0..rounds {
        // Another begins each time.
        contestants.rotate_left(1);
        for contestant in &mut contestants {
            contestant.measure(round)?;
        }
        eprint!("\rround {} of {rounds}", number + 1);
    }
    eprintln!();
    for contestant in &mut contestants {
        contestant.count_calls()?;
    }
    contestants.sort_by_key(|contestant| NAMES.iter().position(|name| *name == contestant.name));
    Ok(report(&contestants, connections) || !check)
}

impl Contestant {
    fn start(name: &'static str, processor: usize, connections: usize) -> Result<Self, Failure> {
        let mut server = Own::start(&[name, &processor.to_string()])?;
        let port = server.line()?.parse()?;
        let mut client = Client::connect(port, connections)?;
        client.drive(WARM_UP)?;
        let (costs, rates, busy, client_costs) = Default::default();
        Ok(Self { name, server, client, costs, rates, busy, client_costs, calls: None })
    }

    fn measure(&mut self, time: Duration) -> Result<(), Failure> {
        self.client.drive(WARM_UP)?;
        let before = self.server.used()?;
        let driven = self.client.drive(time)?;
        let used = self.server.used()? - before;
        let (round_trips, seconds) = (driven.round_trips as f64, driven.elapsed.as_secs_f64());
        self.costs.push(used.as_secs_f64() * 1e6 / round_trips);
        self.rates.push(round_trips / seconds);
        self.busy.push(used.as_secs_f64() / seconds);
        self.client_costs.push(driven.used.as_secs_f64() * 1e6 / round_trips);
        Ok(())
    }

    fn count_calls(&mut self) -> Result<(), Failure> {
        let (driven, calls) = system_calls(self.server.number(), || self.client.drive(COUNTING));
        self.calls = calls.map(|calls| calls as f64 / driven.as_ref().map_or(1, |d| d.round_trips) as f64);
        driven.map(|_| ())
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
