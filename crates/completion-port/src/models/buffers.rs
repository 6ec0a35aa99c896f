//! Buffers: bytes change hands with order between the hands, blocks and their pool go when the last owner does, and who waits for a
//! buffer is woken by the one that returns.

use super::{Bell, check};
use crate::buffer::{Buffer, BufferClass, Buffers, Slice, Wake};
use loom::{cell::UnsafeCell, thread};
use std::sync::Arc;

fn pool(count: usize) -> Buffers {
    Buffers::new(&[BufferClass { capacity: 64, count }], 64).unwrap()
}

/// What loom watches in place of a buffer's bytes, which it does not see.
struct Bytes(UnsafeCell<u32>);

impl Bytes {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }
    fn read(&self) {
        // SAFETY: loom checks that nobody writes.
        self.0.with(|bytes| unsafe { std::hint::black_box(*bytes) });
    }
    fn write(&self) {
        // SAFETY: loom checks that nobody else is here.
        self.0.with_mut(|bytes| unsafe { *bytes += 1 });
    }
}

fn read_and_drop(slice: Slice, bytes: &Bytes) {
    bytes.read();
    drop(slice);
}

#[test]
fn a_block_is_used_again_only_after_the_last_read() {
    check(|| {
        let (buffers, bytes) = (pool(1), Bytes::new());
        let slice = buffers.acquire(64).unwrap().freeze();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (slice, bytes) = (slice.clone(), Arc::clone(&bytes));
                thread::spawn(move || read_and_drop(slice, &bytes))
            })
            .collect();
        drop(slice);
        if let Ok(_again) = buffers.acquire(64) {
            bytes.write();
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(buffers.in_use(), 0);
    });
}

#[test]
fn the_last_slice_becomes_a_buffer_only_after_the_others_reads() {
    check(|| {
        let (buffers, bytes) = (pool(1), Bytes::new());
        let slice = buffers.acquire(64).unwrap().freeze();
        let other = {
            let (slice, bytes) = (slice.clone(), Arc::clone(&bytes));
            thread::spawn(move || read_and_drop(slice, &bytes))
        };
        match slice.try_into_buffer() {
            Ok(_buffer) => bytes.write(),
            Err(slice) => read_and_drop(slice, &bytes),
        }
        other.join().unwrap();
        assert_eq!(buffers.in_use(), 0);
    });
}

/// The pool is gone when the last block is: it lets go of its wakers then.
#[test]
fn the_pool_lives_as_long_as_a_buffer_of_it() {
    check(|| {
        let (buffers, bell) = (pool(1), Bell::new());
        buffers.register(Arc::<Bell>::clone(&bell));
        let slice = buffers.acquire(64).unwrap().freeze();
        let heap = buffers.allocate(64).unwrap();
        let others = [
            thread::spawn({
                let slice = slice.clone();
                move || drop(slice)
            }),
            thread::spawn(move || drop(heap)),
        ];
        drop(buffers);
        drop(slice);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(Arc::weak_count(&bell), 0, "the pool is still there");
    });
}

/// As a worker does whose streams wait for a buffer: ask for a wake, look once more, sleep.
fn acquire_or_sleep(buffers: &Buffers, bell: &Bell) -> Buffer {
    loop {
        if let Ok(buffer) = buffers.acquire(64) {
            return buffer;
        }
        buffers.await_return();
        if buffers.available(64) {
            // It is counted before it is there.
            thread::yield_now();
        } else {
            bell.sleep();
        }
    }
}

#[test]
fn who_waits_for_a_buffer_is_woken() {
    check(|| {
        let (buffers, bell) = (pool(1), Bell::new());
        buffers.register(Arc::<Bell>::clone(&bell));
        let held = buffers.acquire(64).unwrap();
        let other = thread::spawn(move || drop(held));
        drop(acquire_or_sleep(&buffers, &bell));
        other.join().unwrap();
        assert_eq!(buffers.in_use(), 0);
    });
}

/// Both are woken, and one has to wait again, for the other's.
#[test]
fn two_workers_wait_for_one_buffer() {
    check(|| {
        let (buffers, bells) = (pool(1), [Bell::new(), Bell::new()]);
        bells.iter().for_each(|bell| buffers.register(Arc::<Bell>::clone(bell)));
        let held = buffers.acquire(64).unwrap();
        let [one, other] = bells;
        let worker = thread::spawn({
            let buffers = buffers.clone();
            move || drop(acquire_or_sleep(&buffers, &other))
        });
        drop(held);
        drop(acquire_or_sleep(&buffers, &one));
        worker.join().unwrap();
        assert_eq!(buffers.in_use(), 0);
    });
}

/// The first wake fails: the next buffer that returns tries again.
#[test]
fn a_wake_that_fails_is_tried_again_with_the_next_buffer() {
    check(|| {
        let (buffers, bell) = (pool(2), Bell::failing(1));
        buffers.register(Arc::clone(&bell) as Arc<dyn Wake>);
        let held = [buffers.acquire(64).unwrap(), buffers.acquire(64).unwrap()];
        let other = thread::spawn(move || held.into_iter().for_each(drop));
        drop(acquire_or_sleep(&buffers, &bell));
        other.join().unwrap();
    });
}
