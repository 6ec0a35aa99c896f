//! The table of a workload, on the screen and in Markdown.

use crate::{load::Beside, round::Round, row::Row};
use measure::figures::{median, median_ratio};
use std::fmt::Write as _;

/// Who uses as much of its processor has no time to wait for the other.
const BUSY: f64 = 0.95;

/// Who kept the other waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slower {
    Server,
    Client,
    /// Both waited: for memory, for a disk, or for the other to be woken.
    Neither,
    /// Nobody: the client sent as much as it was told to.
    Pace,
}

impl Slower {
    /// What is to be said behind requests a second.
    pub fn note(self) -> &'static str {
        match self {
            Self::Server => "",
            Self::Client => ", the client was the slower side",
            Self::Neither => ", neither side was busy",
            Self::Pace => ", the client set the pace",
        }
    }
}

/// What was measured of a row, the first server being what the others are compared with.
pub struct Compared {
    pub measured: Vec<Measured>,
    /// The servers that are not in it, and why.
    pub failed: Vec<(&'static str, String)>,
}

/// What all rounds of one server measured.
pub struct Measured {
    pub name: &'static str,
    pub rounds: Vec<Round>,
}

impl Measured {
    fn all(&self, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    pub fn middle(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.all(figure))
    }

    /// The median of the ratios to the same load in the same round without what the server had beside it.
    pub fn against_itself(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        self.middle(|round| {
            round.without.as_deref().map_or(f64::NAN, |without| figure(round) / figure(without))
        })
    }

    /// The most that an idle connection took in any round: memory that a server keeps for the next round is not taken again.
    pub fn idle_bytes(&self) -> f64 {
        self.rounds.iter().filter_map(|round| round.idle_bytes).fold(f64::NAN, f64::max)
    }

    /// System calls for a request, if they were counted.
    pub fn calls(&self) -> Option<f64> {
        self.rounds.iter().find_map(|round| round.calls)
    }

    fn cold(&self, figure: impl Fn((f64, f64)) -> f64) -> f64 {
        self.middle(|round| round.cold.map_or(f64::NAN, &figure))
    }

    /// Who kept the other waiting.
    pub fn slower_side(&self, paced: bool) -> Slower {
        if paced {
            Slower::Pace
        } else if self.middle(|round| round.busy) >= BUSY {
            Slower::Server
        } else if self.middle(|round| round.client_busy) >= BUSY {
            Slower::Client
        } else {
            Slower::Neither
        }
    }

    /// The median of the ratios of the same rounds.
    pub fn ratio(&self, to: &Self, figure: impl Fn(&Round) -> f64) -> f64 {
        median_ratio(&self.all(&figure), &to.all(&figure))
    }
}

const HEADINGS: [&str; 13] = [
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
    "client",
];

/// The rows of the table, the first server being what the others are compared with.
pub fn table(measured: &[Measured]) -> Vec<Vec<String>> {
    let Some(first) = measured.first() else { return Vec::new() };
    let cells = |one: &Measured| {
        let calls = one.calls();
        vec![
            one.name.to_owned(),
            format!("{:.2}", one.middle(|round| round.processor_us)),
            format!("{:.2}", one.ratio(first, |round| round.processor_us)),
            rate(one.middle(|round| round.requests_per_s)),
            format!("{:.2}", one.ratio(first, |round| round.requests_per_s)),
            format!("{:.0}", one.middle(|round| round.p50_us)),
            format!("{:.0}", one.middle(|round| round.p99_us)),
            format!("{:.0}", one.middle(|round| round.p999_us)),
            calls.map_or("-".into(), |calls| format!("{calls:.2}")),
            format!("{:.3}", one.middle(|round| round.switches)),
            format!("{:.1}", one.middle(|round| round.memory_bytes) / f64::from(1 << 20)),
            format!("{:.0}%", one.middle(|round| round.busy) * 100.0),
            format!("{:.0}%", one.middle(|round| round.client_busy) * 100.0),
        ]
    };
    measured.iter().map(cells).collect()
}

fn rate(requests_per_s: f64) -> String {
    if requests_per_s < 10.0 { format!("{requests_per_s:.2}") } else { format!("{requests_per_s:.0}") }
}

/// What is to be said below the table.
pub fn notes(row: &Row, measured: &[Measured]) -> Vec<String> {
    let mut notes = Vec::new();
    let paced = row.kind.is_paced();
    if paced {
        notes.push(
            "The client set the pace. A server with fewer requests/s than that fell behind.".to_owned(),
        );
    }
    for (side, what) in [
        (Slower::Client, "The client was the slower side, and the requests/s are the client's, for"),
        (Slower::Neither, "Neither the server nor the client was busy all the time with"),
    ] {
        let names = measured.iter().filter(|one| one.slower_side(paced) == side).map(|one| one.name);
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            notes.push(format!("{what}: {}.", names.join("; ")));
        }
    }
    for one in measured {
        if row.kind.beside() == Beside::Nothing {
            continue;
        }
        let own = |figure: fn(&Round) -> f64| one.against_itself(figure);
        let mut note = format!(
            "{}, beside those of itself alone in the same round: CPU {:.2}x, p99 {:.2}x, p999 {:.2}x",
            one.name,
            own(|round| round.processor_us),
            own(|round| round.p99_us),
            own(|round| round.p999_us)
        );
        if row.kind.beside() == Beside::Cold {
            let (rate, p50_us) = (one.cold(|cold| cold.0), one.cold(|cold| cold.1));
            let alone = |figure: fn(&Round) -> f64| {
                one.middle(|round| round.without.as_deref().map_or(f64::NAN, figure))
            };
            let _ = write!(
                note,
                "; alone p99 {:.0} us, p999 {:.0} us; {rate:.0} cold files a second, half of them within {:.0} ms",
                alone(|round| round.p99_us),
                alone(|round| round.p999_us),
                p50_us / 1e3
            );
        } else {
            let _ = write!(note, "; {:.0} bytes for each idle connection", one.idle_bytes());
        }
        notes.push(note + ".");
    }
    notes
}

/// The workload as a section of a page.
pub fn markdown(row: &Row, measured: &[Measured]) -> String {
    let mut text = format!("\n### {}\n\n", row.what);
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(&HEADINGS.map(str::to_owned)));
    text.push_str(&format!("|---|{}\n", "---:|".repeat(HEADINGS.len() - 1)));
    table(measured).iter().for_each(|cells| text.push_str(&line(cells)));
    for note in notes(row, measured) {
        let _ = write!(text, "\n{note}\n");
    }
    text
}

/// The same on the screen.
pub fn print(row: &Row, measured: &[Measured]) {
    println!("\n{}: {}", row.name, row.what);
    measure::figures::print_table(&HEADINGS, &table(measured));
    notes(row, measured).iter().for_each(|note| println!("{note}"));
}
