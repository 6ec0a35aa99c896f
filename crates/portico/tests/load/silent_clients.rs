//! A thousand clients a second that connect and say nothing: the idle limit frees their places, and others are served all the while.
//! The pauses here are the workload.

use crate::common::{Ending, Program, on_every_backend, report, write};
use portico::settings::BackendChoice;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

on_every_backend!(
    a_flood_of_silent_clients_hinders_nobody,
    a_flood_beyond_the_limit_of_connections_hinders_nobody
);

const PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 3;

fn a_flood_of_silent_clients_hinders_nobody(backend: BackendChoice) {
    flood(backend, &["--idle-timeout-ms=500"]);
}

/// All places are taken most of the time; each is free again soon.
fn a_flood_beyond_the_limit_of_connections_hinders_nobody(backend: BackendChoice) {
    flood(backend, &["--idle-timeout-ms=100", "--connections=64"]);
}

fn flood(backend: BackendChoice, limits: &[&str]) {
    crate::raise_descriptor_limit();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "file", "content");
    let mut arguments = vec!["--backend", backend.name(), "--workers=1"];
    arguments.extend_from_slice(limits);
    let program = Program::start(folder.path(), &arguments);
    assert_eq!(program.connect().get("/file").status, 200);
    let over = AtomicBool::new(false);
    let (silent, asked) = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::SeqCst) {
                assert_eq!(program.connect().get("/file").body, b"content");
                asked += 1;
                sleep(Duration::from_millis(10));
            }
            asked
        });
        let began = Instant::now();
        let mut silent = Vec::new();
        for number in 0..SECONDS * PER_SECOND {
            sleep(
                (began + Duration::from_secs(1) * number / PER_SECOND)
                    .saturating_duration_since(Instant::now()),
            );
            silent.push(program.connect());
        }
        // Each is ended, in order; where accepting it failed there was no order to keep.
        let resets =
            silent.iter_mut().filter_map(|client| (client.ending() == Ending::Reset).then_some(())).count();
        over.store(true, Ordering::SeqCst);
        assert_eq!(resets, 0);
        (silent.len(), others.join().unwrap())
    });
    assert_eq!(program.connect().get("/file").body, b"content");
    report(&format!("{}: {silent} silent clients were ended, {asked} others were answered", backend.name()));
    program.kill();
}
