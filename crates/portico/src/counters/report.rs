//! The counters as text in Prometheus' format and as JSON, both made of one list.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use super::{CLASSES, Counters, Latency};
use completion_port::{BATCH_BOUNDS, BufferCounts};
use std::fmt::{self, Write};

/// A counter, or several with a label that tells them apart.
struct Family {
    /// Without the prefix `portico_`.
    name: &'static str,
    help: &'static str,
    values: Values,
}

enum Values {
    /// Only grows.
    Counter(u64),
    /// What is now.
    Gauge(u64),
    Counters(&'static str, Vec<(String, u64)>),
    Gauges(&'static str, Vec<(String, u64)>),
    /// Counts by buckets, one more than there are bounds, and the sum of what was counted.
    Histogram(Vec<u64>, u64),
    Summary(Vec<Latency>),
}

use Values::{Counter, Gauge, Gauges, Histogram, Summary};

fn families(counters: &Counters) -> Vec<Family> {
    let port = &counters.port;
    let family = |name, help, values| Family { name, help, values };
    let by = |label, values: &[(&str, u64)]| {
        Values::Counters(label, values.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
    };
    let classes: Vec<_> = CLASSES.into_iter().zip(counters.requests).collect();
    let operations: Vec<_> = port.completions.iter().map(|(kind, count)| (kind.name(), *count)).collect();
    let calls: Vec<_> = port.system_calls.iter().map(|(call, count)| (call.name(), *count)).collect();
    let buffers = |of: fn(&BufferCounts) -> usize| {
        let values = port.buffers.iter().map(|class| (class.capacity.to_string(), of(class) as u64));
        Gauges("capacity", values.collect())
    };
    let log = [
        ("written", counters.log.written),
        ("dropped", counters.log.dropped),
        ("failed", counters.log.failed),
    ];
    let cache = [("hit", counters.file_cache_hits), ("miss", counters.file_cache_misses)];
    let mut families = vec![
        family("uptime_seconds", "How long the server runs.", Gauge(counters.uptime.as_secs())),
        family("requests_total", "Requests that were answered, by class of status.", by("class", &classes)),
        family(
            "connections_accepted_total",
            "Connections that got a place.",
            Counter(counters.connections_accepted),
        ),
        family("connections_open", "Connections that are open.", Gauge(counters.connections_open)),
        family("completions_total", "Completions of the port, by operation.", by("operation", &operations)),
        family(
            "completions_per_wait",
            "Waits of the workers, by the completions that each brought.",
            Histogram(port.batches.to_vec(), port.all_completions()),
        ),
        family("system_calls_total", "System calls that the port made.", by("call", &calls)),
        family(
            "bytes_copied_total",
            "Bytes that the server copied into or within buffers.",
            Counter(port.bytes_copied),
        ),
        family(
            "body_bytes_copied_total",
            "Bytes of bodies that were copied behind their heads; part of bytes_copied.",
            Counter(counters.body_bytes_copied),
        ),
        family(
            "contended_locks_total",
            "Locks that another thread held at the first try.",
            Counter(counters.contended_locks),
        ),
    ];
    if let Some(allocations) = counters.allocations {
        families.push(family("allocations_total", "Allocations of the process.", Counter(allocations.count)));
        families.push(family("allocated_bytes_total", "Bytes that they had.", Counter(allocations.bytes)));
    }
    if let Some(switches) = port.context_switches {
        let kinds = [("voluntary", switches.voluntary), ("involuntary", switches.involuntary)];
        let help = "Context switches of the process, as the system counts them.";
        families.push(family("context_switches_total", help, by("kind", &kinds)));
    }
    families.extend([
        family("buffers", "Buffers of each class, by their bytes.", buffers(|class| class.count)),
        family("buffers_in_use", "Buffers that are taken.", buffers(|class| class.in_use)),
        family(
            "buffers_high_mark",
            "The most buffers that were taken at one time.",
            buffers(|class| class.high_mark),
        ),
        family("pool_threads", "Threads of the pool for what blocks.", Gauge(port.pool_threads as u64)),
        family("pool_waiting", "Tasks that wait for one of them.", Gauge(port.pool_waiting as u64)),
        family("log_records_total", "Records of the access log.", by("fate", &log)),
        family(
            "file_cache_lookups_total",
            "Paths that the file cache knew, or the disk was asked for.",
            by("result", &cache),
        ),
    ]);
    if !counters.latency.is_empty() {
        let help = "How long requests take, by phase.";
        families.push(family("latency_microseconds", help, Summary(counters.latency.clone())));
        let longest = |latency: &Latency| (latency.phase.name().to_owned(), latency.max_us);
        let longest = Gauges("phase", counters.latency.iter().map(longest).collect());
        families.push(family("latency_max_microseconds", "The longest time of each phase.", longest));
    }
    families
}

/// The quantiles of a phase, as Prometheus and as JSON name them.
fn quantiles(latency: &Latency) -> [(&'static str, &'static str, u64); 4] {
    [
        ("0.5", "p50", latency.p50_us),
        ("0.9", "p90", latency.p90_us),
        ("0.99", "p99", latency.p99_us),
        ("0.999", "p999", latency.p999_us),
    ]
}

const WRITTEN: &str = "a string takes all that is written";

pub(super) fn prometheus(counters: &Counters) -> String {
    let mut text = String::new();
    for family in families(counters) {
        write_text(&family, &mut text).expect(WRITTEN);
    }
    text
}

fn write_text(family: &Family, out: &mut String) -> fmt::Result {
    let name = format!("portico_{}", family.name);
    let kind = match family.values {
        Counter(_) | Values::Counters(..) => "counter",
        Gauge(_) | Gauges(..) => "gauge",
        Histogram(..) => "histogram",
        Summary(_) => "summary",
    };
    writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)?;
    match &family.values {
        Counter(value) | Gauge(value) => writeln!(out, "{name} {value}"),
        Values::Counters(label, values) | Gauges(label, values) => {
            values.iter().try_for_each(|(of, value)| writeln!(out, "{name}{{{label}=\"{of}\"}} {value}"))
        }
        Histogram(counts, sum) => {
            let mut below = 0;
            for (bound, count) in BATCH_BOUNDS.iter().zip(counts) {
                below += count;
                writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}")?;
            }
            let all: u64 = counts.iter().sum();
            writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}")
        }
        Summary(latencies) => latencies.iter().try_for_each(|latency| {
            let phase = latency.phase.name();
            for (quantile, _, us) in quantiles(latency) {
                writeln!(out, "{name}{{phase=\"{phase}\",quantile=\"{quantile}\"}} {us}")?;
            }
            writeln!(out, "{name}_sum{{phase=\"{phase}\"}} {}", latency.sum_us)?;
            writeln!(out, "{name}_count{{phase=\"{phase}\"}} {}", latency.count)
        }),
    }
}

pub(super) fn json(counters: &Counters) -> String {
    let members = families(counters).into_iter().map(|family| {
        // The maximum is a member of its phase.
        let name = family.name.strip_suffix("_total").unwrap_or(family.name);
        (name.to_owned(), value(&family.values))
    });
    let mut text = object(members.filter(|(name, _)| name != "latency_max_microseconds"));
    text.push('\n');
    text
}

fn value(values: &Values) -> String {
    match values {
        Counter(value) | Gauge(value) => value.to_string(),
        Values::Counters(_, values) | Gauges(_, values) => {
            object(values.iter().map(|(of, value)| (of.clone(), value.to_string())))
        }
        Histogram(counts, sum) => {
            let bounds = BATCH_BOUNDS.iter().map(|bound| format!("to_{bound}")).chain(["beyond".to_owned()]);
            let counts = bounds.zip(counts.iter().map(ToString::to_string));
            object(counts.chain([("sum".to_owned(), sum.to_string())]))
        }
        Summary(latencies) => object(latencies.iter().map(|latency| {
            let quantiles = quantiles(latency).map(|(_, name, us)| (name.to_owned(), us.to_string()));
            let others = [("max", latency.max_us), ("sum", latency.sum_us), ("count", latency.count)];
            let others = others.map(|(name, value)| (name.to_owned(), value.to_string()));
            (latency.phase.name().to_owned(), object(quantiles.into_iter().chain(others)))
        })),
    }
}

/// Names are of this program, without a character that JSON would have to escape.
fn object(members: impl Iterator<Item = (String, String)>) -> String {
    let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
