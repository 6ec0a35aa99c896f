//! Times under a millisecond: never early, never lost, soonest first. How late is the machine's business, and not asked here.

use crate::{
    harness::{Rig, failure},
    suite::Case,
};
use completion_port::{ErrorKind, Handle, Operation, Token};
use std::{collections::HashMap, io::Write, time::Duration};

pub(crate) const CASES: &[Case] = cases![
    a_short_timer_is_never_early,
    hundreds_of_short_timers_all_come_soonest_first,
    timers_set_one_by_one_keep_their_order,
    a_short_limit_is_never_early_and_takes_no_bytes,
    a_short_wait_is_never_early,
    a_limit_of_nothing_ends_what_cannot_be_done_at_once,
];

const SHORT: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_micros(1),
    Duration::from_micros(49),
    Duration::from_micros(350),
    Duration::from_nanos(999_999),
    Duration::from_micros(1_001),
];

fn timer(rig: &mut Rig, after: Duration) -> Token {
    rig.submit(Handle::NONE, Operation::Timer { after })
}

fn a_short_timer_is_never_early(rig: &mut Rig) {
    for after in SHORT {
        let began = rig.clock();
        let token = timer(rig, after);
        assert_eq!(rig.next_of(token).result, Ok(0));
        let passed = rig.clock() - began;
        assert!(passed >= after, "{after:?} were over after {passed:?}");
    }
}

fn hundreds_of_short_timers_all_come_soonest_first(rig: &mut Rig) {
    let mut due = HashMap::new();
    for place in 0..500 {
        let after = Duration::from_micros(place * 917 % 500 * 7);
        let before = rig.clock();
        let token = timer(rig, after);
        due.insert(token, (before + after, rig.clock() + after));
    }
    let mut soonest = Duration::ZERO;
    while !due.is_empty() {
        let completion = rig.next();
        let (earliest, latest) = due.remove(&completion.token).expect("each comes once, and no other");
        assert!(rig.clock() >= earliest);
        assert!(soonest <= latest, "one that was due later came before");
        soonest = soonest.max(earliest);
    }
    rig.expect_silence();
}

fn timers_set_one_by_one_keep_their_order(rig: &mut Rig) {
    // Each is due after the one before it, whatever the clock does in between.
    let tokens: Vec<_> = (0..200).map(|place| timer(rig, Duration::from_micros(place * 7))).collect();
    for token in tokens {
        assert_eq!(rig.next().token, token);
    }
    // The soonest first, though it is set last.
    let (last, first) = (timer(rig, Duration::from_millis(400)), timer(rig, Duration::from_micros(400)));
    assert_eq!(rig.next().token, first);
    assert_eq!(rig.next().token, last);
}

fn a_short_limit_is_never_early_and_takes_no_bytes(rig: &mut Rig) {
    let (handle, mut peer) = rig.pair();
    for limit in SHORT {
        let began = rig.clock();
        let buffer = rig.port.buffers().acquire(8).unwrap();
        let token = rig.worker.submit_with_limit(handle, Operation::Receive { buffer }, limit).unwrap();
        let end = rig.next_of(token);
        assert_eq!(failure(&end), ErrorKind::TimedOut);
        assert!(rig.clock() - began >= limit);
        assert!(end.payload.into_buffer().unwrap().is_empty());
    }
    peer.write_all(b"x").unwrap();
    let token = rig.receive(handle, 8);
    assert_eq!(rig.next_of(token).result, Ok(1));
    rig.close(handle);
}

fn a_short_wait_is_never_early(rig: &mut Rig) {
    for timeout in SHORT {
        let began = rig.clock();
        let mut arrived = Vec::new();
        rig.worker.wait(&mut arrived, Some(timeout)).unwrap();
        assert!(arrived.is_empty());
        assert!(rig.clock() - began >= timeout);
    }
}

fn a_limit_of_nothing_ends_what_cannot_be_done_at_once(rig: &mut Rig) {
    let (listener, _) = rig.listener();
    let (handle, _peer) = rig.pair();
    for (handle, operation) in [
        (listener, Operation::Accept),
        (handle, Operation::ReceiveStream),
        (handle, Operation::Send { chain: Rig::huge_chain() }),
    ] {
        let kind = operation.kind();
        let token = rig.worker.submit_with_limit(handle, operation, Duration::ZERO).unwrap();
        assert_eq!(failure(&rig.next_of(token)), ErrorKind::TimedOut, "{kind:?}");
    }
}
