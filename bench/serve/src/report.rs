//! The table of a workload, on the screen and in Markdown.

use crate::{round::Round, row::Row};
use measure::figures::{median, median_ratio};
use std::fmt::Write as _;

/// A server that used less of its processor was waiting for the client.
const BUSY: f64 = 0.95;

/// What all rounds of one server measured.
pub struct Measured {
    pub name: &'static str,
    pub rounds: Vec<Round>,
}

impl Measured {
    fn all(&self, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    fn middle(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.all(figure))
    }

    /// The median of the ratios of the same rounds.
    pub fn ratio(&self, to: &Self, figure: impl Fn(&Round) -> f64) -> f64 {
        median_ratio(&self.all(&figure), &to.all(&figure))
    }
}

const HEADINGS: [&str; 12] = [
    "server",
    "CPU us",
    "ratio",
    "requests/s",
    "ratio",
    "p50 us",
    "p99 us",
    "p999 us",
    "calls",
    "switches",
    "MiB",
    "busy",
];

/// The rows of the table, the first server being what the others are compared with.
pub fn table(measured: &[Measured]) -> Vec<Vec<String>> {
    let Some(first) = measured.first() else { return Vec::new() };
    let cells = |one: &Measured| {
        let calls = one.rounds.iter().find_map(|round| round.calls);
        vec![
            one.name.to_owned(),
            format!("{:.2}", one.middle(|round| round.processor_us)),
            format!("{:.2}", one.ratio(first, |round| round.processor_us)),
            format!("{:.0}", one.middle(|round| round.requests_per_s)),
            format!("{:.2}", one.ratio(first, |round| round.requests_per_s)),
            format!("{:.0}", one.middle(|round| round.p50_us)),
            format!("{:.0}", one.middle(|round| round.p99_us)),
            format!("{:.0}", one.middle(|round| round.p999_us)),
            calls.map_or("-".into(), |calls| format!("{calls:.2}")),
            format!("{:.3}", one.middle(|round| round.switches)),
            format!("{:.1}", one.middle(|round| round.memory_bytes) / f64::from(1 << 20)),
            format!("{:.0}%", one.middle(|round| round.busy) * 100.0),
        ]
    };
    measured.iter().map(cells).collect()
}

/// What is to be said below the table.
pub fn notes(measured: &[Measured]) -> Vec<String> {
    let mut notes = Vec::new();
    let waiting = measured.iter().filter(|one| one.middle(|round| round.busy) < BUSY);
    let waiting: Vec<_> = waiting.map(|one| one.name).collect();
    if !waiting.is_empty() {
        let names = waiting.join("; ");
        notes.push(format!("The client was the slower side, or set the pace, for: {names}. Their requests/s are the client's."));
    }
    for one in measured {
        let idle: Vec<f64> = one.rounds.iter().filter_map(|round| round.idle_bytes).collect();
        if !idle.is_empty() {
            notes.push(format!("{}: {:.0} bytes for each idle connection.", one.name, median(idle)));
        }
    }
    notes
}

/// Whether the row's bar holds for the best of ours, in a sentence.
pub fn bar(row: &Row, measured: &[Measured]) -> Option<(String, bool)> {
    let first = measured.first()?;
    let ours = measured.iter().filter(|one| one.name.starts_with("portico"));
    let cost = |one: &&Measured| one.ratio(first, |round| round.processor_us);
    let best = ours.min_by(|one, other| cost(one).total_cmp(&cost(other)))?;
    let ratio = cost(&best);
    Some((
        format!("{}: {} costs {ratio:.2} of {} (at most {:.2})", row.name, best.name, first.name, row.bar),
        ratio <= row.bar,
    ))
}

/// The workload as a section of a page.
pub fn markdown(row: &Row, measured: &[Measured]) -> String {
    let mut text = format!("\n### {}\n\n", row.what);
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(&HEADINGS.map(str::to_owned)));
    text.push_str(&format!("|---|{}\n", "---:|".repeat(HEADINGS.len() - 1)));
    table(measured).iter().for_each(|cells| text.push_str(&line(cells)));
    for note in notes(measured) {
        let _ = write!(text, "\n{note}\n");
    }
    if let Some((bar, holds)) = bar(row, measured) {
        let _ = write!(text, "\n{} {bar}.\n", if holds { "Holds:" } else { "**Fails:**" });
    }
    text
}

/// The same on the screen.
pub fn print(row: &Row, measured: &[Measured]) {
    println!("\n{}: {}", row.name, row.what);
    measure::figures::print_table(&HEADINGS, &table(measured));
    notes(measured).iter().for_each(|note| println!("{note}"));
}
