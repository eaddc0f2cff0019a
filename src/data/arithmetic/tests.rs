use std::collections::{BTreeMap, BTreeSet};

use super::language::{Kind, OBJECTS, PEOPLE, Setting};
use super::*;
use crate::{Completion, Grader, Verdict};

const BOTH: [Asked; 2] = [Asked::EveryValue, Asked::LastValue];

fn sample(asked: Asked, split: Split) -> impl Iterator<Item = (u32, Exercise)> {
    LEVELS.flat_map(move |level| {
        (0..100).map(move |index| (level, exercise(asked, split, level, index, 5)))
    })
}

/// The values of a question's story, parsed independently of the generator and the grader.
fn values(question: &str) -> Vec<u32> {
    let sentences: Vec<&str> = question
        .split_inclusive(['.', '?'])
        .map(str::trim)
        .collect();
    let (asked, story) = sentences.split_last().unwrap();
    assert!(
        asked.starts_with("How many") && asked.ends_with('?'),
        "{asked}"
    );
    let mut known: BTreeMap<&str, u32> = BTreeMap::new();
    let mut values: Vec<u32> = Vec::new();
    for sentence in story {
        let words: Vec<&str> = sentence.trim_end_matches('.').split([' ', ',']).collect();
        let operand = words.iter().find_map(|word| word.parse::<u32>().ok());
        let has = |text: &str| sentence.contains(text);
        let first_is_known = known.contains_key(words[0]);
        let value = match values.last().copied() {
            None => operand.unwrap(),
            Some(value) => {
                if has("half") {
                    assert_eq!(value % 2, 0, "{question}");
                    value / 2
                } else if has("doubl") || has("twice") {
                    value * 2
                } else if has("equal piles") || has("splits") || (has("times") && first_is_known) {
                    assert_eq!(value % operand.unwrap(), 0, "{question}");
                    value / operand.unwrap()
                } else if has("times") || has("swaps each") {
                    value * operand.unwrap()
                } else if ["more", "finds", "gets", "adds"]
                    .iter()
                    .any(|word| has(word))
                {
                    value + operand.unwrap()
                } else {
                    let verbs = ["fewer", "loses", "sells", "takes", "removes", "gives"];
                    assert!(verbs.iter().any(|verb| has(verb)), "{sentence}");
                    value - operand.unwrap()
                }
            }
        };
        // In comparisons, each newly named person has the value.
        if has("than") || has("as many as") || has("what") || values.is_empty() {
            for word in words {
                if PEOPLE.iter().any(|person| person.0 == word) {
                    known.entry(word).or_insert(value);
                }
            }
        }
        values.push(value);
    }
    let compared = known.len() > 1;
    let name = asked.split(' ').rev().nth(1).unwrap();
    if compared && PEOPLE.iter().any(|person| person.0 == name) {
        assert_eq!(known[name], *values.last().unwrap());
    }
    values
}

#[test]
fn answers_follow_from_the_words() {
    for (level, exercise) in sample(Asked::LastValue, Split::Evaluation) {
        let problem = exercise.problem;
        let last = values(&problem.question).pop().unwrap();
        let context = format!("level {level}: {}", problem.question);
        assert_eq!(last.to_string(), problem.reference, "{context}");
    }
    for (level, exercise) in sample(Asked::EveryValue, Split::Evaluation) {
        let problem = exercise.problem;
        let values = values(&problem.question);
        assert_eq!(values.len() as u32, level + 1);
        let values: Vec<String> = values.iter().map(u32::to_string).collect();
        let answer = format!("({})", values.join(", "));
        assert_eq!(
            answer, problem.reference,
            "level {level}: {}",
            problem.question
        );
    }
}

#[test]
fn solutions_are_unbroken_chains_of_right_steps() {
    for asked in BOTH {
        for (level, exercise) in sample(asked, Split::Training) {
            let (steps, end) = exercise.solution.split_once("The").unwrap();
            let mut values: Vec<u32> = Vec::new();
            for step in steps.split_terminator(". ") {
                let (left, right) = step.split_once('=').unwrap();
                let sign = left.find(['+', '-', '*', '/']).unwrap();
                let a: u32 = left[..sign].parse().unwrap();
                let b: u32 = left[sign + 1..].parse().unwrap();
                let c: u32 = right.parse().unwrap();
                if values.is_empty() {
                    values.push(a);
                }
                assert_eq!(*values.last().unwrap(), a, "{steps}");
                assert!((2..=LARGEST).contains(&c), "{steps}");
                let all = [
                    ("+", a + b == c),
                    ("-", a == b + c),
                    ("*", a * b == c),
                    ("/", b * c == a),
                ];
                let (_, right) = all.iter().find(|(s, _)| *s == &left[sign..=sign]).unwrap();
                assert!(right, "{steps}");
                if asked == Asked::EveryValue {
                    // No other operation on the same numbers gives the result.
                    assert_eq!(all.iter().filter(|(_, right)| *right).count(), 1, "{steps}");
                    assert_ne!(a, b, "{steps}");
                }
                values.push(c);
            }
            assert_eq!(values.len() as u32, level + 1);
            let answer = match asked {
                Asked::LastValue => values.last().unwrap().to_string(),
                Asked::EveryValue => format!("{values:?}").replace('[', "(").replace(']', ")"),
            };
            assert_eq!(answer, exercise.problem.reference);
            assert_eq!(end, format!(" answer is \\boxed{{{answer}}}."));
        }
    }
}

#[test]
fn problems_are_functions_of_seed_level_and_index() {
    for asked in BOTH {
        let problems = |levels, count, seed| problems_asking(asked, levels, count, seed);
        let all = problems(1..=8, 20, 3);
        assert_eq!(all, problems(0..=99, 20, 3));
        assert_eq!(all[2 * 20 + 7], problems(3..=3, 8, 3)[7]);
        assert_ne!(all[0].question, problems(1..=1, 1, 4)[0].question);
        let ids: BTreeSet<&str> = all.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids.len(), all.len());
        assert!(problems(9..=12, 5, 0).is_empty());
    }
    assert_eq!(
        problems(2..=3, 4, 1),
        problems_asking(Asked::EveryValue, 2..=3, 4, 1)
    );
}

/// Data sets have been made from them: id, question and reference are those of every earlier version.
#[test]
fn problems_that_ask_for_the_last_value_never_change() {
    let problems = problems_asking(Asked::LastValue, LEVELS, 20, 0);
    let mut hash = Sha256::new();
    for problem in &problems {
        for text in [&problem.id, &problem.question, &problem.reference] {
            hash.update(text);
            hash.update("\n");
        }
    }
    let third = &problems[2 * 20 + 7];
    assert_eq!(third.id, "abacus-3-0007");
    assert_eq!(
        third.question,
        "Anna has 11 shells. Sara has 9 more than Anna. Clara has 6 times as many as Sara. \
         Lily has 20 shells fewer than Clara. How many shells does Lily have?"
    );
    assert_eq!(third.reference, "100");
    assert_eq!(
        crate::contract::hex(&hash.finalize()),
        "c16fe541101ccb9d6712dedee45ca0b8d06d32e9057e73441026b737a39c94f4"
    );
}

#[test]
fn training_and_evaluation_never_coincide() {
    for asked in BOTH {
        for split in [Split::Training, Split::Evaluation] {
            for (_, exercise) in sample(asked, split) {
                assert_eq!(split_of(&exercise.problem.question), split);
            }
        }
    }
}

#[test]
fn language_is_a_small_closed_vocabulary() {
    let mut pieces = vec!["He She he she him her"];
    pieces.extend(PEOPLE.iter().map(|person| person.0));
    pieces.extend(OBJECTS);
    for setting in Setting::ALL {
        pieces.extend(setting.openings());
        for asked in BOTH {
            pieces.extend(setting.questions(asked));
        }
        for kind in Kind::ALL {
            pieces.extend(setting.sentences(kind));
        }
    }
    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !c.is_ascii_alphabetic())
            .filter(|word| !word.is_empty())
    }
    let vocabulary: BTreeSet<&str> = pieces.iter().flat_map(|text| words(text)).collect();
    assert!(vocabulary.len() < 170, "{}", vocabulary.len());
    for asked in BOTH {
        for (_, exercise) in sample(asked, Split::Evaluation) {
            let question = &exercise.problem.question;
            for word in words(question) {
                assert!(vocabulary.contains(word), "{word} in {question}");
            }
            let marks = |c: char| " .,?".contains(c) || c.is_ascii_alphanumeric();
            assert!(question.chars().all(marks), "{question}");
        }
    }
}

fn graded(problem: &Problem, text: &str) -> Verdict {
    StepGrader.grade(problem, &Completion::text(text))
}

fn refused(problem: &Problem, text: &str) -> String {
    let verdict = graded(problem, text);
    assert!(!verdict.equal, "{:?}: {text:?}", problem.question);
    assert!(!verdict.reason.is_empty(), "{text:?}");
    verdict.reason.into_owned()
}

#[test]
fn the_grader_accepts_every_worked_solution() {
    for asked in BOTH {
        for split in [Split::Training, Split::Evaluation] {
            for (_, exercise) in sample(asked, split) {
                let verdict = graded(&exercise.problem, &exercise.solution);
                assert!(verdict.equal, "{verdict}: {:?}", exercise.problem.question);
                assert_eq!(
                    verdict.extracted.as_deref(),
                    Some(&*exercise.problem.reference)
                );
                assert_eq!(verdict.rule, "steps");
            }
        }
    }
}

/// Every character of a solution counts: any digit or sign that is changed, removed or inserted is detected,
/// and if it is in a step, the reason names the step.
#[test]
fn the_grader_refuses_every_change_of_a_character() {
    for asked in BOTH {
        for (level, exercise) in sample(asked, Split::Evaluation).step_by(61) {
            let (problem, solution) = (&exercise.problem, &exercise.solution);
            for (at, old) in solution.char_indices() {
                let step = solution[..at].matches('.').count() + 1;
                for new in "0123456789+-*/=.".chars().filter(|&new| new != old) {
                    let changed = format!("{}{new}{}", &solution[..at], &solution[at + 1..]);
                    let reason = refused(problem, &changed);
                    if step as u32 <= level && old != ' ' && new.is_ascii_digit() {
                        assert!(reason.contains(&format!("step {step}")), "{reason}");
                    }
                    let longer = format!("{}{new}{}", &solution[..at], &solution[at..]);
                    refused(problem, &longer);
                }
                if old != ' ' {
                    let shorter = format!("{}{}", &solution[..at], &solution[at + 1..]);
                    refused(problem, &shorter);
                }
            }
        }
    }
}

#[test]
fn the_grader_refuses_steps_that_are_swapped_missing_or_too_many() {
    for asked in BOTH {
        for (level, exercise) in sample(asked, Split::Evaluation).step_by(7) {
            let (problem, solution) = (&exercise.problem, &exercise.solution);
            let pieces: Vec<&str> = solution.split_inclusive(". ").collect();
            let (answer, steps) = pieces.split_last().unwrap();
            assert_eq!(steps.len() as u32, level);
            for at in 0..steps.len() {
                let mut changed = steps.to_vec();
                changed.remove(at);
                let reason = refused(problem, &(changed.concat() + answer));
                let named = format!("step {}", at + 1);
                assert!(reason.contains(&named), "{reason}");
                changed = steps.to_vec();
                changed.insert(at, steps[at]);
                refused(problem, &(changed.concat() + answer));
                if at > 0 {
                    changed = steps.to_vec();
                    changed.swap(at - 1, at);
                    let reason = refused(problem, &(changed.concat() + answer));
                    assert!(reason.contains(&format!("step {at}")), "{reason}");
                }
            }
            refused(problem, &steps.concat());
            refused(problem, answer);
            refused(problem, &format!("{solution} {answer}"));
            refused(problem, &format!("Well, {solution}"));
        }
    }
}

#[test]
fn the_grader_says_what_is_wrong_and_where() {
    let question = "Tom has 8 coins. He buys 5 more. He doubles them. How many coins does Tom have";
    let last = Problem::new(format!("{question} now?"), "26");
    let every = Problem::new(
        format!("{question} at first and after each change?"),
        "(8, 13, 26)",
    );
    for (text, reason) in [
        // A right answer after a wrong step.
        ("8+5=12. 12*2=26.", "step 1: 8+5 is 13, not 12"),
        ("8+5=13. 13*2=27.", "step 2: 13*2 is 26, not 27"),
        ("8+5=13. 12*2=24.", "step 2 is about 12, not about 13"),
        (
            "8+5=13. 13+13=26.",
            "step 2 has +13 where the question describes *2",
        ),
        (
            "8*2=16. 16+10=26.",
            "step 1 has *2 where the question describes +5",
        ),
        (
            "8+5=13. So 13*2=26.",
            "step 2: \"So 13*2=26. The answer is \\\\boxed{26}.\" is no step such as 8+5=13.",
        ),
        ("8+5=13. 13*2=26. 26+0=26.", "step 3 is one too many"),
        (
            "8+5=13. 13*2=26. Right?",
            "after step 2: \"Right? The answer is \\\\boxed{26}.\" is no answer in a box",
        ),
    ] {
        let text = format!("{text} The answer is \\boxed{{26}}.");
        assert_eq!(refused(&last, &text), reason);
    }
    let steps = "8+5=13. 13*2=26. The answer is";
    assert_eq!(
        refused(&last, &format!("{steps} \\boxed{{28}}.")),
        "the answer is 26, not \"28\""
    );
    assert_eq!(
        refused(&every, &format!("{steps} \\boxed{{(8, 26)}}.")),
        "the answer is (8, 13, 26), not \"(8, 26)\""
    );
    assert_eq!(
        refused(&last, &format!("{steps} \\boxed{{26}}. No, 27.")),
        "after the answer: \". No, 27.\" is not a full stop"
    );
    for (problem, answer) in [(&last, "26"), (&every, "(8,13,26)")] {
        let text = format!(" 8+5=13.\n13*2=26.\nThe answer is \\boxed{{{answer}}}.\n");
        assert!(graded(problem, &text).equal);
    }
}

#[test]
fn the_grader_refuses_problems_that_it_cannot_read() {
    let solution = "8+5=13. The answer is \\boxed{13}.";
    for (question, reason) in [
        ("", "the question is empty"),
        (
            "What is 8+5?",
            "the question has \"What is 8+5?\", which is no known beginning of a story",
        ),
        (
            "Tom has 8 coins.",
            "the question has \"Tom has 8 coins.\", which does not ask for a number of the story",
        ),
        (
            "Tom has 8 coins. He buys 5 more. He is glad. How many coins does Tom have now?",
            "the question has \"He is glad.\", which describes no known operation",
        ),
        (
            "Tom has 8 coins. She buys 5 more. How many coins does Tom have now?",
            "the question has \"She buys 5 more.\", which describes no known operation",
        ),
        (
            "Tom has 8 coins. He loses 9. How many coins does Tom have now?",
            "the question has \"He loses 9.\", which cannot be: 8-9 is no whole number of things",
        ),
        (
            "Tom has 8 coins. He makes 0 equal piles and keeps one. How many coins does Tom have now?",
            "the question has \"He makes 0 equal piles and keeps one.\", which cannot be: 8/0 is no \
             whole number of things",
        ),
        (
            "Tom has 8 coins. He buys 5 more. How many pears does Tom have now?",
            "the question has \"How many pears does Tom have now?\", which does not ask for a number \
             of the story",
        ),
        (
            "Tom has 8 coins. Mia has 5 more than Tom. How many coins does Tom have?",
            "the question has \"How many coins does Tom have?\", which does not ask for a number of \
             the story",
        ),
        (
            "Tom has 8 coins. Mia has 5 more than Leo. How many coins does Mia have?",
            "the question has \"Mia has 5 more than Leo.\", which describes no known operation",
        ),
    ] {
        assert_eq!(refused(&Problem::new(question, "13"), solution), reason);
    }
    let question = "Tom has 8 coins. He buys 5 more. How many coins does Tom have now?";
    assert!(graded(&Problem::new(question, "13"), solution).equal);
    assert_eq!(
        refused(&Problem::new(question, "14"), solution),
        "the reference is \"14\", but the question leads to 13"
    );
}

#[test]
fn hostile_text_is_refused_without_harm() {
    let question = "Tom has 8 coins. He buys 5 more. How many coins does Tom have now?";
    let problem = Problem::new(question, "13");
    let many = "9".repeat(100_000);
    let texts = [
        String::new(),
        "\u{0}".into(),
        "8".into(),
        "8+".into(),
        "8+5=".into(),
        "8+5=13".into(),
        "8é5=13. The answer is \\boxed{13}.".into(),
        "8➕5=13. The answer is \\boxed{13}.".into(),
        "٨+٥=١٣. The answer is \\boxed{13}.".into(),
        "8+5=13. The answer is \\boxed{13".into(),
        "8+5=13. The answer is \\boxed{{13}}.".into(),
        "08+5=13. The answer is \\boxed{13}.".into(),
        "8+5=13. The answer is \\boxed{-13}.".into(),
        format!("{many}+5=13. The answer is \\boxed{{13}}."),
        format!("8+5=13. The answer is \\boxed{{{many}}}."),
        "8+5=13. ".repeat(50_000),
        "🧮".repeat(50_000),
    ];
    for text in &texts {
        let reason = refused(&problem, text);
        assert!(reason.len() < 500, "{} bytes", reason.len());
        // Also as a question.
        let reason = refused(
            &Problem::new(text, "13"),
            "8+5=13. The answer is \\boxed{13}.",
        );
        assert!(reason.len() < 500, "{} bytes", reason.len());
    }
    let large = format!("Tom has {} coins. He doubles them. ", u64::MAX)
        + "How many coins does Tom have now?";
    assert!(refused(&Problem::new(large, "0"), "").contains("is no whole number of things"));
}
