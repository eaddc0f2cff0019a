//! Data sets without near duplicates, selected from journals.

use std::collections::HashSet;
use std::path::Path;

use crate::scripted::journals::snapshot;
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{CancelHandle, Limits, Outcome, Run, RunBuilder, RunStop, Uniform, Vanilla};
use dart_math::{
    Completion, ErrorKind, Generator, Next, Offer, Philox, Problem, Result, Source, Trial, TrialId,
    Verdict,
};

const RATES: [f64; 4] = [0.95, 0.6, 0.3, 0.8];
const POOL: u32 = 40;
const SIMILARITY: f64 = 0.5;

/// Samples like a scripted generator, but turns its texts into sentences, some of which are similar.
struct Wordy(Scripted);

struct Words<'a>(&'a dyn Source);

impl Generator for Wordy {
    fn run(&self, source: &dyn Source) -> Result<()> {
        self.0.run(&Words(source))
    }
}

impl Source for Words<'_> {
    fn next(&self, offer: Offer<'_>) -> Next {
        self.0.next(offer)
    }

    fn wanted(&self, trial: TrialId) -> bool {
        self.0.wanted(trial)
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let (seed, answer) = completion.text.split_once(' ').unwrap();
        let random = Philox::new(u64::from_str_radix(seed, 16).unwrap());
        // One of three derivations, with up to two words replaced.
        let derivation = random.below(0, 3);
        let mut words: Vec<String> = (0..20).map(|at| format!("d{derivation}w{at}")).collect();
        for change in 0..random.below(1, 3) {
            let at = random.below(2 + 2 * change, 20) as usize;
            words[at] = format!("c{}", random.below(3 + 2 * change, 4));
        }
        // Punctuation and capitals change the text but not its words.
        let text = match random.below(8, 2) {
            0 => words.join(" "),
            _ => words.join(", ").to_uppercase(),
        };
        let text = format!("{text}\n{answer}");
        self.0.deliver(trial, Completion { text, ..completion });
    }
}

fn last_line(problem: &Problem, completion: &Completion) -> Verdict {
    let answer = completion.text.rsplit('\n').next().unwrap();
    Verdict::new(answer == problem.reference, "last line")
}

fn builder<'a>(journal: &Path) -> RunBuilder<'a> {
    let limits = Limits {
        trials_per_problem: Some(POOL),
        ..Limits::default()
    };
    Run::builder(problems(&RATES))
        .strategy(Vanilla { trials: POOL })
        .limits(limits)
        .seed(5)
        .journal(journal)
}

/// Creates a pool of trials that arrive in an order given by a seed.
fn pool(journal: &Path, shuffle: u64, part_bytes: u64) {
    let schedule = Schedule {
        shuffle,
        ..Schedule::default()
    };
    let run = builder(journal)
        .journal_part_bytes(part_bytes)
        .build()
        .unwrap();
    let _ = run
        .run(&Wordy(Scripted::new(schedule)), &last_line)
        .unwrap();
}

fn select(builder: RunBuilder<'_>) -> Outcome {
    builder.build().unwrap().select().unwrap()
}

fn shingles(text: &str) -> HashSet<Vec<String>> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.windows(5).map(<[String]>::to_vec).collect()
}

/// Computes the data set of the first `k` responses of each problem, and the duplicates, by comparing all pairs.
fn by_hand(all: &[Trial], k: usize, similarity: f64) -> Vec<Trial> {
    let mut marked = Vec::new();
    for problem in problems(&RATES) {
        let mut kept: Vec<(u32, HashSet<Vec<String>>)> = Vec::new();
        for trial in all.iter().filter(|trial| trial.problem == problem.id) {
            if kept.len() == k {
                break;
            }
            let mut trial = trial.clone();
            (trial.accepted, trial.duplicate_of) = (false, None);
            if trial.verdict.equal {
                let own = shingles(&trial.response);
                let like = |(_, other): &&(u32, HashSet<Vec<String>>)| {
                    let both = own.intersection(other).count() as f64;
                    both / own.union(other).count() as f64 >= similarity
                };
                trial.duplicate_of = kept.iter().find(like).map(|(number, _)| *number);
                if trial.duplicate_of.is_none() {
                    trial.accepted = true;
                    kept.push((trial.number, own));
                }
            }
            marked.push(trial);
        }
    }
    marked
}

/// The result depends neither on the order of arrival nor on the journal's layout.
#[test]
fn near_duplicates_are_functions_of_the_trials_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut found = 0;
    for (shuffle, part_bytes) in [(0, 1 << 20), (1, 3000), (2, 40_000)] {
        let journal = directory.path().join(format!("pool{shuffle}"));
        pool(&journal, shuffle, part_bytes);
        let at_rest = snapshot(&journal);
        let all = trials(&select(builder(&journal)));
        assert_eq!(all.len(), POOL as usize * RATES.len());
        for similarity in [0.2, SIMILARITY, 0.8, 1.0] {
            for k in [1, 3, 100] {
                let near = builder(&journal)
                    .strategy(Uniform { k })
                    .near_duplicates(similarity);
                let near = select(near);
                let expected = by_hand(&all, k as usize, similarity);
                assert_eq!(trials(&near), expected, "{shuffle} {similarity} {k}");
                let duplicates = expected
                    .iter()
                    .filter(|trial| trial.duplicate_of.is_some())
                    .count();
                assert_eq!(near.totals.duplicates, duplicates as u64);
                assert_eq!(near.configuration["near_duplicates"], similarity);
                assert_eq!(near.configuration["dedup"], true);
                found += duplicates;
            }
        }
        assert!(snapshot(&journal) == at_rest);
    }
    assert!(found > 500, "{found}");
}

#[test]
fn what_is_exactly_the_same_is_the_first_of_what_is_near() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("pool");
    pool(&journal, 0, 1 << 20);
    let kept = |outcome: &Outcome| outcome.totals.kept;
    let uniform = || builder(&journal).strategy(Uniform { k: 100 });
    let (all, exact) = (select(uniform()), select(uniform().dedup(true)));
    let same_words = select(uniform().near_duplicates(1.0));
    // Exact duplicates are near duplicates, whether or not deduplication is on.
    let both = select(uniform().near_duplicates(1.0).dedup(true));
    assert_eq!(trials(&same_words), trials(&both));
    let near = select(uniform().near_duplicates(SIMILARITY));
    let order = [&all, &exact, &same_words, &near].map(kept);
    assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    // Problems with too few responses left are unfinished.
    assert_eq!(near.stop, RunStop::Finished);
    let more = Limits {
        trials_per_problem: Some(POOL + 1),
        ..Limits::default()
    };
    let open = select(uniform().limits(more).near_duplicates(SIMILARITY));
    let exhausted = matches!(open.stop, RunStop::JournalExhausted { problems: 1.. });
    assert!(exhausted, "{:?}", open.stop);
    // Excluding a problem does not change the others.
    let rejection = dart_math::Rejection {
        problem: 1,
        reason: "left out".into(),
    };
    let some = select(
        uniform()
            .near_duplicates(SIMILARITY)
            .exclude(vec![rejection]),
    );
    let mut expected = trials(&near);
    expected.retain(|trial| trial.problem != "p1");
    assert_eq!(trials(&some), expected);
}

#[test]
fn only_a_selection_compares_texts() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("pool");
    let generator = Scripted::default();
    let run = builder(&journal).near_duplicates(0.8).build().unwrap();
    let error = run.run(&generator, &grader).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(
        error
            .to_string()
            .contains("near_duplicates: texts are compared when a data set is selected")
    );
    assert!(generator.log().asked.is_empty() && !journal.exists());
    for bad in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
        let error = builder(&journal)
            .near_duplicates(bad)
            .build()
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains("above 0 and up to 1"), "{error}");
    }
    // A cancelled selection ends.
    pool(&journal, 0, 1 << 20);
    let handle = CancelHandle::new();
    handle.cancel();
    let run = builder(&journal)
        .near_duplicates(0.8)
        .cancel(handle)
        .build()
        .unwrap();
    assert_eq!(run.select().unwrap_err().kind(), ErrorKind::Interrupted);
}
