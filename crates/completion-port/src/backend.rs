//! The choice of a backend, and what each of them implements.

use crate::{
    buffer::Buffers,
    completion::{Completion, Rejected},
    configuration::{Backend, Configuration},
    error::{Error, ErrorKind},
    identity::{Handle, Token},
    operation::{Operation, OperationKind, Work},
    port::Shared,
    queue::Queue,
    source::Source,
};
use std::{
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
mod io_uring;
#[cfg(windows)]
mod iocp;
#[cfg(unix)]
mod local;
#[cfg(unix)]
mod readiness;
#[cfg(all(unix, feature = "simulation"))]
mod simulated;

/// What a worker asks of its backend. Handles are of the worker's own queue, or none where that is allowed; everything else the
/// driver checks.
pub(crate) trait Driver {
    fn associate(&mut self, source: Source, key: u64) -> Result<Handle, (Error, Source)>;
    fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error>;
    /// `deadline` counts like [`Driver::now`].
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    fn submit(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected>;
    /// Has work done that may block, as [`Operation::Call`] unless the backend knows something better.
    #[allow(
        clippy::result_large_err,
        reason = "the operation comes back with its buffers, without an allocation"
    )]
    fn blocking(&mut self, handle: Handle, work: Work) -> Result<Token, Rejected> {
        self.submit(handle, Operation::Call { work }, None)
    }
    /// As [`Worker::read_at_once`](crate::worker::Worker::read_at_once).
    fn read_at_once(&mut self, _handle: Handle, _file: Handle, _offset: u64, _into: &mut [u8]) -> usize {
        0
    }
    /// As [`Worker::transmit_at_once`](crate::worker::Worker::transmit_at_once).
    fn transmit_at_once(&mut self, _handle: Handle, _head: &[u8], _file: Handle, _range: Range<u64>) -> u64 {
        0
    }
    /// As [`Worker::receive_at_once`](crate::worker::Worker::receive_at_once).
    fn receive_at_once(&mut self, _handle: Handle, _into: &mut [u8]) -> Result<usize, Error> {
        Ok(0)
    }
    /// As [`Worker::write_at_once`](crate::worker::Worker::write_at_once).
    fn write_at_once(&mut self, _handle: Handle, _file: Handle, _offset: u64, _bytes: &[u8]) -> usize {
        0
    }
    fn cancel(&mut self, token: Token);
    fn close(&mut self, handle: Handle);
    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Error>;
    fn peer_address(&self, handle: Handle) -> Result<SocketAddr, Error>;
    fn local_address(&self, handle: Handle) -> Result<SocketAddr, Error>;
    fn acknowledged_bytes(&self, handle: Handle) -> Result<u64, Error>;
    fn reset_on_close(&self, handle: Handle) -> Result<(), Error>;
    fn now(&self) -> Duration;
    /// The worker leaves. Brings home what is in flight if no other worker serves the queue; returns how much did not come. What
    /// nobody will wait for any more goes to `discarded`, so that no code of the program runs meanwhile.
    fn drain(&mut self, discarded: &mut Vec<Completion>) -> usize;
}

/// Which backend a port uses.
pub(crate) struct Choice {
    pub(crate) backend: Backend,
}

/// The backends of this build, best first, each with its probe: what it offers here, or why it cannot work.
fn candidates() -> Vec<(Backend, Result<String, String>)> {
    vec![
        #[cfg(windows)]
        (Backend::Iocp, iocp::probe()),
        #[cfg(target_os = "linux")]
        (Backend::IoUring, io_uring::probe()),
        #[cfg(unix)]
        (Backend::Readiness, readiness::probe()),
        #[cfg(all(unix, feature = "simulation"))]
        (Backend::Simulated, Ok("a world in memory, for tests".into())),
    ]
}

fn pick(wanted: Option<Backend>, candidates: &[(Backend, Result<String, String>)]) -> Option<Backend> {
    let mut usable = candidates.iter().filter(|(_, probe)| probe.is_ok()).map(|(backend, _)| *backend);
    usable.find(|backend| wanted.map_or(*backend != Backend::Simulated, |wanted| wanted == *backend))
}

pub(crate) fn choose(wanted: Option<Backend>) -> Result<Choice, Error> {
    let backend =
        pick(wanted, &candidates()).ok_or(Error::new(ErrorKind::Unsupported, OperationKind::Setup))?;
    Ok(Choice { backend })
}

pub(crate) fn describe(wanted: Option<Backend>) -> Vec<String> {
    let mut candidates = candidates();
    // Nobody is served by it.
    candidates.retain(|(backend, _)| *backend != Backend::Simulated || wanted == Some(*backend));
    let chosen = pick(wanted, &candidates);
    let lines = candidates.iter().map(|(backend, probe)| match probe {
        Ok(features) if chosen == Some(*backend) => format!("{}: chosen; {features}", backend.name()),
        Ok(features) => format!("{}: available; {features}", backend.name()),
        Err(reason) => format!("{}: not available; {reason}", backend.name()),
    });
    let mut lines: Vec<String> = lines.collect();
    for other in [Backend::Iocp, Backend::IoUring, Backend::Readiness] {
        if candidates.iter().all(|(backend, _)| *backend != other) {
            lines.push(format!(
                "{}: not in this build; {} has no such thing",
                other.name(),
                std::env::consts::OS
            ));
        }
    }
    lines
}

/// What the workers of a port share beyond their queues.
pub(crate) enum Common {
    #[cfg(windows)]
    Iocp(Arc<iocp::Common>),
    /// Every worker stands by itself.
    #[cfg(unix)]
    None,
    #[cfg(all(unix, feature = "simulation"))]
    Simulated(simulated::Common),
}

impl Common {
    #[cfg_attr(
        unix,
        allow(unused_variables, clippy::unnecessary_wraps, reason = "only IOCP shares more than queues")
    )]
    #[cfg_attr(windows, allow(unused_variables, reason = "there is but one backend"))]
    pub(crate) fn new(
        backend: Backend,
        configuration: &Configuration,
        queues: &[Arc<Queue>],
        buffers: &Buffers,
    ) -> Result<Self, Error> {
        #[cfg(windows)]
        return iocp::Common::new(configuration, queues, buffers).map(|common| Self::Iocp(Arc::new(common)));
        #[cfg(all(unix, feature = "simulation"))]
        if backend == Backend::Simulated {
            return Ok(Self::Simulated(simulated::Common::new(configuration)));
        }
        #[cfg(unix)]
        Ok(Self::None)
    }
}

/// What the time of a port counts by.
pub(crate) enum Clock {
    Real,
    #[cfg(all(unix, feature = "simulation"))]
    Simulated(crate::simulation::World, Duration),
}

impl Clock {
    #[cfg_attr(
        not(all(unix, feature = "simulation")),
        allow(unused_variables, reason = "only the simulation has a clock of its own")
    )]
    pub(crate) fn new(common: &Common) -> Self {
        #[cfg(all(unix, feature = "simulation"))]
        if let Common::Simulated(common) = common {
            return Self::Simulated(common.world.clone(), common.world.now());
        }
        Self::Real
    }

    /// Whether a simulated world says that there is no room for a packet.
    pub(crate) fn refuses_post(&self) -> bool {
        match self {
            Self::Real => false,
            #[cfg(all(unix, feature = "simulation"))]
            Self::Simulated(world, _) => world.lock().refuses_post(),
        }
    }

    /// The time since the port was made, at the instant `started`.
    pub(crate) fn elapsed(&self, started: Instant) -> Duration {
        match self {
            Self::Real => started.elapsed(),
            #[cfg(all(unix, feature = "simulation"))]
            Self::Simulated(world, began) => world.now() - *began,
        }
    }
}

/// The driver of one worker.
pub(crate) enum WorkerDriver {
    #[cfg(windows)]
    Iocp(Box<iocp::Iocp>),
    #[cfg(target_os = "linux")]
    IoUring(Box<local::Local<io_uring::Ring>>),
    #[cfg(unix)]
    Readiness(Box<local::Local<readiness::Poll>>),
    #[cfg(all(unix, feature = "simulation"))]
    Simulated(Box<simulated::Simulated>),
}

impl WorkerDriver {
    pub(crate) fn new(shared: &Arc<Shared>, queue: usize) -> Result<Self, Error> {
        match shared.choice.backend {
            #[cfg(windows)]
            Backend::Iocp => Ok(Self::Iocp(Box::new(iocp::Iocp::new(shared, queue)?))),
            #[cfg(target_os = "linux")]
            Backend::IoUring => Ok(Self::IoUring(Box::new(local::Local::new(
                shared,
                queue,
                io_uring::Ring::new(shared, queue)?,
            )))),
            #[cfg(unix)]
            Backend::Readiness => Ok(Self::Readiness(Box::new(local::Local::new(
                shared,
                queue,
                readiness::Poll::new(shared, queue)?,
            )))),
            #[cfg(all(unix, feature = "simulation"))]
            Backend::Simulated => Ok(Self::Simulated(Box::new(simulated::Simulated::new(shared, queue)?))),
            #[allow(unreachable_patterns, reason = "which backends exist depends on the system")]
            _ => Err(Error::new(ErrorKind::Unsupported, OperationKind::Setup)),
        }
    }
}

macro_rules! forward {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            #[cfg(windows)]
            WorkerDriver::Iocp($driver) => $call,
            #[cfg(target_os = "linux")]
            WorkerDriver::IoUring($driver) => $call,
            #[cfg(unix)]
            WorkerDriver::Readiness($driver) => $call,
            #[cfg(all(unix, feature = "simulation"))]
            WorkerDriver::Simulated($driver) => $call,
        }
    };
}

impl Driver for WorkerDriver {
    fn associate(&mut self, source: Source, key: u64) -> Result<Handle, (Error, Source)> {
        forward!(self, driver => driver.associate(source, key))
    }
    fn set_key(&mut self, handle: Handle, key: u64) -> Result<(), Error> {
        forward!(self, driver => driver.set_key(handle, key))
    }
    fn submit(
        &mut self,
        handle: Handle,
        operation: Operation,
        deadline: Option<Duration>,
    ) -> Result<Token, Rejected> {
        forward!(self, driver => driver.submit(handle, operation, deadline))
    }
    fn blocking(&mut self, handle: Handle, work: Work) -> Result<Token, Rejected> {
        forward!(self, driver => driver.blocking(handle, work))
    }
    fn read_at_once(&mut self, handle: Handle, file: Handle, offset: u64, into: &mut [u8]) -> usize {
        forward!(self, driver => driver.read_at_once(handle, file, offset, into))
    }
    fn transmit_at_once(&mut self, handle: Handle, head: &[u8], file: Handle, range: Range<u64>) -> u64 {
        forward!(self, driver => driver.transmit_at_once(handle, head, file, range))
    }
    fn receive_at_once(&mut self, handle: Handle, into: &mut [u8]) -> Result<usize, Error> {
        forward!(self, driver => driver.receive_at_once(handle, into))
    }
    fn write_at_once(&mut self, handle: Handle, file: Handle, offset: u64, bytes: &[u8]) -> usize {
        forward!(self, driver => driver.write_at_once(handle, file, offset, bytes))
    }
    fn cancel(&mut self, token: Token) {
        forward!(self, driver => driver.cancel(token));
    }
    fn close(&mut self, handle: Handle) {
        forward!(self, driver => driver.close(handle));
    }
    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        forward!(self, driver => driver.wait(completions, limit, timeout))
    }
    fn peer_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        forward!(self, driver => driver.peer_address(handle))
    }
    fn local_address(&self, handle: Handle) -> Result<SocketAddr, Error> {
        forward!(self, driver => driver.local_address(handle))
    }
    fn acknowledged_bytes(&self, handle: Handle) -> Result<u64, Error> {
        forward!(self, driver => driver.acknowledged_bytes(handle))
    }
    fn reset_on_close(&self, handle: Handle) -> Result<(), Error> {
        forward!(self, driver => driver.reset_on_close(handle))
    }
    fn now(&self) -> Duration {
        forward!(self, driver => driver.now())
    }
    fn drain(&mut self, discarded: &mut Vec<Completion>) -> usize {
        forward!(self, driver => driver.drain(discarded))
    }
}
