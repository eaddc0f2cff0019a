//! Sealed parts of a journal: compressed trials, ordered by problem and number.
//!
//! A part is a Zstandard file (RFC 8878), which `zstd -dc` decompresses to JSON lines. It has one frame per
//! block of trials, then a skippable frame with an index. The index is itself a Zstandard frame. It contains
//! a JSON object in one line ([`Head`]) and the columns of the trials' summaries, so a run can be resumed
//! without reading texts. The index is followed by its length and [`MAGIC`], which identify it. All frames
//! have checksums.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zstd::zstd_safe::CParameter;

use super::VERSION;
use crate::dars::duplicates::TextHash;
use crate::dars::summary::TrialSummary;
use crate::{Error, ErrorKind, Finish, Result, Trial};

/// The bytes of rows in a block. A block is decompressed to read one trial.
const BLOCK: usize = 128 << 10;
/// Zstandard level, from 1 to 22. Higher levels gain little on text and cost much processor time.
const LEVEL: i32 = 3;
/// Larger than any block or index: a row is at most 64 MiB.
const MAX_BLOCK: usize = 1 << 30;
/// The magic number of a skippable frame; its length follows.
const SKIPPABLE: u32 = 0x184D_2A50;
const MAGIC: [u8; 8] = *b"dartmidx";
/// The bytes of the index's length and the magic after it.
const TRAILER: u64 = 4 + MAGIC.len() as u64;

#[derive(Serialize, Deserialize)]
struct Head {
    journal: u32,
    /// The seed of the run.
    seed: u64,
    trials: u64,
    /// The id of each problem and its number of trials in this part.
    problems: Vec<(String, u32)>,
    blocks: Vec<BlockHead>,
}

#[derive(Serialize, Deserialize)]
struct BlockHead {
    /// The compressed size.
    bytes: u32,
    rows: u32,
    /// The CRC-32 of the compressed bytes.
    crc: u32,
}

/// A sealed part with the positions of its blocks.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    offset: u64,
    bytes: u32,
    /// The lowest and highest problem index of its trials.
    problems: (u32, u32),
}

/// A trial of an index: its problem, its summary and the size of its row in bytes.
pub(super) struct Indexed {
    pub(super) problem: u32,
    pub(super) summary: TrialSummary,
    pub(super) bytes: u32,
}

/// Writes a sealed part under a temporary name.
pub(super) struct Writer {
    file: BufWriter<File>,
    draft: PathBuf,
    path: PathBuf,
    compressor: zstd::bulk::Compressor<'static>,
    block: Vec<u8>,
    rows: u32,
    head: Head,
    columns: Columns,
    blocks: Vec<Block>,
    offset: u64,
    /// The problems of the block being filled.
    problems: Option<(u32, u32)>,
}

/// The trials' summaries by column.
#[derive(Default)]
struct Columns {
    numbers: Vec<u8>,
    tokens: Vec<u8>,
    bytes: Vec<u8>,
    flags: Vec<u8>,
    texts: Vec<u8>,
}

const CORRECT: u8 = 1;
const UNFINISHED: u8 = 2;
const GRADER_FAILED: u8 = 4;
const FINISH_SHIFT: u8 = 3;
const FINISHES: [Finish; 4] = [
    Finish::Stop,
    Finish::Length,
    Finish::Loop,
    Finish::Cancelled,
];

impl Columns {
    fn push(&mut self, summary: &TrialSummary, bytes: u32) {
        self.numbers
            .extend_from_slice(&summary.number.to_le_bytes());
        self.tokens.extend_from_slice(&summary.tokens.to_le_bytes());
        self.bytes.extend_from_slice(&bytes.to_le_bytes());
        let finish = FINISHES.iter().position(|finish| *finish == summary.finish);
        let flag = |is: bool, flag| if is { flag } else { 0 };
        self.flags.push(
            (finish.unwrap_or(0) as u8) << FINISH_SHIFT
                | flag(summary.correct.is_some(), CORRECT)
                | flag(summary.unfinished_reasoning, UNFINISHED)
                | flag(summary.grader_failed, GRADER_FAILED),
        );
        if let Some(text) = summary.correct {
            self.texts.extend_from_slice(&text.0);
        }
    }

    /// Reads the columns of this many trials, stored one after another.
    fn read(bytes: &[u8], trials: usize) -> Option<Vec<(TrialSummary, u32)>> {
        let (numbers, rest) = bytes.split_at_checked(trials.checked_mul(4)?)?;
        let (tokens, rest) = rest.split_at_checked(4 * trials)?;
        let (lengths, rest) = rest.split_at_checked(4 * trials)?;
        let (flags, mut texts) = rest.split_at_checked(trials)?;
        let number = |column: &[u8], at: usize| {
            let bytes = column.get(4 * at..4 * at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let mut all = Vec::with_capacity(trials);
        for (at, flags) in flags.iter().enumerate() {
            let correct = match flags & CORRECT {
                0 => None,
                _ => {
                    let (text, rest) = texts.split_at_checked(16)?;
                    texts = rest;
                    Some(TextHash(text.try_into().ok()?))
                }
            };
            let summary = TrialSummary {
                number: number(numbers, at)?,
                tokens: number(tokens, at)?,
                finish: *FINISHES.get(usize::from(flags >> FINISH_SHIFT))?,
                unfinished_reasoning: flags & UNFINISHED != 0,
                grader_failed: flags & GRADER_FAILED != 0,
                correct,
            };
            all.push((summary, number(lengths, at)?));
        }
        texts.is_empty().then_some(all)
    }
}

fn compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

impl Writer {
    pub(super) fn new(path: &Path, seed: u64) -> Result<Self> {
        let draft = path.with_extension("draft");
        let file = File::create(&draft).map_err(|error| Error::io(&draft, error))?;
        let compressor = compressor().map_err(|error| Error::io(&draft, error))?;
        Ok(Writer {
            file: BufWriter::new(file),
            draft,
            path: path.to_owned(),
            compressor,
            block: Vec::with_capacity(2 * BLOCK),
            rows: 0,
            head: Head {
                journal: VERSION,
                seed,
                trials: 0,
                problems: Vec::new(),
                blocks: Vec::new(),
            },
            columns: Columns::default(),
            blocks: Vec::new(),
            offset: 0,
            problems: None,
        })
    }

    /// Adds a trial. The trials of a problem must follow one another. `row` appends its JSON.
    pub(super) fn push(
        &mut self,
        (problem, id): (u32, &str),
        summary: &TrialSummary,
        row: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let before = self.block.len();
        row(&mut self.block);
        self.block.push(b'\n');
        let bytes = u32::try_from(self.block.len() - before).unwrap_or(u32::MAX);
        self.columns.push(summary, bytes);
        match self.head.problems.last_mut() {
            Some((last, count)) if last == id => *count += 1,
            _ => self.head.problems.push((id.to_owned(), 1)),
        }
        let (low, high) = self.problems.unwrap_or((problem, problem));
        self.problems = Some((low.min(problem), high.max(problem)));
        self.rows += 1;
        self.head.trials += 1;
        match self.block.len() >= BLOCK {
            true => self.end_block(),
            false => Ok(()),
        }
    }

    fn end_block(&mut self) -> Result<()> {
        let Some(problems) = self.problems.take() else {
            return Ok(());
        };
        let compressed = self.compressor.compress(&self.block);
        let written = compressed.and_then(|block| {
            self.file.write_all(&block)?;
            Ok(block)
        });
        let block = written.map_err(|error| Error::io(&self.draft, error))?;
        let bytes = u32::try_from(block.len()).unwrap_or(u32::MAX);
        self.head.blocks.push(BlockHead {
            bytes,
            rows: std::mem::take(&mut self.rows),
            crc: crc32fast::hash(&block),
        });
        self.blocks.push(Block {
            offset: self.offset,
            bytes,
            problems,
        });
        self.offset += u64::from(bytes);
        self.block.clear();
        Ok(())
    }

    /// Writes the index, syncs the file and renames it.
    pub(super) fn finish(mut self) -> Result<Sealed> {
        self.end_block()?;
        let io = |error| Error::io(&self.draft, error);
        let mut index = serde_json::to_vec(&self.head).map_err(|error| io(error.into()))?;
        index.push(b'\n');
        let columns = &self.columns;
        for column in [
            &columns.numbers,
            &columns.tokens,
            &columns.bytes,
            &columns.flags,
            &columns.texts,
        ] {
            index.extend_from_slice(column);
        }
        let index = self.compressor.compress(&index).map_err(io)?;
        let written = (|| {
            let length = u32::try_from(index.len()).map_err(std::io::Error::other)?;
            self.file.write_all(&SKIPPABLE.to_le_bytes())?;
            self.file
                .write_all(&(length + TRAILER as u32).to_le_bytes())?;
            self.file.write_all(&index)?;
            self.file.write_all(&length.to_le_bytes())?;
            self.file.write_all(&MAGIC)?;
            self.file.flush()?;
            self.file.get_ref().sync_all()
        })();
        written.map_err(io)?;
        std::fs::rename(&self.draft, &self.path).map_err(io)?;
        Ok(Sealed {
            path: self.path,
            blocks: self.blocks,
        })
    }
}

/// An index that has been read.
pub(super) struct Opened {
    pub(super) sealed: Sealed,
    pub(super) trials: Vec<Indexed>,
}

impl Sealed {
    /// Reads a part's index and checks every block against it. `find` returns the index of a problem.
    pub(super) fn open(
        path: &Path,
        seed: u64,
        find: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Opened> {
        let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
        let (head, columns) = read_index(&mut file, path)?;
        if head.seed != seed {
            return Err(damaged(
                path,
                "a part of another run: its seed is another one",
            ));
        }
        let wrong = || damaged(path, "its index contradicts itself");
        let trials = usize::try_from(head.trials).map_err(|_| wrong())?;
        let summaries = Columns::read(&columns, trials).ok_or_else(wrong)?;
        let mut problems = Vec::with_capacity(trials);
        for (id, count) in &head.problems {
            let Some(problem) = find(id) else {
                return Err(damaged(path, &format!("the run has no problem {id:?}")));
            };
            problems.extend(std::iter::repeat_n(problem, *count as usize));
        }
        if problems.len() != trials {
            return Err(wrong());
        }
        let mut blocks = Vec::with_capacity(head.blocks.len());
        let (mut offset, mut row) = (0, 0);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .map_err(|error| Error::io(path, error))?;
        for (number, block) in (1..).zip(&head.blocks) {
            bytes.resize(block.bytes as usize, 0);
            file.read_exact(&mut bytes)
                .map_err(|error| Error::io(path, error))?;
            if crc32fast::hash(&bytes) != block.crc {
                return Err(damaged_block(path, number));
            }
            let own = problems
                .get(row..row + block.rows as usize)
                .ok_or_else(wrong)?;
            let (Some(low), Some(high)) = (own.iter().min(), own.iter().max()) else {
                return Err(wrong());
            };
            blocks.push(Block {
                offset,
                bytes: block.bytes,
                problems: (*low, *high),
            });
            offset += u64::from(block.bytes);
            row += block.rows as usize;
        }
        if row != trials {
            return Err(wrong());
        }
        let indexed = problems.into_iter().zip(summaries);
        Ok(Opened {
            sealed: Sealed {
                path: path.to_owned(),
                blocks,
            },
            trials: indexed
                .map(|(problem, (summary, bytes))| Indexed {
                    problem,
                    summary,
                    bytes,
                })
                .collect(),
        })
    }

    /// Passes all trials of the blocks that contain any of these problems to `take`.
    pub(super) fn read(
        &self,
        problems: &std::ops::Range<u32>,
        take: &mut dyn FnMut(Trial) -> Result<()>,
    ) -> Result<()> {
        let wanted =
            |block: &Block| block.problems.0 < problems.end && block.problems.1 >= problems.start;
        let mut blocks = (1..).zip(&self.blocks).filter(|(_, block)| wanted(block));
        let Some(first) = blocks.next() else {
            return Ok(());
        };
        let io = |error| Error::io(&self.path, error);
        let mut file = File::open(&self.path).map_err(io)?;
        let mut decompressor = zstd::bulk::Decompressor::new().map_err(io)?;
        let mut compressed = Vec::new();
        for (number, block) in std::iter::once(first).chain(blocks) {
            file.seek(SeekFrom::Start(block.offset)).map_err(io)?;
            compressed.resize(block.bytes as usize, 0);
            file.read_exact(&mut compressed).map_err(io)?;
            let rows = decompress(&mut decompressor, &compressed);
            let rows = rows.map_err(|_| damaged_block(&self.path, number))?;
            for row in rows
                .split(|byte| *byte == b'\n')
                .filter(|row| !row.is_empty())
            {
                let trial = serde_json::from_slice(row)
                    .map_err(|error| damaged_block(&self.path, number).with_source(error))?;
                take(trial)?;
            }
        }
        Ok(())
    }

    /// Opens a part for reading its blocks only.
    pub(super) fn list(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
        let (head, _) = read_index(&mut file, path)?;
        let mut offset = 0;
        let blocks = head.blocks.iter().map(|block| {
            let at = offset;
            offset += u64::from(block.bytes);
            Block {
                offset: at,
                bytes: block.bytes,
                problems: (0, u32::MAX),
            }
        });
        Ok(Sealed {
            path: path.to_owned(),
            blocks: blocks.collect(),
        })
    }

    /// Passes all trials to `take`.
    pub(super) fn read_all(&self, take: &mut dyn FnMut(Trial) -> Result<()>) -> Result<()> {
        self.read(&(0..u32::MAX), take)
    }
}

fn decompress(
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    frame: &[u8],
) -> std::io::Result<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten();
    let size = size.and_then(|size| usize::try_from(size).ok());
    match size.filter(|size| *size <= MAX_BLOCK) {
        Some(size) => decompressor.decompress(frame, size),
        None => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Reads a part's index: its head and the bytes of its columns.
fn read_index(file: &mut File, path: &Path) -> Result<(Head, Vec<u8>)> {
    let io = |error| Error::io(path, error);
    let cut = || damaged(path, "its end is not that of a sealed part");
    let length = file.metadata().map_err(io)?.len();
    let mut trailer = [0; TRAILER as usize];
    let at = length.checked_sub(TRAILER).ok_or_else(cut)?;
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    file.read_exact(&mut trailer).map_err(io)?;
    let (bytes, magic) = trailer.split_at(4);
    let bytes = bytes.try_into().map(u32::from_le_bytes).unwrap_or(0);
    let at = at.checked_sub(u64::from(bytes)).ok_or_else(cut)?;
    if magic != MAGIC {
        return Err(cut());
    }
    let mut index = vec![0; bytes as usize];
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    file.read_exact(&mut index).map_err(io)?;
    let wrong = || damaged(path, "its index is damaged");
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(io)?;
    let mut index = decompress(&mut decompressor, &index).map_err(|_| wrong())?;
    let end = memchr::memchr(b'\n', &index).ok_or_else(wrong)?;
    let columns = index.split_off(end + 1);
    let head: Head = serde_json::from_slice(&index).map_err(|_| wrong())?;
    if head.journal != VERSION {
        return Err(super::other_version(path, head.journal));
    }
    // The skippable frame's header is between the blocks and the index.
    let blocks: u64 = head.blocks.iter().map(|block| u64::from(block.bytes)).sum();
    if blocks + 8 != at {
        return Err(damaged(path, "its blocks are not where its index has them"));
    }
    Ok((head, columns))
}

fn damaged(path: &Path, reason: &str) -> Error {
    let hint = "delete the file to go on without it; what it held is drawn again if it counts";
    Error::new(
        ErrorKind::Journal,
        format!("{}: {reason} ({hint})", path.display()),
    )
}

fn damaged_block(path: &Path, number: usize) -> Error {
    damaged(path, &format!("block {number} is damaged"))
}
