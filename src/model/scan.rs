//! Scans all stored weights row by row for content that no trained model has, by tensor and rows.
//!
//! Reads numbers. Does not depend on their use, except for the names of tables with one row per
//! token.

use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use super::assemble::TensorSource;
use super::built_in;
use super::files::Files;
use super::gguf::Gguf;
use super::hub;
use super::load::ModelBuilder;
use super::loaded::Model;
use super::safetensors::SafeTensors;
use super::source::ModelSource;
use crate::error::counted;
use crate::{Error, ErrorKind, Result};

/// The number of elements read at a time.
const CHUNK: usize = 1 << 18;
/// A run of rows without content counts as damage if it has at least this many rows and at least
/// this share (one in `MIN_SHARE`) of all rows.
const MIN_RUN: usize = 4;
const MIN_SHARE: usize = 16;

/// A model's opened files.
pub(super) enum Stored {
    SafeTensors(SafeTensors),
    Gguf(Gguf),
}

/// The files that a model was loaded from, unless they are GGUF.
pub(super) fn files_of(builder: &ModelBuilder, model: &Model) -> Result<Option<Files>> {
    Ok(Some(match builder.source() {
        ModelSource::Gguf(_) => return Ok(None),
        ModelSource::BuiltIn => Files::Static(built_in::FILES),
        ModelSource::Directory(path) => Files::Directory(path.clone()),
        ModelSource::Hub { id, .. } => {
            // The branch may have moved since.
            let commit = model.name().rsplit_once('@').map(|(_, commit)| commit);
            Files::Directory(hub::download(id, commit, builder)?)
        }
    }))
}

impl Stored {
    fn open(builder: &ModelBuilder, model: &Model) -> Result<Self> {
        match (builder.source(), files_of(builder, model)?) {
            (_, Some(files)) => SafeTensors::open(&files).map(Stored::SafeTensors),
            (ModelSource::Gguf(path), _) => Gguf::open(path).map(Stored::Gguf),
            (source, None) => Err(Error::new(
                ErrorKind::Model,
                format!("{source}: it has no files"),
            )),
        }
    }
}

/// A file whose tensors are read as rows of their last dimension.
pub(super) trait StoredRows: TensorSource + Sync {
    /// Writes some rows of a tensor, in file order. Returns `false` if its type is not supported
    /// for weights.
    fn rows_of(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<bool>;
}

/// The result of scanning all weights.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The number of scanned tensors.
    pub(crate) tensors: usize,
    /// The defects, each with its file and tensor.
    pub(crate) defects: Vec<String>,
}

/// Scans all weights of the files that a model was loaded from.
pub(crate) fn scan(builder: &ModelBuilder, model: &Model) -> Result<Scan> {
    let tokens = model.tokenizer().vocab_size();
    // Gemma stores norms minus 1.
    let centred = model.config().architecture.name().starts_with("Gemma");
    match Stored::open(builder, model)? {
        Stored::SafeTensors(file) => walk(&file, tokens, centred),
        Stored::Gguf(file) => walk(&file, tokens, centred),
    }
}

fn walk(file: &impl StoredRows, tokens: usize, centred: bool) -> Result<Scan> {
    let mut found = Scan {
        tensors: 0,
        defects: Vec::new(),
    };
    for name in file.names() {
        let Some(shape) = file.shape(name) else {
            continue;
        };
        let Some(rows) = kinds(file, name, shape)? else {
            continue;
        };
        found.tensors += 1;
        let defects = defects(name, shape, &rows, tokens, centred);
        found.defects.extend(
            defects
                .into_iter()
                .map(|defect| format!("{} {defect}", file.tensor_label(&shown(name)))),
        );
    }
    Ok(found)
}

fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

/// The kind of a row's numbers; for a vector, of each number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    /// Not all equal.
    Varied,
    /// All equal to this number.
    Constant(f32),
    /// At least one is not finite.
    NotFinite,
}

impl Row {
    fn of(numbers: &[f32]) -> Self {
        let Some(&first) = numbers.first() else {
            return Row::Varied;
        };
        match numbers {
            _ if !numbers.iter().all(|x| x.is_finite()) => Row::NotFinite,
            _ if numbers.iter().all(|&x| x == first) => Row::Constant(first),
            _ => Row::Varied,
        }
    }

    fn is_zero(self) -> bool {
        self == Row::Constant(0.0)
    }
}

/// The kind of each of a tensor's rows; `None` if its type is not supported for weights.
fn kinds(file: &impl StoredRows, name: &str, shape: &[usize]) -> Result<Option<Vec<Row>>> {
    let (columns, rows) = match shape {
        [] | [0, ..] => return Ok(None),
        [length] => (1, *length),
        [outer @ .., columns] => (*columns, outer.iter().product()),
    };
    if columns == 0 {
        return Ok(None);
    }
    let step = (CHUNK / columns).max(1);
    let chunk = |index: usize| -> Result<Option<Vec<Row>>> {
        let range = index * step..rows.min((index + 1) * step);
        let mut numbers = vec![0.0; range.len() * columns];
        Ok(file
            .rows_of(name, range, &mut numbers)?
            .then(|| numbers.chunks_exact(columns).map(Row::of).collect()))
    };
    let chunks: Vec<Option<Vec<Row>>> = (0..rows.div_ceil(step))
        .into_par_iter()
        .map(chunk)
        .collect::<Result<_>>()?;
    let parts: Option<Vec<Vec<Row>>> = chunks.into_iter().collect();
    Ok(parts.map(|parts| parts.concat()))
}

/// Whether a tensor has one row per token. It may have more rows than the tokenizer has tokens.
fn is_table(name: &str) -> bool {
    [
        "embed_tokens.weight",
        "lm_head.weight",
        "token_embd.weight",
        "output.weight",
    ]
    .iter()
    .any(|table| name == *table || name.ends_with(&format!(".{table}")))
}

/// The defects of a tensor with such rows.
fn defects(name: &str, shape: &[usize], rows: &[Row], tokens: usize, centred: bool) -> Vec<String> {
    let is_vector = shape.len() == 1;
    let unit = if is_vector { "number" } else { "row" };
    let mut found = Vec::new();
    let damaged = rows.iter().filter(|row| **row == Row::NotFinite).count();
    if let Some(first) = rows.iter().position(|row| *row == Row::NotFinite) {
        let rest = match damaged {
            1 => String::new(),
            _ => format!(" ({} in all)", counted(damaged, unit)),
        };
        found.push(format!("is not finite in {unit} {first}{rest}"));
    }
    // Biases and single numbers are often 0; rows beyond the tokenizer's tokens always may be.
    let zero_is_usual = is_vector && (name.ends_with(".bias") || centred || rows.len() < MIN_RUN);
    let used = match is_table(name) && tokens > 0 {
        true => &rows[..rows.len().min(tokens)],
        false => rows,
    };
    let same = |row: &Row| match *row {
        Row::Constant(0.0) => !zero_is_usual,
        // A single number is always constant.
        Row::Constant(_) => !is_vector,
        _ => false,
    };
    let columns = shape.last().copied().unwrap_or(1);
    if !is_vector && columns == 1 {
        return found;
    }
    let all = used.first().filter(|first| same(first));
    if let Some(Row::Constant(value)) = all.filter(|first| used.iter().all(|row| row == *first)) {
        // Adding 0 normalizes a negative zero.
        found.push(format!("is {} throughout", value + 0.0));
        return found;
    }
    let least = MIN_RUN.max(used.len().div_ceil(MIN_SHARE));
    for run in runs(used, same).filter(|run| run.range.len() >= least) {
        found.push(format!("{run} of {} {unit}s", used.len()));
    }
    found
}

/// Consecutive rows that each consist of one number.
struct Run {
    range: Range<usize>,
    is_zero: bool,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        let what = match self.is_zero {
            true => "is 0",
            false => "is the same number in a row",
        };
        write!(f, "{what} from {start} to {}", end - 1)
    }
}

fn runs(rows: &[Row], same: impl Fn(&Row) -> bool) -> impl Iterator<Item = Run> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + rows[at..].iter().position(&same)?;
        let is_zero = rows[start].is_zero();
        let belongs = |row: &Row| same(row) && row.is_zero() == is_zero;
        let length = rows[start..].iter().take_while(|row| belongs(row)).count();
        at = start + length;
        Some(Run {
            range: start..at,
            is_zero,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pattern: &str) -> Vec<Row> {
        let row = |c| match c {
            '0' => Row::Constant(0.0),
            '1' => Row::Constant(1.0),
            'n' => Row::NotFinite,
            _ => Row::Varied,
        };
        pattern.chars().map(row).collect()
    }

    fn matrix(name: &str, pattern: &str, tokens: usize) -> Vec<String> {
        let rows = rows(pattern);
        defects(name, &[rows.len(), 8], &rows, tokens, false)
    }

    #[test]
    fn what_holds_nothing_is_named_by_its_rows() {
        let down = "model.layers.0.mlp.down_proj.weight";
        assert_eq!(matrix(down, "..........", 0), [""; 0]);
        assert_eq!(matrix(down, "0000", 0), ["is 0 throughout"]);
        assert_eq!(matrix(down, "1111", 0), ["is 1 throughout"]);
        // Single rows are common.
        assert_eq!(matrix(down, "..0..00...000..", 0), [""; 0]);
        assert_eq!(
            matrix(down, "......0000", 0),
            ["is 0 from 6 to 9 of 10 rows"]
        );
        assert_eq!(
            matrix(down, ".1010.0000", 0),
            ["is 0 from 6 to 9 of 10 rows"]
        );
        assert_eq!(
            matrix(down, ".11111...n", 0),
            [
                "is not finite in row 9",
                "is the same number in a row from 1 to 5 of 10 rows"
            ]
        );
        // Less than a sixteenth of the rows.
        let long = format!("{}0000{}", ".".repeat(40), ".".repeat(40));
        assert_eq!(matrix(down, &long, 0), [""; 0]);
    }

    #[test]
    fn rows_of_tokens_that_do_not_exist_may_be_empty() {
        for name in [
            "model.embed_tokens.weight",
            "lm_head.weight",
            "output.weight",
        ] {
            assert_eq!(matrix(name, "......0000", 6), [""; 0]);
            assert_eq!(
                matrix(name, "......00000000", 10),
                ["is 0 from 6 to 9 of 10 rows"]
            );
            assert_eq!(matrix(name, "......000n", 6), ["is not finite in row 9"]);
            assert_eq!(matrix(name, "000000....", 6), ["is 0 throughout"]);
        }
        assert_eq!(
            matrix("blk.0.attn_output.weight", "......0000", 6),
            ["is 0 from 6 to 9 of 10 rows"]
        );
    }

    #[test]
    fn of_vectors_only_norms_may_not_be_empty() {
        let vector = |name: &str, pattern: &str, centred| {
            let rows = rows(pattern);
            defects(name, &[rows.len()], &rows, 0, centred)
        };
        let norm = "model.norm.weight";
        assert_eq!(vector(norm, "11111111", false), [""; 0]);
        assert_eq!(vector(norm, "00000000", false), ["is 0 throughout"]);
        assert_eq!(
            vector(norm, "11110000", false),
            ["is 0 from 4 to 7 of 8 numbers"]
        );
        assert_eq!(vector(norm, "00000000", true), [""; 0]);
        assert_eq!(vector("q_proj.bias", "00000000", false), [""; 0]);
        assert_eq!(
            vector("q_proj.bias", "000nn000", false),
            ["is not finite in number 3 (2 numbers in all)"]
        );
    }
}
