//! Slow clients beside many quick ones. The pauses here are the workload.

use crate::common::{Client, Program, assert_same, bytes, on_every_backend, write};
use portico::settings::BackendChoice;
use std::{
    io::Read as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

on_every_backend!(slow_clients_finish_and_hinder_nobody);

const FILE_BYTES: usize = 10_000_000;
/// The reader takes so much, then rests.
const READ_BYTES: usize = 65_536;
const REST: Duration = Duration::from_millis(100);
/// `queued_bytes`, by default.
#[cfg(target_os = "linux")]
const MOST_QUEUED_BYTES: u64 = 524_288;
/// Each of the others asks so often in so long: a thousand times a second all together.
const OTHERS: usize = 4;
const BURST: usize = 25;
const TICK: Duration = Duration::from_millis(100);

fn slow_clients_finish_and_hinder_nobody(backend: BackendChoice) {
    let folder = tempfile::tempdir().unwrap();
    let content = bytes(FILE_BYTES, 1);
    write(folder.path(), "long", &content);
    write(folder.path(), "small", bytes(1_024, 2));
    let program = Program::start(folder.path(), &["--backend", backend.name(), "--workers=1"]);
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..OTHERS).map(|_| scope.spawn(|| ask(&program, &over, &served))).collect();
        while served.load(Ordering::SeqCst) < 500 {
            assert!(!others.iter().any(|other| other.is_finished()), "a quick client has failed");
            std::thread::yield_now();
        }
        let (began, before) = (Instant::now(), served.load(Ordering::SeqCst));
        let head = scope.spawn(|| trickle(&program));
        let reader = scope.spawn(|| read_slowly(&program, &content));
        let (head, reader) = (head.join(), reader.join());
        let rate = (served.load(Ordering::SeqCst) - before) as f64 / began.elapsed().as_secs_f64();
        over.store(true, Ordering::SeqCst);
        head.unwrap();
        let most = reader.unwrap();
        crate::common::report(&format!(
            "{}: {rate:.0} requests/s beside; the slow reader held {most} bytes at most",
            backend.name()
        ));
        for other in others {
            other.join().unwrap();
        }
    });
    program.kill();
}

/// One of the quick clients: bursts of requests on one connection.
fn ask(program: &Program, over: &AtomicBool, served: &AtomicU64) {
    let mut client = program.connect();
    let content = bytes(1_024, 2);
    let mut next = Instant::now();
    while !over.load(Ordering::SeqCst) {
        for _ in 0..BURST {
            assert_same(&client.get("/small").body, &content, "small");
            served.fetch_add(1, Ordering::SeqCst);
        }
        next += TICK;
        sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// A request head, one byte at a time.
fn trickle(program: &Program) {
    let mut client = program.connect();
    let head = format!("GET /small HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(350));
    for byte in head.as_bytes() {
        client.send([*byte]);
        sleep(Duration::from_millis(10));
    }
    assert_same(&client.answer().body, &bytes(1_024, 2), "behind a slow head");
}

/// Reads the long file as a slow line would, and gives the most memory that the program took meanwhile.
fn read_slowly(program: &Program, content: &[u8]) -> u64 {
    let resident = || -> u64 {
        #[cfg(target_os = "linux")]
        return program.resident_bytes();
        #[cfg(not(target_os = "linux"))]
        return 0;
    };
    let before = resident();
    let mut most: u64 = 0;
    let mut client: Client = program.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut answer = client.head();
    assert_eq!(answer.status, 200);
    answer.body = client.take_received();
    let mut piece = vec![0; READ_BYTES];
    while answer.body.len() < content.len() {
        let wanted = READ_BYTES.min(content.len() - answer.body.len());
        match client.stream.read(&mut piece[..wanted]) {
            Ok(0) => break,
            Ok(bytes) => answer.body.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("after {} bytes: {error}", answer.body.len()),
        }
        most = most.max(resident().saturating_sub(before));
        sleep(REST);
    }
    assert_same(&answer.body, content, "the long file");
    #[cfg(target_os = "linux")]
    assert!(most <= MOST_QUEUED_BYTES, "{most} bytes were held for a slow client");
    most
}
