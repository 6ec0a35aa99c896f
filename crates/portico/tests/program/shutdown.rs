//! The orderly end: what runs is finished, nothing new is taken, and the exit code tells.

use crate::common::{Client, Program, assert_same, bytes, on_every_backend, write};
use portico::settings::BackendChoice;
use std::net::TcpStream;

on_every_backend!(
    an_interrupt_finishes_what_runs,
    a_termination_finishes_what_runs,
    a_second_interrupt_ends_at_once,
    at_the_deadline_the_rest_is_cut,
    an_idle_program_ends_at_once,
);

const DOWNLOADS: usize = 64;
const LONG: usize = 8 << 20;

fn start(backend: BackendChoice, arguments: &[&str]) -> (tempfile::TempDir, Program) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "long", bytes(LONG, 1));
    write(folder.path(), "small", "content");
    let mut all = vec!["--backend", backend.name(), "--workers=2"];
    all.extend_from_slice(arguments);
    let program = Program::start(folder.path(), &all);
    (folder, program)
}

/// Clients that have read the head of an answer that is too long for the sockets' buffers, and nothing of its body.
fn downloads(program: &Program, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = program.connect();
            client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.head().status, 200);
            client
        })
        .collect()
}

/// Tries until nobody takes connections any more.
fn until_refused(program: &Program) {
    while let Ok(stream) = TcpStream::connect(program.address) {
        drop(stream);
        std::thread::yield_now();
    }
}

fn finishes_what_runs(backend: BackendChoice, signal: &str) {
    let (_folder, mut program) = start(backend, &["--shutdown-timeout-ms=120000"]);
    let mut idle = program.connect();
    assert_eq!(idle.get("/small").status, 200);
    let downloads = downloads(&program, DOWNLOADS);
    program.signal(signal);
    while !program.line().starts_with("Stopping: ") {}
    until_refused(&program);
    // Nobody reads yet, so that all of them are still running.
    idle.ends();
    let content = bytes(LONG, 1);
    std::thread::scope(|scope| {
        for mut client in downloads {
            let content = &content;
            scope.spawn(move || {
                assert_same(&client.try_body(LONG).unwrap(), content, "a download");
                client.ends();
            });
        }
    });
    let (status, output) = program.wait();
    assert_eq!((status.code(), &*output), (Some(0), "Stopped: clean.\n"));
}

fn an_interrupt_finishes_what_runs(backend: BackendChoice) {
    finishes_what_runs(backend, "INT");
}

fn a_termination_finishes_what_runs(backend: BackendChoice) {
    finishes_what_runs(backend, "TERM");
}

fn a_second_interrupt_ends_at_once(backend: BackendChoice) {
    let (_folder, mut program) = start(backend, &["--shutdown-timeout-ms=86400000"]);
    let downloads = downloads(&program, 4);
    program.signal("INT");
    while !program.line().starts_with("Stopping: ") {}
    program.signal("INT");
    let (status, output) = program.wait();
    assert_eq!((status.code(), &*output), (Some(130), ""));
    for mut client in downloads {
        assert!(client.try_body(LONG).is_err());
    }
}

fn at_the_deadline_the_rest_is_cut(backend: BackendChoice) {
    let (_folder, mut program) = start(backend, &["--shutdown-timeout-ms=100"]);
    let downloads = downloads(&program, 4);
    program.signal("INT");
    while !program.line().starts_with("Stopping: ") {}
    let (status, output) = program.wait();
    assert_eq!(
        (status.code(), &*output),
        (Some(1), "Stopped: running operations were cancelled at the deadline.\n")
    );
    for mut client in downloads {
        assert!(client.try_body(LONG).is_err());
    }
}

fn an_idle_program_ends_at_once(backend: BackendChoice) {
    let (_folder, program) = start(backend, &[]);
    let mut idle: Vec<_> = (0..20).map(|_| program.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.get("/small").status, 200);
    }
    program.signal("INT");
    for client in &mut idle {
        client.ends();
    }
    let (status, output) = program.wait();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.ends_with("Stopped: clean.\n"), "{output}");
}
