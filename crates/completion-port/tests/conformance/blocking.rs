//! Work that may block, asked for on the worker.

use crate::{
    harness::{Rig, failure},
    suite::{Case, Only},
};
use completion_port::{Backend, ErrorKind, Handle, Operation, OperationKind, Payload};
use std::{io::Write, sync::mpsc, time::Duration};

const ON_THREADS: Only = Only {
    backends: &[Backend::Iocp, Backend::IoUring, Backend::Readiness],
    why: "a simulated world runs calls within a wait, not on threads of their own",
};

pub(crate) const CASES: &[Case] = cases![
    what_blocking_work_returns_comes_home,
    connections_are_served_while_work_blocks; only ON_THREADS,
    blocking_work_for_a_stale_handle_comes_back,
];

fn what_blocking_work_returns_comes_home(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let token = rig.worker.blocking(handle, Box::new(|| Box::new(String::from("done")))).unwrap();
    let done = rig.next_of(token);
    assert_eq!((done.kind, done.result, done.handle, done.key), (OperationKind::Call, Ok(0), handle, 7));
    let Payload::Returned(returned) = done.payload else { panic!("nothing was returned") };
    assert_eq!(*returned.downcast::<String>().unwrap(), "done");
    let token = rig.worker.blocking(Handle::NONE, Box::new(|| panic!("on purpose"))).unwrap();
    assert_eq!(failure(&rig.next_of(token)), ErrorKind::Other);
    rig.close(handle);
}

fn connections_are_served_while_work_blocks(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    let (other, mut other_peer) = rig.pair();
    let (release, held) = mpsc::channel::<()>();
    let work = move || {
        held.recv_timeout(Duration::from_secs(20)).unwrap();
        Box::new(5u32) as Box<_>
    };
    let blocked = rig.worker.blocking(handle, Box::new(work)).unwrap();
    let stream = rig.submit(other, Operation::ReceiveStream);
    for byte in b"abc" {
        other_peer.write_all(&[*byte]).unwrap();
        assert_eq!(rig.next_of(stream).payload.into_buffer().unwrap()[..], [*byte]);
    }
    release.send(()).unwrap();
    let Payload::Returned(returned) = rig.next_of(blocked).payload else { panic!("nothing was returned") };
    assert_eq!(returned.downcast_ref(), Some(&5u32));
    rig.close(handle);
    rig.close(other);
}

fn blocking_work_for_a_stale_handle_comes_back(rig: &mut Rig) {
    let (handle, _peer) = rig.pair();
    rig.close(handle);
    let rejected = rig.worker.blocking(handle, Box::new(|| Box::new(3u8))).expect_err("it is closed");
    assert_eq!(rejected.error.kind(), ErrorKind::StaleHandle);
    let Operation::Call { work } = rejected.operation else { panic!("another operation came back") };
    assert_eq!(work().downcast_ref(), Some(&3u8));
}
