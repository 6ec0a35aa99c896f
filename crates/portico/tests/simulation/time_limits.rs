//! Time limits in virtual time, where an hour costs nothing and a limit is met to the moment.

use crate::site::Site;
use completion_port::simulation::{Faults, Stream, World};
use portico::{settings::Settings, simulation::SimulatedServer};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    time::Duration,
};

/// The client number of the moment until which time passes.
const MOMENT: u64 = u64::MAX - 1;
/// What a limit may be late by: news on the network takes its time, and so does each step of a close.
const SLACK: Duration = Duration::from_millis(10);

const HEADER: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
const WRITE: Duration = Duration::from_secs(60);

struct Rig {
    /// Stays as long as it is served.
    _site: Site,
    world: World,
    server: SimulatedServer,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&mut Settings, &mut Faults)) -> Self {
        let site = Site::new();
        let mut settings = Settings::new(site.root());
        settings.upload = Some(site.root().join("in"));
        (settings.port, settings.workers) = (0, 1);
        settings.buffer_memory_bytes = 8 << 20;
        let defaults = [settings.header_timeout, settings.body_timeout, settings.idle_timeout];
        assert_eq!((defaults, settings.write_timeout), ([HEADER, BODY, IDLE], WRITE));
        let mut faults = Faults::none();
        change(&mut settings, &mut faults);
        settings.check().unwrap();
        let world = World::new(1, faults);
        let server = SimulatedServer::start(settings, &world).unwrap();
        Self { _site: site, world, server }
    }

    fn connect(&self) -> Client {
        let stream = self.world.connect(self.server.address()).unwrap();
        stream.set_nonblocking(true);
        Client { stream, came: Vec::new(), ended: false }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        self.world.wake_after(time, MOMENT);
        while self.server.next_client().expect("the moment comes") != MOMENT {}
    }

    /// Has `act` done after every `pause`, until the client's connection ends. How long that took since the beginning.
    fn until_end(
        &mut self,
        client: &mut Client,
        pause: Duration,
        mut act: impl FnMut(&mut Client),
    ) -> Duration {
        let began = self.world.now();
        while !client.read() {
            self.pass(pause);
            act(client);
            let took = self.world.now() - began;
            assert!(took < Duration::from_secs(7_200), "the connection goes on");
        }
        self.world.now() - began
    }

    /// Waits for an answer that says so much; how long that took.
    fn until_answer(
        &mut self,
        client: &mut Client,
        pause: Duration,
        mut act: impl FnMut(&mut Client),
    ) -> Duration {
        let began = self.world.now();
        while !client.read() && client.came.is_empty() {
            self.pass(pause);
            act(client);
            assert!(self.world.now() - began < Duration::from_secs(7_200), "no answer comes");
        }
        self.world.now() - began
    }

    fn end(mut self) {
        self.server.begin_shutdown();
        while self.server.next_client().is_some() {}
        assert!(self.server.is_over());
        let end = self.server.end();
        assert!(end.is_clean(), "{end}");
    }
}

struct Client {
    stream: Stream,
    came: Vec<u8>,
    ended: bool,
}

impl Client {
    /// Sends what is taken at once; what a connection that ended does not take is not missed.
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if let Ok(sent) = self.stream.write(bytes) {
            assert_eq!(sent, bytes.len());
        }
    }

    /// Takes up to `most` bytes that came.
    fn take(&mut self, most: usize) -> usize {
        let mut piece = vec![0; most];
        match self.stream.read(&mut piece) {
            Ok(bytes) => {
                self.ended |= bytes == 0;
                self.came.extend_from_slice(&piece[..bytes]);
                bytes
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.ended = true;
                0
            }
        }
    }

    /// Takes all that came; whether that is the end of the connection.
    fn read(&mut self) -> bool {
        while self.take(65_536) > 0 {}
        self.ended
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.came).into_owned()
    }

    #[track_caller]
    fn was_answered(&self, status: u16) {
        assert!(self.text().starts_with(&format!("HTTP/1.1 {status} ")), "{}", self.text());
    }

    #[track_caller]
    fn was_sent_away(&self) {
        self.was_answered(408);
        assert!(self.text().contains("\r\nConnection: close\r\n"), "{}", self.text());
    }
}

#[track_caller]
fn assert_about(took: Duration, limit: Duration, step: Duration) {
    assert!(took >= limit && took <= limit + step + SLACK, "{took:?} instead of {limit:?}");
}

/// More deadlines at once than connections are looked at in a row, each time for a reason of its own: after a request, before the first, and with a
/// head that began and has the shorter limit.
#[test]
fn a_crowd_is_closed_at_its_deadlines() {
    let mut rig = Rig::new();
    let mut clients: Vec<_> = (0..600).map(|_| rig.connect()).collect();
    for client in clients.iter_mut().step_by(3) {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    rig.pass(IDLE / 2);
    for client in clients.iter_mut().skip(1).step_by(3) {
        client.send("GET / HTTP/1.1\r\n");
    }
    rig.pass(HEADER - SLACK);
    assert!(clients.iter_mut().all(|client| !client.read()), "none ends early");
    rig.pass(2 * SLACK);
    for (number, client) in clients.iter_mut().enumerate() {
        client.read();
        assert_eq!(client.text().starts_with("HTTP/1.1 408 "), number % 3 == 1, "client {number}");
    }
    rig.pass(IDLE / 2 - HEADER + SLACK);
    assert!(clients.iter_mut().all(Client::read), "all end in time");
    rig.end();
}

#[test]
fn the_limit_of_a_head_counts_from_its_first_byte() {
    // With a receive stream, and with posted receives.
    for receive_buffer_bytes in [4_096, 16] {
        let mut rig = Rig::with(|settings, _| settings.receive_buffer_bytes = receive_buffer_bytes);
        let head = b"\r\nGET / HTTP/1.1\r\nHost: test\r\nX: ";
        for at_once in [1, 2, 3, 20, head.len()] {
            let mut client = rig.connect();
            // Waiting for the first byte has another limit.
            rig.pass(Duration::from_secs(50));
            client.send(&head[..at_once]);
            let mut rest = head[at_once..].iter().chain(std::iter::repeat(&b'x'));
            let step = Duration::from_millis(100);
            let took = rig.until_answer(&mut client, step, |client| client.send([*rest.next().unwrap()]));
            assert_about(took, HEADER, step);
            client.was_sent_away();
        }
        rig.end();
    }
}

#[test]
fn the_next_head_has_the_whole_limit_again() {
    let mut rig = Rig::new();
    let mut client = rig.connect();
    for _ in 0..10 {
        client.came.clear();
        client.send("GET /page.html HTTP/1.1\r\n");
        rig.pass(HEADER - Duration::from_secs(1));
        client.send("Host: test\r\n\r\nG");
        rig.pass(HEADER - Duration::from_secs(1));
        assert!(!client.read());
        client.was_answered(200);
        client.send("ET /page.html HTTP/1.1\r\nHost: test\r\n\r\n");
        rig.pass(Duration::from_secs(1));
    }
    rig.end();
}

#[test]
fn an_idle_connection_ends_without_a_word() {
    let mut rig = Rig::new();
    let mut new = rig.connect();
    let step = Duration::from_millis(100);
    assert_about(rig.until_end(&mut new, step, |_| {}), IDLE, step);
    assert_eq!(new.text(), "");
    let mut used = rig.connect();
    for _ in 0..5 {
        rig.pass(IDLE - Duration::from_secs(1));
        used.send("GET /one HTTP/1.1\r\nHost: test\r\n\r\n");
        rig.pass(Duration::from_millis(1));
        assert!(!used.read());
    }
    assert_about(rig.until_end(&mut used, step, |_| {}), IDLE, step);
    rig.end();
}

const PUT: &str = "PUT /in/new HTTP/1.1\r\nHost: test\r\nContent-Length: 30000\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_body_has_a_least_rate() {
    for (rate, whole) in [(1, false), (100, false), (230, false), (250, true), (1_000, true)] {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        client.send(PUT);
        let mut left = 30_000;
        let took = rig.until_answer(&mut client, SECOND, |client| {
            let bytes = rate.min(left);
            client.send("x".repeat(bytes));
            left -= bytes;
        });
        if whole {
            client.was_answered(201);
        } else {
            client.was_sent_away();
            assert_about(took, BODY, SECOND);
        }
        rig.end();
    }
}

#[test]
fn a_body_that_stops_is_given_up_within_two_windows() {
    for quick in [0, 7_100, 7_300, 29_999] {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        client.send(PUT);
        rig.pass(SLACK);
        client.send("x".repeat(quick));
        let took = rig.until_answer(&mut client, SECOND, |_| {});
        client.was_sent_away();
        // 240 bytes a second in 30 seconds.
        assert_about(took, if quick < 7_200 { BODY } else { 2 * BODY }, SECOND);
        rig.end();
    }
}

/// A slow client must not win time by the many writes that it causes: each chunk takes a place in the next write.
#[test]
fn the_disk_does_not_set_the_clock_of_a_body_back() {
    for slow_disk in [0.0, 1.0] {
        let mut rig = Rig::with(|_, faults| {
            faults.slow_disk = slow_disk;
            faults.longest_disk_delay = Duration::from_millis(1);
        });
        let mut client = rig.connect();
        client.send("PUT /in/new HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let step = 4 * SECOND;
        let took = rig.until_answer(&mut client, step, |client| client.send("1\r\nx\r\n".repeat(150)));
        client.was_sent_away();
        assert_about(took, BODY, step);
        rig.end();
    }
}

/// Nor is it the client's fault that the disk is slow, as long as it moves.
#[test]
fn a_slow_disk_ends_no_upload() {
    let mut rig = Rig::with(|_, faults| {
        faults.slow_disk = 1.0;
        faults.longest_disk_delay = SECOND;
    });
    let mut client = rig.connect();
    client.send("PUT /in/new HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1\r\nx\r\n".repeat(300));
    client.send("0\r\n\r\n");
    let took = rig.until_answer(&mut client, SECOND, |_| {});
    client.was_answered(201);
    assert!(took > 2 * WRITE, "{took:?}");
    rig.end();
}

#[test]
fn a_body_that_nobody_wants_has_a_least_rate_too() {
    let mut rig = Rig::new();
    let mut client = rig.connect();
    client.send("GET /one HTTP/1.1\r\nHost: test\r\nContent-Length: 10000\r\n\r\n");
    let took = rig.until_answer(&mut client, SECOND, |client| client.send("x"));
    client.was_sent_away();
    assert_about(took, BODY, SECOND);
    rig.end();
}

const GET: &str = "GET /large HTTP/1.1\r\nHost: test\r\n\r\n";
/// Of `/large`.
const LENGTH: usize = 300_001;

/// A connection that holds little, so that what the client has not taken is still to be sent.
fn narrow() -> Rig {
    Rig::with(|_, faults| faults.socket_buffer_bytes = 1_000)
}

#[test]
fn an_answer_has_a_least_rate() {
    for (rate, whole) in [(1, false), (100, false), (200, false), (250, true), (5_000, true)] {
        let mut rig = narrow();
        let mut client = rig.connect();
        client.send(GET);
        let began = rig.world.now();
        while !client.ended && client.came.len() < LENGTH {
            rig.pass(SECOND);
            client.take(rate);
        }
        let took = rig.world.now() - began;
        if whole {
            // Each slice took much longer than the limit.
            rig.pass(SECOND);
            assert!(!client.read());
            client.was_answered(200);
            assert_eq!(client.came.len() - client.text().find("\r\n\r\n").unwrap() - 4, LENGTH);
            rig.end();
            continue;
        }
        // The client reads on until the end of what its system holds.
        let held = Duration::from_secs(1_000 / rate as u64 + 1);
        assert!(took >= WRITE && took <= WRITE + held + SLACK, "{rate}: {took:?}");
        rig.end();
    }
}

#[test]
fn a_reader_that_stops_is_cut_within_two_windows() {
    for quick in [0, 10_000, 100_000] {
        let mut rig = narrow();
        let mut client = rig.connect();
        client.send(GET);
        while client.came.len() < quick {
            rig.pass(Duration::from_micros(1));
            client.take(1_000);
        }
        rig.pass(2 * WRITE + SLACK);
        // The server has closed: nothing more comes than was there.
        client.read();
        assert!(client.ended && client.came.len() < quick + 3_000, "{}", client.came.len());
        rig.end();
    }
}

#[test]
fn without_a_least_rate_one_byte_in_a_window_is_enough() {
    let mut rig = Rig::with(|settings, faults| {
        settings.minimum_rate_bytes = 0;
        faults.socket_buffer_bytes = 100;
    });
    let (mut reader, mut writer) = (rig.connect(), rig.connect());
    reader.send(GET);
    writer.send("PUT /in/new HTTP/1.1\r\n");
    writer.send("Host: test\r\nContent-Length: 30000\r\n\r\n");
    for _ in 0..20 {
        rig.pass(BODY - SECOND);
        writer.send("x");
        rig.pass(BODY - SECOND);
        writer.send("x");
        reader.take(1);
        assert!(!writer.read() && !reader.ended);
    }
    assert_eq!((reader.came.len(), writer.came.len()), (20, 0));
    assert!(rig.until_answer(&mut writer, SECOND, |_| {}) <= 2 * BODY + SECOND);
    writer.was_answered(408);
    rig.pass(2 * WRITE + SLACK);
    assert!(reader.read());
    rig.end();
}

/// A shutdown waits for what runs, but not for the limit of a head that somebody began.
#[test]
fn half_a_head_does_not_keep_a_server_from_its_end() {
    let mut rig = narrow();
    let (mut half, mut posted, mut whole) = (rig.connect(), rig.connect(), rig.connect());
    half.send("GET /page.html HTTP/1.1\r\nHo");
    posted.send("GET /one HTTP/1.1\r\nHost: test\r\n\r\nGET ");
    whole.send("GET /one HTTP/1.1\r\nHo");
    rig.pass(SECOND);
    posted.read();
    posted.was_answered(200);
    rig.server.begin_shutdown();
    rig.pass(SECOND / 2);
    assert!(!half.read() && half.came.is_empty());
    whole.send("st: test\r\n\r\n");
    rig.pass(SLACK);
    assert!(whole.read());
    whole.was_answered(200);
    assert!(whole.text().contains("\r\nConnection: close\r\n"));
    rig.pass(SECOND / 2 + SLACK);
    half.read();
    half.was_sent_away();
    assert!(posted.read() || posted.text().contains(" 408 "));
    for client in [&half, &posted, &whole] {
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    rig.pass(SLACK);
    assert!(rig.server.is_over());
    rig.end();
}

/// No operation was free when a place became free: accepting goes on when there is one, though no connection ends by then.
#[test]
fn accepting_that_was_refused_is_tried_again() {
    let mut rig = Rig::with(|settings, _| {
        settings.connections = 2;
        settings.idle_timeout = Duration::from_secs(3_600);
    });
    let mut stays = rig.connect();
    rig.pass(SLACK);
    let leaves = rig.connect();
    let waiting: Vec<_> = (0..70).map(|_| rig.connect()).collect();
    rig.pass(SLACK);
    let mut faults = Faults::none();
    faults.refused_submits = 1.0;
    rig.world.set_faults(faults);
    drop(leaves);
    rig.pass(SECOND);
    drop(waiting);
    rig.pass(SECOND);
    rig.world.set_faults(Faults::none());
    // A worker that waits tries it when its wait is over. Here none waits; something has to come.
    stays.send("GET /one HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut client = rig.connect();
    client.send("GET /one HTTP/1.1\r\nHost: test\r\n\r\n");
    rig.pass(SECOND);
    assert!(!stays.read() && !client.read());
    stays.was_answered(200);
    client.was_answered(200);
    rig.end();
}
