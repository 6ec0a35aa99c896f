//! Bodies of requests that nobody wants.

use super::{Connection, Progress};
use crate::context::Context;
use portico_http::request::Request;

/// Whether a body follows the head.
pub(super) fn needs_body(request: &Request<'_>) -> bool {
    !request.body.is_empty()
}

impl Connection {
    /// Reads past a body that is not wanted. None when there is none left in front of the next request.
    pub(super) fn discard(&mut self, context: &mut Context) -> Option<Progress> {
        let decoder = self.discarding.as_mut()?;
        while !decoder.is_finished() {
            if self.input.is_empty() {
                return Some(Progress::Wait);
            }
            match decoder.decode(self.input.bytes()) {
                Ok(step) if step.consumed == 0 && !step.finished => {
                    let joined = self.input.join(context.port.buffers());
                    return Some(if joined { Progress::Again } else { Progress::Wait });
                }
                Ok(step) => self.input.consume(step.consumed),
                Err(rejection) => {
                    // The answer to the request has been given; the next one cannot be found any more.
                    self.discarding = None;
                    self.refuse(rejection.status, context);
                    self.last_answer = true;
                    self.still_sends = true;
                    return Some(Progress::Wait);
                }
            }
        }
        self.discarding = None;
        None
    }
}
