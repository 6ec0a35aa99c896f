//! The engine on Linux io_uring: a ring for each worker.
//!
//! What the kernel may touch lives in the operation's slot, in the pool, or in recycled scratch memory, until the operation's
//! last completion was reaped; the one sign of that is a completion without the "more" flag. Tokens are the user data; their
//! highest byte is a queue, which is never 255, so that 255 marks the engine's own entries.

mod accept;
mod budget;
mod datagram;
mod direct;
mod file;
mod polled;
mod provided;
mod scratch;
mod stage;
mod stream;
mod system;
mod transmit;
mod waker;

use super::local::{Core, Descriptor, Engine, Start};
use crate::{
    buffer::{Buffer, Wake},
    direction::Direction,
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::OperationKind,
    port::Shared,
};
use ::io_uring::{cqueue, opcode, squeue, types::Fd};
use accept::Accepting;
use budget::Budget;
use direct::Direct;
use provided::Provided;
use scratch::Scratches;
use stage::Stage;
use std::{
    collections::VecDeque,
    mem::{ManuallyDrop, MaybeUninit},
    sync::Arc,
    time::Duration,
};
use system::{REAP, System};
use waker::Waker;

/// User data of the poll on the waker.
const WAKE: u64 = 0xff << 56;
/// User data of cancels and of closes of direct descriptors: what became of them does not matter. Of a cancel the operation's own
/// completion counts.
const UNANSWERED: u64 = WAKE | 1;
/// The most that Linux transfers in one read or write.
const MAXIMUM_TRANSFER: usize = 0x7fff_f000;

/// Whether io_uring works here, and with what; or why not.
pub(crate) fn probe() -> Result<String, String> {
    system::probe()
}

/// The engine of one worker.
pub(crate) struct Ring {
    system: System,
    /// The kernel writes into its buffers, and reads what the scratches hold: forgotten as a whole where it may still do so.
    provided: ManuallyDrop<Provided>,
    scratches: ManuallyDrop<Scratches>,
    waker: Arc<Waker>,
    accepting: Accepting,
    direct: Direct,
    /// Receive streams that found no buffer; and transmit-files, and streams from pipes. In the order in which they asked.
    starved_streams: VecDeque<Token>,
    starved_others: VecDeque<Token>,
    budget: Budget,
    /// Set with the first receive stream: before it, no buffers are taken from the pool.
    provides: bool,
    leaked: bool,
}

/// One completion from the kernel.
struct Event {
    result: i32,
    more: bool,
    buffer: Option<Buffer>,
}

impl Ring {
    pub(crate) fn new(shared: &Arc<Shared>, queue: usize) -> Result<Self, Error> {
        let refused = |error| Error::from_io(&error, OperationKind::Setup);
        let configuration = &shared.configuration;
        let threads = u32::try_from(configuration.pool_threads.max(1)).unwrap_or(u32::MAX);
        let system = System::new(threads).map_err(refused)?;
        // Half of the pool at most, over all rings: the rest is for what the program itself needs.
        let fitting =
            configuration.buffers.iter().filter(|class| class.capacity >= configuration.receive_bytes);
        let share = fitting.map(|class| class.count).sum::<usize>() / (2 * configuration.queues);
        let provided = Provided::new(&system, configuration.receive_buffers.min(share)).map_err(refused)?;
        let direct = Direct::new(&system, configuration.direct_descriptors).map_err(refused)?;
        let waker = Arc::new(Waker::new().map_err(refused)?);
        let mut this = Self {
            system,
            provided: ManuallyDrop::new(provided),
            scratches: ManuallyDrop::default(),
            waker,
            accepting: Accepting::default(),
            direct,
            starved_streams: VecDeque::new(),
            starved_others: VecDeque::new(),
            budget: Budget::new(configuration.inline_budget),
            provides: false,
            leaked: false,
        };
        this.listen_for_wakes();
        let waker: Arc<dyn Wake> = Arc::<Waker>::clone(&this.waker);
        shared.queues[queue].set_waker(Arc::clone(&waker));
        shared.buffers.register(waker);
        Ok(this)
    }

    fn listen_for_wakes(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.waker.descriptor()), libc::POLLIN as u32).multi(true);
        // SAFETY: a poll touches no memory of ours; the waker, and with it the descriptor, lives as long as the ring.
        unsafe { self.system.push(poll.build().user_data(WAKE)) };
    }

    /// Hands an entry of the operation to the kernel.
    ///
    /// # Safety
    ///
    /// As for [`System::push`]: what it points to belongs to the operation's slot or scratch.
    unsafe fn push(&mut self, core: &mut Core, token: Token, entry: squeue::Entry) {
        let slot = core.slot_mut(token);
        slot.stage |= Stage::IN_KERNEL;
        let (handle, on_socket) =
            (slot.handle, Direction::of(slot.kind).is_some() && slot.stage & Stage::READS == 0);
        let entry = if on_socket { self.direct.mark(core, handle, entry) } else { entry };
        // SAFETY: forwarded from the caller; slot and scratch are kept until `finish`, which is called only after the last
        // completion of what is in the kernel.
        unsafe { self.system.push(entry.user_data(token.to_bits())) };
    }

    fn push_cancel(&mut self, token: Token) {
        let cancel = opcode::AsyncCancel::new(token.to_bits()).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: a cancel points to nothing.
        unsafe { self.system.push(cancel.user_data(UNANSWERED)) };
    }

    /// Ends the operation, with its buffers. Nothing of it is in the kernel any more.
    fn finish(&mut self, core: &mut Core, token: Token, result: Result<u64, Error>) {
        self.give_scratch_back(core, token);
        core.complete_with_body(token, result);
    }

    fn fail(&mut self, core: &mut Core, token: Token, code: i32) {
        let kind = core.slot(token).kind;
        self.finish(core, token, Err(Error::from_code(code, kind)));
    }

    fn fail_as(&mut self, core: &mut Core, token: Token, error: ErrorKind) {
        let kind = core.slot(token).kind;
        self.finish(core, token, Err(Error::new(error, kind)));
    }

    /// The number of the operation's scratch memory.
    fn scratch(&mut self, core: &mut Core, token: Token) -> u32 {
        let stage = &mut core.slot_mut(token).stage;
        if let Some(number) = Stage::scratch(*stage) {
            return number;
        }
        let number = self.scratches.take();
        *stage = Stage::with_scratch(*stage, number);
        number
    }

    fn give_scratch_back(&mut self, core: &mut Core, token: Token) {
        let stage = &mut core.slot_mut(token).stage;
        if let Some(number) = Stage::scratch(*stage) {
            *stage = Stage::without_scratch(*stage);
            self.scratches.give_back(number);
        }
    }

    fn handle(&mut self, core: &mut Core, entry: &cqueue::Entry) {
        let (data, flags) = (entry.user_data(), entry.flags());
        let more = cqueue::more(flags);
        // Taken back first: whatever became of the operation, the buffer is the port's again.
        let buffer = cqueue::buffer_select(flags).and_then(|number| self.provided.take(number));
        match data {
            WAKE if more => return,
            WAKE => return self.listen_for_wakes(),
            UNANSWERED => return,
            _ => {}
        }
        let token = Token::from_bits(data);
        let Some(slot) = core.find_mut(token) else { return };
        if !more {
            slot.stage &= !Stage::IN_KERNEL;
        }
        let polls = slot.stage & Stage::POLLS != 0;
        let event = Event { result: entry.result(), more, buffer };
        match slot.kind {
            _ if polls => self.polled(core, token, event.result),
            OperationKind::Accept | OperationKind::AcceptStream => self.accepted(core, token, &event),
            OperationKind::ReceiveStream => self.stream_received(core, token, event),
            OperationKind::Receive => self.received(core, token, event.result),
            OperationKind::ReceiveScatter => self.scattered(core, token, event.result),
            OperationKind::ReceiveFrom | OperationKind::ReceiveMessage => {
                self.datagram_received(core, token, event.result);
            }
            OperationKind::Send => self.sent(core, token, event.result),
            OperationKind::SendTo | OperationKind::SendMessage => {
                self.datagram_sent(core, token, event.result);
            }
            OperationKind::Connect => self.connected(core, token, event.result),
            OperationKind::TransmitFile | OperationKind::TransmitPackets => {
                self.transmitted(core, token, event.result)
            }
            OperationKind::ReadAt => self.was_read(core, token, event.result),
            OperationKind::WriteAt | OperationKind::Append => self.written(core, token, event.result),
            _ if event.result < 0 => self.fail(core, token, -event.result),
            _ => self.finish(core, token, Ok(0)),
        }
    }

    /// Goes on with what waited for buffers. True if there is more to be done at once.
    fn resume_starved(&mut self, core: &mut Core) -> bool {
        self.refill(core);
        self.restart_starved(core);
        if !self.starved_streams.is_empty() || !self.starved_others.is_empty() {
            // Once more after the wish is known: a buffer that returns from here on wakes this worker.
            core.buffers.await_return();
            self.refill(core);
            self.restart_starved(core);
        }
        !self.starved_streams.is_empty() && self.provided.count() > 0
    }

    /// Starts no more streams than there are buffers. One that finds nothing to receive leaves its buffer to the next round.
    fn restart_starved(&mut self, core: &mut Core) {
        for _ in 0..self.provided.count() {
            let Some(token) = self.starved_streams.pop_front() else { break };
            self.receive_stream(core, token);
        }
        for _ in 0..self.starved_others.len() {
            let Some(token) = self.starved_others.pop_front() else { break };
            let goes_on = match core.slot(token).kind {
                OperationKind::ReceiveStream => self.receive_from_pipe(core, token),
                _ => self.transmit(core, token),
            };
            if !goes_on {
                break;
            }
        }
    }

    fn refill(&mut self, core: &Core) {
        if self.provides {
            self.provided.refill(&core.buffers, core.configuration.receive_bytes);
        }
    }
}

impl Engine for Ring {
    fn start(&mut self, core: &mut Core, token: Token) -> Start {
        use OperationKind as Kind;
        let slot = core.slot(token);
        let to_pipe = matches!(core.descriptor(slot.handle), Some(Descriptor::Pipe(_)));
        let kind = slot.kind;
        match kind {
            Kind::Receive | Kind::ReceiveScatter | Kind::ReceiveStream if to_pipe => {
                self.receive_from_pipe(core, token);
            }
            Kind::Send if to_pipe => self.send_to_pipe(core, token),
            Kind::Accept | Kind::AcceptStream => self.accept(core, token),
            Kind::ReceiveStream => self.receive_stream(core, token),
            Kind::Receive => self.receive(core, token),
            Kind::Send => self.send(core, token),
            Kind::Connect => self.connect(core, token),
            Kind::Disconnect => self.disconnect(core, token),
            Kind::TransmitFile | Kind::TransmitPackets => {
                self.transmit(core, token);
            }
            Kind::ReceiveScatter => self.receive_scattered(core, token),
            Kind::ReceiveFrom | Kind::ReceiveMessage => self.receive_datagram(core, token),
            Kind::SendTo | Kind::SendMessage => self.send_datagram(core, token),
            Kind::Control if core.control(token) => {}
            Kind::Control | Kind::WatchDirectory => return self.notices(core, token),
            Kind::ReadAt => self.read(core, token),
            Kind::WriteAt | Kind::Sync | Kind::Link
                if self.budget.take(core.slot(token).handle) && core.complete_in_memory(token) => {}
            Kind::WriteAt | Kind::Append => self.write(core, token),
            Kind::Sync => self.sync(core, token),
            Kind::Metadata => self.metadata(core, token),
            Kind::Open => return self.open(core, token),
            _ => return Start::OnPool,
        }
        Start::Started
    }

    fn cancel(&mut self, core: &mut Core, token: Token) {
        if core.slot(token).stage & Stage::IN_KERNEL != 0 {
            self.push_cancel(token);
            return;
        }
        self.starved_streams.retain(|starved| *starved != token);
        self.starved_others.retain(|starved| *starved != token);
        self.forget_accept(token);
        self.fail_as(core, token, ErrorKind::Cancelled);
    }

    fn adopt(&mut self, _core: &mut Core, _handle: Handle) -> Result<(), Error> {
        Ok(())
    }

    fn release(&mut self, core: &mut Core, handle: Handle) {
        if let Some(Descriptor::Direct(place)) = core.descriptor(handle) {
            self.close_direct(*place);
        }
        self.forget_listener(handle);
    }

    fn wait(&mut self, core: &mut Core, timeout: Option<Duration>) -> Result<(), Error> {
        self.budget.renew();
        self.resume_accepts(core);
        let more = self.resume_starved(core) || core.ready_count() > 0 || core.has_steps();
        let timeout = match (more, self.accepting.retry_after(core.now())) {
            (true, _) => Some(Duration::ZERO),
            (false, Some(retry)) => Some(timeout.map_or(retry, |timeout| timeout.min(retry))),
            (false, None) => timeout,
        };
        self.system.enter(timeout).map_err(|error| Error::from_io(&error, OperationKind::Wait))?;
        let mut entries = [const { MaybeUninit::uninit() }; REAP];
        let mut reaped = 0;
        loop {
            let batch = self.system.reap(&mut entries);
            for entry in batch {
                self.handle(core, entry);
            }
            reaped += batch.len();
            // What the kernel used is replaced at once: streams that find no buffer must be started again.
            self.refill(core);
            if batch.len() < REAP || reaped >= core.configuration.batch {
                return Ok(());
            }
        }
    }

    fn may_go_on(&mut self, handle: Handle) -> bool {
        self.budget.take(handle)
    }

    fn leak(&mut self) {
        self.leaked = true;
        self.system.leak();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // Closes of direct descriptors may still be queued: peers should not wait for the kernel to take the ring down.
        let _ = self.system.submitter().submit();
        self.provided.unregister(&self.system);
        // SAFETY: not used after. The worker has drained: nothing is in flight that could touch them.
        unsafe {
            ManuallyDrop::drop(&mut self.provided);
            ManuallyDrop::drop(&mut self.scratches);
        }
    }
}

/// What the ring calls a handle that has an operation pending, and so is open.
fn descriptor(core: &Core, handle: Handle) -> Fd {
    Fd(core.descriptor(handle).expect("a handle stays open while an operation is pending on it").raw())
}
