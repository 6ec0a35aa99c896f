//! A thread that posts.

use super::count::{Count, WATCHED};
use completion_port::Port;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Another thread, which posts as often as it is asked to.
pub(crate) struct Poster {
    wanted: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Poster {
    const END: u64 = u64::MAX;

    pub(crate) fn start(port: &Port, count: &'static Count) -> Self {
        let (port, wanted) = (port.clone(), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let wanted = Arc::clone(&wanted);
            move || {
                WATCHED.set(Some(count));
                let mut posted = 0;
                loop {
                    match wanted.load(Ordering::Acquire) {
                        Self::END => return,
                        wanted if wanted == posted => thread::park(),
                        _ => {
                            port.post(0, Default::default()).expect("room for what was asked for");
                            posted += 1;
                        }
                    }
                }
            }
        });
        Self { wanted, thread }
    }

    pub(crate) fn ask(&self) {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        self.thread.thread().unpark();
    }

    pub(crate) fn end(self) {
        self.wanted.store(Self::END, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().unwrap();
    }
}
