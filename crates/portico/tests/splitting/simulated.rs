//! In simulated worlds, where each piece is received and dealt with before the next one is sent.

use crate::{Ending, Outcome, assert_same_answers, chosen, fill, streams, take_uploads};
use completion_port::simulation::{Faults, Stream, World};
use portico::{settings::Settings, simulation::SimulatedServer};
use std::{
    collections::{BTreeMap, VecDeque},
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    ops::Range,
    path::Path,
    time::Duration,
};

/// Streams of one world.
const BATCH: u64 = 500;
/// Far below every time limit, for all pieces of a stream together.
const BETWEEN_PIECES: Duration = Duration::from_micros(50);

struct Client {
    number: u64,
    pieces: VecDeque<Vec<u8>>,
    stream: Option<Stream>,
    finished: bool,
    answers: Vec<u8>,
    ending: Option<Ending>,
}

impl Client {
    fn act(&mut self, world: &World, address: SocketAddr) {
        if self.ending.is_some() {
            return;
        }
        let Some(stream) = &mut self.stream else {
            let stream = world.connect(address).expect("room for a connection");
            stream.set_nonblocking(true);
            stream.notify(Some(self.number));
            self.stream = Some(stream);
            return world.wake_after(BETWEEN_PIECES, self.number);
        };
        let mut room = [0; 16_384];
        loop {
            match stream.read(&mut room) {
                Ok(0) => break self.ending = Some(Ending::Orderly),
                Ok(bytes) => self.answers.extend_from_slice(&room[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    break self.ending = Some(Ending::Reset);
                }
                Err(error) => panic!("stream {}: {error}", self.number),
            }
        }
        match self.pieces.front_mut() {
            Some(piece) => match stream.write(piece) {
                Ok(sent) if sent < piece.len() => drop(piece.drain(..sent)),
                Ok(_) => {
                    self.pieces.pop_front();
                    world.wake_after(BETWEEN_PIECES, self.number);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The server has ended the connection: what it said is read.
                Err(_) => self.pieces.clear(),
            },
            None if !self.finished => {
                self.finished = true;
                let _ = stream.shutdown(Shutdown::Write);
            }
            None => {}
        }
    }
}

/// Sends streams to a server in a world of their own; `cut` says at which places.
fn run(
    root: &Path,
    numbers: Range<u64>,
    receive_buffer_bytes: usize,
    cut: impl Fn(u64, &[u8]) -> Vec<usize>,
) -> (Vec<Outcome>, BTreeMap<String, Vec<u8>>) {
    let mut settings = Settings::new(root);
    settings.upload = Some(root.join("in"));
    settings.port = 0;
    settings.workers = 1;
    settings.buffer_memory_bytes = 64 << 20;
    settings.receive_buffer_bytes = receive_buffer_bytes;
    settings.check().unwrap();
    let world = World::new(numbers.start, Faults::none());
    let mut server = SimulatedServer::start(settings, &world).unwrap();
    let address = server.address();
    let first = numbers.start;
    let mut clients: Vec<Client> = numbers
        .map(|number| {
            let bytes = streams::stream(number);
            let pieces = streams::pieces(&bytes, &cut(number, &bytes)).into_iter().map(Vec::from).collect();
            Client { number, pieces, stream: None, finished: false, answers: Vec::new(), ending: None }
        })
        .collect();
    for client in &clients {
        world.wake_after(Duration::ZERO, client.number);
    }
    while let Some(number) = server.next_client() {
        clients[(number - first) as usize].act(&world, address);
    }
    server.begin_shutdown();
    while server.next_client().is_some() {}
    let end = server.end();
    assert!(end.is_clean(), "the server ended like this: {end}");
    let outcomes = clients.into_iter().map(|client| {
        let ending =
            client.ending.unwrap_or_else(|| panic!("the connection of stream {} never ended", client.number));
        (client.answers, ending)
    });
    (outcomes.collect(), take_uploads(root))
}

#[allow(clippy::print_stderr, reason = "figures are for whoever runs the test by hand")]
#[test]
fn pieces_do_not_matter_in_a_simulated_world() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    fill(folder.path());
    let all = chosen(2_000);
    let (mut answered, mut reset, mut uploaded) = (0, 0, 0);
    for start in all.clone().step_by(BATCH as usize) {
        let numbers = start..all.end.min(start + BATCH);
        let (whole, whole_uploads) = run(folder.path(), numbers.clone(), 4_096, |_, _| Vec::new());
        let receive_buffer_bytes = if start / BATCH % 4 == 3 { 256 } else { 4_096 };
        let (cut, cut_uploads) = run(folder.path(), numbers.clone(), receive_buffer_bytes, streams::cuts);
        for (number, (whole, cut)) in numbers.zip(whole.iter().zip(&cut)) {
            let cuts = streams::cuts(number, &streams::stream(number));
            if assert_same_answers(number, whole, cut, &cuts) {
                reset += 1;
                continue;
            }
            assert_eq!(whole.1, cut.1, "how the connection of stream {number} ended");
            answered += usize::from(!whole.0.is_empty());
        }
        assert_eq!(whole_uploads, cut_uploads, "what uploads left, in streams from {start}");
        uploaded += whole_uploads.len();
    }
    let count = all.end - all.start;
    eprintln!(
        "{count} streams, {answered} with answers, {uploaded} files uploaded, {reset} reset for sending on"
    );
    assert!(answered > 0 && reset <= 10 + count / 100);
}
