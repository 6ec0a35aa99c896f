//! Receiving: a stream that holds no buffer while nothing comes, or posted receives into a buffer that doubles.

use super::{Activity, Connection, buffer_of};
use crate::{
    context::Context,
    input::Input,
    upload::{Stage, Upload},
};
use completion_port::{Completion, ErrorKind, Operation, OperationKind, Payload, Token};

/// Below this length of the first buffer receives are posted with a buffer of the connection's own, which doubles while a head
/// is incomplete, as the seed does it. From it on a receive stream brings buffers of the pool.
pub(crate) const LEAST_STREAM_BYTES: usize = 512;
/// Capacity of a posted receive for a body.
const BODY_BYTES: usize = 65_536;
/// The same of a large upload.
const PIECE_BYTES: usize = 262_144;
/// The same where what follows is received and written within calls: it says that there is something, and is a page of the file.
pub(super) const WAKING_BYTES: usize = 4_096;
/// An eighth of a piece, which is taken for sure, is a page at least: what is left over of a page never is all.
const LEAST_PIECE_BYTES: usize = 32_768;
/// Buffers that may wait to be read, per connection, whatever their length.
const MOST_WAITING_BUFFERS: usize = 64;

/// Buffers that a connection may keep in any case while its answer is being sent.
const FEW_BUFFERS: usize = 2;

/// What is under way to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    Nothing,
    Stream(Token),
    /// A stream that was asked to end, because enough waits to be read.
    Ending,
    Posted,
}

impl Connection {
    /// Keeps receiving what can be used.
    pub(super) fn receive(&mut self, context: &mut Context) {
        if self.ended {
            return;
        }
        if context.site.settings.receive_buffer_bytes < LEAST_STREAM_BYTES {
            return self.post_receive(context);
        }
        if self.receives_pieces(context) {
            return;
        }
        let settings = &context.site.settings;
        let waiting = self.input.len();
        // A head that goes on has its own limit, `head_bytes`, and is never whole without its rest.
        let most = match self.activity {
            Activity::Reading if !self.sending => usize::MAX,
            Activity::Uploading(_) => settings.queued_bytes / 4,
            // Requests that wait for the answers before them: enough to go on with, and no more of the pool than that.
            _ => (2 * settings.head_bytes).min(settings.queued_bytes / 4),
        };
        match self.receiving {
            Receiving::Nothing if waiting <= most / 2 && self.input.buffers() <= MOST_WAITING_BUFFERS / 2 => {
                if let Some(token) = self.submit(Operation::ReceiveStream, context) {
                    self.receiving = Receiving::Stream(token);
                }
            }
            Receiving::Stream(token) if waiting > most || self.input.buffers() > MOST_WAITING_BUFFERS => {
                context.port.cancel(token);
                self.receiving = Receiving::Ending;
            }
            _ => {}
        }
    }

    /// Receives the body of a large upload, and the head that probably begins the next, with a buffer of the connection's own: far fewer pieces
    /// than a stream would bring, and none from behind the head in its small buffers. False where a stream is to do it.
    fn receives_pieces(&mut self, context: &mut Context) -> bool {
        let buffer = match &self.activity {
            Activity::Uploading(upload) if upload.is_large => {
                let Some(mut bytes) = piece_bytes(context) else { return false };
                if let Receiving::Stream(token) = self.receiving {
                    context.port.cancel(token);
                    self.receiving = Receiving::Ending;
                }
                // Files that may be written to within calls are opened as fast: what is there can wait for that.
                let opens = upload.moves_at_once && matches!(upload.stage, Stage::Preparing | Stage::Opening);
                if self.receiving != Receiving::Nothing || opens {
                    return true;
                }
                if upload.can_move() && self.input.buffers() <= 1 && self.input.len() < WAKING_BYTES {
                    bytes = WAKING_BYTES;
                } else if !wants_piece(upload, &self.input, bytes) {
                    return true;
                }
                self.input.take_for_body(context.port.buffers(), bytes)
            }
            Activity::Reading
                if self.expects_upload
                    && matches!(self.receiving, Receiving::Nothing | Receiving::Posted)
                    && self.input.buffers() <= 1
                    && !buffers_are_low(context) =>
            {
                if self.sending || self.receiving == Receiving::Posted {
                    return true;
                }
                let bytes = context.site.settings.receive_buffer_bytes;
                self.input.take_for_receive(context.port.buffers(), bytes)
            }
            _ => return false,
        };
        let Some(buffer) = buffer else { return false };
        self.receiving = Receiving::Posted;
        self.submit(Operation::Receive { buffer }, context);
        true
    }

    fn post_receive(&mut self, context: &mut Context) {
        let wanted = match &self.activity {
            Activity::Reading => !self.sending,
            Activity::Uploading(upload) => upload.wants_input(),
            Activity::Lingering => true,
            Activity::Verifying
            | Activity::LookingUp(_)
            | Activity::Loading(_)
            | Activity::Listing(_)
            | Activity::Deleting(_)
            | Activity::Streaming(_) => false,
        };
        if !wanted || self.receiving != Receiving::Nothing {
            return;
        }
        let least = match &self.activity {
            Activity::Reading if self.discarding.is_none() => context.site.settings.receive_buffer_bytes,
            _ => BODY_BYTES,
        };
        match self.input.take_for_receive(context.port.buffers(), least) {
            Some(buffer) => {
                self.receiving = Receiving::Posted;
                self.submit(Operation::Receive { buffer }, context);
            }
            None if matches!(self.activity, Activity::Reading) => self.send_overloaded(context),
            None => self.close(context),
        }
    }

    pub(super) fn on_received(&mut self, completion: Completion, context: &mut Context) {
        if completion.last {
            self.receiving = Receiving::Nothing;
        }
        if let (Ok(bytes @ 1..), Some(trace), Payload::Buffer(buffer)) =
            (completion.result, &context.site.trace, &completion.payload)
        {
            // The request is shown as far as it is there; a body says nothing to whoever watches.
            let body = !matches!(self.activity, Activity::Reading) || self.discarding.is_some();
            let shown: &[u8] = if body { b"" } else { buffer };
            trace.received(context.port.number(), bytes, buffer.capacity(), shown);
        }
        match completion.result {
            Ok(0) => self.ended = true,
            Ok(bytes) => self.clock.count_received(bytes),
            Err(error) if error.kind() == ErrorKind::Cancelled => {}
            Err(_) => self.close(context),
        }
        if self.closing {
            return;
        }
        match completion.kind {
            OperationKind::Receive => self.input.put_back(buffer_of(completion.payload)),
            _ => {
                if let Some(buffer) = completion.payload.into_buffer() {
                    self.input.push(buffer);
                }
            }
        }
        match self.activity {
            Activity::Uploading(_) => {}
            // It takes no answer and sends on. It is this client that goes without, and in time: once the last buffer is with such
            // clients no receive completes any more, and nobody would notice.
            Activity::Reading if !self.sending => {}
            _ if self.input.buffers() > FEW_BUFFERS && buffers_are_low(context) => {
                tracing::warn!(
                    "a connection ends because it sends more than it reads, and few buffers are free"
                );
                self.close(context);
            }
            _ => {}
        }
    }
}

/// Capacity of the pieces in which a large body is received. None where there is no room for such.
fn piece_bytes(context: &Context) -> Option<usize> {
    let (settings, buffers) = (&context.site.settings, context.port.buffers());
    let bytes = PIECE_BYTES.min(settings.queued_bytes / 4).min(buffers.largest());
    let first = settings.receive_buffer_bytes;
    (first >= LEAST_STREAM_BYTES && bytes >= LEAST_PIECE_BYTES.max(2 * first) && !buffers.are_low(bytes))
        .then_some(bytes)
}

/// Whether an upload can take in the next piece of its body: one at a time, until it is written.
fn wants_piece(upload: &Upload, input: &Input, bytes: usize) -> bool {
    let is_busy = upload.writing || !upload.gathered.is_empty() || upload.decoder.is_finished();
    // Chunks that nobody has looked at may be the last ones. With the receive they would be out of reach until more comes.
    let is_read = input.is_empty() || upload.wants_input() || upload.decoder.remaining_bytes().is_some();
    !is_busy && is_read && is_small(upload, input, bytes)
}

fn is_small(upload: &Upload, input: &Input, bytes: usize) -> bool {
    input.buffers() <= 1 && input.len() < bytes / 8 && !upload.ends_with(input.len())
}

/// As [`piece_bytes`], for a body that says how long it is: more is certain to come until it is whole.
pub(super) fn certain_piece_bytes(upload: &Upload, context: &Context) -> Option<usize> {
    let is_certain = upload.is_large && upload.decoder.remaining_bytes().is_some();
    if is_certain { piece_bytes(context) } else { None }
}

/// Whether what has come of a body is to grow before it is taken. More than a little is written at once, while the processor has it in
/// its cache.
pub(super) fn goes_on_growing(upload: &Upload, input: &Input, context: &Context) -> bool {
    certain_piece_bytes(upload, context).is_some_and(|bytes| is_small(upload, input, bytes))
}

fn buffers_are_low(context: &Context) -> bool {
    context.port.buffers().are_low(context.site.settings.receive_buffer_bytes)
}
