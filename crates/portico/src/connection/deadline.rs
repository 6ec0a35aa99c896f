//! Time limits. Each connection has one timer, which is set again only when it fires: moving a deadline costs nothing.

use super::{Activity, Connection};
use crate::context::Context;
use completion_port::{Completion, Operation, Token};
use portico_http::status::Status;
use std::time::Duration;

/// How long a client may take to end after everything was said to it.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The next request.
    Request,
    /// The header of the PROXY protocol; the limit counts from the connection's begin.
    ProxyHeader,
    /// The rest of a head; the limit counts from its first byte, whatever comes in between.
    Head,
    /// The next bytes of a body.
    Body,
    /// The client to take what is sent, or the disk.
    Write,
    /// The client's end.
    End,
}

impl Connection {
    fn waiting(&self) -> Waiting {
        match &self.activity {
            Activity::Lingering => Waiting::End,
            _ if self.sending => Waiting::Write,
            Activity::Uploading(upload) if upload.wants_input() => Waiting::Body,
            Activity::Reading if self.client.expects_header() => Waiting::ProxyHeader,
            Activity::Reading if self.discarding.is_some() => Waiting::Body,
            Activity::Reading if self.scanner.examined() > 0 => Waiting::Head,
            Activity::Reading => Waiting::Request,
            Activity::Uploading(_)
            | Activity::LookingUp(_)
            | Activity::Loading(_)
            | Activity::Streaming(_) => Waiting::Write,
        }
    }

    /// Sets the deadline for what is waited for, where that changed or came nearer.
    pub(super) fn set_deadline(&mut self, context: &mut Context) {
        let waiting = self.waiting();
        let moved = std::mem::take(&mut self.progressed) && waiting != Waiting::Head;
        if waiting == self.waiting && !moved {
            return;
        }
        self.waiting = waiting;
        let settings = &context.site.settings;
        let limit = match waiting {
            Waiting::Request => settings.idle_timeout,
            Waiting::Head | Waiting::ProxyHeader => settings.header_timeout,
            Waiting::Body => settings.body_timeout,
            Waiting::Write => settings.write_timeout,
            Waiting::End => LINGER_TIME,
        };
        self.deadline = context.port.now() + limit;
        if self.timer == Token::NONE {
            self.start_timer(context);
        } else if self.deadline < self.timer_due {
            // Its completion starts it again, for the nearer deadline.
            context.port.cancel(self.timer);
        }
    }

    fn start_timer(&mut self, context: &mut Context) {
        let after = self.deadline.saturating_sub(context.port.now());
        self.timer_due = self.deadline;
        self.timer = self.submit(Operation::Timer { after }, context).unwrap_or(Token::NONE);
    }

    pub(super) fn on_timer(&mut self, completion: &Completion, context: &mut Context) {
        self.timer = Token::NONE;
        if self.closing {
            return;
        }
        if completion.result.is_err() || context.port.now() < self.deadline {
            return self.start_timer(context);
        }
        match self.waiting {
            Waiting::Head | Waiting::Body if !self.sending => {
                match self.activity {
                    Activity::Uploading(_) => self.fail_upload(Status::REQUEST_TIMEOUT, context),
                    _ => self.refuse(Status::REQUEST_TIMEOUT, context),
                }
                self.start_linger_limit(context);
            }
            _ => self.close(context),
        }
    }

    /// The answer of a connection that was too slow has to go out within its own limit.
    fn start_linger_limit(&mut self, context: &mut Context) {
        if !self.closing {
            self.waiting = Waiting::Write;
            self.deadline = context.port.now() + context.site.settings.write_timeout;
            self.start_timer(context);
        }
    }
}
