//! The whole server in a simulated world, driven from one thread.
//!
//! It is the server that [`Server::start`](crate::Server::start) starts, but for its threads: the same workers, over the simulated backend of
//! the port. Clients are [`Stream`](completion_port::simulation::Stream)s that connect to its address in the world; nothing
//! comes from the kernel's network, and time passes when nothing else is left to do. A run follows from the world's seed, as far
//! as the files that it serves, and the wall clock, are the same.

use crate::{
    log::AccessLog,
    server::{End, Parts, StartError, configuration},
    settings::Settings,
    worker::{self, Turn},
};
use completion_port::{
    Backend, Port, ShutdownReport,
    simulation::{Turn as Next, World},
};
use std::{fmt, net::SocketAddr, time::Duration};

/// A server in a world. It does something only in [`SimulatedServer::next_client`].
pub struct SimulatedServer {
    world: World,
    port: Port,
    address: SocketAddr,
    log: AccessLog,
    workers: Vec<worker::Server>,
}

impl SimulatedServer {
    /// Makes a server in `world`. Its settings are as for [`Server::start`](crate::Server::start), but for `backend`; and `workers` share the
    /// queues that `ports` counts, as they do on Windows. The address is really bound, so that nothing else has it.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is in the way.
    pub fn start(settings: Settings, world: &World) -> Result<Self, StartError> {
        let mut configuration = configuration(&settings);
        configuration.backend = Some(Backend::Simulated);
        configuration.simulation = Some(world.clone());
        let workers = settings.worker_count();
        configuration.queues = settings.ports.clamp(1, workers);
        configuration.workers_per_queue = workers.div_ceil(configuration.queues);
        let mut parts = Parts::open(settings, configuration)?;
        let mut workers = Vec::new();
        for _ in 0..parts.workers {
            workers.push(parts.next().into_worker().map_err(StartError::Port)?);
        }
        let (port, address, log) = (parts.port.clone(), parts.address, parts.log.clone());
        Ok(Self { world: world.clone(), port, address, log, workers })
    }

    /// Where clients connect to in the world.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the server work until a client has its turn, and says which; none when nothing happens any more by itself.
    ///
    /// # Panics
    ///
    /// If a queue becomes unusable, or a law of the port is broken.
    pub fn next_client(&mut self) -> Option<u64> {
        loop {
            match self.world.turn(self.workers.iter().map(worker::Server::port)) {
                Next::Client(client) => return Some(client),
                Next::Over => return None,
                Next::Worker(place) => match self.workers[place].turn(Some(Duration::ZERO)) {
                    Ok(Turn::GoesOn) => {}
                    Ok(Turn::Ended) => drop(self.workers.remove(place)),
                    Err(error) => panic!("a worker ends: {error}"),
                },
            }
        }
    }

    /// Begins the orderly end, as [`Server::stop`](crate::Server::stop) does. Go on with [`SimulatedServer::next_client`] until nothing
    /// happens any more.
    pub fn begin_shutdown(&self) {
        self.port.begin_shutdown();
    }

    /// Cancels what still runs, as [`Server::stop`](crate::Server::stop) does at its deadline.
    pub fn cancel_all(&self) {
        self.port.cancel_all();
    }

    /// Whether all workers have left, after their shutdown packets.
    pub fn is_over(&self) -> bool {
        self.workers.is_empty()
    }

    /// How it ended. Workers that are still there are dropped, with what they have in flight.
    pub fn end(self) -> End {
        let Self { port, log, workers, .. } = self;
        let early = workers.len();
        drop(workers);
        let report = port.shutdown(Duration::ZERO);
        let port = ShutdownReport { workers_left: early, buffers_left: port.buffers().in_use(), ..report };
        End { port, log: log.stop(Duration::from_secs(5)) }
    }
}

impl fmt::Debug for SimulatedServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "SimulatedServer({} workers at {} in {:?})",
            self.workers.len(),
            self.address,
            self.world
        )
    }
}
