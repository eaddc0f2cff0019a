//! The built-in model and its language.

use dart_math::Finish;
use dart_math::data::arithmetic::{LEVELS, Split, exercise, problems};
use dart_math::engine::{Engine, Sampling};
use dart_math::model::{Model, Template};

#[test]
fn tokenizer_gives_every_text_of_the_language_back() {
    let model = Model::built_in().unwrap();
    let tokenizer = model.tokenizer();
    let unknown = tokenizer.id("<unknown>").unwrap();
    let mut longest = 0;
    for split in [Split::Training, Split::Evaluation] {
        for level in LEVELS {
            for index in 0..100 {
                let exercise = exercise(split, level, index, 11);
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
    // With room to spare in the model's context of 256.
    assert!((100..200).contains(&longest), "{longest} tokens");
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
    let prompt = model
        .prompt(&Template::Chat { system: None }, question)
        .unwrap();
    assert_eq!(prompt.text, format!("{question}<answer>"));
    let tokenizer = model.tokenizer();
    assert_eq!(prompt.tokens.last().copied(), tokenizer.id("<answer>"));
    assert_eq!(tokenizer.decode(&prompt.tokens).unwrap(), question);
    assert_eq!(model.stop_tokens(), [tokenizer.id("<stop>").unwrap()]);
}

#[test]
fn pass_rates_fall_from_almost_always_to_almost_never() {
    let engine = Engine::builder(Model::built_in().unwrap())
        .sampling(Sampling::default())
        .slots(32)
        .max_new_tokens(160)
        .build()
        .unwrap();
    let rate = |level: u32| {
        let problems = problems(level..=level, 64, 0);
        let prompts: Vec<_> = problems
            .iter()
            .map(|problem| engine.prompt(&problem.question).unwrap())
            .collect();
        let completions = engine.generate(&prompts, 0).unwrap();
        let correct = completions
            .iter()
            .zip(&problems)
            .filter(|(completion, problem)| {
                let end = format!("The answer is \\boxed{{{}}}.", problem.reference);
                completion.finish == Finish::Stop && completion.text.ends_with(&end)
            })
            .count();
        correct as f64 / problems.len() as f64
    };
    // Measured over 800 responses a level: see the table in assets/abacus/README.md.
    let rates = [1, 4, 8].map(rate);
    assert!(rates[0] > 0.9, "{rates:?}");
    assert!((0.3..0.9).contains(&rates[1]), "{rates:?}");
    assert!(rates[2] < 0.1, "{rates:?}");
}
