//! A job queue: the port as a queue between threads, and nothing else. `cargo run --release --example jobs`.
//!
//! Workers wait at the port and run what is posted to it. The queues are bounded; when they are full, the thread that brings a job
//! runs it itself, and brings no more meanwhile: that is the back-pressure.

use completion_port::{
    Configuration, Error, ErrorKind, OperationKind, Packet, Payload, Port, ShutdownReport,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What a worker is to do.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs.
pub(crate) struct Jobs {
    port: Port,
    threads: Vec<JoinHandle<Result<usize, Error>>>,
    posted: AtomicUsize,
}

#[allow(clippy::print_stdout, reason = "a program prints")]
fn main() -> Result<(), Error> {
    let jobs = Jobs::start(Configuration::default())?;
    let (counted, counts) = mpsc::channel();
    for hundred_thousand in 0..50 {
        let counted = counted.clone();
        jobs.run(Box::new(move || {
            let numbers = hundred_thousand * 100_000..(hundred_thousand + 1) * 100_000;
            let is_prime = |&n: &u32| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0);
            counted.send(numbers.filter(is_prime).count()).expect("main waits for all counts");
        }))?;
    }
    drop(counted);
    println!("{} primes below five million", counts.iter().sum::<usize>());
    println!("the end: {}", jobs.finish(Duration::from_secs(10)).0);
    Ok(())
}

impl Jobs {
    /// Starts a thread for each worker that the port can have. [`Configuration::posts`] is how many jobs wait for each queue at most.
    pub(crate) fn start(configuration: Configuration) -> Result<Self, Error> {
        let workers = configuration.queues * configuration.workers_per_queue;
        let port = Port::new(configuration)?;
        let all_there = Arc::new(Barrier::new(workers + 1));
        let threads = (0..workers).map(|_| {
            let (port, all_there) = (port.clone(), Arc::clone(&all_there));
            thread::spawn(move || work(&port, &all_there))
        });
        let threads = threads.collect();
        // A port that shuts down takes no more workers: `finish` may come soon, and needs them.
        all_there.wait();
        Ok(Self { threads, port, posted: AtomicUsize::new(0) })
    }

    /// Hands a job to a worker, or runs it where all queues are full. True if a worker has it.
    pub(crate) fn run(&self, job: Job) -> Result<bool, Error> {
        let mut packet = Packet { object: Some(Box::new(job)), ..Packet::default() };
        for _ in 0..self.port.queues() {
            let queue = self.posted.fetch_add(1, Ordering::Relaxed) % self.port.queues();
            match self.port.post(queue, packet) {
                Ok(()) => return Ok(true),
                Err((error, back)) if error.kind() == ErrorKind::QueueFull => packet = back,
                Err((error, _)) => return Err(error),
            }
        }
        run(packet);
        Ok(false)
    }

    /// Lets the workers finish what waits, for up to `limit`. Returns how many jobs they ran.
    pub(crate) fn finish(self, limit: Duration) -> (ShutdownReport, usize) {
        let report = self.port.shutdown(limit);
        let ran = self.threads.into_iter().map(|thread| thread.join().expect("jobs that panic are caught"));
        (report, ran.map(|ran| ran.unwrap_or(0)).sum())
    }
}

/// A worker: waits, runs, waits again.
fn work(port: &Port, all_there: &Barrier) -> Result<usize, Error> {
    let worker = port.worker();
    all_there.wait();
    let mut worker = worker?;
    let (mut completions, mut ran) = (Vec::new(), 0);
    loop {
        worker.wait(&mut completions, None)?;
        for completion in completions.drain(..) {
            match (completion.kind, completion.payload) {
                (OperationKind::Post, Payload::Packet(packet)) => {
                    run(packet);
                    ran += 1;
                }
                // It comes when the queue is empty: nothing that was posted before the shutdown is lost.
                (OperationKind::Shutdown, _) => return Ok(ran),
                _ => {}
            }
        }
    }
}

fn run(packet: Packet) {
    let job = packet.object.and_then(|object| object.downcast::<Job>().ok());
    if let Some(job) = job {
        // Its panic is its own: the standard hook has printed it, and the worker goes on.
        let _ = catch_unwind(AssertUnwindSafe(*job));
    }
}
