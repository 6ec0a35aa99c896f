//! A chat room: what somebody says, all others hear, line by line. `cargo run --example chat`, then `telnet 127.0.0.1 7779` a few times.
//!
//! Every queue has its worker and its own guests. A line goes to the guests of other queues by a post to each queue; its bytes are
//! not copied, all sends share one [`Slice`]. Who does not read is shown out; so is who speaks without end, or faster than the room hears.

use completion_port::{
    Buffer, Configuration, Handle, Operation, OperationKind as Kind, Packet, Payload, Port, Slice, Worker,
};
use socket2::{Domain, Socket, Type};
use std::{collections::HashMap, io, net::SocketAddr, net::TcpListener, thread};

/// Bytes in a line at most.
const LINE_BYTES: usize = 1_024;
/// Lines that a guest may leave unread.
const UNREAD_LINES: usize = 64;

fn main() -> io::Result<()> {
    let mut configuration = Configuration::default();
    (configuration.queues, configuration.workers_per_queue) = (4, 1);
    let port = Port::new(configuration)?;
    serve(&port, listen(&port, ([127, 0, 0, 1], 7779).into())?)
}

/// A listener for each queue, at one address. Windows needs one only: the port spreads what it accepts over its queues.
pub(crate) fn listen(port: &Port, mut address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let bind = |_| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.listen(128)?;
        // Where the system chose the number, the others take the same.
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(socket.into())
    };
    (0..if cfg!(windows) { 1 } else { port.queues() }).map(bind).collect()
}

/// Serves with a thread for each queue, until another thread shuts the port down.
pub(crate) fn serve(port: &Port, mut listeners: Vec<TcpListener>) -> io::Result<()> {
    thread::scope(|scope| {
        let spawn = |listener| {
            scope.spawn(move || Room { port, worker: port.worker()?, guests: HashMap::new() }.run(listener))
        };
        let threads: Vec<_> = (0..port.queues()).map(|_| spawn(listeners.pop())).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no worker panics"))
    })
}

/// One worker and its guests.
struct Room<'a> {
    port: &'a Port,
    worker: Worker,
    guests: HashMap<Handle, Guest>,
}

struct Guest {
    /// What has come of a line.
    line: Buffer,
    unread: usize,
}

impl Room<'_> {
    fn run(&mut self, listener: Option<TcpListener>) -> io::Result<()> {
        if let Some(listener) = listener {
            let listener = self.worker.associate(listener, 0).map_err(|(error, _)| error)?;
            self.worker.submit(listener, Operation::AcceptStream).map_err(|rejected| rejected.error)?;
        }
        let mut completions = Vec::new();
        loop {
            self.worker.wait(&mut completions, None)?;
            for completion in completions.drain(..) {
                let guest = completion.handle;
                match (completion.kind, completion.result, completion.payload) {
                    // A guest belongs to a queue, which need not be this one.
                    (_, Ok(_), Payload::Accepted(guest)) => {
                        let joins = Packet { value: guest.to_bits(), ..Packet::default() };
                        if self.port.post(guest.queue(), joins).is_err() {
                            self.port.close(guest);
                        }
                    }
                    (Kind::Post, _, Payload::Packet(packet)) => self.hear(packet),
                    (Kind::ReceiveStream, Ok(1..), Payload::Buffer(words)) => self.listen_to(guest, &words),
                    (Kind::Send, Ok(_), _) => {
                        self.guests.entry(guest).and_modify(|guest| guest.unread -= 1);
                    }
                    (Kind::ReceiveStream | Kind::Send, ..) => self.show_out(guest),
                    (Kind::Draining, ..) => self.guests.drain().for_each(|(guest, _)| self.port.close(guest)),
                    (Kind::Shutdown, ..) => return Ok(()),
                    _ => {}
                }
            }
        }
    }

    /// A packet names a guest. It brings what the guest has said, or nothing: the guest has just come.
    fn hear(&mut self, packet: Packet) {
        let guest = Handle::from_bits(packet.value);
        let Some(line) = packet.object.and_then(|object| object.downcast::<Slice>().ok()) else {
            return self.welcome(guest);
        };
        self.guests.retain(|&other, state| {
            let send = Operation::Send { chain: Slice::clone(&line).into() };
            state.unread += usize::from(other != guest);
            let hears =
                other == guest || state.unread <= UNREAD_LINES && self.worker.submit(other, send).is_ok();
            if !hears {
                self.worker.close(other);
            }
            hears
        });
    }

    fn welcome(&mut self, guest: Handle) {
        let welcome = Operation::Send { chain: Slice::from_static(b"Welcome.\n").into() };
        let submit = |operation| self.worker.submit(guest, operation).is_ok();
        let comes = [welcome, Operation::ReceiveStream].into_iter().all(submit);
        match self.worker.buffers().acquire(LINE_BYTES) {
            Ok(line) if comes => _ = self.guests.insert(guest, Guest { line, unread: 1 }),
            _ => self.worker.close(guest),
        }
    }

    fn listen_to(&mut self, speaker: Handle, words: &[u8]) {
        for part in words.split_inclusive(|&byte| byte == b'\n') {
            let Some(guest) = self.guests.get_mut(&speaker) else { return };
            let fits = part.len() <= guest.line.spare_capacity();
            let next = self.worker.buffers().acquire(LINE_BYTES).ok().filter(|_| fits);
            let Some(next) = next else { return self.show_out(speaker) };
            guest.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::replace(&mut guest.line, next).freeze();
                let packet =
                    || Packet { key: 0, value: speaker.to_bits(), object: Some(Box::new(line.clone())) };
                if (0..self.port.queues()).any(|queue| self.port.post(queue, packet()).is_err()) {
                    self.show_out(speaker);
                }
            }
        }
    }

    /// What is in flight still completes, for somebody who is not on the list any more.
    fn show_out(&mut self, guest: Handle) {
        self.guests.remove(&guest);
        self.worker.close(guest);
    }
}
