//! Bodies of requests that nobody wants.
//!
//! Such a request is answered when its body has been read. To answer before that would be to answer twice where the body turns
//! out to be malformed, and it is what attacks need that make a server and a proxy before it disagree about where the next
//! request starts: a server that answers early keeps the connection going while the proxy still sends the body.

use super::{Connection, Progress, Taken};
use crate::{
    context::Context,
    decide::{Decision, Simple},
};
use portico_http::{
    body::{BodyDecoder, BodyFraming},
    request::{self, Parsed, Request},
    status::Status,
};

/// Whether a body follows the head.
pub(super) fn needs_body(request: &Request<'_>) -> bool {
    !request.body.is_empty()
}

impl Connection {
    /// Whether the body of `request` is to be read past before the request is answered as decided. Not where the body is too
    /// long for that, or may never come because the client waits for 100 (Continue): such an answer ends the connection.
    pub(super) fn reads_body_first(
        &mut self,
        request: &Request<'_>,
        decision: &Decision,
        context: &Context,
    ) -> bool {
        let wanted = matches!(decision, Decision::LookUp(_) | Decision::Check(_) | Decision::Upload { .. });
        if wanted || !needs_body(request) || request.expect_continue {
            return false;
        }
        self.discarding = BodyDecoder::new(request.body, &context.site.discard_limits).ok().map(Box::new);
        self.discarding.is_some()
    }

    /// Answers the request whose body has been read past.
    pub(super) fn answer_held(&mut self, head: Box<[u8]>, context: &mut Context) -> Progress {
        let Ok(Parsed::Complete(mut request)) = request::parse(&head, &context.site.limits) else {
            // It was valid before.
            self.close(context);
            return Progress::Wait;
        };
        // Nothing of it is to come.
        request.body = BodyFraming::Length(0);
        let known = self.known.take();
        let decision = match self.decide(&request, known, context) {
            // What kept the upload from being taken is over, and so is its body.
            Decision::Upload(_) => Decision::Simple(Simple::new(Status::SERVICE_UNAVAILABLE)),
            decision => decision,
        };
        match self.answer(&request, decision, !self.input.is_empty(), context) {
            Taken::Answered(progress) => {
                self.answered(context);
                progress
            }
            Taken::Kept(progress) => {
                self.held = Some(head);
                progress
            }
        }
    }

    /// Reads past a body that is not wanted. None when there is none left in front of the next request.
    pub(super) fn discard(&mut self, context: &mut Context) -> Option<Progress> {
        let decoder = self.discarding.as_mut()?;
        while !decoder.is_finished() {
            if self.input.is_empty() {
                return Some(Progress::Wait);
            }
            let before = (**decoder).clone();
            match decoder.decode(self.input.bytes()) {
                Ok(step) if step.consumed == 0 && !step.finished => {
                    let joined = self.input.join(context.port.buffers());
                    return Some(if joined { Progress::Again } else { Progress::Wait });
                }
                Ok(step) => self.input.consume(step.consumed),
                Err(rejection) => {
                    tracing::debug!(%rejection, "refused a request");
                    // Where the answers before it have to go first, this is found again behind them.
                    let refused = self.try_refuse(rejection.status, context);
                    self.discarding = (!refused).then(|| Box::new(before));
                    return Some(Progress::Wait);
                }
            }
        }
        self.discarding = None;
        None
    }
}
