//! Sending a file in slices: while one is being sent, the next is read.

use super::{Activity, Connection, answer::LateRecord, buffer_of};
use crate::{context::Context, decide::FileAnswer, entry::Entry};
use completion_port::{Buffer, BufferChain, Buffers, Completion, Error, Operation};
use portico_http::request::Request;
use std::{ops::Range, sync::Arc};

/// Slices below this length are read one after the other is sent: there is nothing to gain from reading ahead.
const LEAST_AHEAD_BYTES: usize = 16_384;

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
    /// What is still to be read.
    left: Range<u64>,
    /// Bytes of the file in all, and as far as they were read: what the trace shows.
    total: u64,
    slice_bytes: usize,
    reading: bool,
    /// How many bytes the slice that is being read must bring.
    expected: u64,
    /// A slice that was read while the one before is being sent.
    ready: Option<Buffer>,
    pub(super) log: Option<Box<LateRecord>>,
}

impl FileBody {
    /// Bytes of the body that were handed over for sending.
    pub(super) fn sent(&self) -> u64 {
        let waiting = self.ready.as_ref().map_or(0, |_| self.expected);
        self.read() - waiting
    }

    fn read(&self) -> u64 {
        self.total - (self.left.end - self.left.start) - if self.reading { self.expected } else { 0 }
    }
}

impl Connection {
    /// Starts to send `range` of the file behind its head. False if no buffer is free and something else goes first.
    pub(super) fn begin_stream(
        &mut self,
        request: &Request<'_>,
        answer: &FileAnswer,
        range: Range<u64>,
        head: [&[u8]; 2],
        context: &mut Context,
    ) -> bool {
        let head_bytes = head[0].len() + head[1].len();
        let slice_bytes = context.site.settings.send_slice_bytes;
        let total = range.end - range.start;
        // The head is laid in front of the first slice, which is shorter by it, where that leaves a slice at all.
        let room = (total as usize).min(slice_bytes.saturating_sub(head_bytes).max(slice_bytes / 2));
        let Ok(mut buffer) = acquire_slice(context.port.buffers(), head_bytes, room) else {
            return self.wait_for_room::<()>(context).is_some();
        };
        for part in head {
            buffer.extend_from_slice(part);
        }
        let log = self.remote.map(|_| LateRecord::new(request, answer.status, self.arrived));
        let entry = Arc::clone(&answer.entry);
        self.activity = Activity::Streaming(Box::new(FileBody {
            entry,
            left: range,
            total,
            slice_bytes,
            reading: false,
            expected: 0,
            ready: None,
            log,
        }));
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
        body.reading = true;
        self.submit(Operation::ReadAt { file, offset, buffer }, context);
    }

    /// Reads the next slice, if there is one and nothing is read already.
    fn read_on(&mut self, context: &mut Context) {
        let Activity::Streaming(body) = &self.activity else { return };
        let left = body.left.end - body.left.start;
        if body.reading || body.ready.is_some() || left == 0 || self.closing {
            return;
        }
        let bytes = left.min(body.slice_bytes as u64) as usize;
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
        let buffer = buffer_of(completion.payload);
        if self.sending || !self.output.is_empty() {
            body.ready = Some(buffer);
        } else {
            self.send_slice(buffer, context);
        }
    }

    fn send_slice(&mut self, buffer: Buffer, context: &mut Context) {
        self.send(BufferChain::from(buffer), context);
        if let Activity::Streaming(body) = &self.activity
            && body.slice_bytes >= LEAST_AHEAD_BYTES
        {
            self.read_on(context);
        }
    }

    /// A send is done: the next slice goes out, or the answer is complete.
    pub(super) fn on_slice_sent(&mut self, bytes: u64, context: &mut Context) {
        let Activity::Streaming(body) = &mut self.activity else { return };
        let done = body.left.is_empty() && !body.reading && body.ready.is_none();
        if let Some(trace) = &context.site.trace {
            let next = if done { "Last slice of the file has been sent" } else { "Read more of the file..." };
            trace.sent(context.port.number(), bytes, next);
        }
        if done {
            let (log, total) = (body.log.take(), body.total);
            self.activity = Activity::Reading;
            if let Some(late) = log {
                late.record(self.remote, total, context);
            }
        } else if let Some(buffer) = body.ready.take() {
            self.send_slice(buffer, context);
        } else {
            self.read_on(context);
        }
    }
}
