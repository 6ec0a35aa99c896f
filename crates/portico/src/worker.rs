//! The worker loop: wait for completions, hand each to its connection, wait again.

use crate::{
    alarms::Alarm,
    compression::{self, Made},
    connection::{Audience, Connection, Fate, Idle, Spares},
    connections::{Connections, Listening, key_of},
    context::Context,
    listeners::Opened,
};
use completion_port::{
    Completion, Error, ErrorKind, Handle, Operation, OperationKind, Packet, Payload, Source, Token,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The key of what belongs to no connection.
const NO_CONNECTION: u64 = 0;
/// The key of a packet that brings a connection of the admin address; others have none.
const FOR_REPORT: u64 = 1;
/// How long accepting rests after the system refused it.
const REST: Duration = Duration::from_millis(100);

pub(crate) struct Server {
    context: Context,
    connections: Arc<Connections>,
    spares: Spares,
    /// Alarms that are being seen to.
    due: Vec<Alarm>,
    completions: Vec<Completion>,
    /// Accepting was refused: a timer runs, after which it is tried again.
    resting: bool,
    /// Not even a timer could be had: it is tried again at every turn.
    restless: bool,
}

/// Whether a worker goes on after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    GoesOn,
    /// The shutdown packet came, which is the last completion of all.
    Ended,
}

impl Server {
    /// `listeners` come with the first worker of a queue.
    pub(crate) fn new(
        mut context: Context,
        connections: Arc<Connections>,
        listeners: Vec<Opened>,
    ) -> Result<Self, Error> {
        for Opened { socket, audience } in listeners {
            let associated = context.port.associate(Source::from(socket), NO_CONNECTION);
            let listener = associated.map_err(|(error, _)| error)?;
            if audience == Audience::Report {
                connections.set_admin(listener);
            }
            connections.lock_listening().push(Listening { listener, accepting: Token::NONE });
            connections.set_paused(true);
        }
        let mut server = Self {
            context,
            connections,
            spares: Spares::default(),
            due: Vec::new(),
            completions: Vec::new(),
            resting: false,
            restless: false,
        };
        server.accept_again();
        Ok(server)
    }

    /// Runs until the shutdown packet comes.
    ///
    /// # Errors
    ///
    /// What makes the queue unusable.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        while self.turn(None)? == Turn::GoesOn {}
        Ok(())
    }

    /// Waits once, and does what the completions ask for.
    ///
    /// # Errors
    ///
    /// What makes the queue unusable.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> Result<Turn, Error> {
        let mut completions = std::mem::take(&mut self.completions);
        let timeout = if self.restless { Some(timeout.map_or(REST, |it| it.min(REST))) } else { timeout };
        self.context.port.wait(&mut completions, timeout)?;
        self.context.wall = SystemTime::now();
        let mut turn = Turn::GoesOn;
        for completion in completions.drain(..) {
            match completion.kind {
                OperationKind::Shutdown => {
                    if let Some(trace) = &self.context.site.trace {
                        trace.shutdown(self.context.port.number());
                    }
                    turn = Turn::Ended;
                }
                OperationKind::Draining => self.drain(),
                OperationKind::AcceptStream => self.on_accepted(completion),
                OperationKind::Post => {
                    if let Payload::Packet(packet) = completion.payload {
                        let audience =
                            if packet.key == FOR_REPORT { Audience::Report } else { Audience::Site };
                        self.admit(Handle::from_bits(packet.value), audience);
                    }
                }
                OperationKind::Call if completion.key == NO_CONNECTION => self.on_called(completion),
                // One that was cancelled made room for one that ends sooner.
                OperationKind::Timer if self.fire(completion.token) || completion.result.is_err() => {}
                _ if completion.key == NO_CONNECTION => {
                    self.resting &= completion.kind != OperationKind::Timer;
                    self.accept_again();
                }
                _ => self.hand_over(completion),
            }
        }
        self.completions = completions;
        if let Some(samples) = &mut self.context.samples {
            samples.tell();
        }
        if std::mem::take(&mut self.restless) {
            self.accept_again();
            self.arm();
        }
        Ok(turn)
    }

    /// Its view of the port.
    #[cfg(all(unix, feature = "simulation"))]
    pub(crate) fn port(&self) -> &completion_port::Worker {
        &self.context.port
    }

    /// Work of no connection is done: removing a broken upload, or compressing a file.
    fn on_called(&mut self, completion: Completion) {
        if let Payload::Returned(returned) = completion.payload
            && let Ok(made) = returned.downcast::<Made>()
        {
            compression::adopt(&made, &mut self.context);
        }
    }

    fn hand_over(&mut self, completion: Completion) {
        let gone = completion.kind == OperationKind::Close;
        self.with(completion.key, |connection, context| {
            if gone && connection.audience() == Audience::Site {
                context.counts.count_closed();
            }
            connection.complete(completion, context)
        });
        if gone {
            self.admit_waiting();
            self.accept_again();
        }
    }

    /// Lets a connection act.
    fn with(&mut self, key: u64, act: impl FnOnce(&mut Connection, &mut Context) -> Fate) {
        self.connections.with(key, &mut self.spares, |connection| {
            // A mistake that one request finds must not end the connections of others.
            let context = &mut self.context;
            let acted = catch_unwind(AssertUnwindSafe(|| act(connection, context)));
            acted.unwrap_or_else(|_| connection.abort(&mut self.context))
        });
    }

    /// Has connections look at their deadlines, if it was their timer that ended.
    fn fire(&mut self, timer: Token) -> bool {
        let mut due = std::mem::take(&mut self.due);
        let fired = self.context.alarms.fire(timer, &mut due, &mut self.context.port);
        for (due_ns, place) in due.drain(..) {
            self.with(key_of(place), |connection, context| connection.look_at_deadline(due_ns, context));
        }
        self.due = due;
        if fired {
            self.arm();
        }
        fired
    }

    /// Sets the timer for the deadlines to come; or tries again at the next turn.
    fn arm(&mut self) {
        self.restless |= !self.context.alarms.arm(&mut self.context.port);
    }

    fn on_accepted(&mut self, completion: Completion) {
        if completion.last {
            for listening in self.connections.lock_listening().iter_mut() {
                if listening.listener == completion.handle {
                    listening.accepting = Token::NONE;
                }
            }
            self.connections.set_paused(true);
            match completion.result {
                // Cancelled where the limit was reached; since then a connection may have ended.
                Ok(_) => self.accept_again(),
                Err(error) if error.kind() == ErrorKind::Cancelled => self.accept_again(),
                Err(_) if self.context.draining => {}
                Err(error) => self.rest(error),
            }
        }
        let Payload::Accepted(handle) = completion.payload else { return };
        let audience = self.connections.audience_of(completion.handle);
        if handle.queue() == self.context.port.queue() {
            return self.admit(handle, audience);
        }
        // Windows has one listener for all queues; its connections are spread over them.
        let key = if audience == Audience::Report { FOR_REPORT } else { 0 };
        let packet = Packet { key, value: handle.to_bits(), ..Packet::default() };
        let port = self.context.port.port();
        if port.post(handle.queue(), packet).is_err() {
            port.close(handle);
        }
    }

    /// Makes a connection of an accepted client, or lets it wait for a place.
    fn admit(&mut self, handle: Handle, audience: Audience) {
        if self.context.draining || !self.connections.wait_for_place(handle, audience) {
            return self.context.port.close(handle);
        }
        self.admit_waiting();
        if self.connections.is_full() {
            // Further clients wait in the system's backlog until a connection ends.
            for listening in self.connections.lock_listening().iter() {
                self.context.port.cancel(listening.accepting);
            }
        }
    }

    /// Makes connections of the clients that wait, as far as there are places.
    fn admit_waiting(&mut self) {
        while let Some((handle, audience, key)) = self.connections.next_waiting() {
            if let Err(error) = self.context.port.set_key(handle, key) {
                unreachable!("a handle that was accepted, and not closed, is open: {error}")
            }
            if audience == Audience::Site {
                self.context.counts.count_accepted();
            }
            self.connections.enter(key, Idle::new(handle, audience, &self.context));
            self.with(key, |connection, context| {
                connection.advance(context);
                Fate::Open
            });
        }
    }

    /// Accepts (again), unless that is under way, or not wanted now.
    fn accept_again(&mut self) {
        if self.context.draining || !self.connections.is_paused() || self.connections.is_full() {
            return;
        }
        let mut all = self.connections.lock_listening();
        let mut refused = None;
        for listening in all.iter_mut().filter(|listening| listening.accepting == Token::NONE) {
            match self.context.port.submit(listening.listener, Operation::AcceptStream) {
                Ok(token) => listening.accepting = token,
                Err(rejected) => refused = Some(rejected.error),
            }
        }
        drop(all);
        match refused {
            None => self.connections.set_paused(false),
            Some(error) => self.rest(error),
        }
    }

    /// Accepts again after a moment: what is short now may be there then.
    fn rest(&mut self, error: Error) {
        if let Some(held_back) = self.context.warnings.may_warn(self.context.port.now()) {
            tracing::warn!(%error, held_back, "accepting rests for a moment");
        }
        if !self.resting {
            let timer = Operation::Timer { after: REST };
            self.resting = self.context.port.submit(Handle::NONE, timer).is_ok();
            self.restless = !self.resting;
        }
    }

    /// The server shuts down: refuse new connections, end the idle ones, let the others finish their answer.
    fn drain(&mut self) {
        self.context.draining = true;
        for listening in std::mem::take(&mut *self.connections.lock_listening()) {
            self.context.port.close(listening.listener);
        }
        for (handle, _) in self.connections.take_waiting() {
            self.context.port.close(handle);
        }
        let connections = Arc::clone(&self.connections);
        for key in connections.keys() {
            self.with(key, |connection, context| {
                connection.drain(context);
                Fate::Open
            });
        }
        self.context.alarms.drain(&mut self.context.port);
    }
}
