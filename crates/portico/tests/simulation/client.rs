//! A client that never blocks: it acts when its connection has news, or when its time has come.

use crate::site::{Request, Site};
use completion_port::simulation::{Faults, Random, Stream, World};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// One request after the other.
    KeepAlive,
    /// All requests at once.
    Pipelined,
    /// A few bytes now and then.
    Slow,
    /// Breaks off somewhere.
    Rude,
}

pub(crate) struct Client {
    number: u64,
    manner: Manner,
    stream: Option<Stream>,
    tries: u32,
    requests: VecDeque<Request>,
    /// Asked, and not answered yet.
    asked: VecDeque<Request>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// A rude client's patience, in acts.
    patience: usize,
    answered: usize,
    /// The server said that this is the end, or nothing more will be asked.
    closing: bool,
    over: bool,
}

impl Client {
    pub(crate) fn new(number: u64, site: &Site, random: &mut Random) -> Self {
        let manner = match random.below(10) {
            0..=3 => Manner::KeepAlive,
            4..=7 => Manner::Pipelined,
            8 => Manner::Slow,
            _ => Manner::Rude,
        };
        let count = random.below(8);
        Self {
            number,
            manner,
            stream: None,
            tries: 0,
            requests: (0..count).map(|place| site.request(number, place, random)).collect(),
            asked: VecDeque::new(),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            patience: random.below(20),
            answered: 0,
            closing: false,
            over: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Does what can be done now.
    pub(crate) fn act(&mut self, world: &World, address: SocketAddr, random: &mut Random, stopping: bool) {
        if self.over {
            return;
        }
        if self.stream.is_none() {
            return self.connect(world, address, stopping);
        }
        if self.manner == Manner::Rude {
            self.patience = self.patience.saturating_sub(1);
            if self.patience == 0 {
                let stream = self.stream.take();
                self.over = true;
                if random.below(2) == 0
                    && let Some(stream) = stream
                {
                    stream.reset();
                }
                return;
            }
        }
        match self.exchange(random) {
            Ok(false) => {
                if self.manner == Manner::Slow {
                    world.wake_after(random.time(Duration::from_secs(3)), self.number);
                }
            }
            Ok(true) => self.ended(world, stopping),
            Err(error) => {
                let broken = matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                assert!(broken, "client {}: {error}", self.number);
                let excused = stopping || world.faults() != Faults::none() || self.closing;
                assert!(
                    excused || self.manner == Manner::Slow,
                    "client {} ({:?}) was reset after {} answers, before {:?}",
                    self.number,
                    self.manner,
                    self.answered,
                    self.asked
                        .iter()
                        .map(|request| request.bytes[..40.min(request.bytes.len())]
                            .escape_ascii()
                            .to_string())
                        .collect::<Vec<_>>()
                );
                self.over = true;
            }
        }
        if self.over {
            self.stream = None;
        }
    }

    fn connect(&mut self, world: &World, address: SocketAddr, stopping: bool) {
        self.tries += 1;
        match world.connect(address) {
            Ok(stream) => {
                stream.set_nonblocking(true);
                if self.manner != Manner::Slow {
                    stream.notify(Some(self.number));
                }
                self.stream = Some(stream);
                world.wake_after(Duration::ZERO, self.number);
            }
            Err(_) if stopping => self.over = true,
            Err(_) if self.tries < 200 => world.wake_after(Duration::from_millis(10), self.number),
            Err(error) => panic!("client {} never connected: {error}", self.number),
        }
    }

    /// The server ended the connection.
    fn ended(&mut self, world: &World, stopping: bool) {
        self.over = true;
        let excused =
            stopping || self.closing || self.manner == Manner::Slow || world.faults() != Faults::none();
        assert!(excused, "client {}: the end instead of {} answers", self.number, self.asked.len());
    }

    /// Sends and receives what goes without waiting. True at the end.
    fn exchange(&mut self, random: &mut Random) -> Result<bool, ErrorKind> {
        while !self.requests.is_empty() && (self.manner == Manner::Pipelined || self.asked.is_empty()) {
            let Some(request) = self.requests.pop_front() else { break };
            self.outgoing.extend_from_slice(&request.bytes);
            self.asked.push_back(request);
        }
        if self.asked.is_empty() && self.requests.is_empty() && !self.closing {
            self.closing = true;
            self.call(|stream| stream.shutdown(Shutdown::Write))?;
        }
        while !self.outgoing.is_empty() {
            let most = if self.manner == Manner::Slow { 1 + random.below(100) } else { self.outgoing.len() };
            let piece = self.outgoing[..most.min(self.outgoing.len())].to_vec();
            let Some(sent) = self.call(|stream| stream.write(&piece))? else { break };
            self.outgoing.drain(..sent);
            if self.manner == Manner::Slow {
                break;
            }
        }
        let mut piece = vec![0; if self.manner == Manner::Slow { 5_000 } else { 65_536 }];
        loop {
            match self.call(|stream| stream.read(&mut piece))? {
                None => return Ok(false),
                Some(0) => {
                    self.read_answers();
                    return Ok(true);
                }
                Some(bytes) => self.incoming.extend_from_slice(&piece[..bytes]),
            }
            if self.read_answers() && self.manner != Manner::Slow {
                // The next request, or the end.
                return self.exchange(random);
            }
            if self.manner == Manner::Slow {
                return Ok(false);
            }
        }
    }

    /// None where it would block.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Stream) -> std::io::Result<T>,
    ) -> Result<Option<T>, ErrorKind> {
        let stream = self.stream.as_mut().expect("a client that exchanges is connected");
        match call(stream) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.kind()),
        }
    }

    /// Looks at the answers that arrived whole. Whether there were any.
    fn read_answers(&mut self) -> bool {
        let before = self.answered;
        while let Some(length) = self.read_answer() {
            self.incoming.drain(..length);
            self.answered += 1;
        }
        self.answered > before
    }

    fn read_answer(&mut self) -> Option<usize> {
        let end = self.incoming.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.incoming[..end]).expect("a head is text");
        let status: u16 = head[9..12].parse().unwrap_or_else(|_| panic!("not an answer: {head:?}"));
        let field = |name: &str| {
            let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let length: usize = field("Content-Length").map_or(0, |length| length.parse().expect("a length"));
        let closes = field("Connection") == Some("close");
        let request = self.asked.front().cloned();
        let body = match &request {
            Some(request) if request.head_only => end..end,
            _ => end..end + length,
        };
        let body = self.incoming.get(body)?;
        match &request {
            Some(request) if request.status.contains(&status) => {
                if let Some(wanted) = &request.body {
                    assert_eq!(length, wanted.len(), "client {}: another length", self.number);
                    let same = request.head_only || *body == **wanted;
                    assert!(same, "client {}: another body of {length} bytes", self.number);
                }
            }
            // It took too long over its request, or over taking the answer.
            _ if status == 408 && self.manner == Manner::Slow => assert!(closes),
            // The disk, or another shortage.
            Some(_) if matches!(status, 500 | 503 | 507) => {}
            _ => panic!("client {}: not what was asked for: {head}", self.number),
        }
        let length = end + body.len();
        self.asked.pop_front();
        if closes {
            self.closing = true;
            self.requests.clear();
        }
        Some(length)
    }
}
