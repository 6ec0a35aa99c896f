//! Models that loom runs in every interleaving, and with every value that the memory orders allow a load to see, within the bounds
//! that scripts/test-loom states. They drive the crate's own code; only what is around it (a thread that sleeps in the kernel, bytes
//! that somebody reads) is played.

#![allow(clippy::arc_with_non_send_sync, reason = "loom runs all threads of a model on one")]

mod buffers;
mod free_list;
mod gate;
mod queue;
mod rest;
mod seats;
mod table;

use crate::{
    buffer::Wake,
    sync::{Condvar, Mutex, modelled::FENCES_ARE_BROKEN},
};
use loom::model as check;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// As `check`, for models of three threads with many steps: with fewer preemptions.
fn check_with_at_most(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.map_or(preemptions, |bound| bound.min(preemptions));
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// Loom finds fault with a model once fences do nothing: so it would find a fence missing that is there.
#[track_caller]
fn check_needs_its_fences(model: impl Fn() + Send + Sync + 'static) {
    FENCES_ARE_BROKEN.set(true);
    let found = catch_unwind(AssertUnwindSafe(|| check(model))).is_err();
    FENCES_ARE_BROKEN.set(false);
    assert!(found, "the model passes without fences");
}

/// How a worker sleeps in the kernel: a wake that comes before the sleep ends it at once.
struct Bell {
    rings: Mutex<Rings>,
    rung: Condvar,
}

struct Rings {
    waiting: usize,
    /// So many wakes fail first.
    failing: usize,
}

impl Bell {
    fn new() -> Arc<Self> {
        Self::failing(0)
    }

    fn failing(failing: usize) -> Arc<Self> {
        Arc::new(Self { rings: Mutex::new(Rings { waiting: 0, failing }), rung: Condvar::new() })
    }

    /// Sleeps until there is a wake, and takes it. Loom reports a deadlock where none comes.
    fn sleep(&self) {
        let mut rings = self.rings.lock().unwrap();
        while rings.waiting == 0 {
            rings = self.rung.wait(rings).unwrap();
        }
        rings.waiting -= 1;
    }
}

impl Wake for Bell {
    fn wake(&self) -> bool {
        let mut rings = self.rings.lock().unwrap();
        if rings.failing > 0 {
            rings.failing -= 1;
            return false;
        }
        rings.waiting += 1;
        self.rung.notify_one();
        true
    }
}
