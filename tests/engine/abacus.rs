//! The built-in model and its language.

use dart_math::Grader;
use dart_math::answer::Checker;
use dart_math::data::arithmetic::{
    Asked, LEVELS, Split, StepGrader, exercise, problems_asking, split_of,
};
use dart_math::engine::{Engine, Sampling};
use dart_math::model::{Model, Template};

#[test]
fn tokenizer_gives_every_text_of_the_language_back() {
    let model = Model::built_in().unwrap();
    let tokenizer = model.tokenizer();
    let unknown = tokenizer.id("<unknown>").unwrap();
    let mut longest = 0;
    for asked in [Asked::EveryValue, Asked::LastValue] {
        for level in LEVELS {
            for index in 0..200 {
                let exercise = exercise(asked, Split::Training, level, index, 11);
                let mut tokens = 0;
                for text in [&exercise.problem.question, &exercise.solution] {
                    let ids = tokenizer.encode(text, true).unwrap();
                    assert!(!ids.contains(&unknown), "{text}");
                    assert_eq!(&tokenizer.decode(&ids).unwrap(), text);
                    let mut stream = tokenizer.stream();
                    let mut streamed = String::new();
                    for &id in &ids {
                        streamed.push_str(stream.push(id).unwrap());
                    }
                    streamed.push_str(&stream.finish().unwrap());
                    assert_eq!(&streamed, text);
                    tokens += ids.len();
                }
                longest = longest.max(tokens);
            }
        }
    }
    // This fits into the model's context of 288, including the tokens before and after the solution.
    assert!((150..286).contains(&longest), "{longest} tokens");
}

#[test]
fn numbers_are_read_digit_by_digit_and_words_whole() {
    let model = Model::built_in().unwrap();
    let tokenizer = model.tokenizer();
    let ids = tokenizer.encode("Tom has 128 apples?", true).unwrap();
    let pieces: Vec<String> = ids.iter().filter_map(|&id| tokenizer.token(id)).collect();
    assert_eq!(pieces, ["Tom", " has", " ", "1", "2", "8", " apples", "?"]);
}

#[test]
fn foreign_text_is_unknown_and_nothing_worse() {
    let model = Model::built_in().unwrap();
    let tokenizer = model.tokenizer();
    let unknown = tokenizer.id("<unknown>").unwrap();
    for text in [
        "Qwxyz owes €3½.\n\tHow much?",
        "数学 🧮",
        "\u{0}\u{feff}",
        "",
    ] {
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(ids.contains(&unknown), !text.is_empty(), "{text:?}");
        tokenizer.decode(&ids).unwrap();
    }
}

#[test]
fn chat_template_puts_the_mark_of_an_answer_after_the_question() {
    let model = Model::built_in().unwrap();
    let question = "Tom has 3 apples. He buys 2 more. How many apples does Tom have now?";
    let prompt = model.prompt(&Template::chat(), question).unwrap();
    assert_eq!(prompt.text, format!("{question}<answer>"));
    let tokenizer = model.tokenizer();
    assert_eq!(prompt.tokens.last().copied(), tokenizer.id("<answer>"));
    assert_eq!(tokenizer.decode(&prompt.tokens).unwrap(), question);
    assert_eq!(model.stop_tokens(), [tokenizer.id("<stop>").unwrap()]);
}

/// Counts of responses to problems of one level.
#[derive(Debug)]
struct Counts {
    sampled: usize,
    /// Responses with the right answer.
    accepted: usize,
    /// Responses with the right answer and right steps.
    right: usize,
}

impl Counts {
    fn pass_rate(&self) -> f64 {
        self.accepted as f64 / self.sampled as f64
    }

    fn lucky(&self) -> usize {
        self.accepted - self.right
    }
}

fn sample(asked: Asked, level: u32, count: usize, samples: usize) -> Counts {
    let engine = Engine::builder(Model::built_in().unwrap())
        .sampling(Sampling {
            top_p: 0.95,
            ..Sampling::default()
        })
        .slots(64)
        .max_new_tokens(160)
        .build()
        .unwrap();
    let problems = problems_asking(asked, level..=level, count, 0);
    let prompts: Vec<_> = problems
        .iter()
        .flat_map(|problem| {
            assert_eq!(split_of(&problem.question), Split::Evaluation);
            std::iter::repeat_n(engine.prompt(&problem.question).unwrap(), samples)
        })
        .collect();
    let completions = engine.generate(&prompts, 0).unwrap();
    let mut counts = Counts {
        sampled: completions.len(),
        accepted: 0,
        right: 0,
    };
    for (completions, problem) in completions.chunks(samples).zip(&problems) {
        for completion in completions {
            let accepted = Grader::grade(&Checker::default(), problem, completion).equal;
            let right = StepGrader.grade(problem, completion).equal;
            // A right derivation implies the right answer.
            assert!(accepted || !right, "{}", completion.text);
            counts.accepted += usize::from(accepted);
            counts.right += usize::from(right);
        }
    }
    counts
}

/// The tables in assets/abacus/README.md have the rates of many more responses per level.
#[test]
fn pass_rates_fall_from_almost_always_to_almost_never() {
    let counts = LEVELS.map(|level| sample(Asked::EveryValue, level, 50, 4));
    let rates: Vec<f64> = counts.map(|counts| counts.pass_rate()).collect();
    assert!(rates[0] > 0.9, "{rates:?}");
    assert!((0.3..0.7).contains(&rates[3]), "{rates:?}");
    assert!((0.01..0.15).contains(&rates[7]), "{rates:?}");
    // No rate drops by more than 0.33 from one level to the next, or rises by more than chance.
    for pair in rates.windows(2) {
        assert!((-0.03..0.33).contains(&(pair[0] - pair[1])), "{rates:?}");
    }
}

/// If every value is asked for, a right answer nearly always has a right derivation. If only the last value is asked
/// for, it often has not.
#[test]
fn luck_is_below_one_in_a_hundred_accepted_responses() {
    for (level, samples) in [(4, 6), (7, 20)] {
        let every = sample(Asked::EveryValue, level, 60, samples);
        assert!(every.accepted > 100, "level {level}: {every:?}");
        assert!(
            every.lucky() * 100 < every.accepted,
            "level {level}: {every:?}"
        );
    }
    let last = sample(Asked::LastValue, 7, 60, 5);
    assert!(last.lucky() * 10 > last.accepted, "{last:?}");
}
