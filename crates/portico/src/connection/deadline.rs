//! Time limits. Each connection has one alarm, which is set again only when it is due: moving a deadline to a later time costs nothing.
//!
//! Heads, idleness and the end of a connection have a fixed limit. Bodies and answers may take as long as they need, but have a least rate:
//! when a window of time is over, so many bytes must have moved in it as the rate says, or at least one.

use super::{Activity, Connection};
use crate::{
    alarms::{Alarm, nanoseconds},
    context::Context,
};
use portico_http::status::Status;
use std::time::Duration;

/// How long a client may take to end after everything was said to it.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// How long a shutdown waits for the rest of a head, or of a body that nobody wants.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The next request.
    Request,
    /// The header of the PROXY protocol; the limit counts from the connection's begin.
    ProxyHeader,
    /// The rest of a head; the limit counts from its first byte, whatever comes in between.
    Head,
    /// The next bytes of a body.
    Body,
    /// The disk. The time that it takes is not the client's.
    Disk,
    /// The client to take what is sent.
    Write,
    /// The client's end.
    End,
}

/// The time limit of a connection, and what moved since it was set.
pub(super) struct Clock {
    pub(super) lasting: Lasting,
    waiting: Waiting,
    /// What was left of the window of a body or an answer when the connection began to wait for the disk.
    paused: Option<(Waiting, u64)>,
    /// Bytes that came since the window of a body began.
    received: u64,
}

/// What is kept of it between requests. Times are by the clock of the port.
#[derive(Clone, Copy)]
pub(super) struct Lasting {
    deadline_ns: u64,
    /// When it is looked at, or [`NEVER`].
    alarm_ns: u64,
    /// Bytes in sends that are done.
    sent: u64,
    /// Bytes that the client had taken when that was last asked.
    taken: u64,
}

const NEVER: u64 = u64::MAX;

impl Lasting {
    pub(super) const NEW: Self = Self { deadline_ns: 0, alarm_ns: NEVER, sent: 0, taken: 0 };
}

impl Default for Clock {
    fn default() -> Self {
        Self { lasting: Lasting::NEW, waiting: Waiting::Request, paused: None, received: 0 }
    }
}

impl Clock {
    pub(super) fn count_received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    pub(super) fn count_sent(&mut self, bytes: u64) {
        self.lasting.sent += bytes;
    }

    /// Whether only the next request is waited for: then [`Lasting`] says all.
    pub(super) fn is_at_rest(&self) -> bool {
        self.waiting == Waiting::Request && self.paused.is_none()
    }

    fn alarm(&self, place: u32) -> Option<Alarm> {
        (self.lasting.alarm_ns != NEVER).then_some((self.lasting.alarm_ns, place))
    }
}

impl Connection {
    /// Whether the first byte of the next request has not come yet. (Its bytes may be with a receive that is posted.)
    pub(super) fn is_between_requests(&self) -> bool {
        self.input.is_empty() && self.scanner.examined() == 0
    }

    fn waiting(&self) -> Waiting {
        match &self.activity {
            Activity::Lingering => Waiting::End,
            _ if self.sending => Waiting::Write,
            Activity::Uploading(upload) if upload.wants_input() => Waiting::Body,
            Activity::Reading if self.client.expects_header() => Waiting::ProxyHeader,
            Activity::Reading if self.discarding.is_some() => Waiting::Body,
            Activity::Reading if self.is_between_requests() => Waiting::Request,
            Activity::Reading => Waiting::Head,
            Activity::Uploading(_)
            | Activity::Verifying
            | Activity::LookingUp(_)
            | Activity::Loading(_)
            | Activity::Listing(_)
            | Activity::Deleting(_)
            | Activity::Streaming(_) => Waiting::Disk,
        }
    }

    fn time_limit(&self, waiting: Waiting, context: &Context) -> Duration {
        let settings = &context.site.settings;
        let limit = match waiting {
            Waiting::Request => settings.idle_timeout,
            Waiting::Head | Waiting::ProxyHeader => settings.header_timeout,
            Waiting::Body => settings.body_timeout,
            Waiting::Disk | Waiting::Write => settings.write_timeout,
            Waiting::End => LINGER_TIME,
        };
        let begun = matches!(waiting, Waiting::Head | Waiting::ProxyHeader);
        let may_be_cut = begun || (waiting == Waiting::Body && self.discarding.is_some());
        if context.draining && may_be_cut { limit.min(DRAIN_TIME) } else { limit }
    }

    /// Sets the deadline for what is waited for, where that changed.
    pub(super) fn set_deadline(&mut self, context: &mut Context) {
        let waiting = self.waiting();
        if waiting == self.clock.waiting && self.clock.lasting.alarm_ns != NEVER {
            return;
        }
        let before = std::mem::replace(&mut self.clock.waiting, waiting);
        let left = match self.clock.paused.take() {
            Some((paused, left_ns)) if paused == waiting => Duration::from_nanos(left_ns),
            _ => {
                if waiting == Waiting::Disk && matches!(before, Waiting::Body | Waiting::Write) {
                    let left_ns =
                        self.clock.lasting.deadline_ns.saturating_sub(nanoseconds(context.port.now()));
                    self.clock.paused = Some((before, left_ns));
                } else {
                    self.clock.received = 0;
                }
                self.time_limit(waiting, context)
            }
        };
        self.set_limit(left, context);
    }

    /// A write is done: the next has the whole limit again.
    pub(super) fn disk_moved(&mut self, context: &mut Context) {
        if self.clock.waiting == Waiting::Disk {
            self.set_limit(self.time_limit(Waiting::Disk, context), context);
        }
    }

    /// The server shuts down: what would be waited for long ends sooner.
    pub(super) fn hasten(&mut self, context: &mut Context) {
        let limit = self.time_limit(self.clock.waiting, context);
        if nanoseconds(context.port.now() + limit) < self.clock.lasting.deadline_ns {
            self.set_limit(limit, context);
        }
    }

    fn set_limit(&mut self, left: Duration, context: &mut Context) {
        self.clock.lasting.deadline_ns = nanoseconds(context.port.now() + left);
        if self.clock.lasting.deadline_ns < self.clock.lasting.alarm_ns {
            self.set_alarm(context);
        }
    }

    fn set_alarm(&mut self, context: &mut Context) {
        let before = self.clock.alarm(self.place);
        self.clock.lasting.alarm_ns = self.clock.lasting.deadline_ns;
        let alarm = (self.clock.lasting.alarm_ns, self.place);
        if let Err(error) = context.alarms.set(alarm, before, &mut context.port) {
            self.clock.lasting.alarm_ns = NEVER;
            self.refused_by_port(error, context);
        }
    }

    /// The connection is gone.
    pub(super) fn forget_alarm(&mut self, context: &mut Context) {
        if let Some(alarm) = self.clock.alarm(self.place) {
            context.alarms.remove(alarm, &mut context.port);
        }
    }

    pub(super) fn on_alarm(&mut self, due_ns: u64, context: &mut Context) {
        // It may be that of an earlier connection in this place.
        if due_ns != self.clock.lasting.alarm_ns {
            return;
        }
        self.clock.lasting.alarm_ns = NEVER;
        if self.closing {
            return;
        }
        if nanoseconds(context.port.now()) < self.clock.lasting.deadline_ns {
            return self.set_alarm(context);
        }
        let waiting = self.clock.waiting;
        if self.keeps_pace(context) {
            return self.set_limit(self.time_limit(waiting, context), context);
        }
        tracing::debug!(?waiting, "a connection is too slow");
        match waiting {
            Waiting::Head | Waiting::Body if !self.sending => {
                match self.activity {
                    Activity::Uploading(_) => self.fail_upload(Status::REQUEST_TIMEOUT, context),
                    _ => self.refuse(Status::REQUEST_TIMEOUT, context),
                }
                self.start_linger_limit(context);
            }
            Waiting::Write => {
                // Else the system would hold for this client what it does not take.
                let _ = context.port.reset_on_close(self.handle);
                self.close(context);
            }
            _ => self.close(context),
        }
    }

    /// Whether so much has moved in the window that is over as the least rate asks for; then another begins.
    fn keeps_pace(&mut self, context: &Context) -> bool {
        let moved = match self.clock.waiting {
            Waiting::Body => std::mem::take(&mut self.clock.received),
            Waiting::Write => {
                // Where the system does not say how far a send has come, one that is under way counts for nothing.
                let taken = context.port.acknowledged_bytes(self.handle).unwrap_or(self.clock.lasting.sent);
                taken.saturating_sub(std::mem::replace(&mut self.clock.lasting.taken, taken))
            }
            _ => return false,
        };
        let window = self.time_limit(self.clock.waiting, context);
        let needed = u128::from(context.site.settings.minimum_rate_bytes) * window.as_millis() / 1_000;
        u128::from(moved) >= needed.max(1)
    }

    /// The answer of a connection that was too slow has to go out within its own limit.
    fn start_linger_limit(&mut self, context: &mut Context) {
        if !self.closing {
            self.clock.waiting = Waiting::Write;
            self.set_limit(self.time_limit(Waiting::Write, context), context);
        }
    }
}
