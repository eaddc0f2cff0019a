//! Draws SVG: a plot's frame, ticks and shapes. Colours are classes of `style.css`.

use std::fmt::Write;

use super::text::{cut, escape};

/// The size of drawings in their own units. A page scales them.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 264.0;
/// The size of standalone drawings, in pixels per unit.
const SCALE: f64 = 1.25;
/// The approximate width of a character of the tick font.
const CHARACTER: f64 = 6.3;
const LEFT: f64 = 42.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 42.0;
const LEGEND_LINE: f64 = 18.0;

/// A drawing with axes.
#[derive(Debug)]
pub(super) struct Plot {
    body: String,
    /// The top of the plot area.
    top: f64,
    height: f64,
}

/// An entry of a legend: a class and a text.
pub(super) type Entry<'a> = (&'a str, &'a str);

/// What a legend shows for a class: an area or a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    Area,
    Line,
}

fn n(value: f64) -> String {
    super::text::decimal(value, 1)
}

impl Plot {
    /// A plot with the name of the vertical axis above it and a legend above that.
    pub(super) fn new(
        (sample, legend): (Sample, &[Entry<'_>]),
        vertical: &str,
        horizontal: &str,
    ) -> Self {
        let mut plot = Plot {
            body: String::new(),
            top: 12.0,
            height: HEIGHT,
        };
        let mut x = LEFT;
        for (index, (class, label)) in legend.iter().enumerate() {
            let width = 20.0 + CHARACTER * label.chars().count() as f64 + 18.0;
            if index > 0 && x + width - 18.0 > WIDTH - RIGHT {
                x = LEFT;
                plot.top += LEGEND_LINE;
            }
            let y = plot.top;
            match sample {
                Sample::Line => plot.path(class, &[(x - 5.0, y), (x + 14.0, y)]),
                Sample::Area => {
                    let _ = write!(
                        plot.body,
                        r#"<rect class="{class}" x="{}" y="{}" width="12" height="10"/>"#,
                        n(x),
                        n(y - 5.0)
                    );
                }
            }
            plot.text(x + 17.0, y + 4.5, "start", label);
            x += width;
        }
        if !legend.is_empty() {
            plot.top += LEGEND_LINE;
        }
        if !vertical.is_empty() {
            plot.text(4.0, plot.top + 4.0, "start", vertical);
            plot.top += 18.0;
        }
        plot.text(
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            "middle",
            horizontal,
        );
        plot
    }

    /// A drawing of this height, without axes.
    pub(super) fn bare(height: f64) -> Self {
        Plot {
            body: String::new(),
            top: 12.0,
            height,
        }
    }

    /// Returns the horizontal position of a share of the axis.
    pub(super) fn x(&self, share: f64) -> f64 {
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    pub(super) fn y(&self, share: f64) -> f64 {
        self.height - BOTTOM - share * (self.height - BOTTOM - self.top)
    }

    /// Draws horizontal grid lines and the ticks of the vertical axis.
    pub(super) fn vertical(&mut self, ticks: &[(f64, String)]) {
        for (share, label) in ticks {
            let y = self.y(*share);
            let class = if *share > 0.0 { "grid" } else { "axis" };
            self.line(class, (self.x(0.0), y), (self.x(1.0), y));
            self.text(LEFT - 6.0, y + 4.0, "end", label);
        }
    }

    /// Draws ticks of the horizontal axis, as many as fit.
    pub(super) fn horizontal(&mut self, ticks: &[(f64, String)]) {
        const MAX_CHARACTERS: usize = 14;
        let labels: Vec<String> = ticks
            .iter()
            .map(|(_, label)| cut(label, MAX_CHARACTERS))
            .collect();
        let longest = labels.iter().map(|label| label.chars().count()).max();
        let width = CHARACTER * (longest.unwrap_or(0) as f64 + 1.0);
        let gaps = ticks
            .windows(2)
            .map(|pair| (pair[1].0 - pair[0].0) * (WIDTH - LEFT - RIGHT));
        let least = gaps.fold(f64::INFINITY, f64::min).max(0.1);
        let every = ((width / least).ceil() as usize).max(1);
        for ((share, _), label) in ticks.iter().zip(&labels).step_by(every) {
            let (x, y) = (self.x(*share), self.y(0.0));
            self.line("axis", (x, y), (x, y + 4.0));
            // Keep a label at the edge within the drawing.
            let half = CHARACTER * label.chars().count() as f64 / 2.0;
            let at = x.clamp(half + 1.0, WIDTH - half - 1.0);
            self.text(at, y + 17.0, "middle", label);
        }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(
            self.body,
            r#"<text x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            n(x),
            n(y),
            escape(text)
        );
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            n(from.0),
            n(from.1),
            n(to.0),
            n(to.1)
        );
    }

    /// Draws a bar between two heights, with a tooltip.
    pub(super) fn bar(
        &mut self,
        class: &str,
        (left, right): (f64, f64),
        (low, high): (f64, f64),
        title: &str,
    ) {
        let (top, bottom) = (self.y(high), self.y(low));
        self.rectangle(class, (left, top), (right - left, bottom - top), title);
    }

    pub(super) fn rectangle(
        &mut self,
        class: &str,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        title: &str,
    ) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>"#,
            n(x),
            n(y),
            n(width.max(0.0)),
            n(height.max(0.0)),
            escape(title)
        );
    }

    /// Draws an interval: a line with caps of half width `cap`.
    pub(super) fn whisker(&mut self, x: f64, cap: f64, (low, high): (f64, f64)) {
        let (bottom, top) = (self.y(low), self.y(high));
        self.line("whisker", (x, bottom), (x, top));
        for y in [bottom, top] {
            self.line("whisker", (x - cap, y), (x + cap, y));
        }
    }

    /// Draws a line through points.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", n(*x), n(*y));
        }
        if !path.is_empty() {
            let _ = write!(self.body, r#"<path class="{class}" d="{path}"/>"#);
        }
    }

    /// Returns the complete drawing. `name` is the basis of the ids of its title and description, which must
    /// be unique on a page.
    pub(super) fn finish(self, name: &str, title: &str, description: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" \
             width=\"{}\" height=\"{}\" role=\"img\" \
             aria-labelledby=\"{name}-title {name}-desc\"><title id=\"{name}-title\">{}</title>\
             <desc id=\"{name}-desc\">{}</desc>{}</svg>",
            self.height,
            n(WIDTH * SCALE),
            n(self.height * SCALE),
            escape(title),
            escape(description),
            self.body
        )
    }
}
