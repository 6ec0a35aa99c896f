//! Ports in a world, and runs over many seeds.

use completion_port::{
    Backend, BufferClass, Completion, Configuration, Port, Worker,
    simulation::{Random, Turn, World},
};
use std::{
    collections::VecDeque,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

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

/// The workers of a port on one thread, each with the completions that it has been given and not looked at yet: a worker may be slow.
pub(crate) struct Crew {
    pub(crate) world: World,
    pub(crate) workers: Vec<(Worker, VecDeque<Completion>)>,
    taken: Vec<Completion>,
}

/// What happens next.
pub(crate) enum Step {
    /// A worker, by its place, looks at a completion.
    Completion(usize, Completion),
    Client(u64),
    Over,
}

impl Crew {
    pub(crate) fn new(world: &World, port: &Port) -> Self {
        let workers = workers(port).into_iter().map(|worker| (worker, VecDeque::new())).collect();
        Self { world: world.clone(), workers, taken: Vec::new() }
    }

    pub(crate) fn next(&mut self, random: &mut Random) -> Step {
        loop {
            if random.below(2) == 0 && !self.workers.is_empty() {
                let place = random.below(self.workers.len());
                if let Some(completion) = self.workers[place].1.pop_front() {
                    return Step::Completion(place, completion);
                }
            }
            match self.world.turn(self.workers.iter().map(|(worker, _)| worker)) {
                Turn::Worker(place) => {
                    // A wait says that it is done with what it was given.
                    if let Some(completion) = self.workers[place].1.pop_front() {
                        return Step::Completion(place, completion);
                    }
                    let (worker, given) = &mut self.workers[place];
                    worker.wait(&mut self.taken, Some(Duration::ZERO)).expect("the queue works");
                    given.extend(self.taken.drain(..));
                }
                Turn::Client(client) => return Step::Client(client),
                Turn::Over if self.workers.iter().all(|(_, given)| given.is_empty()) => return Step::Over,
                Turn::Over => {}
            }
        }
    }

    /// A worker of a queue.
    pub(crate) fn of_queue(&mut self, queue: usize) -> Option<&mut Worker> {
        self.workers.iter_mut().map(|(worker, _)| worker).find(|worker| worker.queue() == queue)
    }
}

/// The seeds of a run: those that the environment asks for, or the first `count`.
fn seeds(count: u64) -> Range<u64> {
    let Ok(wanted) = std::env::var("COMPLETION_PORT_SEEDS") else { return 0..count };
    let range = match wanted.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()),
        None => wanted.parse().ok().map(|count| (0, count)),
    };
    let (from, to) = range.expect("COMPLETION_PORT_SEEDS is a count, or a range such as 17..18");
    from..to
}

/// Runs a program in the worlds of many seeds, and says how to see the one again in which it fails. The program returns how many
/// connections it made.
#[allow(clippy::print_stderr, reason = "figures and replays are for whoever runs the test by hand")]
pub(crate) fn each_seed(test: &str, count: u64, program: impl Fn(u64, &str) -> u64) {
    let mut connections = 0;
    let seeds = seeds(count);
    for seed in seeds.clone() {
        let replay = format!(
            "COMPLETION_PORT_SEEDS={seed}..{} cargo test -p completion-port --test simulation -- --exact {test}",
            seed + 1
        );
        match catch_unwind(AssertUnwindSafe(|| program(seed, &replay))) {
            Ok(made) => connections += made,
            Err(panic) => {
                eprintln!("seed {seed} failed; to see it again:\n  {replay}");
                resume_unwind(panic);
            }
        }
    }
    eprintln!("{test}: {connections} connections in the worlds of {} seeds", seeds.end - seeds.start);
}
