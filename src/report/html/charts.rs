//! The chart types: grouped bars, bars with intervals, histogram, lines, steps over time, divided bar.

use super::measures::Estimate;
use super::scale::{Linear, Log, nice_step};
use super::svg::{Entry, Plot, Sample};
use super::text::{decimal, tick};

fn marks(axis: Linear, label: impl Fn(f64) -> String) -> Vec<(f64, String)> {
    let ticks = axis.ticks().into_iter();
    ticks.map(|value| (axis.at(value), label(value))).collect()
}

fn share_label(share: f64) -> String {
    format!("{}%", decimal(100.0 * share, 0))
}

/// A series of bars, one per group: a solid part and a paler one above it.
pub(super) struct Series<'a> {
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) values: Vec<(f64, f64)>,
}

/// Draws bars side by side for each group.
pub(super) fn grouped(names: &[String], series: &[Series<'_>], axes: (&str, &str)) -> Plot {
    let legend: Vec<Entry<'_>> = series.iter().map(|of| (of.class, of.name)).collect();
    let mut plot = Plot::new((Sample::Area, &legend), axes.0, axes.1);
    let values = series.iter().flat_map(|of| &of.values);
    let axis = Linear::up_to(values.map(|(solid, pale)| solid + pale).fold(0.0, f64::max));
    plot.vertical(&marks(axis, tick));
    let slot = 1.0 / names.len().max(1) as f64;
    let width = (slot * 0.8 / series.len().max(1) as f64).min(0.08);
    let mut ticks = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let middle = (index as f64 + 0.5) * slot;
        ticks.push((middle, name.clone()));
        let first = middle - width * series.len() as f64 / 2.0;
        for (at, of) in series.iter().enumerate() {
            let left = first + width * at as f64;
            let ends = (plot.x(left), plot.x(left + width * 0.9));
            let Some((solid, pale)) = of.values.get(index) else {
                continue;
            };
            let title = match *pale > 0.0 {
                true => format!("{name}, {}: {solid:.2} found, {pale:.2} expected", of.name),
                false => format!("{name}, {}: {solid:.2}", of.name),
            };
            let (low, high) = (axis.at(*solid), axis.at(solid + pale));
            plot.bar(of.class, ends, (0.0, low), &title);
            if *pale > 0.0 {
                plot.bar(&format!("{} pale", of.class), ends, (low, high), &title);
            }
        }
    }
    plot.horizontal(&ticks);
    plot
}

/// Draws bars with intervals. For shares, the axis extends to 1.
pub(super) fn intervals(
    names: &[String],
    class: &str,
    values: &[Option<Estimate>],
    shares: bool,
    axes: (&str, &str),
) -> Plot {
    let mut plot = Plot::new((Sample::Area, &[]), axes.0, axes.1);
    let ends = values.iter().flatten();
    let ends = ends.map(|of| of.interval.map_or(of.value, |(_, high)| high));
    let high = ends.fold(0.0, f64::max);
    let axis = Linear::up_to(if shares { 1.0 } else { high });
    plot.vertical(&marks(axis, if shares { share_label } else { tick }));
    let slot = 1.0 / names.len().max(1) as f64;
    let half = (slot * 0.35).min(0.06);
    let mut ticks = Vec::new();
    for (index, (name, value)) in names.iter().zip(values).enumerate() {
        let middle = (index as f64 + 0.5) * slot;
        ticks.push((middle, name.clone()));
        if let Some(of) = value {
            let title = match of.interval {
                Some((low, high)) => format!("{name}: {:.3} ({low:.3} to {high:.3})", of.value),
                None => format!("{name}: {:.3}", of.value),
            };
            let ends = (plot.x(middle - half), plot.x(middle + half));
            plot.bar(class, ends, (0.0, axis.at(of.value)), &title);
            if let Some((low, high)) = of.interval {
                let (x, cap) = (plot.x(middle), 0.3 * (ends.1 - ends.0));
                plot.whisker(x, cap.min(4.0), (axis.at(low), axis.at(high)));
            }
        }
    }
    plot.horizontal(&ticks);
    plot
}

/// Draws counts in bins of equal width from 0 to 1, with two stacked kinds.
pub(super) fn histogram(bins: &[(u64, u64)], kinds: [Entry<'_>; 2], axes: (&str, &str)) -> Plot {
    let mut plot = Plot::new((Sample::Area, &kinds), axes.0, axes.1);
    let most = bins.iter().map(|(first, second)| first + second).max();
    let axis = Linear::whole(most.unwrap_or(0));
    plot.vertical(&marks(axis, tick));
    let width = 1.0 / bins.len().max(1) as f64;
    let mut ticks = vec![(0.0, "0".to_owned())];
    for (index, &(first, second)) in bins.iter().enumerate() {
        let (left, right) = (index as f64 * width, (index + 1) as f64 * width);
        ticks.push((right, tick(right)));
        let ends = (plot.x(left) + 1.0, plot.x(right) - 1.0);
        let within = format!("{} to {}", tick(left), tick(right));
        let (low, high) = (axis.at(second as f64), axis.at((first + second) as f64));
        plot.bar(
            kinds[1].0,
            ends,
            (0.0, low),
            &format!("{within}: {second} {}", kinds[1].1),
        );
        plot.bar(
            kinds[0].0,
            ends,
            (low, high),
            &format!("{within}: {first} {}", kinds[0].1),
        );
    }
    plot.horizontal(&ticks);
    plot
}

/// A line of shares: its class, name and points.
pub(super) struct Line<'a> {
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws shares against a logarithmic axis as steps: each value holds until the next point.
pub(super) fn shares_by_log(lines: &[Line<'_>], axes: (&str, &str)) -> Plot {
    let legend: Vec<Entry<'_>> = lines.iter().map(|line| (line.class, line.name)).collect();
    let mut plot = Plot::new((Sample::Line, &legend), axes.0, axes.1);
    let vertical = Linear::up_to(1.0);
    let points = lines.iter().flat_map(|line| &line.points);
    let horizontal = Log::up_to(points.map(|(x, _)| *x).fold(1.0, f64::max));
    plot.vertical(&marks(vertical, share_label));
    for line in lines {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (x, y) in &line.points {
            let (x, y) = (plot.x(horizontal.at(*x)), plot.y(vertical.at(*y)));
            points.extend(points.last().map(|(_, before)| (x, *before)));
            points.push((x, y));
        }
        plot.path(line.class, &points);
    }
    let ticks = horizontal.ticks().into_iter();
    let ticks: Vec<_> = ticks
        .map(|value| (horizontal.at(value), tick(value)))
        .collect();
    plot.horizontal(&ticks);
    plot
}

/// Draws distributions as outlines: for each kind, the share of its values in each bin. `values` are (value,
/// counts by kind), in order.
pub(super) fn distributions(
    kinds: &[Entry<'_>],
    values: &[(u32, Vec<u64>)],
    axes: (&str, &str),
) -> Plot {
    const BINS: f64 = 30.0;
    let mut plot = Plot::new((Sample::Line, kinds), axes.0, axes.1);
    let most = values.iter().map(|(value, _)| *value).max().unwrap_or(1);
    let width = nice_step(f64::from(most), BINS).max(1.0);
    let bins = (f64::from(most) / width) as usize + 1;
    let end = bins as f64 * width;
    let shares: Vec<Vec<f64>> = (0..kinds.len())
        .map(|kind| {
            let mut counts = vec![0.0; bins];
            for (value, of) in values {
                counts[(f64::from(*value) / width) as usize] += of[kind] as f64;
            }
            let all: f64 = counts.iter().sum();
            counts
                .iter()
                .map(|count| if all > 0.0 { count / all } else { 0.0 })
                .collect()
        })
        .collect();
    let axis = Linear::up_to(shares.iter().flatten().copied().fold(0.0, f64::max));
    let fine = axis.ticks().get(1).is_some_and(|step| *step < 0.01);
    plot.vertical(&marks(axis, |share| {
        format!("{}%", decimal(100.0 * share, usize::from(fine)))
    }));
    for ((class, _), shares) in kinds.iter().zip(&shares) {
        let mut points = vec![(plot.x(0.0), plot.y(0.0))];
        for (bin, share) in shares.iter().enumerate() {
            let y = plot.y(axis.at(*share));
            let x = |bin: usize| plot.x(bin as f64 * width / end);
            points.extend([(x(bin), y), (x(bin + 1), y)]);
        }
        points.push((plot.x(1.0), plot.y(0.0)));
        plot.path(class, &points);
    }
    plot.horizontal(&ticks_up_to(end));
    plot
}

/// A line of values over time, each valid for a part of it.
pub(super) struct Steps<'a> {
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    /// Stretches without gaps, each of (from, to, value).
    pub(super) stretches: Vec<Vec<(f64, f64, f64)>>,
}

/// Draws counts over time as steps, with vertical lines at `dividers`.
pub(super) fn steps_over_time(
    lines: &[Steps<'_>],
    dividers: &[f64],
    end: f64,
    axes: (&str, &str),
) -> Plot {
    let legend: Vec<Entry<'_>> = lines.iter().map(|line| (line.class, line.name)).collect();
    let mut plot = Plot::new((Sample::Line, &legend), axes.0, axes.1);
    let steps = || {
        lines
            .iter()
            .flat_map(|line| line.stretches.iter().flatten())
    };
    let vertical = Linear::whole(steps().map(|step| step.2).fold(0.0, f64::max).ceil() as u64);
    plot.vertical(&marks(vertical, tick));
    for at in dividers {
        let x = plot.x(at / end);
        plot.line("divider", (x, plot.y(0.0)), (x, plot.y(1.0)));
    }
    for line in lines {
        for stretch in &line.stretches {
            let mut points: Vec<(f64, f64)> = Vec::new();
            for (from, to, value) in stretch {
                let y = plot.y(vertical.at(*value));
                // Merge steps of equal height into one line.
                points.pop_if(|last| last.1 == y);
                if points.last().is_none_or(|last| last.1 != y) {
                    points.push((plot.x(from / end), y));
                }
                points.push((plot.x(to / end), y));
            }
            plot.path(line.class, &points);
        }
    }
    plot.horizontal(&ticks_up_to(end));
    plot
}

/// Returns the ticks of a horizontal axis that ends with its values.
fn ticks_up_to(end: f64) -> Vec<(f64, String)> {
    let ticks = Linear::up_to(end).ticks().into_iter();
    let ticks = ticks.filter(|value| *value <= end * 1.0001);
    ticks.map(|value| (value / end, tick(value))).collect()
}

/// Draws one bar divided into parts, with one text line per part below it.
pub(super) fn divided(parts: &[(&str, String, u64)]) -> Plot {
    let mut plot = Plot::bare(100.0 + 26.0 * parts.len() as f64);
    let all: u64 = parts.iter().map(|(_, _, count)| count).sum();
    let share = |count: u64| {
        if all > 0 {
            count as f64 / all as f64
        } else {
            0.0
        }
    };
    let mut before = 0;
    for (class, label, count) in parts {
        let (left, right) = (plot.x(share(before)), plot.x(share(before + count)));
        let class = format!("{class} part");
        if *count > 0 {
            plot.rectangle(&class, (left, 12.0), (right - left, 56.0), label);
        }
        before += count;
    }
    for (index, (class, label, _)) in parts.iter().enumerate() {
        let y = 98.0 + 26.0 * index as f64;
        plot.rectangle(class, (plot.x(0.0), y - 10.0), (14.0, 12.0), label);
        plot.text(plot.x(0.0) + 22.0, y, "start", label);
    }
    plot
}
