//! The port: posts to a worker that waits for batches.

use super::{BATCH, CAPACITY, Packet, Receiver, Sender, Way};
use crate::Failure;
use completion_port::{Backend, Completion, Configuration, Payload, Port, Worker};

/// How many packets are posted at once, where several are.
const TOGETHER: usize = 32;

/// On io_uring.
pub struct IoUring;
/// On readiness.
pub struct Readiness;

impl Way for IoUring {
    type Sender = Port;
    type Receiver = Waiting;
    fn open() -> Result<(Port, impl FnOnce() -> Waiting + Send), Failure> {
        open(Backend::IoUring)
    }
}

impl Way for Readiness {
    type Sender = Port;
    type Receiver = Waiting;
    fn open() -> Result<(Port, impl FnOnce() -> Waiting + Send), Failure> {
        open(Backend::Readiness)
    }
}

/// On io_uring, posted by 32.
pub struct Gathered;

impl Way for Gathered {
    type Sender = Gathering;
    type Receiver = Waiting;
    fn open() -> Result<(Gathering, impl FnOnce() -> Waiting + Send), Failure> {
        let (port, wait) = open(Backend::IoUring)?;
        Ok((Gathering { port, gathered: Vec::new() }, wait))
    }
}

/// A port, and packets that are to be posted together.
pub struct Gathering {
    port: Port,
    gathered: Vec<Packet>,
}

/// A worker with its list of completions.
pub struct Waiting {
    worker: Worker,
    completions: Vec<Completion>,
}

fn open(backend: Backend) -> Result<(Port, impl FnOnce() -> Waiting + Send), Failure> {
    let mut configuration = Configuration::default();
    configuration.backend = Some(backend);
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    (configuration.posts, configuration.batch) = (CAPACITY, BATCH);
    configuration.buffers = Vec::new();
    let port = Port::new(configuration)?;
    let same = port.clone();
    let wait = move || Waiting {
        worker: same.worker().expect("the backend was found to work"),
        completions: Vec::with_capacity(BATCH),
    };
    Ok((port, wait))
}

impl Sender for Port {
    fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        self.post(0, packet).map_err(|(_, packet)| packet)
    }
}

impl Clone for Gathering {
    fn clone(&self) -> Self {
        Self { port: self.port.clone(), gathered: Vec::with_capacity(TOGETHER) }
    }
}

impl Sender for Gathering {
    fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.gathered.len() == TOGETHER && !self.flush() {
            return Err(packet);
        }
        self.gathered.push(packet);
        Ok(())
    }

    fn flush(&mut self) -> bool {
        self.port.post_many(0, &mut self.gathered).is_ok()
    }
}

impl Receiver for Waiting {
    fn receive(&mut self, mut take: impl FnMut(Packet)) {
        self.worker.wait(&mut self.completions, None).expect("the queue works");
        for completion in self.completions.drain(..) {
            if let Payload::Packet(packet) = completion.payload {
                take(packet);
            }
        }
    }
}
