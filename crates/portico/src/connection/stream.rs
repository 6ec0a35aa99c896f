//! Sending a file: by the system alone (`transmit_files`), or in slices, where one is read while the one before it is being sent.

use super::{Activity, Connection, answer::LateRecord, buffer_of};
use crate::{context::Context, decide::FileAnswer, entry::Entry};
use completion_port::{Buffer, BufferChain, Buffers, Completion, Error, ErrorKind, Operation, Slice};
use portico_http::request::Request;
use std::{ops::Range, sync::Arc, vec};

/// Slices below this length are read one after the other is sent: there is nothing to gain from reading ahead.
const LEAST_AHEAD_BYTES: usize = 16_384;

/// Fewer bytes cost less where they are read behind the head and sent with it.
pub(super) const LEAST_TRANSMITTED_BYTES: u64 = 16_384;
/// What the system sends by itself in one operation; after it, the access log and the limits know how far the client is.
const TRANSMIT_BYTES: u64 = if cfg!(target_os = "windows") { 128 << 10 } else { 4 << 20 };

/// A buffer for a slice of the file behind a head. Where those of its length are taken, a smaller one: the download takes more steps.
fn acquire_slice(buffers: &Buffers, head_bytes: usize, slice_bytes: usize) -> Result<Buffer, Error> {
    let bytes = head_bytes + slice_bytes;
    let least = LEAST_AHEAD_BYTES.max(2 * head_bytes);
    let smaller = [bytes / 2, bytes / 4, least].into_iter().filter(|fewer| (least..bytes).contains(fewer));
    smaller.fold(buffers.acquire(bytes), |found, bytes| found.or_else(|_| buffers.acquire(bytes)))
}

/// A file that is being sent.
pub(super) struct FileBody {
    entry: Arc<Entry>,
    /// What is still to be read of the range at hand.
    left: Range<u64>,
    /// The ranges after it.
    further: vec::IntoIter<Part>,
    /// What is laid in front of the slice that is read next, or is being read.
    lead: Option<Slice>,
    /// What is laid behind the last slice.
    end: Option<Slice>,
    /// Bytes of the file in all, and those that no read has been submitted for.
    total: u64,
    unread: u64,
    /// Bytes of the body that do not come from the file.
    frame_bytes: u64,
    slice_bytes: usize,
    /// The system sends it by itself.
    transmits: bool,
    /// A slice is being read, or sent by the system itself.
    reading: bool,
    /// How many bytes that must bring.
    expected: u64,
    /// A slice that was read while the one before is being sent.
    ready: Option<BufferChain>,
    pub(super) log: Option<Box<LateRecord>>,
}

/// A range of a file, and what is laid in front of it.
pub(super) struct Part {
    pub(super) lead: Slice,
    pub(super) range: Range<u64>,
}

/// Ranges of a file, and what is laid behind the last.
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    pub(super) end: Slice,
    /// Bytes of all leads, but for the head of the answer, and of the end.
    pub(super) frame_bytes: u64,
}

impl FileBody {
    fn new(entry: &Arc<Entry>, range: Range<u64>, slice_bytes: usize, log: Option<Box<LateRecord>>) -> Self {
        let total = range.end - range.start;
        Self {
            entry: Arc::clone(entry),
            left: range,
            further: Vec::new().into_iter(),
            lead: None,
            end: None,
            total,
            unread: total,
            frame_bytes: 0,
            slice_bytes,
            transmits: false,
            reading: false,
            expected: 0,
            ready: None,
            log,
        }
    }

    /// Bytes of the file that were handed over for sending.
    pub(super) fn sent(&self) -> u64 {
        let waiting = self.ready.as_ref().map_or(0, |_| self.expected);
        self.read() - waiting
    }

    fn read(&self) -> u64 {
        self.total - self.unread - if self.reading { self.expected } else { 0 }
    }
}

impl Connection {
    /// Starts to send `range` of the file behind its head. False if no buffer is free and something else goes first.
    pub(super) fn begin_stream(
        &mut self,
        request: &Request<'_>,
        answer: &FileAnswer,
        range: Range<u64>,
        head: &[&[u8]],
        context: &mut Context,
    ) -> bool {
        let settings = &context.site.settings;
        let (slice_bytes, total) = (settings.send_slice_bytes, range.end - range.start);
        if settings.transmit_files && context.site.trace.is_none() && total >= LEAST_TRANSMITTED_BYTES {
            return self.begin_transmit(request, answer, range, head, context);
        }
        let head_bytes = head.iter().map(|part| part.len()).sum::<usize>();
        // The head is laid in front of the first slice, which is shorter by it, where that leaves a slice at all.
        let room = (total as usize).min(slice_bytes.saturating_sub(head_bytes).max(slice_bytes / 2));
        let Ok(mut buffer) = acquire_slice(context.port.buffers(), head_bytes, room) else {
            return self.wait_for_room::<()>(context).is_some();
        };
        head.iter().for_each(|part| buffer.extend_from_slice(part));
        let log = self.late_record(Some(request), answer.status);
        self.activity = Activity::Streaming(Box::new(FileBody::new(&answer.entry, range, slice_bytes, log)));
        self.read_slice(buffer, context);
        true
    }

    /// As [`Self::begin_stream`], by the system alone: at once what the client has room for, if nothing else goes first.
    fn begin_transmit(
        &mut self,
        request: &Request<'_>,
        answer: &FileAnswer,
        range: Range<u64>,
        head: &[&[u8]],
        context: &mut Context,
    ) -> bool {
        let file = answer.entry.file().expect("only files are streamed").handle.handle();
        context.head.clear();
        head.iter().for_each(|part| context.head.extend_from_slice(part));
        let head_bytes = context.head.len() as u64;
        // What was answered before goes first.
        let may_send = !self.sending && self.output.is_empty();
        let mut sent = 0;
        if may_send {
            self.note_send(context);
            sent = context.port.transmit_at_once(self.handle, &context.head, file, range.clone());
            self.clock.count_sent(sent);
        }
        if sent == head_bytes + range.end - range.start {
            self.log(Some(request), answer.status, range.end - range.start, context);
            return true;
        }
        let unsent = &context.head[sent.min(head_bytes) as usize..];
        let mut lead = None;
        if !unsent.is_empty() {
            let buffers = context.port.buffers();
            // It is kept until the client has taken the first step, which must not be at the expense of others.
            let acquired = match buffers.are_low(unsent.len()) {
                true => buffers.allocate(unsent.len()),
                false => buffers.acquire(unsent.len()),
            };
            match acquired {
                Ok(mut buffer) => {
                    buffer.extend_from_slice(unsent);
                    lead = Some(buffer.freeze());
                }
                Err(_) if sent == 0 => return self.wait_for_room::<()>(context).is_some(),
                Err(_) => {
                    // Half a head is with the client, and nothing else can be said to it.
                    self.close(context);
                    return true;
                }
            }
        }
        let of_file = sent.saturating_sub(head_bytes);
        let log = self.late_record(Some(request), answer.status);
        let mut body = FileBody::new(&answer.entry, range, context.site.settings.send_slice_bytes, log);
        body.left.start += of_file;
        body.unread -= of_file;
        (body.transmits, body.lead) = (true, lead);
        self.activity = Activity::Streaming(Box::new(body));
        if may_send {
            self.transmit(context);
        }
        true
    }

    /// Has the system send what comes next.
    fn transmit(&mut self, context: &mut Context) {
        let Activity::Streaming(body) = &mut self.activity else { return };
        let file = body.entry.file().expect("only files are streamed").handle.handle();
        let (offset, length) = (body.left.start, (body.left.end - body.left.start).min(TRANSMIT_BYTES));
        (body.expected, body.reading) = (length, true);
        body.left.start += length;
        body.unread -= length;
        let head = body.lead.take().map_or_else(BufferChain::new, BufferChain::from);
        (self.sending, self.batched) = (true, 0);
        self.note_send(context);
        self.submit(Operation::TransmitFile { head, file, offset, length }, context);
    }

    /// The system has sent what it was asked to, or could not.
    pub(super) fn on_transmitted(&mut self, completion: Completion, context: &mut Context) {
        // Nothing was batched since: the answer that it belongs to was counted after it had begun.
        self.batched = 0;
        if let Activity::Streaming(body) = &mut self.activity {
            body.reading = false;
            if let Err(error) = &completion.result
                && error.kind() == ErrorKind::Other
            {
                tracing::warn!(%error, "a download ends because its file changed or could not be read");
            }
        }
        self.on_sent(completion, context);
    }

    /// Starts to send ranges of a file, the first lead with the head of the answer. False as with [`Self::begin_stream`].
    pub(super) fn begin_parts(
        &mut self,
        entry: &Arc<Entry>,
        parts: Parts,
        log: Option<Box<LateRecord>>,
        context: &mut Context,
    ) -> bool {
        let slice_bytes = context.site.settings.send_slice_bytes;
        let total = parts.parts.iter().map(|part| part.range.end - part.range.start).sum();
        let mut further = parts.parts.into_iter();
        let Some(Part { lead, range }) = further.next() else { return false };
        let first = (range.end - range.start).min(slice_bytes as u64) as usize;
        let Ok(buffer) = acquire_slice(context.port.buffers(), 0, first) else {
            return self.wait_for_room::<()>(context).is_some();
        };
        let body = FileBody {
            further,
            lead: Some(lead),
            end: Some(parts.end),
            total,
            unread: total,
            frame_bytes: parts.frame_bytes,
            ..FileBody::new(entry, range, slice_bytes, log)
        };
        self.activity = Activity::Streaming(Box::new(body));
        self.read_slice(buffer, context);
        true
    }

    /// Reads the next slice behind what `buffer` holds.
    fn read_slice(&mut self, buffer: Buffer, context: &mut Context) {
        let Activity::Streaming(body) = &mut self.activity else { return };
        let file = body.entry.file().expect("only files are streamed").handle.handle();
        let offset = body.left.start;
        body.expected = buffer.spare_capacity() as u64;
        body.left.start += body.expected;
        body.unread -= body.expected;
        body.reading = true;
        self.submit(Operation::ReadAt { file, offset, buffer }, context);
    }

    /// Reads the next slice, if there is one and nothing is read already.
    fn read_on(&mut self, context: &mut Context) {
        let Activity::Streaming(body) = &mut self.activity else { return };
        if body.reading || body.ready.is_some() || body.unread == 0 || self.closing {
            return;
        }
        if body.left.is_empty()
            && let Some(Part { lead, range }) = body.further.next()
        {
            (body.lead, body.left) = (Some(lead), range);
        }
        let bytes = (body.left.end - body.left.start).min(body.slice_bytes as u64) as usize;
        let buffers = context.port.buffers();
        if self.sending && buffers.are_low(bytes) {
            // Those who take their answers slowly must not hold two slices each: the next is read when this one is sent.
            return;
        }
        match acquire_slice(buffers, 0, bytes) {
            Ok(buffer) => self.read_slice(buffer, context),
            // While something is being sent its buffer will come back, and this is tried again.
            Err(_) if self.sending => {}
            Err(error) => {
                tracing::warn!(%error, "a download ends because no buffer is free");
                self.close(context);
            }
        }
    }

    pub(super) fn on_slice_read(&mut self, completion: Completion, context: &mut Context) {
        let Activity::Streaming(body) = &mut self.activity else { return };
        body.reading = false;
        if self.closing {
            return;
        }
        let (expected, bytes) = (body.expected, completion.result.unwrap_or(0));
        if bytes != expected {
            // The file is shorter than the length that was promised. The end of the connection says so; anything else would be a lie.
            let error = completion.result.err();
            tracing::warn!(
                ?error,
                expected,
                bytes,
                "a download ends because its file changed or could not be read"
            );
            return self.close(context);
        }
        if let Some(trace) = &context.site.trace {
            trace.read(context.port.number(), bytes, body.read(), body.total);
        }
        let buffer = buffer_of(completion.payload).freeze();
        let end = if body.unread == 0 { body.end.take() } else { None };
        let mut chain = BufferChain::new();
        for slice in body.lead.take().into_iter().chain([buffer]).chain(end) {
            chain.push(slice).expect("three slices fit into a chain");
        }
        if self.sending || !self.output.is_empty() {
            body.ready = Some(chain);
        } else {
            self.send_slice(chain, context);
        }
    }

    fn send_slice(&mut self, chain: BufferChain, context: &mut Context) {
        self.send(chain, context);
        if let Activity::Streaming(body) = &self.activity
            && body.slice_bytes >= LEAST_AHEAD_BYTES
        {
            self.read_on(context);
        }
    }

    /// A send is done: the next slice goes out, or the answer is complete.
    pub(super) fn on_slice_sent(&mut self, bytes: u64, context: &mut Context) {
        let Activity::Streaming(body) = &mut self.activity else { return };
        let done = body.unread == 0 && !body.reading && body.ready.is_none();
        if let Some(trace) = &context.site.trace {
            let next = if done { "Last slice of the file has been sent" } else { "Read more of the file..." };
            trace.sent(context.port.number(), bytes, next);
        }
        if done {
            let (log, total) = (body.log.take(), body.total + body.frame_bytes);
            self.activity = Activity::Reading;
            if let Some(late) = log {
                late.record(self.client.remote, total, context);
            }
        } else if let Some(chain) = body.ready.take() {
            self.send_slice(chain, context);
        } else if body.transmits {
            self.transmit(context);
        } else {
            self.read_on(context);
        }
    }
}
