//! Rows in Parquet: flat columns named and typed by a [`Column`] list, written in row groups of bounded size
//! and read back as the original JSON objects. Independent of the meaning of rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::SerializedFileReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::parser::parse_message_type;
use serde::Serialize;
use serde_json::{Map, Value};

use super::draft::{Draft, Finished};
use super::table::{Column, Kind};
use crate::error::panic_message;
use crate::{Error, ErrorKind, Result};

/// The magic bytes of a file.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// The bytes of rows collected before they are written as a row group.
const ROW_GROUP: usize = 64 << 20;
/// The compression level.
const ZSTD_LEVEL: i32 = 3;

/// Returns the schema in Parquet's text form.
fn schema(columns: &[Column]) -> String {
    let column = |column: &Column| {
        let repetition = if column.required {
            "REQUIRED"
        } else {
            "OPTIONAL"
        };
        let kind = match column.kind {
            Kind::Text | Kind::Json => "BYTE_ARRAY NAME (UTF8)",
            Kind::Count => "INT64 NAME",
            Kind::Unsigned => "INT64 NAME (INTEGER(64,false))",
            Kind::Number => "DOUBLE NAME",
            Kind::Flag | Kind::Truth => "BOOLEAN NAME",
            Kind::Messages => {
                return "REQUIRED group messages (LIST) { REPEATED group list { REQUIRED group element { \
                        REQUIRED BYTE_ARRAY role (UTF8); REQUIRED BYTE_ARRAY content (UTF8); } } }"
                    .to_owned();
            }
        };
        format!("{repetition} {};", kind.replace("NAME", column.name))
    };
    let columns: Vec<String> = columns.iter().map(column).collect();
    format!("message rows {{ {} }}", columns.join(" "))
}

/// A column's values that have not been written yet.
enum Values {
    Text(Vec<ByteArray>),
    Whole(Vec<i64>),
    Number(Vec<f64>),
    Flag(Vec<bool>),
}

/// A column of values. A field has one column, or two for messages.
struct Leaf {
    values: Values,
    /// The definition levels, if some rows may lack a value. For messages: that each is present.
    definition: Option<Vec<i16>>,
    /// The repetition levels, for messages: 0 begins a row.
    repetition: Option<Vec<i16>>,
}

impl Leaf {
    fn of(column: &Column) -> Vec<Leaf> {
        let values = || match column.kind {
            Kind::Text | Kind::Json | Kind::Messages => Values::Text(Vec::new()),
            Kind::Count | Kind::Unsigned => Values::Whole(Vec::new()),
            Kind::Number => Values::Number(Vec::new()),
            Kind::Flag | Kind::Truth => Values::Flag(Vec::new()),
        };
        let leaf = || Leaf {
            values: values(),
            definition: (!column.required || column.kind == Kind::Messages).then(Vec::new),
            repetition: (column.kind == Kind::Messages).then(Vec::new),
        };
        match column.kind {
            Kind::Messages => vec![leaf(), leaf()],
            _ => vec![leaf()],
        }
    }

    /// Adds a value. Returns its size in bytes, or `None` if it has another type.
    fn push(&mut self, kind: Kind, value: Value) -> Option<usize> {
        let size = match (&mut self.values, value) {
            (Values::Text(values), Value::String(text)) if kind != Kind::Json => {
                let size = text.len();
                values.push(text.into_bytes().into());
                size
            }
            (Values::Text(values), value) if kind == Kind::Json => {
                let text = value.to_string();
                let size = text.len();
                values.push(text.into_bytes().into());
                size
            }
            (Values::Whole(values), Value::Number(number)) => {
                let whole = match kind {
                    // The same bits; the column's type declares them as unsigned.
                    Kind::Unsigned => number.as_u64()?.cast_signed(),
                    _ => number.as_i64()?,
                };
                values.push(whole);
                8
            }
            (Values::Number(values), Value::Number(number)) => {
                values.push(number.as_f64()?);
                8
            }
            (Values::Flag(values), Value::Bool(flag)) => {
                values.push(flag);
                1
            }
            _ => return None,
        };
        if let Some(definition) = &mut self.definition {
            definition.push(1);
        }
        Some(size)
    }
}

/// Writes rows to a file.
pub(super) struct Writer {
    path: PathBuf,
    file: SerializedFileWriter<Draft>,
    columns: &'static [Column],
    leaves: Vec<Vec<Leaf>>,
    /// The bytes and rows that have not been written yet.
    bytes: usize,
    rows: usize,
    row_group: usize,
}

impl Writer {
    pub(super) fn new(draft: Draft, columns: &'static [Column]) -> Result<Self> {
        let path = draft.path().to_owned();
        let failed = |error| failed(&path, error);
        let schema = parse_message_type(&schema(columns)).map_err(failed)?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .build();
        let file = SerializedFileWriter::new(draft, Arc::new(schema), Arc::new(properties))
            .map_err(failed)?;
        Ok(Writer {
            file,
            columns,
            leaves: columns.iter().map(Leaf::of).collect(),
            bytes: 0,
            rows: 0,
            row_group: ROW_GROUP,
            path,
        })
    }

    pub(super) fn row(&mut self, row: &impl Serialize) -> Result<()> {
        let bad = |reason: String| {
            Error::new(
                ErrorKind::Data,
                format!("{}: {reason}", self.path.display()),
            )
        };
        let mut row = match serde_json::to_value(row) {
            Ok(Value::Object(row)) => row,
            Ok(_) => return Err(bad("a row that is no object".into())),
            Err(error) => return Err(bad(error.to_string())),
        };
        for (column, leaves) in self.columns.iter().zip(&mut self.leaves) {
            let value = row.remove(column.name).unwrap_or(Value::Null);
            let size = match (column.kind, value, leaves.as_mut_slice()) {
                (Kind::Flag, Value::Null, [leaf]) => leaf.push(Kind::Flag, Value::Bool(false)),
                (kind, Value::Null, [leaf]) if kind != Kind::Json => match &mut leaf.definition {
                    Some(definition) => {
                        definition.push(0);
                        Some(0)
                    }
                    None => None,
                },
                (kind, value, [leaf]) => leaf.push(kind, value),
                (_, Value::Array(messages), [role, content]) => push(messages, role, content),
                _ => None,
            };
            let size = size.ok_or_else(|| {
                bad(format!(
                    "`{}` is not what its column holds, {:?}",
                    column.name, column.kind
                ))
            })?;
            self.bytes += size;
        }
        if let Some(name) = row.keys().next() {
            return Err(bad(format!("no column for `{name}`")));
        }
        self.rows += 1;
        // Each value has some overhead.
        match self.bytes + 32 * self.rows * self.columns.len() >= self.row_group {
            true => self.write_rows(),
            false => Ok(()),
        }
    }

    /// Writes the collected rows as a row group.
    fn write_rows(&mut self) -> Result<()> {
        let written = self.write_group();
        (self.bytes, self.rows) = (0, 0);
        written.map_err(|error| failed(&self.path, error))
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        let fresh: Vec<Vec<Leaf>> = self.columns.iter().map(Leaf::of).collect();
        let leaves = std::mem::replace(&mut self.leaves, fresh);
        for leaf in leaves.into_iter().flatten() {
            let Some(mut column) = group.next_column()? else {
                return Err(ParquetError::General("a column too many".into()));
            };
            let definition = leaf.definition.as_deref();
            let repetition = leaf.repetition.as_deref();
            match leaf.values {
                Values::Text(values) => column
                    .typed::<ByteArrayType>()
                    .write_batch(&values, definition, repetition),
                Values::Whole(values) => column
                    .typed::<Int64Type>()
                    .write_batch(&values, definition, repetition),
                Values::Number(values) => column
                    .typed::<DoubleType>()
                    .write_batch(&values, definition, repetition),
                Values::Flag(values) => column
                    .typed::<BoolType>()
                    .write_batch(&values, definition, repetition),
            }?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Syncs the complete file to disk.
    pub(super) fn finish(mut self) -> Result<Finished> {
        if self.rows > 0 {
            self.write_rows()?;
        }
        let draft = self.file.into_inner();
        draft.map_err(|error| failed(&self.path, error))?.finish()
    }
}

/// Adds a chat's messages.
fn push(messages: Vec<Value>, role: &mut Leaf, content: &mut Leaf) -> Option<usize> {
    let mut size = 0;
    for (index, message) in messages.into_iter().enumerate() {
        let Value::Object(mut message) = message else {
            return None;
        };
        for (leaf, name) in [(&mut *role, "role"), (&mut *content, "content")] {
            size += leaf.push(Kind::Messages, message.remove(name)?)?;
            leaf.repetition.as_mut()?.push(i16::from(index > 0));
        }
    }
    (size > 0).then_some(size)
}

fn failed(path: &Path, error: ParquetError) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).with_source(error)
}

/// Iterates over the rows of a file as objects. An error ends the iteration. `null` members are omitted.
pub(super) struct Reader {
    rows: Option<RowIter<'static>>,
}

impl Reader {
    pub(super) fn new(file: File) -> Result<Self, String> {
        guarded(|| SerializedFileReader::new(file).map(Box::new)).map(|reader| Reader {
            rows: Some(RowIter::from_file_into(reader)),
        })
    }
}

impl Iterator for Reader {
    type Item = Result<Map<String, Value>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let row = guarded(|| rows.next().transpose()).and_then(|row| {
            let Some(row) = row else { return Ok(None) };
            let fields = row.into_columns().into_iter();
            let fields = fields.filter(|(_, field)| !matches!(field, Field::Null));
            let fields = fields.map(|(name, field)| Ok((name, value(field)?)));
            fields.collect::<Result<Map<_, _>, String>>().map(Some)
        });
        if !matches!(row, Ok(Some(_))) {
            self.rows = None;
        }
        row.transpose()
    }
}

/// Runs a read. A damaged file may make the Parquet reader panic, which is returned as an error.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("damaged: {}", panic_message(&*panic))),
    }
}

fn value(field: Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => value.into(),
        Field::Double(value) => value.into(),
        Field::Str(value) => value.into(),
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            let fields = fields.map(|(name, field)| Ok((name, value(field)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        Field::ListInternal(list) => {
            let elements = list.elements().iter().cloned().map(value);
            Value::Array(elements.collect::<Result<_, _>>()?)
        }
        other => return Err(format!("a value of a type that is not read: {other}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::TRIALS;
    use super::*;

    fn trial(number: u64) -> Value {
        json!({"problem": "p", "trial": number, "seed": u64::MAX - number, "response": "é".repeat(100),
               "extracted": number.is_multiple_of(2).then_some("1"), "equal": true, "rule": "r", "reason": "",
               "finish": "stop", "unfinished_reasoning": false, "tokens": 7, "accepted": false,
               "logprob": -0.1})
    }

    fn written(row_group: usize, rows: u64) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let draft = Draft::new(directory.path(), "t.parquet").unwrap();
        let mut writer = Writer::new(draft, TRIALS).unwrap();
        writer.row_group = row_group;
        (0..rows).for_each(|number| writer.row(&trial(number)).unwrap());
        writer.finish().unwrap().publish().unwrap();
        let path = directory.path().join("t.parquet");
        (directory, path)
    }

    #[test]
    fn rows_come_back_over_several_row_groups() {
        use parquet::file::reader::FileReader;
        let (_directory, path) = written(10_000, 100);
        let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        assert!(file.num_row_groups() > 4, "{}", file.num_row_groups());
        let rows = Reader::new(File::open(&path).unwrap()).unwrap();
        let mut count = 0;
        for (number, row) in rows.enumerate() {
            let mut wanted = trial(number as u64);
            let wanted = wanted.as_object_mut().unwrap();
            wanted.retain(|_, value| !value.is_null());
            assert_eq!(&row.unwrap(), wanted);
            count += 1;
        }
        assert_eq!(count, 100);
    }

    #[test]
    fn what_has_no_column_or_the_wrong_type_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let draft = Draft::new(directory.path(), "t.parquet").unwrap();
        let mut writer = Writer::new(draft, TRIALS).unwrap();
        for (name, value, said) in [
            ("new", json!(1), "no column for `new`"),
            ("tokens", json!("7"), "`tokens` is not what"),
            ("seed", json!(-1), "`seed` is not what"),
            ("problem", Value::Null, "`problem` is not what"),
        ] {
            let mut row = trial(0);
            row[name] = value;
            let error = writer.row(&row).unwrap_err().to_string();
            assert!(
                error.contains("t.parquet") && error.contains(said),
                "{error}"
            );
        }
    }

    /// Whichever byte of a file is damaged, reading it terminates.
    #[test]
    fn damage_is_an_error_or_goes_unnoticed_but_no_panic() {
        let (_directory, path) = written(ROW_GROUP, 3);
        let whole = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for at in (0..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, &bytes).unwrap();
            let rows = Reader::new(File::open(&path).unwrap());
            refused += match rows {
                Err(_) => 1,
                Ok(rows) => u32::from(rows.take(10).any(|row| row.is_err())),
            };
        }
        assert!(refused > 20, "{refused} of {}", whole.len());
        for length in [0, 3, 8, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Reader::new(File::open(&path).unwrap()).is_err());
        }
    }
}
