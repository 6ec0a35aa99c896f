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
            // Where it went as fast as the client, how much faster it would be is not to be seen.
            let holds = (side != Slower::Client || ratio >= 1.0).then_some(ratio >= 1.0);
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

/// Less processor time for a request; and more requests a second, where the client neither set nor limited them.
fn ahead(row: &Row, best: &Measured, peer: &Measured) -> (String, String, Option<bool>) {
    let bar = format!("ahead of {}", peer.name);
    let rate = best.ratio(peer, |round| round.requests_per_s);
    let side = best.slower_side(row.kind.is_paced());
    let rate_counts = matches!(side, Slower::Server | Slower::Neither);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).unwrap()
    }

    /// A server that took so long for a request, and gave so many, in one round after another.
    fn server(name: &'static str, busy: f64, rounds: &[(f64, f64)]) -> Measured {
        let round = |&(processor_us, requests_per_s): &(f64, f64)| Round {
            processor_us,
            requests_per_s,
            busy,
            client_busy: if busy < 1.0 { 1.0 } else { 0.5 },
            calls: Some(1.0),
            ..Round::default()
        };
        Measured { name, rounds: rounds.iter().map(round).collect() }
    }

    fn held(verdicts: &[Verdict], bar: &str) -> Option<bool> {
        let verdict = verdicts.iter().find(|verdict| verdict.bar.contains(bar));
        verdict.unwrap_or_else(|| panic!("{bar} is not judged")).holds
    }

    #[test]
    fn the_better_of_ours_is_held_against_each_bar() {
        let measured = vec![
            server("nginx", 1.0, &[(10.0, 100.0), (20.0, 50.0), (10.0, 100.0)]),
            server("portico, io_uring", 1.0, &[(6.0, 150.0), (12.0, 75.0), (6.0, 150.0)]),
            server("portico, readiness", 1.0, &[(9.0, 110.0); 3]),
            server(LIMIT, 1.0, &[(5.0, 200.0), (10.0, 100.0), (5.0, 200.0)]),
            server("caddy", 1.0, &[(5.9, 150.0); 3]),
            server("actix-files", 1.0, &[(40.0, 20.0); 3]),
        ];
        let failed = vec![("tower-http", "it ended".to_owned()), ("h2o", "it ended".to_owned())];
        let verdicts = judge(row("1k"), &Compared { measured, failed });
        assert_eq!(held(&verdicts, "io_uring: CPU of nginx at most 0.70x"), Some(true));
        assert_eq!(held(&verdicts, "CPU of the bare loop at most 1.12x"), Some(false));
        assert_eq!(held(&verdicts, "system calls"), Some(true));
        assert_eq!(held(&verdicts, "ahead of caddy"), Some(false));
        assert_eq!(held(&verdicts, "ahead of actix-files"), Some(true));
        // A bar is about one of them, and none about the other.
        assert_eq!(held(&verdicts, "tower-http"), Some(false));
        assert_eq!(held(&verdicts, "h2o"), None);
    }

    #[test]
    fn requests_a_second_are_not_told_where_the_client_was_slower() {
        let judged = |busy, ours| {
            let measured = vec![
                server("nginx", busy, &[(10.0, 100.0)]),
                server("portico, io_uring", busy, &[(9.0, ours)]),
            ];
            held(&judge(row("10m"), &Compared { measured, failed: Vec::new() }), "requests/s not below nginx")
        };
        assert_eq!([judged(1.0, 99.0), judged(1.0, 101.0)], [Some(false), Some(true)]);
        assert_eq!([judged(0.5, 99.0), judged(0.5, 101.0)], [None, Some(true)]);
    }

    #[test]
    fn what_disturbs_is_measured_against_the_same_round_without() {
        let disturbed = |name, alone, beside| {
            let round = |p99_us| Round { p99_us, ..Round::default() };
            let without = Some(Box::new(round(alone)));
            Measured { name, rounds: vec![Round { without, ..round(beside) }] }
        };
        let judged = |beside| {
            let measured =
                vec![disturbed("nginx", 100.0, 9_000.0), disturbed("portico, io_uring", 100.0, beside)];
            let verdicts = judge(row("slow-disk"), &Compared { measured, failed: Vec::new() });
            assert!(verdicts[0].measured.contains("nginx 90.000x"), "{}", verdicts[0].measured);
            verdicts[0].holds
        };
        assert_eq!([judged(119.0), judged(121.0)], [Some(true), Some(false)]);
    }
}
