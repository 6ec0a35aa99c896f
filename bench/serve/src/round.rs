//! One round: one server under one load, measured from outside.

use crate::{
    Failure,
    client::Client,
    idle,
    load::{Beside, Load},
    peer::Running,
    slow_disk,
    usage::{self, Usage},
};
use measure::{child::system_calls, processor};
use std::{net::SocketAddr, thread, time::Duration};

const WARM_UP: Duration = Duration::from_millis(300);
const COUNTING: Duration = Duration::from_millis(300);
/// Cold files are asked for a while before the load begins, and until after it has ended.
const MARGIN: Duration = Duration::from_millis(100);

/// What one round measured.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub requests_per_s: f64,
    /// Of the server, for each request.
    pub processor_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub switches: f64,
    /// The server's own memory (RssAnon) at the end.
    pub memory_bytes: f64,
    /// What it grew by for each idle connection, where there are some.
    pub idle_bytes: Option<f64>,
    /// Of its processor, how much the server used; and the client.
    pub busy: f64,
    pub client_busy: f64,
    pub calls: Option<f64>,
    /// Requests a second for cold files, and how long half of them took at most, where there are some.
    pub cold: Option<(f64, f64)>,
    /// The same load without what the server had beside it, just before.
    pub without: Option<Box<Round>>,
}

/// Puts `load` on the server for `time`; where there is something beside it, first without and then with that.
pub fn run(
    server: &Running,
    load: &Load,
    time: Duration,
    beside: Beside,
    counts_calls: bool,
) -> Result<Round, Failure> {
    if beside == Beside::Nothing {
        return stretch(server, load, time, counts_calls);
    }
    let without = stretch(server, load, time, false)?;
    let mut round = match beside {
        Beside::Idle(count) => {
            let before = usage::memory(&server.family)?;
            let held = idle::hold(server.address, count)?;
            let grown = usage::memory(&server.family)?.saturating_sub(before);
            let round = stretch(server, load, time, counts_calls)?;
            drop(held);
            Round { idle_bytes: Some(grown as f64 / count as f64), ..round }
        }
        _ => beside_cold_files(server, load, time)?,
    };
    round.without = Some(Box::new(without));
    Ok(round)
}

fn stretch(server: &Running, load: &Load, time: Duration, counts_calls: bool) -> Result<Round, Failure> {
    let mut client = Client::connect(server.address, load)?;
    client.drive(load, WARM_UP)?;
    let Usage { processor: used, context_switches } = usage::of(&server.family)?;
    let driven = client.drive(load, time)?;
    let after = usage::of(&server.family)?;
    let (requests, seconds) = (driven.requests.max(1) as f64, driven.elapsed.as_secs_f64());
    let quantile_us = |quantile| driven.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    let mut round = Round {
        requests_per_s: requests / seconds,
        processor_us: (after.processor - used).as_secs_f64() * 1e6 / requests,
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        p999_us: quantile_us(0.999),
        switches: (after.context_switches - context_switches) as f64 / requests,
        memory_bytes: usage::memory(&server.family)? as f64,
        busy: (after.processor - used).as_secs_f64() / seconds,
        client_busy: driven.used.as_secs_f64() / seconds,
        ..Round::default()
    };
    if counts_calls {
        // Of the process that does the work; others of its family only look after it.
        let worker = server.family.iter().copied().max_by_key(|process| processor::used_by(*process).ok());
        let (counted, calls) = system_calls(worker.unwrap_or_default(), || client.drive(load, COUNTING));
        let counted = counted?.requests.max(1);
        round.calls = calls.map(|calls| calls as f64 / counted as f64);
    }
    Ok(round)
}

/// The load while others ask for cold files. Processor time is not told: it is spent on both.
fn beside_cold_files(server: &Running, load: &Load, time: Duration) -> Result<Round, Failure> {
    let address: SocketAddr = server.address;
    thread::scope(|scope| {
        let cold = scope.spawn(move || -> Result<(f64, f64), String> {
            let load = slow_disk::cold_load();
            let driven = Client::connect(address, &load)
                .and_then(|mut client| client.drive(&load, WARM_UP + time + 2 * MARGIN))
                .map_err(|error| format!("cold files: {error}"))?;
            let p50_us = driven.latency_ns.value_at_quantile(0.5) as f64 / 1e3;
            if driven.requests as usize > load.requests.len() || p50_us < slow_disk::DELAY.as_micros() as f64
            {
                return Err(format!("{} cold files, half of them in {p50_us} us: not cold", driven.requests));
            }
            Ok((driven.requests as f64 / driven.elapsed.as_secs_f64(), p50_us))
        });
        thread::sleep(MARGIN);
        let round = stretch(server, load, time, false);
        let cold = cold.join().map_err(|_| "the client for cold files panicked")?;
        Ok(Round { cold: Some(cold?), ..round? })
    })
}
