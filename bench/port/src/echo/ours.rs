//! On the completion port: a receive stream for each connection, and one send for what it brings.

use super::RECEIVE_BYTES;
use crate::Failure;
use completion_port::{
    Backend, BufferClass, Configuration, Handle, Operation, OperationKind, Payload, Port, Worker,
};
use std::net::TcpListener;

/// One queue on `backend`.
pub fn configuration(backend: Backend) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(backend);
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    configuration.receive_bytes = RECEIVE_BYTES;
    configuration.buffers = vec![BufferClass { capacity: RECEIVE_BYTES, count: 2_048 }];
    configuration
}

/// One queue on io_uring, whose connections stand in a table of the ring, as those of the bare ring do.
pub fn direct() -> Configuration {
    let mut configuration = configuration(Backend::IoUring);
    configuration.direct_descriptors = 16_384;
    configuration
}

/// Serves for ever.
pub fn serve(listener: TcpListener, configuration: Configuration) -> Result<(), Failure> {
    serve_on(&mut Port::new(configuration)?.worker()?, listener)
}

/// Serves for ever, on one worker.
pub fn serve_on(worker: &mut Worker, listener: TcpListener) -> Result<(), Failure> {
    let listener = worker.associate(listener, 0).map_err(|(error, _)| error)?;
    worker.submit(listener, Operation::AcceptStream)?;
    let mut completions = Vec::new();
    loop {
        worker.wait(&mut completions, None)?;
        for completion in completions.drain(..) {
            let client = completion.handle;
            match (completion.kind, completion.result, completion.payload) {
                (OperationKind::ReceiveStream, Ok(1..), Payload::Buffer(buffer)) => {
                    submit(worker, client, Operation::Send { chain: buffer.into() });
                }
                (OperationKind::Send, Ok(_), _) => {}
                (_, Ok(_), Payload::Accepted(client)) => {
                    submit(worker, client, Operation::ReceiveStream);
                }
                (OperationKind::ReceiveStream | OperationKind::Send, ..) => worker.close(client),
                _ => {}
            }
        }
    }
}

fn submit(worker: &mut Worker, client: Handle, operation: Operation) {
    if worker.submit(client, operation).is_err() {
        worker.close(client);
    }
}
