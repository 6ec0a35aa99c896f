//! A file copier that keeps several reads and writes in flight. `cargo run --release --example copy FROM TO`.
//!
//! A read brings a slice of the file; its completion carries the buffer, which becomes the write of the same slice, and then the
//! read of the next one that nobody has begun. Operations on files end in any order: tokens say which is which.

use completion_port::{
    BufferClass, Completion, Configuration, Handle, Metadata, OpenOptions, Operation, OperationKind as Kind,
    Payload, Port, Token, Worker,
};
use std::{collections::HashMap, error::Error, path::Path};

const SLICE_BYTES: usize = 256 << 10;
const IN_FLIGHT: usize = 16;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[allow(clippy::print_stdout, reason = "a program prints")]
fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to] = &arguments[..] else {
        return Err("say what to copy, and to where: copy FROM TO".into());
    };
    let mut worker = Port::new(configuration())?.worker()?;
    println!("{} bytes", copy(&mut worker, from.as_ref(), to.as_ref())?);
    Ok(())
}

/// One worker, and no more memory than is in flight.
pub(crate) fn configuration() -> Configuration {
    let mut configuration = Configuration::default();
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    configuration.buffers = vec![BufferClass { capacity: SLICE_BYTES, count: IN_FLIGHT }];
    configuration
}

/// Copies a file into a new one, and returns its length. What is there already is not overwritten.
pub(crate) fn copy(worker: &mut Worker, from: &Path, to: &Path) -> Outcome<u64> {
    let (source, metadata) = open(worker, from, OpenOptions::new().read(true))?;
    let copied = open(worker, to, OpenOptions::new().write(true).create_new(true)).and_then(|(target, _)| {
        let copied =
            Copier { source, target, length: metadata.length, begun: 0, slices: HashMap::new() }.run(worker);
        worker.close(target);
        copied
    });
    worker.close(source);
    copied
}

fn open(worker: &mut Worker, path: &Path, options: OpenOptions) -> Outcome<(Handle, Metadata)> {
    let operation = Operation::Open { directory: None, path: path.into(), options };
    let opened = finish(worker, Handle::NONE, operation);
    match opened.map_err(|error| format!("{}: {error}", path.display()))?.payload {
        Payload::Opened { file, metadata } => Ok((file, metadata)),
        other => unreachable!("an open that succeeds opens, and does not yield {other:?}"),
    }
}

/// Does one operation, while nothing else is in flight.
fn finish(worker: &mut Worker, handle: Handle, operation: Operation) -> Outcome<Completion> {
    let token = worker.submit(handle, operation)?;
    let mut completions = Vec::new();
    loop {
        worker.wait(&mut completions, None)?;
        if let Some(completion) = completions.drain(..).find(|completion| completion.token == token) {
            completion.result?;
            return Ok(completion);
        }
    }
}

struct Copier {
    source: Handle,
    target: Handle,
    length: u64,
    /// Where the next slice begins.
    begun: u64,
    /// Where the slices begin that are being read or written.
    slices: HashMap<Token, u64>,
}

impl Copier {
    fn run(mut self, worker: &mut Worker) -> Outcome<u64> {
        let mut outcome = self.fill(worker);
        let mut completions = Vec::new();
        // Whatever went wrong, what is in flight comes home first.
        while !self.slices.is_empty() {
            worker.wait(&mut completions, None)?;
            for completion in completions.drain(..) {
                let Some(offset) = self.slices.remove(&completion.token) else { continue };
                outcome = outcome.and_then(|()| self.go_on(worker, offset, completion));
            }
        }
        outcome?;
        let written = finish(worker, self.target, Operation::Metadata { file: self.target })?.payload;
        match written {
            Payload::Metadata(Metadata { length, .. }) if length == self.length => Ok(length),
            other => Err(format!("{} bytes were written, but the copy is {other:?}", self.length).into()),
        }
    }

    /// Begins as many slices as there are buffers for.
    fn fill(&mut self, worker: &mut Worker) -> Outcome {
        while self.slices.len() < IN_FLIGHT && self.begun < self.length {
            let wanted = (self.length - self.begun).min(SLICE_BYTES as u64);
            let buffer = worker.buffers().acquire(wanted as usize)?;
            let read = Operation::ReadAt { file: self.source, offset: self.begun, buffer };
            self.slices.insert(worker.submit(self.source, read)?, self.begun);
            self.begun += wanted;
        }
        Ok(())
    }

    fn go_on(&mut self, worker: &mut Worker, offset: u64, completion: Completion) -> Outcome {
        completion.result?;
        match (completion.kind, completion.payload) {
            (Kind::ReadAt, Payload::Buffer(buffer)) if buffer.spare_capacity() == 0 => {
                let write = Operation::WriteAt { file: self.target, offset, chain: buffer.into() };
                self.slices.insert(worker.submit(self.target, write)?, offset);
                Ok(())
            }
            (Kind::ReadAt, _) => Err("the file became shorter while it was copied".into()),
            // It is written whole: its buffer goes back to the pool, for the next slice.
            (_, written) => {
                drop(written);
                self.fill(worker)
            }
        }
    }
}
