//! The procedure of a connection, as a state machine: read, decide, send in slices while the next slice is being read.
//!
//! Every completion of the connection's handle comes here, one at a time (the port's gate sees to that), changes the state, and
//! ends in [`Connection::advance`], which does whatever can be done now: answer requests that are there, send, receive,
//! close. The connection lives until its close has completed, and with it everything that was pending.

mod answer;
mod body;
mod client;
mod deadline;
mod delete;
mod form;
mod idle;
mod listing;
mod lookup;
mod neighbours;
mod parts;
mod receive;
mod refusal;
mod report;
mod stream;
mod timing;
mod upload;

use crate::{
    context::Context, decide::Decision, entry::Entry, host::HostNumber, input::Input, listing::Listing,
    output::Output, seek::Lookup, upload::Upload,
};
pub(crate) use answer::LateRecord;
use client::{Acquaintance, Client};
use completion_port::{
    BufferChain, Completion, Error, ErrorKind, Handle, Operation, OperationKind, Payload, Slice, Token,
};
use deadline::Clock;
use delete::Deletion;
pub(crate) use idle::{Idle, Spares};
use lookup::Loading;
use portico_http::status::Status;
use portico_http::{body::BodyDecoder, request::Parsed, scanner::HeadScanner};
use receive::Receiving;
use refusal::Refusal;
pub(crate) use report::Report;
use std::{sync::Arc, time::Duration};
use stream::FileBody;
use timing::Timing;

/// What a connection is doing beside sending.
enum Activity {
    /// Reading requests and answering them.
    Reading,
    /// A request's path is being looked up.
    LookingUp(Box<Lookup>),
    /// The password of the request in front is being checked.
    Verifying,
    /// A small file is being read into the cache.
    Loading(Box<Loading>),
    /// A file is being sent.
    Streaming(Box<FileBody>),
    /// A request body is being written to a file.
    Uploading(Box<Upload>),
    /// A folder is being listed.
    Listing(Box<Listing>),
    /// A file is being deleted.
    Deleting(Box<Deletion>),
    /// Everything is said; what still comes is read and dropped until the client ends too.
    Lingering,
}

/// Whom a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Clients of the site.
    Site,
    /// Whoever wants to see the counters. Nothing of the site is served to them, and nothing that they ask for is counted as a request.
    Report,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    /// Its handle is closed and nothing of it is pending: it can be forgotten.
    Gone,
}

/// Whether reading requests goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Again,
    /// Bytes, a completion or a send have to come first.
    Wait,
}

/// What became of the request in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It is answered, or its answer is under way: its head is done with.
    Answered(Progress),
    /// It is read once more: at once, or after a look-up or a send.
    Kept(Progress),
}

/// One client.
pub(crate) struct Connection {
    handle: Handle,
    /// Where it stands in the table of connections.
    place: u32,
    audience: Audience,
    client: Client,
    input: Input,
    scanner: HeadScanner,
    receiving: Receiving,
    /// The request before was an upload in large pieces: the next one probably is too.
    expects_upload: bool,
    /// The client's orderly end came.
    ended: bool,
    activity: Activity,
    /// Which host the request in front is for, or the one before it.
    host: HostNumber,
    /// The entry that was looked up for the request in front.
    known: Option<Arc<Entry>>,
    /// A body nobody wants, in front of the next request.
    discarding: Option<Box<BodyDecoder>>,
    /// The head of the request with that body: it is answered when the body has been read and found well formed.
    held: Option<Box<[u8]>>,
    /// The request that is being answered, and is out of `input` meanwhile, is a HEAD.
    answers_head: bool,
    /// An answer that waits for the page of its status. Nothing more is read before it is written.
    refusal: Option<Box<Refusal>>,
    output: Output,
    /// Answers in `output`.
    batched: usize,
    sending: bool,
    /// Nothing more is read as a request: the connection ends after what is being answered.
    last_answer: bool,
    /// The client may be sending what will not be read as a request any more.
    still_sends: bool,
    closing: bool,
    clock: Clock,
    /// When the request in front began to arrive.
    arrived: Duration,
    timing: Option<Box<Timing>>,
}

impl Connection {
    /// The state machine of no connection yet.
    fn blank() -> Self {
        Self {
            handle: Handle::NONE,
            place: 0,
            audience: Audience::Site,
            client: Client::of(Acquaintance::NONE),
            input: Input::default(),
            scanner: HeadScanner::new(),
            receiving: Receiving::Nothing,
            expects_upload: false,
            ended: false,
            activity: Activity::Reading,
            host: HostNumber::FIRST,
            known: None,
            discarding: None,
            held: None,
            answers_head: false,
            refusal: None,
            output: Output::default(),
            batched: 0,
            sending: false,
            last_answer: false,
            still_sends: false,
            closing: false,
            clock: Clock::default(),
            arrived: Duration::ZERO,
            timing: None,
        }
    }

    /// Whom it serves.
    pub(crate) fn audience(&self) -> Audience {
        self.audience
    }

    /// Takes in a completion for the connection's handle.
    pub(crate) fn complete(&mut self, completion: Completion, context: &mut Context) -> Fate {
        match completion.kind {
            OperationKind::Close => {
                self.forget_alarm(context);
                return Fate::Gone;
            }
            OperationKind::Receive | OperationKind::ReceiveStream => self.on_received(completion, context),
            OperationKind::Send => self.on_sent(completion, context),
            OperationKind::TransmitFile => self.on_transmitted(completion, context),
            OperationKind::Open => self.on_opened(completion, context),
            OperationKind::ReadAt => self.on_read(completion, context),
            OperationKind::Call if matches!(self.activity, Activity::Verifying) => {
                self.on_checked(completion, context);
            }
            OperationKind::Call => self.on_called(completion, context),
            OperationKind::WriteAt | OperationKind::Sync | OperationKind::Link => {
                self.on_upload_step(completion, context);
            }
            _ => {}
        }
        self.advance(context);
        Fate::Open
    }

    /// Its alarm was due.
    pub(crate) fn look_at_deadline(&mut self, due_ns: u64, context: &mut Context) -> Fate {
        self.on_alarm(due_ns, context);
        self.advance(context);
        Fate::Open
    }

    /// What the pool was asked to do is done.
    fn on_called(&mut self, completion: Completion, context: &mut Context) {
        match self.activity {
            Activity::Listing(_) => self.on_listed(completion, context),
            Activity::Deleting(_) => self.on_deleted(completion, context),
            _ => self.on_upload_step(completion, context),
        }
    }

    /// Ends a connection whose state cannot be trusted any more, without a look at it.
    pub(crate) fn abort(&mut self, context: &mut Context) -> Fate {
        self.activity = Activity::Reading;
        self.close(context);
        Fate::Open
    }

    /// The server shuts down: an idle connection ends now, one that is in the middle of its request soon, a busy one after its present
    /// answer.
    pub(crate) fn drain(&mut self, context: &mut Context) {
        let waits = matches!(self.activity, Activity::Reading) && !self.sending;
        if waits && self.is_between_requests() && self.held.is_none() {
            self.close(context);
        } else {
            self.hasten(context);
        }
    }

    /// Does what can be done now.
    pub(crate) fn advance(&mut self, context: &mut Context) {
        if self.closing {
            return;
        }
        let depth = context.site.settings.pipeline_depth;
        while !self.sending && !self.last_answer && matches!(self.activity, Activity::Reading) {
            if self.refusal.is_some() {
                if !self.answer_with_page(context) {
                    break;
                }
            } else if self.batched >= depth
                || (self.read_request(context) == Progress::Wait && self.refusal.is_none())
            {
                break;
            }
        }
        if matches!(self.activity, Activity::Uploading(_)) {
            self.pump_upload(context);
            while self.refusal.is_some()
                && matches!(self.activity, Activity::Reading)
                && !self.sending
                && self.answer_with_page(context)
            {}
        }
        if matches!(self.activity, Activity::Lingering) {
            self.input.clear();
        }
        self.flush(context);
        self.end_if_done(context);
        if !self.closing {
            self.receive(context);
            self.set_deadline(context);
        }
    }

    /// Reads and answers the request in front of the input, if it is there.
    fn read_request(&mut self, context: &mut Context) -> Progress {
        if !self.welcome(context) {
            return Progress::Wait;
        }
        if let Some(progress) = self.discard(context) {
            return progress;
        }
        if let Some(head) = self.held.take() {
            return self.answer_held(head, context);
        }
        if self.input.is_empty() {
            return Progress::Wait;
        }
        if self.scanner.examined() == 0 && self.known.is_none() {
            self.arrived = context.port.now();
        }
        // Out of `self` while the request borrows from it.
        let mut input = std::mem::take(&mut self.input);
        let parsed = self.scanner.parse(input.bytes(), &context.site.limits);
        let mut refused = None;
        let progress = match parsed {
            Ok(Parsed::Incomplete) => {
                let joined = input.join(context.port.buffers());
                if joined { Progress::Again } else { Progress::Wait }
            }
            Ok(Parsed::Complete(request)) => {
                let length = request.head_length;
                self.note_whole(context);
                let known = self.known.take();
                self.host = context.site.hosts.find(request.host);
                let decision = self.decide(&request, known.clone(), context);
                if self.reads_body_first(&request, &decision, context) {
                    self.known = known;
                    self.held = Some(input.bytes()[..length].into());
                    input.consume(length);
                    Progress::Again
                } else {
                    let behind = input.len() > length;
                    match self.answer(&request, decision, behind, context) {
                        Taken::Answered(progress) => {
                            input.consume(length);
                            self.answered(context);
                            progress
                        }
                        Taken::Kept(progress) => progress,
                    }
                }
            }
            Err(rejection) => {
                tracing::debug!(%rejection, "refused a request");
                refused = Some(rejection.status);
                Progress::Wait
            }
        };
        self.input = input;
        if let Some(status) = refused {
            self.refuse(status, context);
        }
        progress
    }

    /// The request in front has its answer, or it is under way.
    fn answered(&mut self, context: &mut Context) {
        self.expects_upload = matches!(&self.activity, Activity::Uploading(upload) if upload.is_large);
        self.client.answered();
        self.note_answered(context);
        let reads = matches!(self.activity, Activity::Reading) && self.refusal.is_none();
        if reads && !self.sending && self.output.is_empty() {
            // It went out within the call.
            self.note_sent(context);
        } else {
            self.batched += 1;
        }
    }

    /// The head of an answer was written.
    fn count_answer(&self, status: Status, context: &Context) {
        if self.audience == Audience::Site {
            context.counts.count_answer(status);
        }
    }

    /// Sends what is gathered, unless a send is under way.
    fn flush(&mut self, context: &mut Context) {
        if !self.sending && !self.closing && !self.output.is_empty() {
            let chain = self.output.take();
            self.send(chain, context);
        }
    }

    fn send(&mut self, chain: BufferChain, context: &mut Context) {
        self.sending = true;
        self.batched = 0;
        self.note_send(context);
        self.submit(Operation::Send { chain }, context);
    }

    fn on_sent(&mut self, completion: Completion, context: &mut Context) {
        self.sending = false;
        let result = completion.result;
        // What was sent is free, before a buffer is looked for that holds what comes next.
        drop(completion);
        match result {
            Ok(bytes) => {
                self.clock.count_sent(bytes);
                if !matches!(self.activity, Activity::Streaming(_))
                    && let Some(trace) = &context.site.trace
                {
                    trace.sent(context.port.number(), bytes, "The answer has been sent");
                }
                self.on_slice_sent(bytes, context);
                self.note_sent(context);
            }
            Err(_) => self.close(context),
        }
    }

    /// Closes once everything is said.
    fn end_if_done(&mut self, context: &mut Context) {
        if matches!(self.activity, Activity::Lingering) && self.ended {
            return self.close(context);
        }
        let idle = matches!(self.activity, Activity::Reading) && !self.sending && self.output.is_empty();
        if self.closing || !idle {
            return;
        }
        if self.last_answer {
            // Closing while the client is still sending would reset the connection, and the answer with it.
            if self.ended || (self.input.is_empty() && self.discarding.is_none() && !self.still_sends) {
                self.close(context);
            } else {
                self.activity = Activity::Lingering;
                (self.discarding, self.held) = (None, None);
                self.input.clear();
                self.submit(Operation::Disconnect, context);
            }
        } else if self.ended || (context.draining && self.is_between_requests() && self.held.is_none()) {
            // After the end no byte comes any more, so that a request that is not whole never will be.
            self.close(context);
        }
    }

    /// Submits an operation for this connection. One that is not accepted ends the connection: nothing else can be promised.
    fn submit(&mut self, operation: Operation, context: &mut Context) -> Option<Token> {
        match context.port.submit(self.handle, operation) {
            Ok(token) => Some(token),
            Err(rejected) => {
                self.refused_by_port(rejected.error, context);
                None
            }
        }
    }

    fn refused_by_port(&mut self, error: Error, context: &mut Context) {
        // At the deadline of a shutdown this is what ends the connections; the report counts them.
        if error.kind() != ErrorKind::ShuttingDown
            && let Some(held_back) = context.warnings.may_warn(context.port.now())
        {
            tracing::warn!(%error, held_back, "a connection ends because the port refused an operation");
        }
        self.close(context);
    }

    /// Closes the handle; what is pending on it comes home first.
    fn close(&mut self, context: &mut Context) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.input.clear();
        self.abandon_upload(context);
        self.log_interrupted(context);
        if let Err(rejected) = context.port.submit(self.handle, Operation::Close) {
            // The port refuses a close only of a handle that is closed already.
            tracing::error!(error = %rejected.error, "a connection could not be closed");
        }
    }
}

/// What is sent where there is not even a buffer for an answer.
pub(crate) const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

/// A body of this length or less is copied behind its head: cheaper than a second piece of a gathered send.
const COPY_BYTES: usize = 4_096;

impl Connection {
    fn send_overloaded(&mut self, context: &mut Context) {
        self.last_answer = true;
        self.count_answer(Status::SERVICE_UNAVAILABLE, context);
        self.send(BufferChain::from(Slice::from_static(OVERLOADED)), context);
    }
}

/// The buffer of a completion that must bring one home.
fn buffer_of(payload: Payload) -> completion_port::Buffer {
    payload.into_buffer().expect("receives and reads bring their buffer home")
}
