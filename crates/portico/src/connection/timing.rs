//! When the steps of a request were, for the counters of latency. Kept only where somebody may ask.

use super::{Activity, Connection};
use crate::{context::Context, counters::Phase};
use std::time::Duration;

/// The requests of a connection that are being answered.
#[derive(Default)]
pub(super) struct Timing {
    /// When the head of the request in front was whole.
    whole: Option<Duration>,
    /// When the present send was submitted.
    sent: Duration,
    /// Requests whose answers have yet to be sent to their end: how many, when the first one's head was whole, and the others'. A batch is
    /// read in one round, but for its first request, which may have had to wait for the disk.
    answered: u64,
    first: Duration,
    others: Duration,
}

impl Timing {
    /// Whether no request is being measured.
    pub(super) fn is_at_rest(&self) -> bool {
        self.whole.is_none() && self.answered == 0
    }
}

impl Connection {
    /// The head of the request in front is whole.
    pub(super) fn note_whole(&mut self, context: &Context) {
        if let Some(timing) = &mut self.timing {
            timing.whole.get_or_insert(context.port.now());
        }
    }

    /// What the request in front is answered is decided.
    pub(super) fn note_answered(&mut self, context: &mut Context) {
        let (Some(timing), Some(samples)) = (&mut self.timing, &mut context.samples) else { return };
        let now = context.port.now();
        let whole = timing.whole.take().unwrap_or(now);
        samples.record(Phase::Lookup, now.saturating_sub(whole), 1);
        if timing.answered == 0 {
            timing.first = whole;
        }
        timing.others = whole;
        timing.answered += 1;
    }

    pub(super) fn note_send(&mut self, context: &Context) {
        if let Some(timing) = &mut self.timing {
            timing.sent = context.port.now();
        }
    }

    /// The kernel has taken what was sent.
    pub(super) fn note_sent(&mut self, context: &mut Context) {
        let done = matches!(self.activity, Activity::Reading | Activity::Lingering) && !self.sending;
        let (Some(timing), Some(samples)) = (&mut self.timing, &mut context.samples) else { return };
        let now = context.port.now();
        samples.record(Phase::Send, now.saturating_sub(timing.sent), 1);
        if done && timing.answered > 0 {
            samples.record(Phase::Request, now.saturating_sub(timing.first), 1);
            let others = std::mem::take(&mut timing.answered) - 1;
            if others > 0 {
                samples.record(Phase::Request, now.saturating_sub(timing.others), others);
            }
        }
    }
}
