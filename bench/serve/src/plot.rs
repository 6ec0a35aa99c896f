//! A plot as SVG: one line for each server, what a request costs over how much there is to do.

use crate::Failure;
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (760, 420);
/// Easy to tell apart, also for those who see few colours.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 158, 115), RGBColor(0, 90, 178), RGBColor(213, 94, 0)];

/// One plot. Points are added from left to right, all servers at once.
pub struct Plot {
    pub title: &'static str,
    over: &'static str,
    label: fn(usize) -> String,
    log_cost: bool,
    servers: Vec<&'static str>,
    points: Vec<(usize, Vec<f64>)>,
}

impl Plot {
    pub fn new(title: &'static str, over: &'static str, label: fn(usize) -> String) -> Self {
        Self { title, over, label, log_cost: false, servers: Vec::new(), points: Vec::new() }
    }

    /// Where the cost grows as much as the work.
    pub fn with_log_cost(self) -> Self {
        Self { log_cost: true, ..self }
    }

    /// What a request cost each server with so much to do.
    pub fn add(&mut self, work: usize, costs: Vec<(&'static str, f64)>) {
        self.servers = costs.iter().map(|(server, _)| *server).collect();
        self.points.push((work, costs.into_iter().map(|(_, cost)| cost).collect()));
    }

    pub fn print(&self) {
        let headings: Vec<&str> = [self.over].into_iter().chain(self.servers.iter().copied()).collect();
        let row = |(work, costs): &(usize, Vec<f64>)| {
            [(self.label)(*work)].into_iter().chain(costs.iter().map(|cost| format!("{cost:.2}"))).collect()
        };
        measure::figures::print_table(&headings, &self.points.iter().map(row).collect::<Vec<_>>());
    }

    pub fn draw(&self, file: &Path) -> Result<(), Failure> {
        let costs = || self.points.iter().flat_map(|(_, costs)| costs.iter().copied());
        let (least, most) = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return Err(format!("{}: nothing was measured", self.title).into());
        };
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let over = (first.0 as f64..last.0 as f64)
            .log_scale()
            .with_key_points(self.points.iter().map(|(work, _)| *work as f64).collect());
        let mut chart = ChartBuilder::on(&area);
        chart
            .caption(self.title, ("sans-serif", 18))
            .margin(14)
            .margin_right(36)
            .x_label_area_size(44)
            .y_label_area_size(64);
        let cost_label =
            |cost: &f64| if *cost < 10.0 && self.log_cost { format!("{cost}") } else { format!("{cost:.0}") };
        macro_rules! draw_on {
            ($costs:expr) => {{
                let mut chart = chart.build_cartesian_2d(over, $costs)?;
                chart
                    .configure_mesh()
                    .x_desc(self.over)
                    .y_desc("CPU us for a request")
                    .x_label_formatter(&|work| (self.label)(*work as usize))
                    .y_label_formatter(&cost_label)
                    .label_style(("sans-serif", 13))
                    .axis_desc_style(("sans-serif", 14))
                    .light_line_style(WHITE)
                    .bold_line_style(RGBColor(225, 225, 225))
                    .draw()?;
                for (number, server) in self.servers.iter().enumerate() {
                    let colour = COLOURS[number % COLOURS.len()];
                    let points =
                        || self.points.iter().map(move |(work, costs)| (*work as f64, costs[number]));
                    chart
                        .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
                        .label(*server)
                        .legend(move |(x, y)| {
                            PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                        });
                    chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
                }
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperLeft)
                    .label_font(("sans-serif", 14))
                    .background_style(WHITE)
                    .border_style(RGBColor(200, 200, 200))
                    .draw()?;
            }};
        }
        if self.log_cost {
            draw_on!((least / 1.5..most * 1.5).log_scale());
        } else {
            draw_on!(0.0..most * 1.4);
        }
        Ok(area.present()?)
    }
}

/// 1000000 as 1,000,000.
pub fn count(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 65536 as 64 KiB.
pub fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_easily() {
        assert_eq!([count(1), count(1_000), count(1_000_000)], ["1", "1,000", "1,000,000"]);
        assert_eq!([bytes(512), bytes(65_536), bytes(4 << 20)], ["512 B", "64 KiB", "4 MiB"]);
    }

    #[test]
    fn a_plot_names_its_servers_and_its_points() {
        let mut plot = Plot::new("By files", "files", count);
        plot.add(1, vec![("one", 2.0), ("other", 3.0)]);
        plot.add(1_000_000, vec![("one", 4.0), ("other", 30.0)]);
        let folder = tempfile::tempdir().unwrap();
        plot.with_log_cost().draw(&folder.path().join("plot.svg")).unwrap();
        let text = std::fs::read_to_string(folder.path().join("plot.svg")).unwrap();
        for wanted in ["By files", "1,000,000", "one", "other", "CPU us for a request"] {
            assert!(text.contains(wanted), "{wanted}");
        }
    }
}
