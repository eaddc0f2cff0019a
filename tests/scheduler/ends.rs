//! How completions end, and which requests are refused.

use dart_math::engine::{Engine, Sampling};
use dart_math::model::{Prompt, Template};
use dart_math::{ErrorKind, Finish};

use super::{CONTEXT, VOCABULARY, builder, looping_model, prompt, ragged};

pub(crate) fn completions_end_at_their_limits() {
    // The setting allows 8 tokens. A full context allows fewer.
    let engine = builder()
        .max_new_tokens(8)
        .ignore_eos(true)
        .build()
        .unwrap();
    let lens = [
        1,
        10,
        CONTEXT as u64 - 3,
        CONTEXT as u64 - 1,
        CONTEXT as u64,
        500,
    ];
    let prompts: Vec<Prompt> = lens.iter().map(|&len| prompt(len, len)).collect();
    let completions = engine.generate(&prompts, 0).unwrap();
    let tokens: Vec<usize> = completions.iter().map(|c| c.tokens.len()).collect();
    assert_eq!(tokens, [8, 8, 3, 1, 0, 0]);
    for completion in &completions {
        assert_eq!(completion.finish, Finish::Length);
        assert_eq!(completion.text.is_empty(), completion.tokens.is_empty());
    }
}

pub(crate) fn stop_strings_end_a_completion_and_are_cut() {
    let prompts = ragged(8);
    let free = builder().build().unwrap().generate(&prompts, 2).unwrap();
    for (prompt, whole) in prompts.iter().zip(&free) {
        // The stop string spans the end of one token's text and the start of the next.
        let middle = whole.text.len() / 2;
        let stop = whole.text[middle..middle + 5].to_owned();
        let at = whole.text.find(&stop).unwrap();
        let engine = builder().stop(vec![stop.clone()]).build().unwrap();
        let cut = engine
            .generate(std::slice::from_ref(prompt), 2)
            .unwrap()
            .remove(0);
        assert_eq!(cut.finish, Finish::Stop);
        assert_eq!(cut.text, whole.text[..at], "stop at {stop:?}");
        assert!(whole.tokens.starts_with(&cut.tokens));
        assert!(cut.logprob.unwrap() >= whole.logprob.unwrap());
    }
}

pub(crate) fn a_greedy_loop_is_cut_off_unless_asked_for() {
    // With greedy sampling and a long context, a model with random weights soon repeats itself.
    let engine = |detect| {
        Engine::builder(looping_model())
            .template(Template::parse("{problem}").unwrap())
            .sampling(Sampling::greedy())
            .max_new_tokens(350)
            .loop_detection(detect)
            .build()
            .unwrap()
    };
    let prompts = ragged(4);
    let cut = engine(true).generate(&prompts, 0).unwrap();
    let whole = engine(false).generate(&prompts, 0).unwrap();
    let mut loops = 0;
    for (cut, whole) in cut.iter().zip(&whole) {
        assert_eq!(whole.finish, Finish::Length);
        assert_eq!(whole.tokens.len(), 350);
        if cut.finish == Finish::Loop {
            loops += 1;
            assert!(cut.tokens.len() >= 128 && cut.tokens.len() < 350);
            assert!(whole.tokens.starts_with(&cut.tokens));
        }
    }
    assert!(loops > 0);
}

pub(crate) fn bad_settings_and_prompts_are_errors() {
    let bad = [
        builder().slots(0),
        builder().threads(0),
        builder().max_new_tokens(0),
        builder().stop(vec![String::new()]),
        builder().sampling(Sampling {
            top_p: 0.0,
            ..Sampling::default()
        }),
    ];
    for builder in bad {
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::Settings);
    }
    let engine = builder().build().unwrap();
    let empty = Prompt {
        text: String::new(),
        tokens: Vec::new(),
    };
    let error = engine.generate(&[prompt(1, 3), empty], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.to_string().contains("problem 2 of the list"),
        "{error}"
    );
    let foreign = Prompt {
        text: "x".into(),
        tokens: vec![VOCABULARY],
    };
    assert!(engine.generate(&[foreign], 0).is_err());
    // The engine still works after both errors.
    assert_eq!(engine.generate(&ragged(2), 0).unwrap().len(), 2);
    assert!(engine.generate(&[], 0).unwrap().is_empty());
}
