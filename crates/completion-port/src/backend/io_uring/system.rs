//! The ring itself: set up with what the kernel offers, fed, entered and reaped.

use crate::{counters::SystemCall, tally};
use ::io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, register::Probe, squeue, types};
use std::{collections::VecDeque, io, mem::MaybeUninit, ptr::NonNull, time::Duration};

/// Entries that wait for the next enter at most; more flush the queue.
const SUBMISSIONS: u32 = 512;
/// Room for completions. Multishot operations complete many times for one submission: a burst beyond this ends them early (they are
/// started again), and what the kernel has no room for it keeps and hands over later.
const COMPLETIONS: u32 = 8_192;
/// The kernel counts in signed numbers. Whoever asks for more sleeps again.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// How many completions one look takes.
pub(super) const REAP: usize = 64;

/// A ring, bound to the thread that made it.
pub(super) struct System {
    /// A leaked box: what the submitter borrows stays where it is, and is forgotten as a whole if it must leak.
    ring: NonNull<IoUring>,
    /// Kept, because it remembers the registered descriptor.
    submitter: Option<Submitter<'static>>,
    /// Entries that found the submission queue full while the kernel took none.
    waiting: VecDeque<squeue::Entry>,
    /// What was used of what the kernel offers, for messages.
    pub(super) features: &'static str,
}

/// Sets up a ring with the best flags that this kernel takes.
fn build() -> io::Result<(IoUring, &'static str)> {
    let mut invalid = None;
    for (defer, no_array, features) in [
        (true, true, "single issuer, deferred task work, no submission array"),
        (true, false, "single issuer, deferred task work"),
        (false, false, "single issuer, cooperative task work"),
    ] {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(COMPLETIONS).setup_submit_all().setup_single_issuer();
        builder.setup_taskrun_flag();
        if defer {
            builder.setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        if no_array {
            builder.setup_no_sqarray();
        }
        match builder.build(SUBMISSIONS) {
            Ok(ring) => return Ok((ring, features)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => invalid = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(invalid.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
}

impl System {
    /// Makes a ring for the calling thread, with at most `threads` kernel threads of each class.
    pub(super) fn new(threads: u32) -> io::Result<Self> {
        let (ring, features) = build()?;
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: from the box above, which is freed only in `drop`, after the submitter.
        let mut submitter = unsafe { ring.as_ref() }.submitter();
        // Without it the kernel looks the descriptor up at each enter: slower, not wrong. A thread can register 16.
        let _ = submitter.register_ring_fd();
        let system = Self { ring, submitter: Some(submitter), waiting: VecDeque::new(), features };
        system.submitter().register_iowq_max_workers(&mut [threads, threads])?;
        Ok(system)
    }

    fn ring(&self) -> &IoUring {
        // SAFETY: the box lives until `drop`; only shared references to it are ever made.
        unsafe { self.ring.as_ref() }
    }

    pub(super) fn submitter(&self) -> &Submitter<'static> {
        self.submitter.as_ref().expect("taken only when the ring is dropped")
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: no other view of the submission queue exists, since `self` is borrowed exclusively and every view ends in its
        // method; that the entry is sound to run was promised to `push`.
        unsafe { self.ring().submission_shared().push(entry) }.is_ok()
    }

    /// Queues an entry; it is handed over at the next enter at the latest. Never fails: a full queue is flushed, and what does
    /// not fit even then waits in order.
    ///
    /// # Safety
    ///
    /// Whatever the entry points to stays valid, and is left alone where the kernel writes, until the entry's last completion was
    /// reaped.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.waiting.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            // An error here is seen again by the next enter, which reports it.
            tally::call(SystemCall::IoUringEnter);
            let _ = self.submitter().submit();
            if self.try_push(&entry) {
                return;
            }
        }
        self.waiting.push_back(entry);
    }

    fn push_waiting(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            if !self.try_push(&entry) {
                self.waiting.push_front(entry);
                return;
            }
        }
    }

    /// Hands over what is queued, and sleeps up to `timeout` (none: without limit) while no completion is there.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.push_waiting();
        let (queued, needed, completed) = {
            // SAFETY: no other view of either queue exists, as in `try_push`.
            let (submission, completion) =
                unsafe { (self.ring().submission_shared(), self.ring().completion_shared()) };
            (
                submission.len() as u32,
                submission.taskrun() || submission.cq_overflow(),
                !completion.is_empty(),
            )
        };
        let sleeps = !completed && self.waiting.is_empty() && timeout != Some(Duration::ZERO);
        if !sleeps && queued == 0 && !needed {
            return Ok(());
        }
        let timeout =
            timeout.filter(|_| sleeps).map(|timeout| types::Timespec::from(timeout.min(LONGEST_SLEEP)));
        let entered = self.enter_kernel(queued, sleeps, needed, timeout.as_ref());
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // Over, interrupted; or there are completions to be reaped before the kernel takes more, or memory to be had.
            Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    fn enter_kernel(
        &self,
        queued: u32,
        sleeps: bool,
        needed: bool,
        timeout: Option<&types::Timespec>,
    ) -> io::Result<usize> {
        tally::call(SystemCall::IoUringEnter);
        let mut flags = EnterFlags::empty();
        // Only then the kernel runs what it put off until its owner looks.
        flags.set(EnterFlags::GETEVENTS, sleeps || needed);
        // A worker that waits for its clients is idle, and not held up by a disk: the statistics are to say so.
        flags.set(EnterFlags::NO_IOWAIT, sleeps && self.ring().params().is_feature_no_iowait());
        let wanted = u32::from(sleeps);
        match timeout {
            None => {
                // SAFETY: without an argument; the queued entries were promised to be sound to run by who pushed them.
                unsafe { self.submitter().enter::<libc::sigset_t>(queued, wanted, flags.bits(), None) }
            }
            Some(timeout) => {
                flags |= EnterFlags::EXT_ARG;
                let argument = types::SubmitArgs::new().timespec(timeout);
                // SAFETY: the argument is what the flag says, and it and the time live until the call returns; the entries as above.
                unsafe { self.submitter().enter(queued, wanted, flags.bits(), Some(&argument)) }
            }
        }
    }

    /// Takes up to [`REAP`] completions.
    pub(super) fn reap<'a>(
        &mut self,
        into: &'a mut [MaybeUninit<cqueue::Entry>; REAP],
    ) -> &'a [cqueue::Entry] {
        // SAFETY: no other view of the completion queue exists, as in `try_push`.
        unsafe { self.ring().completion_shared() }.fill(into)
    }

    /// Leaves the ring to the kernel, for ever.
    pub(super) fn leak(&mut self) {
        self.submitter = None;
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let Some(submitter) = &mut self.submitter else { return };
        // A registered descriptor would keep the ring alive until the thread ends.
        let _ = submitter.unregister_ring_fd();
        self.submitter = None;
        // SAFETY: from the box in `new`; nothing borrows it any more.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
    }
}

/// Whether a ring can be had here with all that the engine needs: its features, or why not and what to do.
pub(super) fn probe() -> Result<String, String> {
    let mut system = System::new(1).map_err(|error| reason(&error))?;
    let mut known = Probe::new();
    system.submitter().register_probe(&mut known).map_err(|error| reason(&error))?;
    let needed = [
        (opcode::Accept::CODE, "accept"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Connect::CODE, "connect"),
        (opcode::Recv::CODE, "receive"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "gathered send"),
        (opcode::Read::CODE, "read"),
        (opcode::Write::CODE, "write"),
        (opcode::Writev::CODE, "gathered write"),
        (opcode::Fsync::CODE, "sync"),
        (opcode::PollAdd::CODE, "poll"),
        // The kernel does not tell of multishot receive itself; it came with the same version as this.
        (opcode::SendZc::CODE, "multishot receive"),
    ];
    if let Some((_, name)) = needed.iter().find(|(code, _)| !known.is_supported(*code)) {
        return Err(format!("the kernel's io_uring has no {name}; Linux 6.0 or newer is needed"));
    }
    super::provided::Provided::new(&system, 1).map_err(|error| reason(&error))?.unregister(&system);
    // SAFETY: a no-op points to nothing.
    unsafe { system.push(opcode::Nop::new().build().user_data(1)) };
    system.enter(Some(Duration::from_secs(1))).map_err(|error| reason(&error))?;
    let mut entries = [const { MaybeUninit::uninit() }; REAP];
    match system.reap(&mut entries) {
        [entry] if entry.user_data() == 1 && entry.result() == 0 => {
            Ok(format!("{}, multishot accept and receive, provided buffers", system.features))
        }
        _ => Err("a no-op did not complete; the kernel's io_uring does not work".into()),
    }
}

fn reason(error: &io::Error) -> String {
    let what = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here, by a seccomp filter (as containers have) or by the sysctl kernel.io_uring_disabled; allow it there"
        }
        Some(libc::ENOSYS) => "the kernel has no io_uring; Linux 6.0 or newer is needed",
        Some(libc::EINVAL) => "the kernel's io_uring is too old; Linux 6.0 or newer is needed",
        Some(libc::ENOMEM) => "no memory for a ring; raise the limit of locked memory (ulimit -l)",
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is free for a ring; raise the limit of open files (ulimit -n)"
        }
        _ => "a ring could not be set up",
    };
    format!("{what} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        for (code, advice) in [
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::ENOSYS, "Linux 6.0"),
            (libc::EINVAL, "Linux 6.0"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "ulimit -n"),
        ] {
            let reason = reason(&io::Error::from_raw_os_error(code));
            assert!(reason.contains(advice), "{reason}");
        }
    }

    #[test]
    fn a_ring_that_is_full_keeps_what_does_not_fit_and_the_order() {
        let Ok(mut system) = System::new(1) else { return };
        // More than both queues hold together.
        let count = u64::from(COMPLETIONS + 4 * SUBMISSIONS);
        for number in 0..count {
            // SAFETY: a no-op points to nothing.
            unsafe { system.push(opcode::Nop::new().build().user_data(number)) };
        }
        let mut next = 0;
        while next < count {
            system.enter(Some(Duration::from_secs(20))).unwrap();
            let mut entries = [const { MaybeUninit::uninit() }; REAP];
            let batch = system.reap(&mut entries);
            assert!(!batch.is_empty(), "{next} of {count} came");
            for entry in batch {
                assert_eq!((entry.user_data(), entry.result()), (next, 0));
                next += 1;
            }
        }
    }
}
