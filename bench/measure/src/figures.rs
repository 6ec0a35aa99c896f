//! Medians, and tables of figures.

/// The middle one; the mean of the two in the middle where there are two.
///
/// # Panics
///
/// If there is none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

/// The median of the ratios of two rows of figures, each of the same round: what drifts with the machine falls out.
pub fn median_ratio(figures: &[f64], to: &[f64]) -> f64 {
    median(figures.iter().zip(to).map(|(figure, to)| figure / to))
}

/// Prints rows below their headings, numbers to the right.
pub fn print_table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        println!("{}", line.join("  "));
    };
    print(&mut headings.iter().copied());
    rows.iter().for_each(|row| print(&mut row.iter().map(String::as_str)));
}

/// Says of each bar whether it held. False if one did not.
pub fn print_bars(bars: &[(String, bool)]) -> bool {
    println!();
    for (bar, holds) in bars {
        println!("{}  {bar}", if *holds { "holds" } else { "FAILS" });
    }
    bars.iter().all(|(_, holds)| *holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_same_round() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        // The machine was at half its speed in the second round.
        assert_eq!(median_ratio(&[2.0, 4.0, 2.2], &[1.0, 2.0, 1.1]), 2.0);
    }
}
