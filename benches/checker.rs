//! The answer checker's speed on one core. References are parsed once.
//!
//! ```sh
//! cargo bench --no-default-features --bench checker
//! ```
//!
//! It prints a line for each set of rows: pairs per second of CPU time, and the median, the 99th percentile and the
//! maximum of the time of single pairs (each the best of several calls), with the slowest pair. `DART_MATH_SETS` is a
//! comma-separated list of sets; without it, all are measured:
//!
//! - `sample`: pairs in the mix of real benchmarks, `tests/fixtures/answer/benchmark.txt`;
//! - `kinds`: the same pairs, by kind of answer;
//! - `references`: parsing of the same references alone;
//! - `responses`: the same answers at the end of whole responses of about 1 kB;
//! - `labelled`: the files of `DART_MATH_SHARED/answers` (or else `../shared/answers`), if present;
//! - `hostile`: texts made to take long;
//! - `fuzzed`: generated pairs, the same on every run; `DART_MATH_FUZZED` is their number (20,000 by default);
//! - `units`: the files of the directory `DART_MATH_UNITS`, if given, each an input of a fuzz target. Files with
//!   `equal` in their name or directory are read as inputs of that target.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dart_math::Verdict;
use dart_math::answer::{Checker, Reference};

#[path = "../tests/answer/hostile_texts.rs"]
mod hostile_texts;
#[path = "../tests/answer/pieces.rs"]
mod pieces;

use pieces::PIECES;

/// A reference and the text that it is compared with.
struct Row {
    kind: String,
    reference: String,
    answer: String,
    /// Whether `answer` is a whole response.
    response: bool,
    /// The label, if it counts.
    expected: Option<bool>,
}

/// A row with its parsed reference.
struct Prepared<'a> {
    row: &'a Row,
    reference: Reference,
}

impl Prepared<'_> {
    fn verdict(&self) -> Verdict {
        if self.row.response {
            self.reference.grade(&self.row.answer)
        } else {
            self.reference.equal(&self.row.answer)
        }
    }
}

fn prepared(rows: &[Row], checker: Checker) -> Vec<Prepared<'_>> {
    let prepare = |row| Prepared {
        row,
        reference: checker.reference(&row.reference),
    };
    rows.iter().map(prepare).collect()
}

fn main() {
    let chosen = std::env::var("DART_MATH_SETS").unwrap_or_default();
    let is_chosen = |set: &str| chosen.is_empty() || chosen.split(',').any(|name| name == set);
    let sample = sample();
    if is_chosen("sample") {
        report("sample", &sample, Checker::default());
    }
    if is_chosen("kinds") {
        kinds(&sample);
    }
    if is_chosen("references") {
        references(&sample);
    }
    if is_chosen("responses") {
        report("responses", &responses(&sample), Checker::default());
    }
    if is_chosen("labelled") {
        labelled();
    }
    if is_chosen("hostile") {
        report("hostile", &hostile(), Checker::default());
    }
    if is_chosen("fuzzed") {
        fuzzed(&sample);
    }
    if is_chosen("units") {
        units();
    }
    if let Some(peak) = peak_memory() {
        println!("peak memory of the process: {peak}");
    }
}

/// The committed pairs. The kind of a pair is the heading above it.
fn sample() -> Vec<Row> {
    let mut kind = String::new();
    let mut rows = Vec::new();
    for line in include_str!("../tests/fixtures/answer/benchmark.txt").lines() {
        if let Some(heading) = line.strip_prefix("# ") {
            kind = heading.trim_end_matches('.').to_lowercase();
            continue;
        }
        let (halves, expected) = match line.split_once(" ≡ ") {
            Some(halves) => (Some(halves), true),
            None => (line.split_once(" ≢ "), false),
        };
        let Some((reference, answer)) = halves else {
            continue;
        };
        rows.push(Row {
            kind: kind.clone(),
            reference: reference.to_owned(),
            answer: answer.to_owned(),
            response: false,
            expected: Some(expected),
        });
    }
    rows
}

/// The sample's answers after three paragraphs of a solution, marked as models mark them, mostly with a box.
fn responses(sample: &[Row]) -> Vec<Row> {
    let steps: Vec<&str> = include_str!("data/steps.txt")
        .split("\n\n")
        .map(str::trim)
        .collect();
    let row = |(index, row): (usize, &Row)| {
        let answer = row
            .answer
            .strip_prefix('$')
            .and_then(|answer| answer.strip_suffix('$'))
            .unwrap_or(&row.answer);
        let mut text = String::new();
        for step in 0..3 {
            let paragraph = steps[(index * 5 + step * 7) % steps.len()];
            let _ = write!(text, "{paragraph}\n\n");
        }
        let _ = match index % 10 {
            0..=3 => write!(text, "Therefore, the answer is $\\boxed{{{answer}}}$."),
            4 | 5 => write!(text, "\\[\n\\boxed{{{answer}}}\n\\]"),
            6 | 7 => write!(text, "The answer is: ${answer}$."),
            8 => write!(
                text,
                "Final Answer: The final answer is ${answer}$. I hope it is correct."
            ),
            _ => write!(text, "#### {answer}"),
        };
        Row {
            kind: row.kind.clone(),
            reference: row.reference.clone(),
            answer: text,
            response: true,
            expected: row.expected,
        }
    };
    sample.iter().enumerate().map(row).collect()
}

/// Prints a line for each labelled file, if present.
fn labelled() {
    let shared = std::env::var_os("DART_MATH_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(shared.join("answers")) else {
        println!("no labelled files at {}", shared.display());
        return;
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    files.sort();
    for path in files {
        let name = path.file_stem().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let rows: Vec<Row> = text.lines().filter_map(labelled_row).collect();
        let checker = Checker::builder().lenient(name == "math_verify").build();
        report(&name, &rows, checker);
    }
}

/// Parses a row of a labelled file. A reference without an answer is compared with itself.
fn labelled_row(line: &str) -> Option<Row> {
    let row: serde_json::Value = serde_json::from_str(line).ok()?;
    let reference = row["reference"].as_str()?.to_owned();
    let response = row["response"].as_str();
    let answer = response.or(row["answer"].as_str()).unwrap_or(&reference);
    let debatable = row["debatable"].as_bool().unwrap_or(false);
    Some(Row {
        kind: String::new(),
        answer: answer.to_owned(),
        response: response.is_some(),
        expected: row["expected"].as_bool().filter(|_| !debatable),
        reference,
    })
}

/// Compares every hostile text with a plain number, with itself slightly changed and with the next one, and as a
/// response.
fn hostile() -> Vec<Row> {
    let texts = hostile_texts::hostile_texts();
    let mut rows = Vec::new();
    let mut push = |reference: &str, answer: String, response| {
        rows.push(Row {
            kind: String::new(),
            reference: reference.to_owned(),
            answer,
            response,
            expected: None,
        });
    };
    for (index, text) in texts.iter().enumerate() {
        push("1", text.clone(), false);
        push(text, "1".into(), false);
        push(text, format!("{text}+1"), false);
        push(text, texts[(index + 1) % texts.len()].clone(), false);
        push("1", text.clone(), true);
    }
    rows
}

/// Measures generated pairs, including the parsing of references: random sequences of pieces of answers, and the
/// sample's answers with a few pieces inserted, removed or repeated.
fn fuzzed(sample: &[Row]) {
    let count = std::env::var("DART_MATH_FUZZED")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(20_000usize);
    let checker = Checker::default();
    let mut random = Random(0x5eed);
    let mut times = Vec::with_capacity(count);
    let mut slowest = (Duration::ZERO, String::new());
    for index in 0..count {
        let (reference, answer) = if index % 2 == 0 {
            let reference = random.soup();
            let answer = if random.below(2) == 0 {
                random.edited(&reference)
            } else {
                random.soup()
            };
            (reference, answer)
        } else {
            let row = &sample[random.below(sample.len())];
            (random.edited(&row.reference), random.edited(&row.answer))
        };
        let timed = || {
            let start = Instant::now();
            let _ = black_box(checker.equal(black_box(&reference), black_box(&answer)));
            start.elapsed()
        };
        let mut best = timed();
        for _ in 0..8 {
            // Only a new maximum is measured again.
            if best <= slowest.0 {
                break;
            }
            best = best.min(timed());
        }
        if best > slowest.0 {
            slowest = (
                best,
                format!("{} vs {}", shortened(&reference), shortened(&answer)),
            );
        }
        times.push(best);
    }
    let sum: Duration = times.iter().sum();
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else {
        return;
    };
    println!(
        "{:<24}{count:>8} pairs, {:.0} pairs/s with their references  median {:.2} µs  \
         p99 {:.2} µs  worst {:.2} µs\n{:24}worst is {}",
        "fuzzed",
        count as f64 / sum.as_secs_f64(),
        micros(times[last / 2]),
        micros(times[last * 99 / 100]),
        micros(times[last]),
        "",
        slowest.1,
    );
}

/// Measures the inputs that a fuzzer kept.
fn units() {
    let Some(folder) = std::env::var_os("DART_MATH_UNITS") else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("no units at {}", Path::new(&folder).display());
        return;
    };
    let mut rows = Vec::new();
    for entry in entries.flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let packed = entry.path().to_string_lossy().contains("equal");
        let text = if packed {
            pieces::unpacked(&bytes)
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (reference, answer) = text.split_once('\u{1}').unwrap_or((&text, &text));
        for (reference, response) in [(reference, false), ("1", true)] {
            rows.push(Row {
                kind: String::new(),
                reference: reference.to_owned(),
                answer: answer.to_owned(),
                response,
                expected: None,
            });
        }
    }
    report("units", &rows, Checker::default());
}

/// SplitMix64. It gives the same pairs on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Returns a piece of an answer or a single character, with equal probability.
    fn piece(&mut self) -> &'static str {
        const SINGLE: &str = "0123456789+-*/^_(){}[]=<>|,.;:! xyznabei\\$&'\n";
        if self.below(2) == 0 {
            PIECES[self.below(PIECES.len())]
        } else {
            let at = self.below(SINGLE.len());
            &SINGLE[at..=at]
        }
    }

    fn soup(&mut self) -> String {
        let length = 1 + self.below(24);
        (0..length).map(|_| self.piece()).collect()
    }

    fn edited(&mut self, text: &str) -> String {
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..1 + self.below(3) {
            let at = self.below(text.len() + 1);
            match self.below(3) {
                0 => drop(text.splice(at..at, self.piece().chars())),
                1 if at < text.len() => drop(text.remove(at)),
                _ => {
                    let copy: Vec<char> = text.iter().skip(at).take(8).copied().collect();
                    text.splice(at..at, copy);
                }
            }
        }
        text.into_iter().collect()
    }
}

/// Measures a set of rows and prints its line.
fn report(name: &str, rows: &[Row], checker: Checker) {
    let prepared = prepared(rows, checker);
    if prepared.is_empty() {
        println!("{name:<24}no rows");
        return;
    }
    let mut singles: Vec<(Duration, usize)> = Vec::with_capacity(prepared.len());
    let mut wrong = 0;
    let mut labelled = 0;
    for (index, row) in prepared.iter().enumerate() {
        // The best of several calls, because other work on the machine only adds time.
        let mut best = Duration::MAX;
        let mut spent = Duration::ZERO;
        for _ in 0..9 {
            let start = Instant::now();
            let verdict = black_box(black_box(row).verdict());
            let time = start.elapsed();
            if spent.is_zero() {
                labelled += usize::from(row.row.expected.is_some());
                let is_wrong = row.row.expected.is_some_and(|label| label != verdict.equal);
                wrong += usize::from(is_wrong);
            }
            best = best.min(time);
            spent += time;
            if spent > Duration::from_millis(500) {
                break;
            }
        }
        singles.push((best, index));
    }
    let rate = passes(rows.len(), || {
        for row in &prepared {
            let _ = black_box(black_box(row).verdict());
        }
    });
    singles.sort_unstable();
    let at = |share: f64| micros(singles[((singles.len() - 1) as f64 * share) as usize].0);
    let bytes: usize = rows.iter().map(|row| row.answer.len()).sum();
    let (slowest, which) = singles[singles.len() - 1];
    println!(
        "{name:<24}{:>8} pairs of {:>5} bytes {:>9.0} pairs/s  median {:>7.2} µs  p99 {:>8.2} µs  \
         worst {:>9.2} µs  not as labelled {wrong} of {labelled}\n{:24}worst is row {which}: {} vs {}",
        rows.len(),
        bytes / rows.len(),
        rate,
        at(0.5),
        at(0.99),
        micros(slowest),
        "",
        shortened(&rows[which].reference),
        shortened(&rows[which].answer),
    );
}

/// Rows per second over whole passes, measured for one second of CPU time.
fn passes(rows: usize, mut pass: impl FnMut()) -> f64 {
    let start = processor_time();
    let mut count = 0;
    let mut spent = Duration::ZERO;
    while spent < Duration::from_secs(1) {
        pass();
        count += 1;
        spent = processor_time().saturating_sub(start);
    }
    (rows * count) as f64 / spent.as_secs_f64()
}

/// Measures each kind of the sample's answers separately.
fn kinds(rows: &[Row]) {
    for rows in rows.chunk_by(|a, b| a.kind == b.kind) {
        report(&rows[0].kind, rows, Checker::default());
    }
}

/// Measures the parsing of references. All are parsed on every pass.
fn references(rows: &[Row]) {
    let checker = Checker::default();
    let rate = passes(rows.len(), || {
        for row in rows {
            black_box(checker.reference(black_box(&row.reference)));
        }
    });
    println!(
        "{:<24}{:>8} references {rate:>9.0} a second",
        "references",
        rows.len()
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Shortens a text to one line with at most its last 60 characters.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    let tail: String = text.chars().skip(length.saturating_sub(60)).collect();
    let dots = if length > 60 { "…" } else { "" };
    format!("{dots}{}", tail.escape_debug())
}

/// The CPU time of this thread. If the system does not report it, the wall time since the first call.
fn processor_time() -> Duration {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = statistics.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(
        || BEGUN.get_or_init(Instant::now).elapsed(),
        Duration::from_nanos,
    )
}

/// The peak resident memory of the process, if the system reports it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
