//! Models that are split into several files: any of them opens all.
//!
//! Depends on llama.cpp's names for such files and on the keys with each file's index.

use std::path::{Path, PathBuf};

use super::container::Gguf;
use crate::{Error, ErrorKind, Result};

/// The number of files.
pub(super) const COUNT: &str = "split.count";
/// The index of this file, from 0.
const NUMBER: &str = "split.no";
/// The number of tensors in all files.
const TENSORS: &str = "split.tensors.count";
/// The largest value of the key's type.
const MAX_COUNT: usize = u16::MAX as usize;

fn bad(label: &str, reason: String) -> Error {
    Error::new(ErrorKind::Model, format!("{label}: {reason}"))
}

/// Opens the other files of a split model and merges all of them.
pub(super) fn open_others(file: Gguf, count: usize) -> Result<Gguf> {
    if count > MAX_COUNT {
        return Err(bad(file.label(), format!("`{COUNT}` is {count}")));
    }
    let number = number(&file)?;
    if number >= count {
        return Err(bad(
            file.label(),
            format!("`{NUMBER}` is {number} of {count} files, counted from 0"),
        ));
    }
    let path = file.path().to_owned();
    let label = file.label().to_owned();
    let tensors = file.size(TENSORS)?;
    let mut known = Some(file);
    let mut whole: Option<Gguf> = None;
    for index in 0..count {
        let part = match known.take() {
            Some(file) if index == number => file,
            other => {
                known = other;
                other_part(&path, &label, tensors, (number, index, count))?
            }
        };
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.append(part)?,
        }
    }
    let whole = whole.ok_or_else(|| bad(&label, format!("`{COUNT}` is 0")))?;
    let found = whole.tensors().count();
    match whole.size(TENSORS)? {
        Some(expected) if expected != found => Err(bad(
            whole.label(),
            format!("its {count} files have {found} tensors, `{TENSORS}` is {expected}"),
        )),
        _ => Ok(whole),
    }
}

fn number(file: &Gguf) -> Result<usize> {
    file.size(NUMBER)?
        .ok_or_else(|| bad(file.label(), format!("`{COUNT}` without `{NUMBER}`")))
}

/// Opens another file of the model, and checks that it is the file that its name says.
fn other_part(
    path: &Path,
    label: &str,
    tensors: Option<usize>,
    (number, index, count): (usize, usize, usize),
) -> Result<Gguf> {
    let at = beside(path, (number, index, count)).ok_or_else(|| {
        bad(
            label,
            format!(
                "by `{NUMBER}` and `{COUNT}` its name should end in `{}`; under another the other \
                 files are not found",
                ending(number, count)
            ),
        )
    })?;
    if at.try_exists().is_ok_and(|exists| !exists) {
        return Err(bad(
            label,
            format!("file {} of {count} is missing: {}", index + 1, at.display()),
        ));
    }
    let part = Gguf::open_one(&at)?;
    let foreign = |reason: String| {
        bad(
            part.label(),
            format!("not file {} of {count} of {label}: {reason}", index + 1),
        )
    };
    match part.size(COUNT)? {
        Some(other) if other == count => {}
        Some(other) => return Err(foreign(format!("`{COUNT}` is {other}"))),
        None => return Err(foreign(format!("no `{COUNT}`"))),
    }
    let says = self::number(&part)?;
    if says != index {
        return Err(foreign(format!(
            "`{NUMBER}` is {says}, so it is file {}",
            says + 1
        )));
    }
    match (part.size(TENSORS)?, tensors) {
        (Some(other), Some(own)) if other != own => Err(foreign(format!(
            "`{TENSORS}` is {other}, there it is {own}"
        ))),
        _ => Ok(part),
    }
}

/// The end of the name of a split model's file.
fn ending(number: usize, count: usize) -> String {
    format!("-{:05}-of-{count:05}.gguf", number + 1)
}

/// The path of another file of the model.
fn beside(path: &Path, (number, index, count): (usize, usize, usize)) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(&ending(number, count))?;
    Some(path.with_file_name(format!("{stem}{}", ending(index, count))))
}
