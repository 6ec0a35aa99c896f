//! Two thousand clients that send heads, send bodies or read answers as slowly as they can, for two minutes: what the requests of others
//! take beside them, what memory they cost, and that the time limits end them all. The pauses here are the workload.

use crate::common::{Client, Program, bytes, on_every_backend, report, write};
use portico::settings::BackendChoice;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

on_every_backend!(
    #[ignore = "takes five minutes of a quiet machine"]
    two_thousand_slow_clients_hinder_nobody,
);

const CROWD: usize = 2_000;
/// So fast they come.
const CROWD_PER_SECOND: u32 = 200;
const UNLOADED: Duration = Duration::from_secs(20);
const LOADED: Duration = Duration::from_secs(120);
/// Each slow client does a little so often; one after the other, evenly: they know nothing of each other, and a burst of them would hold
/// up the quick clients, which have the same processors, and not only the server.
const STEP: Duration = Duration::from_secs(1);
/// After the last has come, all limits are over twice in that time.
const MOST_WAIT: Duration = Duration::from_secs(150);
/// Quick clients beside, and what each asks for in a second.
const OTHERS: usize = 2;
const PER_SECOND: u32 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Head,
    Body,
    Reader,
}

struct Slow {
    kind: Kind,
    stream: Option<TcpStream>,
    answer: Vec<u8>,
}

/// How many ended, and how many of them were told 408 before.
type Ended = BTreeMap<Kind, (usize, usize)>;

impl Slow {
    fn connect(kind: Kind, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if kind == Kind::Reader {
            socket.set_recv_buffer_size(4_096).unwrap();
        }
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        let beginning: &[u8] = match kind {
            Kind::Head => b"GET /small HTTP/1.1\r\nHost: test\r\nX: ",
            Kind::Body => b"PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n",
            Kind::Reader => b"GET /long HTTP/1.1\r\nHost: test\r\n\r\n",
        };
        stream.write_all(beginning).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { kind, stream: Some(stream), answer: Vec::new() }
    }

    /// Does its little; whether the server has ended the connection, or said that it will.
    fn step(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        // A reset is not waited for behind what was received before.
        if stream.take_error().unwrap().is_some() {
            return true;
        }
        let mut piece = [0; 12];
        let ended = match stream.read(&mut piece) {
            Ok(0) => true,
            Ok(bytes) => {
                self.answer.extend_from_slice(&piece[..bytes]);
                self.kind != Kind::Reader
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        ended || (self.kind != Kind::Reader && stream.write(b"x").is_err())
    }
}

fn kind_of(number: usize) -> Kind {
    [Kind::Head, Kind::Body, Kind::Reader][number % 3]
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect()
}

/// Binds this thread, and what it starts, to one processor.
fn bind(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).unwrap();
}

/// Lets the crowd come, and keeps it complete until `over`; then waits until all have ended.
fn crowd(address: SocketAddr, complete: &Barrier, over: &AtomicBool) -> (Ended, usize) {
    let came = |number| {
        sleep(Duration::from_secs(1) / CROWD_PER_SECOND);
        Slow::connect(kind_of(number), address)
    };
    let mut slow: Vec<_> = (0..CROWD).map(came).collect();
    complete.wait();
    let mut ended = Ended::new();
    let mut next = Instant::now();
    let mut last = None;
    for turn in (0..CROWD).cycle() {
        let one = &mut slow[turn];
        if one.step() {
            let count = ended.entry(one.kind).or_default();
            count.0 += 1;
            count.1 += usize::from(one.answer.starts_with(b"HTTP/1.1 408"));
            if over.load(Ordering::SeqCst) {
                one.stream = None;
            } else {
                *one = Slow::connect(one.kind, address);
            }
        }
        if over.load(Ordering::SeqCst) {
            let left = slow.iter().filter(|one| one.stream.is_some()).count();
            let since = *last.get_or_insert_with(Instant::now);
            if left == 0 || since.elapsed() > MOST_WAIT {
                return (ended, left);
            }
        }
        next += STEP / CROWD as u32;
        sleep(next.saturating_duration_since(Instant::now()));
    }
    unreachable!("the turns go on without end")
}

/// What requests take, in microseconds, sorted.
fn ask(program: &Program, time: Duration) -> Vec<u32> {
    let mut all: Vec<u32> = std::thread::scope(|scope| {
        let others: Vec<_> = (0..OTHERS)
            .map(|_| {
                scope.spawn(|| {
                    let (began, mut client, mut took) = (Instant::now(), program.connect(), Vec::new());
                    for number in 0.. {
                        let due = began + Duration::from_secs(1) * number / PER_SECOND;
                        if due > began + time {
                            break;
                        }
                        sleep(due.saturating_duration_since(Instant::now()));
                        let target = if number % 2 == 0 { "/small" } else { "/middle" };
                        let asked = Instant::now();
                        assert_eq!(client.get(target).status, 200);
                        took.push(asked.elapsed().as_micros() as u32);
                    }
                    took
                })
            })
            .collect();
        others.into_iter().flat_map(|other| other.join().unwrap()).collect()
    });
    all.sort_unstable();
    all
}

fn quantile(sorted: &[u32], quantile: f64) -> u32 {
    sorted[((sorted.len() - 1) as f64 * quantile) as usize]
}

fn figures(sorted: &[u32]) -> String {
    let [half, most, last] = [0.5, 0.99, 0.999].map(|place| quantile(sorted, place));
    format!("{} requests, p50 {half} us, p99 {most} us, p99.9 {last} us", sorted.len())
}

/// Pages of the system that hold what TCP has not sent or nobody has read.
fn system_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/net/sockstat").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: ")).unwrap();
    line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() * 4_096
}

fn two_thousand_slow_clients_hinder_nobody(backend: BackendChoice) {
    crate::raise_descriptor_limit();
    // The crowd has a processor of its own, where there are two: what it costs the server is measured, and not how much of a processor
    // two thousand clients take from the quick ones.
    let processors = processors();
    bind(processors[0]);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "small", bytes(1_024, 1));
    write(folder.path(), "middle", bytes(30_000, 2));
    write(folder.path(), "long", bytes(40 << 20, 3));
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let inbox = folder.path().join("in");
    let arguments = ["--backend", backend.name(), "--upload", inbox.to_str().unwrap()];
    let program = Program::start(folder.path(), &arguments);
    let address = program.address;
    let mut client: Client = program.connect();
    assert_eq!(client.get("/long").body.len(), 40 << 20);
    drop(client);
    let before = ask(&program, UNLOADED);
    let (complete, over) = (Barrier::new(2), AtomicBool::new(false));
    let before_them = [0, system_bytes()];
    let (beside, ended, left) = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            bind(processors[processors.len() - 1]);
            crowd(address, &complete, &over)
        });
        complete.wait();
        let mut most = [0; 2];
        let asking = scope.spawn(|| ask(&program, LOADED));
        while !asking.is_finished() {
            for (place, now) in [program.resident_bytes(), system_bytes()].into_iter().enumerate() {
                most[place] = now.saturating_sub(before_them[place]).max(most[place]);
            }
            sleep(Duration::from_millis(200));
        }
        over.store(true, Ordering::SeqCst);
        let (ended, left) = crowd.join().unwrap();
        report(&format!(
            "{}: at most {} MiB of the program's own, {} MiB of the system's for TCP",
            backend.name(),
            most[0] >> 20,
            most[1] >> 20
        ));
        // What all buffers together may take, with as much again for all else.
        assert!(most[0] < 2 * (256 << 20), "{} bytes", most[0]);
        (asking.join().unwrap(), ended, left)
    });
    let after = ask(&program, UNLOADED);
    for (when, took) in [("before", &before), ("beside them", &beside), ("after", &after)] {
        report(&format!("{}: {when}: {}", backend.name(), figures(took)));
    }
    for (kind, (count, told)) in &ended {
        report(&format!("{}: {kind:?}: {count} were ended, {told} of them told 408", backend.name()));
    }
    assert_eq!(left, 0, "slow clients that were never ended");
    let mut unloaded = [before, after].concat();
    unloaded.sort_unstable();
    let ratio = f64::from(quantile(&beside, 0.99)) / f64::from(quantile(&unloaded, 0.99));
    report(&format!("{}: p99 beside them is {ratio:.2} times that without them", backend.name()));
    assert!(ratio <= 2.0, "others wait for the slow clients");
    program.kill();
}
