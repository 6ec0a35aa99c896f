//! Who waits, sleeps: whatever is pending, and whatever it lacks, a worker costs no time of the processor until something happens.

use crate::{
    harness::{Rig, failure, file_with, pattern},
    suite::{Case, Only},
};
use completion_port::{
    Address, Backend, BufferChain, BufferClass, ControlRequest, Directory, ErrorKind, Handle, Operation,
    Slice,
};
use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const REAL: Only = Only {
    backends: &[Backend::IoUring, Backend::Readiness],
    why: "Linux tells how long a thread has run; a simulated world does not wait",
};

pub(crate) const CASES: &[Case] = cases![
    whatever_is_pending_a_worker_sleeps; only REAL,
    accept_streams_without_room_sleep with |configuration| configuration.handles = 4; only REAL,
    datagrams_that_find_no_room_sleep_beside_an_accept_stream with |configuration| {
        configuration.handles = 7;
    }; only REAL,
    whoever_waits_for_a_buffer_sleeps with |configuration| {
        configuration.buffers = vec![BufferClass { capacity: 65_536, count: 2 }];
        configuration.receive_buffers = 1;
    }; only REAL,
];

/// How long this thread has run so far.
fn ran() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts that");
    Duration::from_nanos(statistics.split(' ').next().and_then(|ran| ran.parse().ok()).expect("a number"))
}

/// Waits for a while, and nothing comes. A thread that does not sleep runs most of that, or a good part of it on a busy machine.
#[track_caller]
fn sleeps(rig: &mut Rig) {
    const WHILE: Duration = Duration::from_millis(400);
    let mut arrived = Vec::new();
    // What is still on its way to be pending.
    rig.worker.wait(&mut arrived, Some(Duration::from_millis(50))).unwrap();
    let (began, before) = (Instant::now(), ran());
    while began.elapsed() < WHILE {
        rig.worker.wait(&mut arrived, Some(WHILE)).unwrap();
    }
    let ran = ran().saturating_sub(before);
    assert!(arrived.is_empty(), "{arrived:?}");
    assert!(ran < WHILE / 8, "on {} it ran {ran:?} of {WHILE:?}", rig.port.backend().name());
}

fn whatever_is_pending_a_worker_sleeps(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let mut tokens = Vec::new();
    let mut peers = Vec::new();
    let buffer = |rig: &Rig| rig.port.buffers().acquire(100).unwrap();

    let (listener, _) = rig.listener();
    tokens.push(rig.submit(listener, Operation::Accept));
    let (listener, _) = rig.listener();
    tokens.push(rig.submit(listener, Operation::AcceptStream));
    for number in 0..6 {
        let (handle, peer) = rig.narrow_pair();
        peers.push(peer);
        let file = file_with(rig, folder.path(), &pattern(100));
        let operation = match number {
            0 => Operation::Receive { buffer: buffer(rig) },
            1 => Operation::ReceiveScatter { buffers: vec![buffer(rig), buffer(rig)] },
            2 => Operation::ReceiveStream,
            3 => Operation::Send { chain: Rig::huge_chain() },
            4 => Operation::TransmitFile { head: Rig::huge_chain(), file, offset: 0, length: 100 },
            _ => Operation::Control { request: ControlRequest::AddressChange },
        };
        tokens.push(rig.submit(handle, operation));
    }
    for with_control in [false, true] {
        let (socket, _) = rig.network.datagrams().unwrap();
        let handle = rig.worker.associate(socket, 0).unwrap();
        let buffer = buffer(rig);
        let operation = if with_control {
            Operation::ReceiveMessage { buffer }
        } else {
            Operation::ReceiveFrom { buffer }
        };
        tokens.push(rig.submit(handle, operation));
    }
    let mut ends = Vec::new();
    for number in 0..4 {
        let (reader, writer) = std::io::pipe().unwrap();
        let (pipe, operation) = match number {
            0 => (rig.worker.associate(reader, 0), Operation::Receive { buffer: buffer(rig) }),
            1 => (rig.worker.associate(reader, 0), Operation::ReceiveStream),
            2 => (rig.worker.associate(reader, 0), Operation::ReceiveScatter { buffers: vec![buffer(rig)] }),
            _ => {
                ends.push(Box::new(reader) as Box<dyn std::any::Any>);
                let pipe = rig.worker.associate(writer, 0).unwrap();
                tokens.push(rig.submit(pipe, Operation::Send { chain: Rig::huge_chain() }));
                continue;
            }
        };
        ends.push(Box::new(writer));
        tokens.push(rig.submit(pipe.unwrap(), operation));
    }
    for recursive in [false, true] {
        let directory = Arc::new(Directory::open(folder.path()).unwrap());
        tokens.push(rig.submit(Handle::NONE, Operation::WatchDirectory { directory, recursive }));
    }
    tokens.push(rig.submit(Handle::NONE, Operation::Timer { after: Duration::from_secs(3_600) }));
    sleeps(rig);
    for token in tokens {
        rig.worker.cancel(token);
        assert_eq!(failure(&rig.next_of(token)), ErrorKind::Cancelled);
    }
}

fn accept_streams_without_room_sleep(rig: &mut Rig) {
    let listeners = [rig.listener(), rig.listener()];
    for (listener, _) in listeners {
        rig.submit(listener, Operation::AcceptStream);
    }
    let _held = [rig.pair(), rig.pair()];
    let _peers = listeners.map(|(_, address)| [rig.connect(address), rig.connect(address)]);
    sleeps(rig);
}

/// A socket whose room is full of datagrams, with its address.
fn full(path: &Path) -> (UnixDatagram, Address) {
    let receiver = UnixDatagram::bind(path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"x", path).is_ok() {}
    (receiver, Address::from(path))
}

fn datagrams_that_find_no_room_sleep_beside_an_accept_stream(rig: &mut Rig) {
    let folder = tempfile::tempdir().unwrap();
    let (_receiver, to) = full(&folder.path().join("full"));
    for _ in 0..5 {
        let sender = rig.worker.associate(UnixDatagram::unbound().unwrap(), 0).unwrap();
        let chain = BufferChain::from(Slice::from_static(b"y"));
        rig.submit(sender, Operation::SendTo { chain, to: to.clone() });
    }
    let (listener, address) = rig.listener();
    rig.submit(listener, Operation::AcceptStream);
    let _held = rig.pair();
    let _peer = rig.connect(address);
    sleeps(rig);
}

fn whoever_waits_for_a_buffer_sleeps(rig: &mut Rig) {
    use std::io::Write;
    // A file of which the system does not tell whether it is in memory: it has to be read into a buffer.
    let file = rig.worker.associate(std::fs::File::open("/proc/version").unwrap(), 0).unwrap();
    let mut held = Vec::new();
    while let Ok(buffer) = rig.port.buffers().acquire(1) {
        held.push(buffer);
    }
    let mut peers = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..3 {
        let (handle, mut peer) = rig.pair();
        peer.write_all(b"x").unwrap();
        rig.submit(handle, Operation::ReceiveStream);
        let head = BufferChain::new();
        rig.submit(handle, Operation::TransmitFile { head, file, offset: 0, length: 100 });
        peers.push(peer);
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let pipe = rig.worker.associate(reader, 0).unwrap();
        rig.submit(pipe, Operation::ReceiveStream);
        writers.push(writer);
    }
    sleeps(rig);
}
