//! What idle connections cost a port: memory for each, and time for those that are busy beside them. See README.md.

use completion_port::{Backend, Port};
use port_bench::{
    Failure,
    arguments::Arguments,
    child::{Own, end_with_parent, say},
    echo::{client::Client, ours},
    figures::{median, median_ratio, print_bars, print_table},
    processor, socket,
};
use std::{
    io::{Read, Write},
    net::Ipv4Addr,
    process::ExitCode,
    thread,
    time::Duration,
};

/// Bytes of user memory that an idle connection may cost.
const MEMORY_BAR: f64 = 512.0;
/// How much more an echo may cost beside many idle connections than beside few: what is left is noise.
const GROWTH_BAR: f64 = 1.05;
const BUSY: usize = 64;
/// Idle connections of one queue, and of one client process: a table of direct descriptors can be no larger than the limit of open files.
const HELD: usize = 15_000;
/// Connections from one address: connect(2) gets slow where most port numbers are taken.
const FROM_ONE_ADDRESS: usize = 7_500;
/// Room that a queue has beside its connections: where there is little left, connections are taken one by one.
const SPARE: usize = 256;
const WARM_UP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut arguments = Arguments::of_process();
    match arguments.of_child() {
        Some([word, queues, room, processor]) if word == "serve" => {
            serve(queues.parse()?, room.parse()?, processor.parse()?)?;
            return Ok(true);
        }
        Some([word, port, first, count]) if word == "hold" => {
            hold(port.parse()?, first.parse()?, count.parse()?)?;
            return Ok(true);
        }
        _ => {}
    }
    let check = arguments.flag("--check");
    let rounds: usize = arguments.value("--rounds", 15)?;
    let round = Duration::from_millis(arguments.value("--round-ms", 1_000)?);
    let few: usize = arguments.value("--few", 1_000)?;
    let many: usize = arguments.value("--many", 100_000)?;
    arguments.end()?;
    if rounds == 0 || few == 0 || many <= few || many > 1_000_000 {
        return Err("at least one round; and 0 < few < many <= 1,000,000".into());
    }
    let (servers, clients) = processor::pair();
    processor::pin(clients)?;
    let queues = many.div_ceil(HELD);
    let mut sides = [Side::start(few, queues, servers)?, Side::start(many, queues, servers)?];
    for number in 0..rounds {
        sides.rotate_left(1);
        for side in &mut sides {
            side.measure(round)?;
        }
        eprintln!("round {} of {rounds}", number + 1);
    }
    sides.sort_by_key(|side| side.idle);
    Ok(report(&sides) || !check)
}

/// A server, those who hold idle connections to it, and the client whose connections are busy: all on the first queue.
struct Side {
    idle: usize,
    server: Own,
    client: Client,
    _others: Vec<Client>,
    _holders: Vec<Own>,
    /// Bytes of the server's own memory for each idle connection.
    memory: f64,
    costs: Vec<f64>,
}

impl Side {
    fn start(idle: usize, queues: usize, processor: usize) -> Result<Self, Failure> {
        let each = idle.div_ceil(queues);
        let words = [queues, each + BUSY + SPARE, processor].map(|word| word.to_string());
        let mut server = Own::start(&["serve", &words[0], &words[1], &words[2]])?;
        let ports = (0..queues).map(|_| server.line()).collect::<Result<Vec<_>, _>>()?;
        // A round trip to every queue first, so that what a queue needs once is not counted with the connections.
        let clients = ports.iter().map(|port| Client::connect(port.parse()?, BUSY));
        let mut clients = clients.collect::<Result<Vec<_>, Failure>>()?;
        clients.iter_mut().try_for_each(|client| client.drive(WARM_UP).map(drop))?;
        let before = processor::anonymous_memory(server.number())?;
        let mut holders = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let first = number * each;
            let count = each.min(idle.saturating_sub(first));
            let mut holder = Own::start(&["hold", port, &first.to_string(), &count.to_string()])?;
            holder.line()?;
            holders.push(holder);
            eprintln!("{} of {idle} idle connections", first + count);
        }
        let after = processor::anonymous_memory(server.number())?;
        let memory = after.saturating_sub(before) as f64 / idle as f64;
        let client = clients.swap_remove(0);
        Ok(Self { idle, server, client, _others: clients, _holders: holders, memory, costs: Vec::new() })
    }

    fn measure(&mut self, time: Duration) -> Result<(), Failure> {
        self.client.drive(WARM_UP)?;
        let before = self.server.used()?;
        let driven = self.client.drive(time)?;
        let used = self.server.used()? - before;
        self.costs.push(used.as_secs_f64() * 1e6 / driven.round_trips as f64);
        Ok(())
    }
}

/// One port with echo servers on all of its queues; each queue has room for so many connections, and a listener of its own.
fn serve(queues: usize, room: usize, processor: usize) -> Result<(), Failure> {
    processor::pin(processor)?;
    end_with_parent();
    let mut configuration = ours::configuration(Backend::IoUring);
    configuration.queues = queues;
    configuration.handles = room;
    configuration.operations = 2 * room;
    configuration.direct_descriptors = u32::try_from(room)?;
    let port = Port::new(configuration)?;
    let mut threads = Vec::new();
    for _ in 0..queues {
        let listener = socket::listen()?;
        say(&listener.local_addr()?.port().to_string())?;
        let port = port.clone();
        threads.push(thread::spawn(move || {
            let served = port.worker().map_err(Failure::from);
            served
                .and_then(|mut worker| ours::serve_on(&mut worker, listener))
                .map_err(|error| error.to_string())
        }));
    }
    for thread in threads {
        thread.join().map_err(|_| "a worker panicked")??;
    }
    Ok(())
}

/// Opens connections `first` and following, and holds them until the benchmark ends.
fn hold(port: u16, first: usize, count: usize) -> Result<(), Failure> {
    let mut connections = Vec::with_capacity(count);
    for number in first..first + count {
        let [high, low] = u16::try_from(number / FROM_ONE_ADDRESS)?.to_be_bytes();
        let from = Ipv4Addr::new(127, 1 + high, low, 1);
        connections.push(socket::connect(from, Ipv4Addr::LOCALHOST, port)?);
    }
    // Connections are taken in order: when the last is answered, the server has all.
    if let Some(last) = connections.last_mut() {
        last.write_all(b"?")?;
        last.read_exact(&mut [0])?;
    }
    say("held")?;
    // Until the input ends, with the benchmark.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Prints the table and the bars. False if one failed.
fn report(sides: &[Side; 2]) -> bool {
    println!(
        "{BUSY} busy connections beside idle ones on one port of {} queues, io_uring, direct descriptors; medians of {} rounds",
        sides[1].idle.div_ceil(HELD),
        sides[0].costs.len()
    );
    let rows: Vec<_> = sides
        .iter()
        .map(|side| {
            vec![
                side.idle.to_string(),
                format!("{:.0}", side.memory),
                format!("{:.2}", median(side.costs.iter().copied())),
            ]
        })
        .collect();
    print_table(&["idle", "user bytes each", "CPU us an echo"], &rows);
    let [few, many] = sides;
    let growth = median_ratio(&many.costs, &few.costs);
    print_bars(&[
        (
            format!("{:.0} bytes of user memory for each of {} (below {MEMORY_BAR})", many.memory, many.idle),
            many.memory < MEMORY_BAR,
        ),
        (
            format!(
                "an echo costs {growth:.3} beside {} of what it costs beside {} (at most {GROWTH_BAR})",
                many.idle, few.idle
            ),
            growth <= GROWTH_BAR,
        ),
    ])
}
