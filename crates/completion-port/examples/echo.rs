//! An echo server: what a client says comes back to it. `cargo run --example echo`, then `telnet 127.0.0.1 7777`.

use completion_port::{Configuration, Handle, Operation, OperationKind, Payload, Port, Worker};
use std::{error::Error, net::TcpListener};

fn main() -> Result<(), Box<dyn Error>> {
    let mut configuration = Configuration::default();
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    serve(&Port::new(configuration)?, TcpListener::bind("127.0.0.1:7777")?)
}

/// Serves on the calling thread, until another shuts the port down.
pub(crate) fn serve(port: &Port, listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let mut worker = port.worker()?;
    let listener = worker.associate(listener, 0).map_err(|(error, _)| error)?;
    worker.submit(listener, Operation::AcceptStream)?;
    let mut completions = Vec::new();
    loop {
        worker.wait(&mut completions, None)?;
        for completion in completions.drain(..) {
            let client = completion.handle;
            match (completion.kind, completion.result, completion.payload) {
                // A client is there: what it says shall go into a buffer of the pool.
                (_, Ok(_), Payload::Accepted(client)) => match worker.buffers().acquire(4096) {
                    Ok(buffer) => submit(&mut worker, client, Operation::Receive { buffer }),
                    Err(_) => worker.close(client),
                },
                // It said something: the buffer came home with it, and goes out as it is.
                (OperationKind::Receive, Ok(1..), Payload::Buffer(buffer)) => {
                    submit(&mut worker, client, Operation::Send { chain: buffer.into() });
                }
                // All of that was sent: the buffer is home again, and free for more. Who does not read is not read from.
                (OperationKind::Send, Ok(_), Payload::Chain(chain)) => {
                    let sent = chain.into_slices().next().and_then(|slice| slice.try_into_buffer().ok());
                    let mut buffer = sent.expect("the chain had one slice, and nobody else has it");
                    buffer.clear();
                    submit(&mut worker, client, Operation::Receive { buffer });
                }
                // It ended, or its connection broke.
                (OperationKind::Receive | OperationKind::Send, ..) => worker.close(client),
                (OperationKind::Shutdown, ..) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// What is not accepted comes back at once, with the reason. This client has to go; the buffer returns to its pool.
fn submit(worker: &mut Worker, client: Handle, operation: Operation) {
    if worker.submit(client, operation).is_err() {
        worker.close(client);
    }
}
