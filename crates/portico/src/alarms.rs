//! When the connections of a queue are to look at their deadlines: one timer of the port for all of them.

use crate::counters::Registry;
use completion_port::{Error, Handle, Operation, Token, Worker};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

/// So many connections look at their deadlines in a row; then whatever else is ready has its turn.
const AT_ONCE: usize = 64;

/// Alarms of a queue. Its workers share them, behind a lock that is not taken for a request: an alarm stays where it is when the deadline
/// that it is for moves to a later time.
pub(crate) struct Alarms {
    schedule: Mutex<Schedule>,
    counters: Arc<Registry>,
}

/// An alarm: when, in nanoseconds of the port's clock, and the place of the connection that is to look.
pub(crate) type Alarm = (u64, u32);

struct Schedule {
    alarms: BTreeSet<Alarm>,
    /// The port's timer, for the first of them or an earlier time.
    timer: Token,
    timer_due_ns: u64,
    /// The server shuts down, which waits for whatever is in flight: no timer without an alarm.
    draining: bool,
}

impl Alarms {
    pub(crate) fn new(counters: Arc<Registry>) -> Self {
        let schedule =
            Schedule { alarms: BTreeSet::new(), timer: Token::NONE, timer_due_ns: u64::MAX, draining: false };
        Self { schedule: Mutex::new(schedule), counters }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.counters.lock(&self.schedule)
    }

    /// Sets an alarm, in place of the one that the connection has.
    ///
    /// # Errors
    ///
    /// Why the port has no timer for it. Then the connection has none.
    pub(crate) fn set(&self, alarm: Alarm, before: Option<Alarm>, port: &mut Worker) -> Result<(), Error> {
        let mut schedule = self.lock();
        if let Some(before) = before {
            schedule.alarms.remove(&before);
        }
        schedule.alarms.insert(alarm);
        schedule.arm(port).inspect_err(|_| {
            schedule.alarms.remove(&alarm);
        })
    }

    /// Takes an alarm back.
    pub(crate) fn remove(&self, alarm: Alarm, port: &mut Worker) {
        let mut schedule = self.lock();
        schedule.alarms.remove(&alarm);
        schedule.disarm(port);
    }

    /// Takes in that a timer of the port has ended, and appends what is due to `due`. False if it is another's timer.
    pub(crate) fn fire(&self, timer: Token, due: &mut Vec<Alarm>, port: &mut Worker) -> bool {
        let mut schedule = self.lock();
        if schedule.timer != timer {
            return false;
        }
        (schedule.timer, schedule.timer_due_ns) = (Token::NONE, u64::MAX);
        let now_ns = nanoseconds(port.now());
        while due.len() < AT_ONCE && schedule.alarms.first().is_some_and(|(due_ns, _)| *due_ns <= now_ns) {
            due.extend(schedule.alarms.pop_first());
        }
        true
    }

    /// Sees to it that the port has a timer for the first alarm. False if there is none to be had.
    pub(crate) fn arm(&self, port: &mut Worker) -> bool {
        self.lock().arm(port).is_ok()
    }

    /// The server shuts down.
    pub(crate) fn drain(&self, port: &mut Worker) {
        let mut schedule = self.lock();
        schedule.draining = true;
        schedule.disarm(port);
    }
}

impl Schedule {
    fn arm(&mut self, port: &mut Worker) -> Result<(), Error> {
        let Some(&(due_ns, _)) = self.alarms.first() else { return Ok(()) };
        if self.timer_due_ns <= due_ns {
            return Ok(());
        }
        let after = Duration::from_nanos(due_ns.saturating_sub(nanoseconds(port.now())));
        let timer =
            port.submit(Handle::NONE, Operation::Timer { after }).map_err(|rejected| rejected.error)?;
        self.timer_due_ns = due_ns;
        port.cancel(std::mem::replace(&mut self.timer, timer));
        Ok(())
    }

    fn disarm(&mut self, port: &mut Worker) {
        if self.draining && self.alarms.is_empty() {
            self.timer_due_ns = u64::MAX;
            port.cancel(std::mem::replace(&mut self.timer, Token::NONE));
        }
    }
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
