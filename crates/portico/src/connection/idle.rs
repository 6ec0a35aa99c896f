//! What is left of a connection between two requests. A state machine is lent to those that have something to do.

use super::{
    Activity, Audience, Connection,
    client::{Acquaintance, Client},
    deadline::Lasting,
    receive::Receiving,
};
use crate::{context::Context, host::HostNumber};
use completion_port::{Handle, Token};

/// A connection that waits for its next request, and has nothing under way but a receive stream.
pub(crate) struct Idle {
    handle: Handle,
    /// The stream; none at the very begin.
    receiving: Token,
    clock: Lasting,
    client: Acquaintance,
    host: HostNumber,
    audience: Audience,
    timed: bool,
}

impl Idle {
    /// A connection that was just accepted.
    pub(crate) fn new(handle: Handle, audience: Audience, context: &Context) -> Self {
        let (client, timed) = match audience {
            Audience::Site => (Acquaintance::new(handle, context), context.samples.is_some()),
            Audience::Report => (Acquaintance::NONE, false),
        };
        let (clock, host) = (Lasting::NEW, HostNumber::FIRST);
        Self { handle, receiving: Token::NONE, clock, client, host, audience, timed }
    }
}

/// State machines that no connection has: of one worker, which locks nothing and allocates nothing to lend one.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "it is the boxes that are lent")]
pub(crate) struct Spares(Vec<Box<Connection>>);

impl Spares {
    /// As many as have something to do at once on a busy worker. What a crowd needed beyond that is freed.
    const MOST: usize = 1_024;

    /// A connection in `place` has something to do.
    pub(crate) fn wake(&mut self, idle: Idle, place: u32) -> Box<Connection> {
        let mut connection = self.0.pop().unwrap_or_else(|| Box::new(Connection::blank()));
        connection.wake(idle, place);
        connection
    }

    /// Takes back the machine of a connection whose [`Connection::rest`] gave what is left of it.
    pub(crate) fn take_back(&mut self, connection: Box<Connection>) {
        if self.0.len() < Self::MOST {
            self.0.push(connection);
        }
    }
}

impl Connection {
    fn wake(&mut self, idle: Idle, place: u32) {
        let Idle { handle, receiving, clock, client, host, audience, timed } = idle;
        (self.handle, self.place, self.host, self.audience) = (handle, place, host, audience);
        self.receiving = match receiving {
            Token::NONE => Receiving::Nothing,
            stream => Receiving::Stream(stream),
        };
        self.clock.lasting = clock;
        self.client = Client::of(client);
        match timed {
            true => drop(self.timing.get_or_insert_default()),
            false => self.timing = None,
        }
    }

    /// What is to be kept of it until its next request begins; none where it is in the middle of something. What it leaves behind is as it
    /// was when it woke.
    pub(crate) fn rest(&mut self) -> Option<Idle> {
        let Receiving::Stream(receiving) = self.receiving else { return None };
        let nothing_to_send =
            !self.sending && self.batched == 0 && self.refusal.is_none() && self.output.is_empty();
        let goes_on = !self.closing && !self.ended && !self.last_answer && !self.still_sends;
        let nothing_read = matches!(self.activity, Activity::Reading)
            && self.is_between_requests()
            && self.known.is_none()
            && self.discarding.is_none()
            && self.held.is_none();
        let nothing_measured = self.timing.as_ref().is_none_or(|timing| timing.is_at_rest());
        if !(nothing_to_send && goes_on && nothing_read && nothing_measured && self.clock.is_at_rest()) {
            return None;
        }
        Some(Idle {
            handle: self.handle,
            receiving,
            clock: self.clock.lasting,
            client: self.client.rest()?,
            host: self.host,
            audience: self.audience,
            timed: self.timing.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_little_memory() {
        assert!(size_of::<Idle>() <= 88, "{} bytes", size_of::<Idle>());
    }
}
