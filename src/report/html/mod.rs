//! A finished directory as a page to look at: one HTML file that needs nothing else, without any
//! script, in light and dark, with its figures as SVG.
//!
//! It is made of the directory's files alone ([`crate::data::dataset`]); `trials.jsonl` is read row by
//! row, and of its texts only those are held that are shown. The same files give the same bytes.

mod calls;
mod charts;
mod directory;
mod examples;
mod figures;
mod measures;
mod page;
mod scale;
mod slots;
mod strategies;
mod svg;
mod table;
mod text;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::data::DataSetFiles;
use crate::{Error, Result};
use figures::Numbers;

/// A report: its page and its figures.
#[must_use]
#[derive(Debug, Clone)]
pub struct Report {
    html: String,
    figures: Vec<Figure>,
}

/// A figure as an SVG file, light or dark as its viewer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// A name for its file, such as `coverage`.
    pub name: &'static str,
    /// The file's text.
    pub svg: String,
}

impl Report {
    /// Makes the report of a finished directory. It needs `manifest.json`, `problems.jsonl` and
    /// `trials.jsonl`; what of their optional fields is missing is left out of the report, which says so.
    ///
    /// # Errors
    ///
    /// Where one of the files is missing or damaged, or they contradict one another; the error names file,
    /// line and reason.
    pub fn read(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        Report::read_files(DataSetFiles {
            manifest: &directory.join("manifest.json"),
            problems: &directory.join("problems.jsonl"),
            trials: &directory.join("trials.jsonl"),
        })
    }

    /// As [`read`](Report::read), of files wherever they are.
    ///
    /// # Errors
    ///
    /// As [`read`](Report::read).
    pub fn read_files(files: DataSetFiles<'_>) -> Result<Self> {
        let directory = directory::Directory::read(files)?;
        let made = strategies::compare(&directory);
        let (groups, all) = measures::groups(&directory, &made);
        let numbers = Numbers {
            directory: &directory,
            made: &made,
            groups: &groups,
            all: &all,
        };
        let figures = figures::all(&numbers);
        let html = page::page(&numbers, &figures);
        let alone = |figure: &figures::Figure| {
            Some(Figure {
                name: figure.name,
                svg: page::alone(figure.svg.as_deref()?),
            })
        };
        Ok(Report {
            html,
            figures: figures.iter().filter_map(alone).collect(),
        })
    }

    /// The page.
    #[must_use]
    pub fn html(&self) -> &str {
        &self.html
    }

    /// The figures, as files of their own.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// Writes `report.html` to a directory, in place of any that is there; the file's path.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. A file that was there before is then unchanged.
    pub fn write(&self, directory: impl AsRef<Path>) -> Result<PathBuf> {
        publish(directory.as_ref(), "report.html", &self.html)
    }

    /// Writes the figures to `figures` in a directory, a file `NAME.svg` each; their paths.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be written.
    pub fn write_figures(&self, directory: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let directory = directory.as_ref().join("figures");
        fs::create_dir_all(&directory).map_err(|error| Error::io(&directory, error))?;
        let figures = self.figures.iter();
        figures
            .map(|figure| publish(&directory, &format!("{}.svg", figure.name), &figure.svg))
            .collect()
    }
}

/// Writes a file whole under another name, and then gives it its own.
fn publish(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    let draft = directory.join(format!(".{name}.draft"));
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&draft, &path)) {
        // Of a draft that cannot be removed there is nothing more to be said.
        let _ = fs::remove_file(&draft);
        return Err(Error::io(&path, error));
    }
    Ok(path)
}
