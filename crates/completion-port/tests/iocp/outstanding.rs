//! Several receives and sends of a handle that are under way at once.

use super::{PATIENCE, configuration, connection, wait};
use completion_port::{
    BufferClass, Completion, Configuration, ErrorKind, Handle, Operation, OperationKind, Packet, Payload,
    Port, Slice, Token, Worker,
};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The numbers 0, 1, 2 ... of four bytes each: what comes out of order, twice or not at all shows.
fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_be_bytes).collect()
}

fn deep(workers: usize, depth: usize) -> Configuration {
    let mut configuration = configuration(workers);
    (configuration.receives_outstanding, configuration.sends_outstanding) = (depth, depth);
    configuration.buffers = vec![BufferClass { capacity: 4_096, count: 4_096 }];
    configuration
}

fn receive(worker: &mut Worker, handle: Handle, capacity: usize) -> Token {
    let buffer = worker.buffers().acquire(capacity).unwrap();
    worker.submit(handle, Operation::Receive { buffer }).unwrap()
}

fn send(worker: &mut Worker, handle: Handle, bytes: &'static [u8]) -> Token {
    worker.submit(handle, Operation::Send { chain: Slice::from_static(bytes).into() }).unwrap()
}

/// One direction of a connection, and what all workers know of it.
#[derive(Default)]
struct Stream {
    /// In flight, in the order of submission.
    tokens: VecDeque<Token>,
    /// What was received, or of what is to be sent how much was submitted.
    bytes: Vec<u8>,
    submitted: usize,
    over: bool,
}

struct Race {
    /// A lock each that the gate keeps free: whoever finds it taken has found a fault.
    streams: Vec<[Mutex<Stream>; 2]>,
    outgoing: Vec<u8>,
    window: usize,
    open: AtomicUsize,
}

impl Race {
    fn keep_sending(&self, worker: &mut Worker, handle: Handle, stream: &mut Stream) {
        while stream.tokens.len() < self.window && stream.submitted < self.outgoing.len() {
            // Of many lengths, so that they end in the middle of segments and numbers.
            let length = (1 + stream.submitted % 1_009).min(self.outgoing.len() - stream.submitted);
            let mut buffer = worker.buffers().acquire(length).unwrap();
            buffer.extend_from_slice(&self.outgoing[stream.submitted..][..length]);
            let chain = buffer.freeze().into();
            stream.tokens.push_back(worker.submit(handle, Operation::Send { chain }).unwrap());
            stream.submitted += length;
        }
    }

    fn keep_receiving(&self, worker: &mut Worker, handle: Handle, stream: &mut Stream) {
        while stream.tokens.len() < self.window {
            stream.tokens.push_back(receive(worker, handle, 1 + stream.submitted % 701));
            stream.submitted += 1;
        }
    }

    fn take(&self, worker: &mut Worker, completion: Completion) {
        let handle = completion.handle;
        let [incoming, outgoing] = &self.streams[completion.key as usize];
        let held = "one worker at a time has completions of a handle";
        match completion.kind {
            OperationKind::Receive => {
                let mut stream = incoming.try_lock().expect(held);
                assert_eq!(stream.tokens.pop_front(), Some(completion.token), "a receive is out of order");
                let bytes = completion.result.unwrap();
                stream.bytes.extend_from_slice(&completion.payload.into_buffer().unwrap());
                // Those that were posted behind the end find the end too.
                assert!(bytes == 0 || !stream.over, "bytes behind the end");
                stream.over |= bytes == 0;
                if !stream.over {
                    self.keep_receiving(worker, handle, &mut stream);
                }
            }
            OperationKind::Send => {
                let mut stream = outgoing.try_lock().expect(held);
                assert_eq!(stream.tokens.pop_front(), Some(completion.token), "a send is out of order");
                completion.result.unwrap();
                self.keep_sending(worker, handle, &mut stream);
                if stream.tokens.is_empty() {
                    worker.submit(handle, Operation::Disconnect).unwrap();
                    stream.over = true;
                }
            }
            _ => {}
        }
        let [incoming, outgoing] = [incoming, outgoing].map(|stream| stream.try_lock().expect(held));
        let done = incoming.over && incoming.tokens.is_empty() && outgoing.over;
        drop((incoming, outgoing));
        if done && completion.kind != OperationKind::Close {
            worker.close(handle);
            if self.open.fetch_sub(1, Ordering::SeqCst) == 1 {
                worker.port().post(0, Packet::default()).unwrap();
            }
        }
    }

    fn run(&self, worker: &mut Worker) {
        let mut completions = Vec::new();
        loop {
            worker.wait(&mut completions, Some(PATIENCE)).unwrap();
            assert!(!completions.is_empty(), "the race got stuck");
            for completion in completions.drain(..) {
                if completion.kind == OperationKind::Post {
                    // For the next worker.
                    worker.port().post(0, Packet::default()).unwrap();
                    return;
                }
                self.take(worker, completion);
            }
        }
    }
}

fn race(workers: usize, depth: usize) {
    const CONNECTIONS: usize = 4;
    const NUMBERS: u32 = 20_000;
    let port = Port::new(deep(workers, depth)).unwrap();
    let race = Race {
        streams: (0..CONNECTIONS).map(|_| Default::default()).collect(),
        outgoing: numbers(NUMBERS),
        // More than are under way: some wait.
        window: depth + 3,
        open: AtomicUsize::new(CONNECTIONS),
    };
    let mut first = port.worker().unwrap();
    let mut peers = Vec::new();
    for (key, [incoming, outgoing]) in race.streams.iter().enumerate() {
        let (handle, peer) = connection(&mut first, key as u64);
        race.keep_receiving(&mut first, handle, &mut incoming.lock().unwrap());
        race.keep_sending(&mut first, handle, &mut outgoing.lock().unwrap());
        peers.push(peer);
    }
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| race.run(&mut port.worker().unwrap()));
        }
        for mut peer in peers {
            let expected = &race.outgoing;
            let mut writer = peer.try_clone().unwrap();
            scope.spawn(move || {
                for part in expected.chunks(997) {
                    writer.write_all(part).unwrap();
                }
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                assert!(received == *expected, "what was sent arrived in another order");
            });
        }
        race.run(&mut first);
    });
    for [incoming, _] in &race.streams {
        assert!(incoming.lock().unwrap().bytes == race.outgoing, "what was received is in another order");
    }
    drop(first);
    assert_eq!(port.buffers().in_use(), 0);
}

#[test]
fn bytes_arrive_in_order_with_workers_racing() {
    let workers = 2 * std::thread::available_parallelism().unwrap().get();
    for depth in [1, 2, 7, 32] {
        race(workers, depth);
    }
}

#[test]
fn bytes_arrive_in_order_with_a_worker_for_each_queue() {
    race(1, 32);
}

/// Two receives of a connection are posted, and which of them the bytes go to is settled.
#[test]
fn a_receive_in_the_middle_can_be_cancelled() {
    let port = Port::new(deep(1, 3)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, mut peer) = connection(&mut worker, 1);
    let tokens = [4; 4].map(|capacity| receive(&mut worker, handle, capacity));
    worker.cancel(tokens[1]);
    let completion = wait(&mut worker, PATIENCE).remove(0);
    assert_eq!(completion.token, tokens[1]);
    assert_eq!(completion.result.unwrap_err().kind(), ErrorKind::Cancelled);
    peer.write_all(b"one.two.tri.").unwrap();
    let mut came = Vec::new();
    while came.len() < 3 {
        came.extend(wait(&mut worker, PATIENCE));
    }
    let came: Vec<_> =
        came.into_iter().map(|completion| (completion.token, text(completion.payload))).collect();
    let expected = [(0, "one."), (2, "two."), (3, "tri.")].map(|(place, text)| (tokens[place], text.into()));
    assert_eq!(came, expected);
}

fn text(payload: Payload) -> String {
    String::from_utf8(payload.into_buffer().unwrap().to_vec()).unwrap()
}

#[test]
fn closing_ends_all_that_were_posted() {
    let port = Port::new(deep(1, 8)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, _peer) = connection(&mut worker, 1);
    static MANY: [u8; 4 << 20] = [7; 4 << 20];
    let mut expected: Vec<_> = (0..12).map(|_| receive(&mut worker, handle, 100)).collect();
    expected.extend((0..12).map(|_| send(&mut worker, handle, &MANY)));
    let close = worker.submit(handle, Operation::Close).unwrap();
    let mut came = Vec::new();
    while came.last() != Some(&close) {
        came.extend(wait(&mut worker, PATIENCE).iter().map(|completion| completion.token));
    }
    came.pop();
    came.sort_unstable_by_key(|token| token.to_bits());
    expected.sort_unstable_by_key(|token| token.to_bits());
    assert_eq!(came, expected);
}

#[test]
fn a_receive_stream_is_alone_in_its_line() {
    let port = Port::new(deep(1, 8)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, mut peer) = connection(&mut worker, 1);
    let before = [receive(&mut worker, handle, 2), receive(&mut worker, handle, 2)];
    let stream = worker.submit(handle, Operation::ReceiveStream).unwrap();
    let behind = receive(&mut worker, handle, 2);
    peer.write_all(b"aabbcc").unwrap();
    let mut came = Vec::new();
    while came.len() < 3 {
        came.extend(wait(&mut worker, PATIENCE).into_iter().map(|item| (item.token, text(item.payload))));
    }
    assert_eq!(came, [(before[0], "aa".into()), (before[1], "bb".into()), (stream, "cc".into())]);
    worker.cancel(stream);
    assert_eq!(wait(&mut worker, PATIENCE).remove(0).token, stream);
    peer.write_all(b"dd").unwrap();
    let last = wait(&mut worker, PATIENCE).remove(0);
    assert_eq!((last.token, text(last.payload)), (behind, "dd".into()));
}

/// A peer that resets the connection ends the sends behind the first that fails, all with an error.
#[test]
fn a_failed_send_fails_those_behind_it() {
    let port = Port::new(deep(1, 8)).unwrap();
    let mut worker = port.worker().unwrap();
    let (handle, peer) = connection(&mut worker, 1);
    static MANY: [u8; 8 << 20] = [7; 8 << 20];
    let tokens = [(); 6].map(|()| send(&mut worker, handle, &MANY));
    socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    let (mut came, mut failed) = (Vec::new(), false);
    while came.len() < tokens.len() {
        for completion in wait(&mut worker, PATIENCE) {
            assert!(completion.result.is_err() || !failed, "a hole in the stream: {completion:?}");
            failed |= completion.result.is_err();
            came.push(completion.token);
        }
    }
    assert_eq!(came, tokens);
    assert!(failed);
}
