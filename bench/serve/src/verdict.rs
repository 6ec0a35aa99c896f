//! Whether what must hold does: each bar of a row, with what was measured.

use crate::{
    peer::{BEHIND, LIMIT, OURS, PEERS},
    report::{Compared, Measured, Slower},
    round::Round,
    row::{Bar, Quantile, Row},
};
use measure::figures::print_table;

/// One bar, judged.
pub struct Verdict {
    pub bar: String,
    pub measured: String,
    /// None where it cannot be told, for a reason that `measured` gives.
    pub holds: Option<bool>,
}

impl Verdict {
    /// As cells of a table.
    fn cells(&self) -> Vec<String> {
        let verdict = match self.holds {
            Some(true) => "holds",
            Some(false) => "FAILS",
            None => "not told",
        };
        vec![self.bar.clone(), self.measured.clone(), verdict.to_owned()]
    }

    /// That a server could not be measured: that fails where a bar is about it.
    pub fn server_not_measured(name: &str, what: String, why: &str) -> Self {
        let counts =
            name == PEERS[0].name || name == LIMIT || name.starts_with(OURS) || BEHIND.contains(&name);
        Self { holds: counts.then_some(false), ..Self::not_measured(what, why) }
    }

    /// That something could not be measured, which fails.
    pub fn not_measured(what: String, why: &str) -> Self {
        let first = why.lines().next().unwrap_or_default();
        Self { bar: what, measured: format!("not measured: {first}"), holds: Some(false) }
    }
}

const HEADINGS: [&str; 3] = ["bar", "measured", "verdict"];

/// All bars on the screen.
pub fn print(verdicts: &[Verdict]) {
    println!();
    print_table(&HEADINGS, &verdicts.iter().map(Verdict::cells).collect::<Vec<_>>());
}

/// All bars as a section of a page.
pub fn markdown(verdicts: &[Verdict]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("\n## Bars\n\n{}|---|---|---|\n", line(&HEADINGS.map(str::to_owned)));
    verdicts.iter().for_each(|verdict| text.push_str(&line(&verdict.cells())));
    text
}

/// The bars of a row. Of ours, the one with the lower cost stands for both. Those of servers that were not asked for are left out; a server
/// that failed is none that was left behind.
pub fn judge(row: &Row, compared: &Compared) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = compared
        .failed
        .iter()
        .map(|(name, why)| Verdict::server_not_measured(name, format!("{}, {name}", row.name), why))
        .collect();
    let measured = &compared.measured;
    let find = |name: &str| measured.iter().find(|one| one.name == name);
    let Some(first) = find(PEERS[0].name) else { return verdicts };
    let cost = |one: &Measured| one.ratio(first, |round| round.processor_us);
    let ours = measured.iter().filter(|one| one.name.starts_with(OURS));
    let Some(best) = ours.min_by(|one, other| {
        let disturbed = |one: &Measured| match row.bars {
            [Bar::OwnLatency(quantile, _)] => one.against_itself(|round| quantile.of(round)),
            _ => cost(one),
        };
        disturbed(one).total_cmp(&disturbed(other))
    }) else {
        return verdicts;
    };
    let of_best = |(bar, measured, holds): (String, String, Option<bool>)| Verdict {
        bar: format!("{}, {}: {bar}", row.name, best.name),
        measured,
        holds,
    };
    verdicts.extend(row.bars.iter().filter_map(|bar| one(*bar, row, best, first, find(LIMIT))).map(of_best));
    // Some of these do not do what the row asks for.
    let behind = BEHIND.into_iter().filter_map(find);
    verdicts.extend(behind.map(|peer| of_best(ahead(row, best, peer))));
    verdicts
}

fn one(
    bar: Bar,
    row: &Row,
    best: &Measured,
    first: &Measured,
    limit: Option<&Measured>,
) -> Option<(String, String, Option<bool>)> {
    let at_most = |what: String, ratio: f64, most: f64| {
        (format!("{what} at most {most:.2}x"), format!("{ratio:.3}x"), Some(ratio <= most))
    };
    let plain = |what: String, figure: f64, most: f64| {
        (format!("{what} at most {most}"), format!("{figure:.3}"), Some(figure <= most))
    };
    Some(match bar {
        Bar::Cost(most) => {
            at_most(format!("CPU of {}", first.name), best.ratio(first, |round| round.processor_us), most)
        }
        Bar::CostOfLimit(most) => {
            let ratio = best.ratio(limit?, |round| round.processor_us);
            at_most(format!("CPU of the {LIMIT}"), ratio, most)
        }
        Bar::Rate => {
            let ratio = best.ratio(first, |round| round.requests_per_s);
            let side = best.slower_side(row.kind.is_paced());
            // Where both went as fast as the client, which one would be ahead is not to be seen.
            let holds = (side == Slower::Server || ratio >= 1.0).then_some(ratio >= 1.0);
            let measured = format!("{ratio:.3}x{}", side.note());
            (format!("requests/s not below {}", first.name), measured, holds)
        }
        Bar::Latency(quantile) => {
            let ratio = best.ratio(first, |round| quantile.of(round));
            (
                format!("{} not above {}", quantile.name(), first.name),
                format!("{ratio:.3}x"),
                Some(ratio <= 1.0),
            )
        }
        Bar::OwnCost(most) => {
            at_most("CPU of its own alone".into(), best.against_itself(|round| round.processor_us), most)
        }
        Bar::OwnLatency(quantile, most) => {
            let of = |one: &Measured| one.against_itself(|round| quantile.of(round));
            let (what, measured, holds) =
                at_most(format!("{} of its own alone", quantile.name()), of(best), most);
            (what, format!("{measured} ({} {:.3}x)", first.name, of(first)), holds)
        }
        Bar::IdleBytes(most) => plain("bytes for each idle connection".into(), best.idle_bytes(), most),
        Bar::IdleBelowFirst => (
            format!("bytes for each idle connection below {}", first.name),
            format!("{:.0} of {:.0}", best.idle_bytes(), first.idle_bytes()),
            Some(best.idle_bytes() < first.idle_bytes()),
        ),
        Bar::Switches(most) => {
            plain("context switches for a request".into(), best.middle(|round| round.switches), most)
        }
        Bar::Calls(most) => match best.calls() {
            Some(calls) => plain("system calls for a request".into(), calls, most),
            None => (
                format!("system calls for a request at most {most}"),
                "not measured: perf(1) counts none here".into(),
                Some(false),
            ),
        },
    })
}

/// Less processor time for a request; and more requests a second, where it was ours that limited them.
fn ahead(row: &Row, best: &Measured, peer: &Measured) -> (String, String, Option<bool>) {
    let bar = format!("ahead of {}", peer.name);
    let rate = best.ratio(peer, |round| round.requests_per_s);
    let side = best.slower_side(row.kind.is_paced());
    let rate_counts = side == Slower::Server;
    if row.bars.iter().any(|bar| matches!(bar, Bar::OwnLatency(..))) {
        // The processor time is also for the cold files, of which each gave as many as it could.
        let ratio = best.ratio(peer, |round| round.p99_us);
        return (bar, format!("p99 {ratio:.3}x"), Some(ratio < 1.0));
    }
    let cost = best.ratio(peer, |round| round.processor_us);
    (
        bar,
        format!("CPU {cost:.3}x, requests/s {rate:.2}x{}", side.note()),
        Some(cost < 1.0 && (!rate_counts || rate > 1.0)),
    )
}

impl Quantile {
    fn of(self, round: &Round) -> f64 {
        match self {
            Self::P99 => round.p99_us,
            Self::P999 => round.p999_us,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::P99 => "p99",
            Self::P999 => "p999",
        }
    }
}
