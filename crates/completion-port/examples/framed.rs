//! A framed protocol. Each packet begins with the length of what follows (four bytes, most significant first), and is answered by a
//! packet with the same bytes sorted. `cargo run --example framed`.
//!
//! Several receives are pending on a connection, so that bytes find a buffer while the program is busy. They complete in the order of
//! submission. The sorting runs on the pool and ends in any order: a [`Sequencer`] gives answers the order of the questions.

use completion_port::{
    Buffer, Completion, Configuration, Handle, Operation, OperationKind, Payload, Port, Sequencer, Worker,
};
use std::{collections::HashMap, collections::VecDeque, error::Error, net::TcpListener};

const PENDING_RECEIVES: usize = 4;
const RECEIVE_BYTES: usize = 4_096;
const HEADER_BYTES: usize = 4;
const MAXIMUM_PACKET_BYTES: usize = 65_536;
/// Packets of one connection that are being sorted, or whose answers the client has not taken.
const WINDOW: u64 = 16;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    serve(&Port::new(configuration())?, TcpListener::bind("127.0.0.1:7778")?)
}

pub(crate) fn configuration() -> Configuration {
    let mut configuration = Configuration::default();
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    // Windows can fill them all before the program looks at the first.
    configuration.receives_outstanding = PENDING_RECEIVES;
    configuration
}

/// Serves on the calling thread, until another shuts the port down.
pub(crate) fn serve(port: &Port, listener: TcpListener) -> Outcome {
    let mut worker = port.worker()?;
    let listener = worker.associate(listener, 0).map_err(|(error, _)| error)?;
    worker.submit(listener, Operation::AcceptStream)?;
    let (mut connections, mut completions) = (HashMap::new(), Vec::new());
    loop {
        worker.wait(&mut completions, None)?;
        for completion in completions.drain(..) {
            let (client, goes_on) = match (completion.kind, &completion.payload) {
                (OperationKind::Shutdown, _) => return Ok(()),
                (_, &Payload::Accepted(client)) => {
                    let begun = Connection::begin(&mut worker, client);
                    (client, begun.map(|connection| connections.insert(client, connection)).is_ok())
                }
                _ => {
                    let client = completion.handle;
                    let Some(connection) = connections.get_mut(&client) else { continue };
                    // A client that breaks the rules, and one for whom there is no room, has to go.
                    (client, connection.complete(&mut worker, completion).unwrap_or(false))
                }
            };
            if !goes_on {
                connections.remove(&client);
                worker.close(client);
            }
        }
    }
}

struct Connection {
    client: Handle,
    /// What came, in order, and how much of the first has been dealt with.
    arrived: VecDeque<Buffer>,
    taken: usize,
    /// The packet that is coming in: at first only its header.
    packet: Buffer,
    answers: Sequencer<Buffer>,
    questions: u64,
    sent: u64,
    ended: bool,
}

impl Connection {
    fn begin(worker: &mut Worker, client: Handle) -> Outcome<Self> {
        for _ in 0..PENDING_RECEIVES {
            let buffer = worker.buffers().acquire(RECEIVE_BYTES)?;
            worker.submit(client, Operation::Receive { buffer })?;
        }
        let packet = worker.buffers().acquire(HEADER_BYTES)?;
        let (arrived, answers) = (VecDeque::new(), Sequencer::new(WINDOW as usize));
        Ok(Self { client, arrived, taken: 0, packet, answers, questions: 0, sent: 0, ended: false })
    }

    /// Deals with a completion. False when all is said and answered.
    fn complete(&mut self, worker: &mut Worker, completion: Completion) -> Outcome<bool> {
        match (completion.result?, completion.payload) {
            (0, Payload::Buffer(_)) => self.ended = true,
            (_, Payload::Buffer(bytes)) => self.arrived.push_back(bytes),
            (_, Payload::Returned(answer)) => {
                let (number, answer) = *answer.downcast().expect("the work in `ask` returns this");
                self.answers.put(number, answer).expect("no more are asked than the window holds");
                while let Some(answer) = self.answers.take() {
                    worker.submit(self.client, Operation::Send { chain: answer.into() })?;
                }
            }
            _ => self.sent += 1,
        }
        self.read(worker)?;
        Ok(!self.ended || self.sent < self.questions)
    }

    /// Cuts packets out of what has arrived, as far as the window allows. A buffer that is used up is received into again: who
    /// does not take the answers is not read from.
    fn read(&mut self, worker: &mut Worker) -> Outcome {
        while self.questions - self.sent < WINDOW
            && let Some(bytes) = self.arrived.front()
        {
            let part = self.packet.spare_capacity().min(bytes.len() - self.taken);
            self.packet.extend_from_slice(&bytes[self.taken..self.taken + part]);
            self.taken += part;
            if let Some(header) = self.packet.first_chunk::<HEADER_BYTES>() {
                let whole = HEADER_BYTES.saturating_add(u32::from_be_bytes(*header) as usize);
                if whole > MAXIMUM_PACKET_BYTES {
                    return Err("the packet is too long".into());
                } else if self.packet.len() == whole {
                    self.ask(worker)?;
                } else if self.packet.len() == HEADER_BYTES {
                    let mut packet = worker.buffers().acquire(whole)?;
                    packet.extend_from_slice(&self.packet);
                    self.packet = packet;
                }
            }
            if self.arrived.front().is_some_and(|bytes| self.taken == bytes.len()) {
                self.taken = 0;
                let mut buffer = self.arrived.pop_front().expect("it was there just now");
                buffer.clear();
                worker.submit(self.client, Operation::Receive { buffer })?;
            }
        }
        Ok(())
    }

    /// Has the packet answered on the pool. The buffer of the question becomes that of the answer.
    fn ask(&mut self, worker: &mut Worker) -> Outcome {
        let next = worker.buffers().acquire(HEADER_BYTES)?;
        let mut packet = std::mem::replace(&mut self.packet, next);
        let number = self.questions;
        self.questions += 1;
        let work = Box::new(move || {
            packet[HEADER_BYTES..].sort_unstable();
            Box::new((number, packet)) as Box<_>
        });
        worker.submit(self.client, Operation::Call { work })?;
        Ok(())
    }
}
