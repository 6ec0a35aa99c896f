//! How long requests take, by the clock of the worker's waits.
//!
//! No clock is read for a request: times are those of the ends of waits ([`Worker::now`](completion_port::Worker::now)). What begins and
//! ends in the same round of the worker's loop took no time by that clock, and is counted with 0.

use hdrhistogram::Histogram;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A part of what is done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// From the whole head to the decision what to answer: with what the disk and the pool take, if they are asked.
    Lookup,
    /// From the submission of a send to its completion. Each slice of a large answer is a send of its own.
    Send,
    /// From the whole head until the kernel has taken the last byte of the answer: with the body of an upload.
    Request,
}

impl Phase {
    /// All of them, in this order.
    pub const ALL: [Self; 3] = [Self::Lookup, Self::Send, Self::Request];

    /// The name in both outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Send => "send",
            Self::Request => "request",
        }
    }
}

/// How long a phase took, in microseconds. Quantiles are exact to one part in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// Which.
    pub phase: Phase,
    /// How often it was measured.
    pub count: u64,
    /// The sum of all times.
    pub sum_us: u64,
    /// Half of all times are not above this.
    pub p50_us: u64,
    /// 90 of 100.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// The longest time that is told from longer ones.
const MOST_US: u64 = 24 * 60 * 60 * 1_000_000;

/// The times of one phase of one worker.
struct Times {
    histogram: Histogram<u64>,
    sum_us: u64,
}

impl Times {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, MOST_US, 2).expect("these bounds make sense");
        Self { histogram, sum_us: 0 }
    }
}

/// The times of one worker. The worker locks them once a wait, and is never held up: who reads them keeps them for microseconds, and
/// meanwhile it gathers.
pub(crate) struct Latencies(Mutex<[Times; Phase::ALL.len()]>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Mutex::new(Phase::ALL.map(|_| Times::new())))
    }
}

/// Adds up the times of all workers.
pub(super) fn sum(all: &[Arc<Latencies>]) -> Vec<Latency> {
    if all.is_empty() {
        return Vec::new();
    }
    let mut sums = Phase::ALL.map(|_| Times::new());
    for latencies in all {
        let times = latencies.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (sum, times) in sums.iter_mut().zip(&*times) {
            sum.histogram.add(&times.histogram).expect("all have the same bounds");
            sum.sum_us += times.sum_us;
        }
    }
    let latency = |(phase, times): (Phase, &Times)| {
        let quantile = |quantile| times.histogram.value_at_quantile(quantile);
        Latency {
            phase,
            count: times.histogram.len(),
            sum_us: times.sum_us,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: times.histogram.max(),
        }
    };
    Phase::ALL.into_iter().zip(&sums).map(latency).collect()
}

/// Times that a worker has not yet told.
pub(crate) struct Samples {
    latencies: Arc<Latencies>,
    /// Of each phase the last time, and how often in a row it was measured: requests of one wait take the same time by its clock.
    last: [(u64, u64); Phase::ALL.len()],
    /// What came before it.
    earlier: Vec<(Phase, u64, u64)>,
}

/// As many are gathered while somebody reads; beyond that the reader is waited for.
const MOST_SAMPLES: usize = 4_096;

impl Samples {
    pub(super) fn new(latencies: Arc<Latencies>) -> Self {
        Self { latencies, last: Default::default(), earlier: Vec::with_capacity(MOST_SAMPLES) }
    }

    /// A phase took so long, so many times.
    pub(crate) fn record(&mut self, phase: Phase, time: Duration, count: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(MOST_US);
        let (last, times) = &mut self.last[phase as usize];
        if *last == us {
            *times += count;
            return;
        }
        let before = (phase, std::mem::replace(last, us), std::mem::replace(times, count));
        if before.2 > 0 {
            self.earlier.push(before);
            if self.earlier.len() == MOST_SAMPLES {
                self.tell_all();
            }
        }
    }

    /// Puts what was gathered into the histograms, unless somebody is reading them: then it goes there with the next.
    pub(crate) fn tell(&mut self) {
        let Self { latencies, last, earlier } = self;
        if let Ok(mut times) = latencies.0.try_lock() {
            move_to(&mut times, last, earlier);
        }
    }

    #[cold]
    fn tell_all(&mut self) {
        let Self { latencies, last, earlier } = self;
        let mut times = latencies.0.lock().unwrap_or_else(PoisonError::into_inner);
        move_to(&mut times, last, earlier);
    }
}

fn move_to(times: &mut [Times; 3], last: &mut [(u64, u64); 3], earlier: &mut Vec<(Phase, u64, u64)>) {
    let last =
        Phase::ALL.into_iter().zip(last).map(|(phase, last)| (phase, last.0, std::mem::take(&mut last.1)));
    for (phase, us, count) in earlier.drain(..).chain(last).filter(|(_, _, count)| *count > 0) {
        let times = &mut times[phase as usize];
        times.histogram.saturating_record_n(us, count);
        times.sum_us += us * count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn times_of_all_workers_add_up() {
        let all = [Arc::new(Latencies::default()), Arc::new(Latencies::default())];
        let mut workers = all.each_ref().map(|latencies| Samples::new(Arc::clone(latencies)));
        for (worker, samples) in workers.iter_mut().enumerate() {
            for time in 1..=500 {
                samples.record(Phase::Request, us(2 * time - worker as u64), 1);
                samples.record(Phase::Send, us(7), 1);
            }
            samples.tell();
        }
        let [lookup, send, request] = sum(&all).try_into().unwrap();
        assert_eq!((lookup.phase, lookup.count, lookup.max_us), (Phase::Lookup, 0, 0));
        assert_eq!((send.count, send.sum_us, send.p50_us, send.max_us), (1_000, 7_000, 7, 7));
        assert_eq!((request.count, request.sum_us), (1_000, 500_500));
        for (found, wanted) in
            [(request.p50_us, 500), (request.p90_us, 900), (request.p99_us, 990), (request.p999_us, 999)]
        {
            assert!(found.abs_diff(wanted) <= wanted / 50, "{found} instead of {wanted}");
        }
        assert!((1_000..=1_010).contains(&request.max_us), "{}", request.max_us);
    }

    #[test]
    fn nothing_is_lost_while_somebody_reads_and_memory_does_not_grow() {
        let latencies = Arc::new(Latencies::default());
        let mut samples = Samples::new(Arc::clone(&latencies));
        let room = samples.earlier.capacity();
        {
            let _reading = latencies.0.lock().unwrap();
            for time in 0..100 {
                samples.record(Phase::Send, us(time), 2);
                samples.tell();
            }
        }
        for time in 0..3 * MOST_SAMPLES as u64 {
            samples.record(Phase::Send, us(time % 2), 1);
        }
        samples.tell();
        let counted = sum(&[latencies])[Phase::Send as usize].count;
        assert_eq!((counted, samples.earlier.capacity()), (200 + 3 * MOST_SAMPLES as u64, room));
    }

    #[test]
    fn the_longest_times_are_counted_with_the_longest_that_is_told() {
        let latencies = Arc::new(Latencies::default());
        let mut samples = Samples::new(Arc::clone(&latencies));
        samples.record(Phase::Request, Duration::from_secs(10_000_000), 1);
        samples.tell();
        let request = sum(&[latencies])[Phase::Request as usize];
        assert!(request.count == 1 && request.max_us >= MOST_US, "{request:?}");
    }
}
