//! Ports in a world, and runs over many seeds.

use completion_port::{
    Backend, BufferClass, Completion, Configuration, Port, Worker,
    simulation::{Turn, World},
};
use std::time::Duration;

/// A port in `world` with small limits.
pub(crate) fn configuration(world: &World) -> Configuration {
    let mut configuration = Configuration::default();
    configuration.backend = Some(Backend::Simulated);
    configuration.simulation = Some(world.clone());
    configuration.queues = 1;
    configuration.workers_per_queue = 1;
    configuration.operations = 4_096;
    configuration.handles = 1_024;
    configuration.posts = 64;
    configuration.batch = 64;
    configuration.buffers =
        vec![BufferClass { capacity: 4_096, count: 256 }, BufferClass { capacity: 65_536, count: 16 }];
    configuration
}

/// All workers of a port, on this thread.
pub(crate) fn workers(port: &Port) -> Vec<Worker> {
    let count = port.queues() * port.configuration().workers_per_queue;
    (0..count).map(|_| port.worker().expect("a worker for each seat")).collect()
}

/// The next completions of a worker that is alone in its world.
pub(crate) fn wait(worker: &mut Worker) -> Vec<Completion> {
    let mut completions = Vec::new();
    worker.wait(&mut completions, Some(Duration::from_secs(60))).expect("the queue works");
    completions
}

/// Who is next, if anybody ever is.
pub(crate) fn turn(world: &World, workers: &[Worker]) -> Option<Turn> {
    match world.turn(workers) {
        Turn::Over => None,
        turn => Some(turn),
    }
}
