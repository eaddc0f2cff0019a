//! Finds problems that overlap with test sets by common word n-grams, so that a run can leave them out.
//!
//! The rule is that of DeepSeekMath's corpus (Shao et al., 2024, section 2.1). A text is contaminated if it
//! has 10 consecutive words (a 10-gram) in common with a question of a test set. A question with fewer words,
//! but at least 3, must match the whole text.
//!
//! Words are letters and digits without markup (`1{,}000` is `1000`, `\frac{1}{2}` is `1 2`, an ideograph is
//! a word). Whole texts are compared including the signs of their formulas, so that `3 + 5` is not `3 - 5`.
//! Drawings (`[asy]`) are left out. Ten consecutive words may be a common phrase ("find the sum of all
//! positive integers n such that"). Larger n find fewer of these, but also fewer questions that were changed
//! in places.
//!
//! Depends on the contract only.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::lines::{Row, Rows};
use super::problems;
use crate::contract::hex;
use crate::{Error, ErrorKind, Problem, Rejection, Result, words};

/// The default n-gram length, in words.
pub const NGRAM: usize = 10;
/// Questions with fewer words are not compared.
pub const MIN_WORDS: usize = 3;

/// The indexed questions of test sets.
///
/// ```
/// use dart_math::{Problem, data::decontaminate::{NGRAM, TestSets}};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("test.jsonl");
/// let rows = r#"{"question": "Tom has $1{,}000$ apples, gives Ann half of them, and eats $3$. How many are left?"}"#;
/// std::fs::write(&path, rows)?;
/// let tests = TestSets::read(&[path], NGRAM)?;
/// let copy = Problem::new("Tom has 1,000 apples, gives Ann half of them and eats 3. What is left?", "497");
/// let other = Problem::new("Tom has 12 pears and eats 3. How many are left?", "9");
/// let found = tests.rejections(&[other, copy]);
/// assert_eq!((found.len(), found[0].problem), (1, 1));
/// assert!(found[0].reason.starts_with("10 words in a row are also in test.jsonl:1: \"tom has 1000 apples"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TestSets {
    n: usize,
    sets: Vec<TestSet>,
    questions: Vec<Question>,
    /// The n-grams of the questions, ordered by hash, question and position.
    grams: Vec<Gram>,
    /// Questions shorter than n words: text to the first question with it.
    short: HashMap<String, u32>,
}

/// A test set: a file of problems, of which only the questions are read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestSet {
    /// The file's name, or its path as given if another file has the same name.
    pub name: String,
    /// The first 128 bits of the SHA-256 of the file's bytes, in hexadecimal.
    pub hash: String,
    /// The number of rows with a question.
    pub questions: u64,
    /// The number of questions with fewer than [`MIN_WORDS`] words, which are not compared.
    pub short: u64,
    /// The number of rows without a question.
    pub without_question: u64,
    /// The first row without a question: its line number and the reason.
    pub first_without: Option<(u64, String)>,
}

/// An overlap between a text and a question of a test set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlap {
    /// The name of the test set.
    pub test_set: String,
    /// The line number of the row with the question, from 1.
    pub line: u64,
    /// The words in common.
    pub words: String,
    /// Whether the whole texts match.
    pub whole: bool,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap {
            test_set,
            line,
            words,
            whole,
        } = self;
        match whole {
            true => write!(
                f,
                "the whole question is also in {test_set}:{line}: {words:?}"
            ),
            false => {
                let count = words::count(words);
                let are = if count == 1 {
                    "word is"
                } else {
                    "words in a row are"
                };
                write!(f, "{count} {are} also in {test_set}:{line}: {words:?}")
            }
        }
    }
}

#[derive(Debug)]
struct Question {
    set: u32,
    line: u64,
    words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gram {
    hash: u64,
    question: u32,
    /// The byte offset in the question's words.
    at: u32,
}

impl TestSets {
    /// Reads files of problems like [`problems::read`], but only their questions: invalid answers do not
    /// matter. `n` is the number of consecutive words that make an overlap.
    ///
    /// # Errors
    ///
    /// Returns an error if `n` is 0, or if a file cannot be read or has no question.
    pub fn read(paths: &[impl AsRef<Path>], n: usize) -> Result<Self> {
        if n == 0 {
            let reason = "decontamination: an overlap must be of at least 1 word";
            return Err(Error::new(ErrorKind::Settings, reason));
        }
        let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
        let mut tests = TestSets {
            n,
            sets: Vec::new(),
            questions: Vec::new(),
            grams: Vec::new(),
            short: HashMap::new(),
        };
        for (path, name) in paths.iter().zip(names(&paths)) {
            tests.add(path, name)?;
        }
        tests.grams.sort_unstable();
        Ok(tests)
    }

    fn add(&mut self, path: &Path, name: String) -> Result<()> {
        let index = u32::try_from(self.sets.len()).map_err(|_| too_many(path))?;
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let mut file = Hashed {
            file,
            hash: Sha256::new(),
        };
        let mut set = TestSet {
            name,
            hash: String::new(),
            questions: 0,
            short: 0,
            without_question: 0,
            first_without: None,
        };
        for row in Rows::new(BufReader::new(&mut file)) {
            let row = row.map_err(|error| Error::io(path, error))?;
            let Row {
                line,
                object,
                numbers,
            } = row;
            match object.and_then(|mut row| problems::question(&mut row, &numbers)) {
                Ok(question) => {
                    set.questions += 1;
                    let is_short = !self
                        .add_question(index, line, &question)
                        .ok_or_else(|| too_many(path))?;
                    set.short += u64::from(is_short);
                }
                Err(reason) => {
                    set.without_question += 1;
                    set.first_without.get_or_insert((line, reason));
                }
            }
        }
        if set.questions == 0 {
            let why = set
                .first_without
                .map(|(line, reason)| format!(": line {line}: {reason}"));
            let reason = format!(
                "{}: no question to decontaminate by{}",
                path.display(),
                why.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Data, reason));
        }
        // The hash covers the whole file, including what the rows did not read.
        io::copy(&mut file, &mut io::sink()).map_err(|error| Error::io(path, error))?;
        set.hash = hex(&file.hash.finalize()[..16]);
        self.sets.push(set);
        Ok(())
    }

    /// Returns whether the question is long enough to be compared. `None` if there are too many questions.
    fn add_question(&mut self, set: u32, line: u64, question: &str) -> Option<bool> {
        let index = u32::try_from(self.questions.len()).ok()?;
        let words = words::of(question);
        let count = words::count(&words);
        if count < MIN_WORDS.min(self.n) {
            return Some(false);
        }
        for (at, gram) in words::grams(&words, self.n) {
            let at = u32::try_from(at).ok()?;
            self.grams.push(Gram {
                hash: hash(gram),
                question: index,
                at,
            });
        }
        if count < self.n {
            self.short
                .entry(words::with_signs(question))
                .or_insert(index);
        }
        self.questions.push(Question { set, line, words });
        Some(true)
    }

    /// Returns the number of consecutive words that make an overlap.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Returns the test sets, in the given order.
    pub fn sets(&self) -> &[TestSet] {
        &self.sets
    }

    /// Returns the first overlap of a text with the test sets: its first words that occur in any of them, at
    /// their first place.
    pub fn overlap(&self, text: &str) -> Option<Overlap> {
        let own = words::of(text);
        let count = words::count(&own);
        if count < self.n {
            let index =
                (count >= MIN_WORDS).then(|| self.short.get(&words::with_signs(text)))??;
            return Some(self.found(*index, &own, true));
        }
        words::grams(&own, self.n).find_map(|(_, gram)| {
            let hash = hash(gram);
            let from = self.grams.partition_point(|it| it.hash < hash);
            let same = self.grams[from..].iter().take_while(|it| it.hash == hash);
            // Other words may have the same hash.
            let place = same.into_iter().find(|it| self.has(it, gram))?;
            Some(self.found(place.question, gram, false))
        })
    }

    /// Returns whether exactly these words are at a place.
    fn has(&self, place: &Gram, gram: &str) -> bool {
        let words = &self.questions[place.question as usize].words;
        let rest = words
            .get(place.at as usize..)
            .and_then(|rest| rest.strip_prefix(gram));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }

    fn found(&self, question: u32, words: &str, whole: bool) -> Overlap {
        let question = &self.questions[question as usize];
        Overlap {
            test_set: self.sets[question.set as usize].name.clone(),
            line: question.line,
            words: words.to_owned(),
            whole,
        }
    }

    /// Returns the problems whose question overlaps with a test set, with the overlap as the reason. Use with
    /// [`RunBuilder::exclude`](crate::dars::RunBuilder::exclude).
    pub fn rejections(&self, problems: &[Problem]) -> Vec<Rejection> {
        let of = |(problem, it): (usize, &Problem)| {
            let reason = self.overlap(&it.question)?.to_string();
            Some(Rejection { problem, reason })
        };
        problems.iter().enumerate().filter_map(of).collect()
    }
}

/// Returns display names of the files: their names, or their paths if two names are the same.
fn names(paths: &[&Path]) -> Vec<String> {
    let short = |path: &Path| PathBuf::from(path.file_name().unwrap_or(path.as_os_str()));
    let is_alone = |path: &Path| {
        paths
            .iter()
            .filter(|other| short(other) == short(path))
            .count()
            == 1
    };
    let name = |path: &&Path| match is_alone(path) {
        true => short(path).display().to_string(),
        false => path.display().to_string(),
    };
    paths.iter().map(name).collect()
}

fn too_many(path: &Path) -> Error {
    let reason = format!("{}: more questions than can be numbered", path.display());
    Error::new(ErrorKind::Data, reason)
}

fn hash(gram: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    gram.hash(&mut hasher);
    hasher.finish()
}

/// A file that is hashed while it is read, so that it is read only once (it may be a pipe).
struct Hashed {
    file: File,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.hash.update(&into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests_of(questions: &[&str], n: usize) -> TestSets {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.jsonl");
        let row = |question: &&str| serde_json::json!({"question": question}).to_string() + "\n";
        std::fs::write(&path, questions.iter().map(row).collect::<String>()).unwrap();
        TestSets::read(&[path], n).unwrap()
    }

    #[test]
    fn runs_of_words_are_found_wherever_they_are() {
        let tests = tests_of(&["A b c d.", "X a b c e"], 3);
        let found = |text: &str| tests.overlap(text).map(|it| (it.line, it.words, it.whole));
        let is = |line, words: &str| Some((line, words.to_owned(), false));
        assert_eq!(found("a b c d"), is(1, "a b c"));
        assert_eq!(found("so (b), $c$ D"), is(1, "b c d"));
        assert_eq!(found("b c e"), is(2, "b c e"));
        // Not across two questions, not parts of words, not with gaps.
        for text in ["c d x", "b c de", "zb c d", "b z c d", "a b", "", "求"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn short_questions_are_compared_whole() {
        let tests = tests_of(
            &[
                "What is $3 + 5$?",
                "Why?",
                "What is 3 - 5",
                "How many apples are there?",
            ],
            10,
        );
        let found = |text: &str| tests.overlap(text).map(|it| (it.line, it.whole));
        assert_eq!(found("what is 3+5"), Some((1, true)));
        assert_eq!(found("What is 3 − 5?"), Some((3, true)));
        for text in [
            "What is 3 * 5?",
            "Why?",
            "So: what is 3 + 5?",
            "How many apples are there in this and in that bag now?",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!((tests.sets()[0].questions, tests.sets()[0].short), (4, 1));
        // A text of exactly n words is an n-gram.
        let tests = tests_of(&["a b c", "a b"], 2);
        assert!(tests.overlap("z a b").is_some() && tests.sets()[0].short == 0);
        assert!(tests_of(&["a"], 1).overlap("b a c").is_some());
    }

    /// Compares the index with a search through all texts.
    #[test]
    fn the_index_finds_what_a_search_finds() {
        let random = crate::Philox::new(7);
        let mut at = 0;
        let mut text = |length: u64| {
            let word = |_| {
                at += 1;
                ["a", "b", "ab", "ba", "12"][random.below(at, 5) as usize]
            };
            (0..length).map(word).collect::<Vec<_>>().join(" ")
        };
        let questions: Vec<String> = (0..40).map(|length| text(length % 13 + 1)).collect();
        let borrowed: Vec<&str> = questions.iter().map(String::as_str).collect();
        let mut hits = 0;
        for n in 1..8 {
            let tests = tests_of(&borrowed, n);
            for length in 0..60 {
                let own = text(length % 15);
                let words: Vec<&str> = own.split(' ').filter(|word| !word.is_empty()).collect();
                let has = |question: &&String, run: &[&str]| {
                    let question: Vec<&str> = question.split(' ').collect();
                    question.windows(n).any(|it| it == run)
                };
                let expected = match words.len() < n {
                    true => words.len() >= MIN_WORDS && questions.contains(&own),
                    false => words
                        .windows(n)
                        .any(|run| questions.iter().any(|it| has(&it, run))),
                };
                assert_eq!(tests.overlap(&own).is_some(), expected, "{n}: {own}");
                hits += usize::from(expected);
            }
        }
        assert!(hits > 50, "{hits}");
    }

    #[test]
    fn a_hash_alone_is_no_finding() {
        let mut tests = tests_of(&["a b c d", "e f g h"], 4);
        // Simulates a hash collision.
        let same = hash("e f g h");
        tests.grams.iter_mut().for_each(|gram| gram.hash = same);
        assert_eq!(tests.overlap("e f g h").unwrap().line, 2);
        tests.questions[1].words = "e f g hh".into();
        assert_eq!(tests.overlap("e f g h"), None);
    }

    #[test]
    fn only_questions_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("other")).unwrap();
        let rows = "{\"problem\": \"one two three\", \"solution\": \"no box\"}\n[1]\nx\n{\"id\": 3}\n{\"query\": 12345}\n";
        std::fs::write(path("a.jsonl"), rows).unwrap();
        std::fs::write(path("other/a.jsonl"), "[{\"question\": \"four five six\"}]").unwrap();
        let tests = TestSets::read(&[path("a.jsonl"), path("other/a.jsonl")], NGRAM).unwrap();
        let set = &tests.sets()[0];
        assert_eq!((set.questions, set.short, set.without_question), (2, 1, 3));
        assert_eq!(set.first_without, Some((2, "not a JSON object".into())));
        assert_eq!(set.name, path("a.jsonl").display().to_string());
        assert_eq!(set.hash, hex(&Sha256::digest(rows.as_bytes())[..16]));
        let overlap = tests.overlap("Four, five: six!").unwrap();
        assert!(overlap.test_set.ends_with("other/a.jsonl") && overlap.line == 1);
        assert!(
            overlap
                .to_string()
                .contains("other/a.jsonl:1: \"four five six\""),
            "{overlap}"
        );

        let refused = |name: &str, n| TestSets::read(&[path(name)], n).unwrap_err();
        assert_eq!(refused("a.jsonl", 0).kind(), ErrorKind::Settings);
        assert_eq!(refused("none.jsonl", 10).kind(), ErrorKind::Io);
        for rows in ["", "{\"id\": 1}\n", "[]"] {
            std::fs::write(path("empty.jsonl"), rows).unwrap();
            let error = refused("empty.jsonl", 10);
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(
                error
                    .to_string()
                    .contains("empty.jsonl: no question to decontaminate by"),
                "{error}"
            );
        }
    }

    #[test]
    fn huge_questions_are_compared_in_reasonable_time() {
        let huge = "so it goes on and on ".repeat(50_000);
        let tests = tests_of(&[&huge], 10);
        assert!(tests.overlap(&huge).is_some());
        let other: String = (0..200_000).map(|word| format!("{word} ")).collect();
        assert_eq!(tests.overlap(&other), None);
    }
}
