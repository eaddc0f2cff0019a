//! Access to a model's files by name, in a directory or built into the crate.
//!
//! Reads bytes, up to a limit. Does not interpret them, except for the pointer files of Git LFS.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::refusals::Place;
use crate::{Error, ErrorKind, Result};

/// The size limit of JSON files, apart from the tokenizer.
pub(super) const MAX_JSON: u64 = 64 << 20;
/// The size limit of `tokenizer.json`; the largest known have some 40 MB.
pub(super) const MAX_TOKENIZER: u64 = 512 << 20;

/// The bytes of a whole file, without a copy.
#[derive(Clone)]
pub(super) enum Bytes {
    Mapped(Arc<Mmap>),
    Static(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

/// Maps a file into memory.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    if !present(path)? {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Error::io(path, missing));
    }
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    regular(path, &file)?;
    // SAFETY: the map is read-only. As with every memory-mapped file, its bytes change if another
    // process rewrites the file. The bytes are only used as plain numbers (every bit pattern is
    // valid), lengths are checked against the map itself, and headers are parsed into owned values
    // before use.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io(path, error))?;
    refuse_pointer(path, &map)?;
    Ok(Bytes::Mapped(Arc::new(map)))
}

/// Fails if the file is a Git LFS pointer, which stands in for a file that was not fetched: three
/// lines of text with the file's hash and size.
fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Ok(());
    }
    let size = std::str::from_utf8(bytes.get(..1024).unwrap_or(bytes))
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("size ")))
        .and_then(|size| size.trim().parse::<u64>().ok())
        .map_or_else(String::new, |size| format!(" of {size} bytes"));
    Err(Error::new(
        ErrorKind::Model,
        format!(
            "{}: a Git LFS pointer, not the file{size} that it stands for; run `git lfs pull` in \
             that directory, or download the file",
            path.display()
        ),
    ))
}

fn regular(path: &Path, file: &File) -> Result<u64> {
    let meta = file.metadata().map_err(|error| Error::io(path, error))?;
    match meta.is_file() {
        true => Ok(meta.len()),
        false => Err(irregular(path)),
    }
}

fn irregular(path: &Path) -> Error {
    Error::new(
        ErrorKind::Model,
        format!("{}: not a regular file", path.display()),
    )
}

/// Whether a file exists. Checked before it is opened, because opening a named pipe would block.
fn present(path: &Path) -> Result<bool> {
    match path.metadata() {
        Ok(meta) if meta.is_file() => Ok(true),
        Ok(_) => Err(irregular(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match dangling(path) {
            Some(error) => Err(error),
            None => Ok(false),
        },
        Err(error) => Err(Error::io(path, error)),
    }
}

/// The error for a dangling symbolic link, if the path is one.
pub(super) fn dangling(path: &Path) -> Option<Error> {
    let target = std::fs::read_link(path).ok()?;
    (!path.exists()).then(|| {
        Error::new(
            ErrorKind::Model,
            format!(
                "{}: a link to {}, which is not there",
                path.display(),
                target.display()
            ),
        )
    })
}

/// The location of a model's files.
#[derive(Clone)]
pub(super) enum Files {
    /// In a directory.
    Directory(PathBuf),
    /// In memory, by name.
    Static(&'static [(&'static str, &'static [u8])]),
}

impl Files {
    /// The name of a file for messages.
    pub(super) fn label(&self, name: &str) -> String {
        match self {
            Files::Directory(directory) => directory.join(name).display().to_string(),
            Files::Static(_) => format!("built-in {name}"),
        }
    }

    /// The location, for messages about missing files.
    pub(super) fn place(&self) -> Place<'_> {
        match self {
            Files::Directory(directory) => Place::Directory(directory),
            Files::Static(_) => Place::Hub("built-in"),
        }
    }

    /// The names of all files. In a directory, includes symbolic links to existing files.
    pub(super) fn names(&self) -> Result<BTreeSet<String>> {
        match self {
            Files::Directory(directory) => std::fs::read_dir(directory)
                .and_then(|entries| {
                    entries
                        .map(|entry| {
                            let entry = entry?;
                            let name = entry.file_name().into_string().ok();
                            // A dangling link, as a cleared cache leaves them, does not count.
                            Ok(name.filter(|_| entry.path().exists()))
                        })
                        .filter_map(std::io::Result::transpose)
                        .collect()
                })
                .map_err(|error| Error::io(directory, error)),
            Files::Static(files) => Ok(files.iter().map(|(name, _)| (*name).to_owned()).collect()),
        }
    }

    /// The names of all files in a subdirectory; empty if it does not exist.
    pub(super) fn names_in(&self, directory: &str) -> Result<BTreeSet<String>> {
        match self {
            Files::Directory(parent) if parent.join(directory).is_dir() => {
                Files::Directory(parent.join(directory)).names()
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Fails if a file with a matching name is a dangling symbolic link.
    pub(super) fn refuse_dangling(&self, matches: impl Fn(&str) -> bool) -> Result<()> {
        let Files::Directory(directory) = self else {
            return Ok(());
        };
        let entries = std::fs::read_dir(directory).map_err(|error| Error::io(directory, error))?;
        let mut links: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(&matches)
            })
            .collect();
        links.sort();
        match links.iter().find_map(|path| dangling(path)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Reads a file; `None` if it does not exist.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Files::Directory(directory) => read_bounded(&directory.join(name), most),
            Files::Static(files) => Ok(find(files, name).map(<[u8]>::to_vec)),
        }
    }

    /// Maps a file into memory; `None` if it does not exist.
    pub(super) fn map(&self, name: &str) -> Result<Option<Bytes>> {
        match self {
            Files::Directory(directory) => {
                let path = directory.join(name);
                match present(&path)? {
                    false => Ok(None),
                    true => map(&path).map(Some),
                }
            }
            Files::Static(files) => Ok(find(files, name).map(Bytes::Static)),
        }
    }
}

fn find(files: &'static [(&'static str, &'static [u8])], name: &str) -> Option<&'static [u8]> {
    files
        .iter()
        .find_map(|&(file, bytes)| (file == name).then_some(bytes))
}

fn read_bounded(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    if !present(path)? {
        return Ok(None);
    }
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let length = regular(path, &file)?;
    if length > most {
        return Err(Error::new(
            ErrorKind::Model,
            format!(
                "{}: {length} bytes; at most {most} are read",
                path.display()
            ),
        ));
    }
    let mut bytes = Vec::new();
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(path, error))?;
    refuse_pointer(path, &bytes)?;
    Ok(Some(bytes))
}
