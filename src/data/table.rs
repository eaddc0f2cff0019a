//! A file of rows: JSON Lines and, if requested, the same rows in Parquet.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::draft::{Draft, Finished};
use super::format::Format;
use crate::Result;

/// The type of a Parquet column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Integers below 2^63.
    Count,
    /// Integers below 2^64.
    Unsigned,
    Number,
    /// `false` if a row lacks it.
    Flag,
    /// A boolean that may be unknown.
    Truth,
    /// Any JSON, as text.
    Json,
    /// The messages of a chat.
    Messages,
}

/// A column: its name, its type, and whether every row has it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "parquet"), allow(dead_code))]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

const fn required(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        required: true,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        required: false,
    }
}

/// The columns of a `Trial`.
pub(super) const TRIALS: &[Column] = &[
    required("problem", Kind::Text),
    required("trial", Kind::Count),
    required("seed", Kind::Unsigned),
    required("response", Kind::Text),
    optional("extracted", Kind::Text),
    required("equal", Kind::Flag),
    required("rule", Kind::Text),
    required("reason", Kind::Text),
    required("finish", Kind::Text),
    required("unfinished_reasoning", Kind::Flag),
    required("tokens", Kind::Count),
    optional("logprob", Kind::Number),
    required("accepted", Kind::Flag),
    optional("duplicate_of", Kind::Count),
];

/// The columns of a `ProblemRow`.
pub(super) const PROBLEMS: &[Column] = &[
    required("id", Kind::Text),
    required("question", Kind::Text),
    required("reference", Kind::Text),
    required("metadata", Kind::Json),
    required("trials", Kind::Count),
    required("correct", Kind::Count),
    optional("pass_rate", Kind::Number),
    optional("pass_rate_low", Kind::Number),
    optional("pass_rate_high", Kind::Number),
    optional("pass_at_1", Kind::Number),
    optional("pass_at_4", Kind::Number),
    optional("pass_at_16", Kind::Number),
    optional("pass_at_64", Kind::Number),
    optional("pass_at_256", Kind::Number),
    optional("pass_at_1024", Kind::Number),
    optional("majority_answer", Kind::Text),
    optional("majority_share", Kind::Number),
    optional("majority_correct", Kind::Truth),
    optional("target", Kind::Count),
    required("kept", Kind::Count),
    required("tokens", Kind::Count),
    required("stop_reason", Kind::Text),
    optional("rejection", Kind::Text),
];

/// Returns the columns of a data set's rows.
pub(super) fn dataset(format: Format) -> &'static [Column] {
    const PAIRS: &[Column] = &[
        required("query", Kind::Text),
        required("response", Kind::Text),
    ];
    const CHAT: &[Column] = &[required("messages", Kind::Messages)];
    const ALPACA: &[Column] = &[
        required("instruction", Kind::Text),
        required("input", Kind::Text),
        required("output", Kind::Text),
    ];
    match format {
        Format::Pairs => PAIRS,
        Format::Chat => CHAT,
        Format::Alpaca => ALPACA,
    }
}

/// Returns the columns of the three JSON Lines tables for the head of a data card, for Python's `datasets`
/// (YAML, `dataset_info`). Without this, `datasets` infers the columns from a file's first ten megabytes and
/// fails at a later row that has more.
///
/// ```
/// let info = dart_math::data::dataset_info(dart_math::data::Format::Pairs);
/// assert!(info.contains("- config_name: trials\n  features:\n  - name: problem\n    dtype: string\n"));
/// ```
pub fn dataset_info(format: Format) -> String {
    let mut info = String::from("dataset_info:\n");
    for (name, columns) in [
        ("dataset", dataset(format)),
        ("trials", TRIALS),
        ("problems", PROBLEMS),
    ] {
        info += &format!("- config_name: {name}\n  features:\n");
        for Column { name, kind, .. } in columns {
            info += &format!("  - name: {name}\n");
            info += match kind {
                Kind::Text => "    dtype: string\n",
                Kind::Count => "    dtype: int64\n",
                // Its JSON reader reads integers of more than 63 bits as floats.
                Kind::Unsigned | Kind::Number => "    dtype: float64\n",
                Kind::Flag | Kind::Truth => "    dtype: bool\n",
                Kind::Json => "    dtype: json\n",
                Kind::Messages => {
                    "    list:\n    - name: role\n      dtype: string\n    - name: content\n      dtype: string\n"
                }
            };
        }
    }
    info
}

/// A file of rows being written.
pub(super) struct Table {
    lines: Draft,
    #[cfg(feature = "parquet")]
    parquet: Option<super::parquet::Writer>,
}

impl Table {
    /// Creates `NAME.jsonl` and, if requested, `NAME.parquet`.
    #[cfg_attr(not(feature = "parquet"), allow(unused_variables))]
    pub(super) fn new(
        directory: &Path,
        name: &str,
        columns: &'static [Column],
        parquet: bool,
    ) -> Result<Self> {
        Ok(Table {
            lines: Draft::new(directory, &format!("{name}.jsonl"))?,
            #[cfg(feature = "parquet")]
            parquet: match parquet {
                true => {
                    let draft = Draft::new(directory, &format!("{name}.parquet"))?;
                    Some(super::parquet::Writer::new(draft, columns)?)
                }
                false => None,
            },
        })
    }

    pub(super) fn row(&mut self, row: &impl Serialize) -> Result<()> {
        #[cfg(feature = "parquet")]
        if let Some(parquet) = &mut self.parquet {
            parquet.row(row)?;
        }
        self.lines.row(row)
    }

    /// Syncs the files to disk. Returns the path of the JSON Lines draft.
    pub(super) fn finish(self, into: &mut Vec<Finished>) -> Result<PathBuf> {
        let lines = self.lines.finish()?;
        let draft = lines.draft().to_owned();
        into.push(lines);
        #[cfg(feature = "parquet")]
        if let Some(parquet) = self.parquet {
            into.push(parquet.finish()?);
        }
        Ok(draft)
    }
}
