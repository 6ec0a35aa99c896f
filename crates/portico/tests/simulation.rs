//! The whole server in simulated worlds: many clients of all kinds, faults from a seed, and an orderly end.
//!
//! `COMPLETION_PORT_SEEDS` says how many seeds, or which: `1000`, or `17..18`.
#![cfg(unix)]

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/site.rs"]
mod site;
#[path = "simulation/time_limits.rs"]
mod time_limits;

use client::Client;
use completion_port::simulation::{Faults, Random, World};
use portico::{
    settings::{Coding, Settings},
    simulation::SimulatedServer,
};
use site::Site;
use std::{
    cell::Cell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Once,
    time::Duration,
};

/// The client number of the moment when what still runs is cancelled.
const DEADLINE: u64 = u64::MAX;

thread_local! {
    /// The server catches the panics of a connection; a test must not.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

fn settings(site: &Site, random: &mut Random) -> Settings {
    let mut settings = Settings::new(site.root());
    settings.upload = Some(site.root().join("in"));
    settings.port = 0;
    settings.workers = 1 + random.below(4);
    settings.ports = 1 + random.below(settings.workers);
    settings.connections = [16, 128, 2_048][random.below(3)];
    settings.buffer_memory_bytes = [4 << 20, 32 << 20][random.below(2)];
    settings.pipeline_depth = [1, 4, 16][random.below(3)];
    settings.file_cache_entries = [8, 1_024][random.below(2)];
    settings.receive_buffer_bytes = [256, 4_096][random.below(2)];
    settings.send_slice_bytes = [16_384, 131_072][random.below(2)];
    settings.precompressed = [vec![], vec![Coding::Gzip, Coding::Brotli]][random.below(2)].clone();
    settings.compress = [vec![], vec![Coding::Gzip]][random.below(2)].clone();
    settings.check().expect("settings that fit together");
    settings
}

/// A server with `clients` clients, to its end. Returns how many connections there were.
fn program(site: &Site, seed: u64, replay: &str, clients: usize) -> u64 {
    PANICS.set(0);
    let mut random = Random::new(seed);
    let mut faults = if seed == 0 { Faults::none() } else { Faults::from_seed(seed) };
    // An answer has many bytes: fewer at once take long, and show nothing new.
    faults.socket_buffer_bytes = faults.socket_buffer_bytes.max(1_000);
    let world = World::new(seed, faults);
    world.set_replay(replay);
    let mut server = SimulatedServer::start(settings(site, &mut random), &world).expect("a server");
    let address = server.address();
    let mut clients: Vec<Client> =
        (0..clients).map(|number| Client::new(number as u64, site, &mut random)).collect();
    for number in 0..clients.len() {
        world.wake_after(random.time(Duration::from_secs(2)), number as u64);
    }
    // Some servers are told to stop while clients are there.
    let interrupted = seed % 4 == 3;
    let mut stopping = false;
    let mut acted = 0;
    loop {
        match server.next_client() {
            Some(DEADLINE) if server.is_over() => {}
            Some(DEADLINE) => server.cancel_all(),
            Some(number) => {
                acted += 1;
                clients[number as usize].act(&world, address, &mut random, stopping);
            }
            None if stopping => break,
            None => {}
        }
        let over = clients.iter().all(Client::is_over);
        if !stopping && (over || (interrupted && acted > 5 * clients.len())) {
            stopping = true;
            server.begin_shutdown();
            world.wake_after(Duration::from_secs(3_000), DEADLINE);
        }
    }
    let waiting = clients.iter().filter(|client| !client.is_over()).count();
    assert_eq!(waiting, 0, "clients whose connection never ended");
    assert!(server.is_over(), "workers that got no shutdown packet");
    let end = server.end();
    assert!(end.is_clean(), "the server ended like this: {end}");
    assert_eq!(PANICS.get(), 0, "a connection panicked");
    world.connections()
}

fn seeds(count: u64) -> Range<u64> {
    let Ok(wanted) = std::env::var("COMPLETION_PORT_SEEDS") else { return 0..count };
    let range = match wanted.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()),
        None => wanted.parse().ok().map(|count| (0, count)),
    };
    let (from, to) = range.expect("COMPLETION_PORT_SEEDS is a count, or a range such as 17..18");
    from..to
}

#[allow(clippy::print_stderr, reason = "figures and replays are for whoever runs the test by hand")]
#[test]
fn every_answer_that_arrives_whole_is_right_and_every_connection_ends() {
    count_panics();
    let site = Site::new();
    let mut connections = 0;
    for seed in seeds(8) {
        let replay =
            format!("COMPLETION_PORT_SEEDS={seed}..{} cargo test -p portico --test simulation", seed + 1);
        site.empty_uploads();
        match catch_unwind(AssertUnwindSafe(|| program(&site, seed, &replay, 300))) {
            Ok(made) => connections += made,
            Err(panic) => {
                eprintln!("seed {seed} failed; to see it again:\n  {replay}");
                resume_unwind(panic);
            }
        }
    }
    eprintln!("{connections} connections");
}
