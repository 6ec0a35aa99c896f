//! UDP echo: each datagram goes back to where it came from. `cargo run --example udp_echo`, then `nc -u 127.0.0.1 7777`.
//!
//! A datagram that finds no receive waits in the system's small queue, and is lost where that is full: so many are kept pending. Each
//! becomes the send of what it received, and then a receive again.

use completion_port::{Configuration, Error, Handle, Operation, OperationKind, Payload, Port, Worker};
use std::net::UdpSocket;

const PENDING: usize = 32;
/// Longer than any datagram of UDP.
const DATAGRAM_BYTES: usize = 65_536;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve(&Port::new(configuration())?, UdpSocket::bind("127.0.0.1:7777")?)?;
    Ok(())
}

pub(crate) fn configuration() -> Configuration {
    let mut configuration = Configuration::default();
    (configuration.queues, configuration.workers_per_queue) = (1, 1);
    configuration
}

/// Serves on the calling thread, until another shuts the port down. Returns how many datagrams went back.
pub(crate) fn serve(port: &Port, socket: UdpSocket) -> Result<u64, Error> {
    let mut worker = port.worker()?;
    let socket = worker.associate(socket, 0).map_err(|(error, _)| error)?;
    for _ in 0..PENDING {
        receive(&mut worker, socket)?;
    }
    let (mut completions, mut echoed, mut closed) = (Vec::new(), 0, false);
    loop {
        worker.wait(&mut completions, None)?;
        for completion in completions.drain(..) {
            match (completion.kind, completion.payload) {
                (_, Payload::Datagram { buffer, from, ancillary }) if !ancillary.truncated && !closed => {
                    let send = Operation::SendTo { chain: buffer.into(), to: from };
                    worker.submit(socket, send).map_err(|rejected| rejected.error)?;
                }
                // Sent, or not: a peer that has gone is no reason to stop. The buffer goes back to the pool, and is taken again.
                (OperationKind::SendTo | OperationKind::ReceiveFrom, payload) => {
                    drop(payload);
                    let sent = completion.kind == OperationKind::SendTo && completion.result.is_ok();
                    echoed += u64::from(sent);
                    if !closed {
                        receive(&mut worker, socket)?;
                    }
                }
                // Cancels what is pending: the port is at rest when all of it has come home.
                (OperationKind::Draining, _) => {
                    closed = true;
                    worker.close(socket);
                }
                (OperationKind::Shutdown, _) => return Ok(echoed),
                _ => {}
            }
        }
    }
}

fn receive(worker: &mut Worker, socket: Handle) -> Result<(), Error> {
    let buffer = worker.buffers().acquire(DATAGRAM_BYTES)?;
    worker.submit(socket, Operation::ReceiveFrom { buffer }).map(drop).map_err(|rejected| rejected.error)
}
