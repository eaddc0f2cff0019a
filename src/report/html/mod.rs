//! Renders a finished directory as a page: one self-contained HTML file without scripts, in light and dark,
//! with SVG figures.
//!
//! It is made from the directory's files alone ([`crate::data::dataset`]). `trials.jsonl` is read row by row,
//! and only the texts that are shown are held in memory. The same files give the same bytes.

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

/// A report: a page and its figures.
#[must_use]
#[derive(Debug, Clone)]
pub struct Report {
    html: String,
    figures: Vec<Figure>,
}

/// A figure as an SVG file, in the viewer's light or dark mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The name of its file, such as `coverage`.
    pub name: &'static str,
    /// The contents of the file.
    pub svg: String,
}

impl Report {
    /// Makes the report of a finished directory from `manifest.json`, `problems.jsonl` and `trials.jsonl`.
    /// The report omits what needs missing optional fields, and says so.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the files is missing or damaged, or if they contradict each other. The
    /// error names file, line and reason.
    pub fn read(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        Report::read_files(DataSetFiles {
            manifest: &directory.join("manifest.json"),
            problems: &directory.join("problems.jsonl"),
            trials: &directory.join("trials.jsonl"),
        })
    }

    /// Like [`read`](Report::read), from files at any paths.
    ///
    /// # Errors
    ///
    /// See [`read`](Report::read).
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

    /// Returns the page.
    #[must_use]
    pub fn html(&self) -> &str {
        &self.html
    }

    /// Returns the figures as separate files.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// Writes `report.html` to a directory, replacing an existing one. Returns its path.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written. An existing file is then unchanged.
    pub fn write(&self, directory: impl AsRef<Path>) -> Result<PathBuf> {
        publish(directory.as_ref(), "report.html", &self.html)
    }

    /// Writes the figures to `NAME.svg` files in the subdirectory `figures`. Returns their paths.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them cannot be written.
    pub fn write_figures(&self, directory: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let directory = directory.as_ref().join("figures");
        fs::create_dir_all(&directory).map_err(|error| Error::io(&directory, error))?;
        let figures = self.figures.iter();
        figures
            .map(|figure| publish(&directory, &format!("{}.svg", figure.name), &figure.svg))
            .collect()
    }
}

/// Writes a file completely under a temporary name, then renames it.
fn publish(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    let draft = directory.join(format!(".{name}.draft"));
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&draft, &path)) {
        // A failure to remove the draft is ignored.
        let _ = fs::remove_file(&draft);
        return Err(Error::io(&path, error));
    }
    Ok(path)
}
