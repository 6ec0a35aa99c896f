//! What a request costs in steady state, as the counters count it: 10,000 requests for a small file that is in the cache, by 64
//! keep-alive connections in lock step.
//!
//! A program of its own, because allocations are those of the whole process: `cargo test -p portico --features count-allocations --test
//! steady_state`. So the client, which is in it, allocates nothing either.
#![cfg(all(unix, feature = "count-allocations"))]

#[allow(unused_macros, reason = "each test program uses its part")]
mod common;

use common::{Site, bytes, on, report};
use completion_port::{OperationKind, SystemCall};
use portico::{counters::Counters, settings::BackendChoice};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

const CONNECTIONS: usize = 64;
const REQUESTS: usize = 10_000;
const ROUNDS_MOST: usize = 40;
const FILE_BYTES: usize = 1_024;
const REQUEST: &[u8] = b"GET /file HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";

/// Larger than what the cache holds.
#[cfg(target_os = "linux")]
const LARGE_BYTES: usize = 30_000;
#[cfg(target_os = "linux")]
const PART_BYTES: usize = 4_096;
#[cfg(target_os = "linux")]
const LARGE: &[u8] = b"GET /file HTTP/1.1\r\nHost: example.org\r\n\r\n";
#[cfg(target_os = "linux")]
const PART: &[u8] = b"GET /file HTTP/1.1\r\nHost: example.org\r\nRange: bytes=0-4095\r\n\r\n";

/// One test for all backends, one after the other: what is counted is the process's.
#[test]
fn a_request_allocates_nothing_waits_for_no_lock_and_shares_its_answer() {
    #[cfg(target_os = "linux")]
    on(BackendChoice::IoUring, measure);
    on(BackendChoice::Readiness, measure);
}

fn measure(backend: BackendChoice) {
    measure_small(backend);
    #[cfg(target_os = "linux")]
    for (request, length) in [(LARGE, LARGE_BYTES), (PART, PART_BYTES)] {
        measure_uncached(backend, request, length);
    }
}

/// The readings of the first round that allocates nothing, of those that `round` makes, with the allocations between them. What is kept
/// for the next use grows to as much as was ever in use at once, and when that is, the threads' timing says.
fn steady(site: &Site, mut round: impl FnMut() -> (Counters, u64, Counters)) -> (Counters, Counters) {
    let mut allocated = [0; ROUNDS_MOST];
    for allocated in &mut allocated {
        let (before, allocations, after) = round();
        // What making the first reading allocated, after it had looked.
        let readings = [(); 2].map(|()| site.server().counters().allocations.unwrap().count);
        let by_reading = readings[1] - readings[0];
        *allocated = allocations - before.allocations.unwrap().count - by_reading;
        if *allocated == 0 {
            return (before, after);
        }
    }
    panic!("allocations in rounds of {REQUESTS} requests: {allocated:?}");
}

/// What goes out within the call: a file that is too large for the cache, and a part of it.
#[cfg(target_os = "linux")]
fn measure_uncached(backend: BackendChoice, request: &'static [u8], length: usize) {
    let site = Site::with(backend, |settings| settings.file_revalidate = Duration::from_secs(3_600));
    let content = bytes(LARGE_BYTES, 1);
    site.write("file", &content);
    site.get("/file");
    let mut client = site.connect();
    client.send(request);
    let answer = client.answer();
    assert_eq!((answer.body.as_slice(), answer.body.len()), (&content[..length], length));
    let mut crowd = Crowd { request, ..Crowd::new(&site, answer.head.len() + length) };
    let (before, after) = steady(&site, || {
        let before = site.server().counters();
        crowd.ask(REQUESTS);
        let after = site.server().counters();
        (before, after.allocations.unwrap().count, after)
    });
    let calls = after.port.all_system_calls() - before.port.all_system_calls();
    report(&format!(
        "{}: {:.3} system calls for {length} bytes",
        backend.name(),
        calls as f64 / REQUESTS as f64
    ));
}

fn measure_small(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        // A look at the disk opens a file, which is a request of another kind; and the histograms of latency are to be in the bill.
        settings.file_revalidate = Duration::from_secs(3_600);
        settings.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    });
    site.write("file", bytes(FILE_BYTES, 1));
    let answer = site.get("/file");
    assert_eq!((answer.status, answer.body.len()), (200, FILE_BYTES));
    let answer_bytes = answer.head.len() + FILE_BYTES;
    // What the cache keeps ready of the head; date and end are written behind it, and not copied.
    let ready_made = answer.head.find("Date: ").unwrap();
    let mut crowd = Crowd::new(&site, answer_bytes);
    let (before, after) = steady(&site, || {
        let before = crowd.settled(&site);
        crowd.ask(REQUESTS);
        // At once: to wait for the counts to settle allocates.
        let allocations = site.server().counters().allocations.unwrap().count;
        (before, allocations, crowd.settled(&site))
    });

    let requests = (after.requests[1] - before.requests[1]) as usize;
    assert_eq!(requests, REQUESTS);
    assert_eq!(after.contended_locks - before.contended_locks, 0, "contended locks in {requests} requests");
    // The answer of a second is made once, and those who ask before it is made get a copy of their own.
    let copies = (after.body_bytes_copied - before.body_bytes_copied) as usize / FILE_BYTES;
    assert!(copies < requests, "{copies} copies of the body for {requests} requests");
    let copied = after.port.bytes_copied - before.port.bytes_copied;
    assert_eq!(copied, (copies * (ready_made + FILE_BYTES)) as u64);
    assert_eq!(after.file_cache_misses, before.file_cache_misses);

    let calls = after.port.all_system_calls() - before.port.all_system_calls();
    let per_request = calls as f64 / requests as f64;
    let most = match backend {
        BackendChoice::IoUring => 1.1,
        // A receive and a send are a call each, and a wait is shared by those that it finds ready.
        _ => 2.2,
    };
    let of = |call: SystemCall| after.port.called(call) - before.port.called(call);
    let by_call = SystemCall::ALL.iter().map(|call| (call.name(), of(*call))).filter(|(_, count)| *count > 0);
    let by_call: Vec<_> = by_call.collect();
    report(&format!(
        "{}: {per_request:.3} system calls and {:.3} copies a request: {by_call:?}",
        backend.name(),
        copies as f64 / requests as f64
    ));
    assert!(per_request <= most, "{per_request} system calls a request: {by_call:?}");
}

/// Clients that all ask, and then all take their answers, without allocating.
struct Crowd {
    request: &'static [u8],
    streams: Vec<TcpStream>,
    answer_bytes: usize,
    room: Vec<u8>,
    /// Answers that were taken, with the one that said how long they are.
    answers: u64,
}

impl Crowd {
    fn new(site: &Site, answer_bytes: usize) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect(site.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream
        };
        let streams = (0..CONNECTIONS).map(connect).collect();
        Self { request: REQUEST, streams, answer_bytes, room: vec![0; answer_bytes], answers: 1 }
    }

    fn ask(&mut self, requests: usize) {
        let mut left = requests;
        while left > 0 {
            let streams = &mut self.streams[..left.min(CONNECTIONS)];
            for stream in &mut *streams {
                stream.write_all(self.request).unwrap();
            }
            for stream in &mut *streams {
                take(stream, &mut self.room[..self.answer_bytes]);
            }
            left -= streams.len();
            self.answers += streams.len() as u64;
        }
    }

    /// A reading after which the worker has told all that it did: it tells when a wait ends, at the latest the one that brings the
    /// completion of the last send.
    fn settled(&self, site: &Site) -> Counters {
        while site.server().counters().port.completed(OperationKind::Send) < self.answers {
            std::thread::yield_now();
        }
        site.server().counters()
    }
}

fn take(stream: &mut TcpStream, room: &mut [u8]) {
    let mut filled = 0;
    while filled < room.len() {
        match stream.read(&mut room[filled..]) {
            Ok(0) => panic!("the connection ended after {filled} bytes of an answer"),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no answer: {error}"),
        }
    }
    assert!(room.starts_with(b"HTTP/1.1 20"));
}
