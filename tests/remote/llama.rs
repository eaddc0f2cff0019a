//! A real llama.cpp server, at the base URL in `DART_MATH_LLAMA_SERVER` (`http://127.0.0.1:8080/v1`), with any
//! small model in a context of 512 tokens or more a slot.

use std::time::{Duration, Instant};

use dart_math::dars::{Run, RunStop, Vanilla};
use dart_math::remote::{OpenAi, OpenAiBuilder, Prompt, Timeouts};
use dart_math::{Completion, Finish, Generator, Problem, Sampling, TrialId, Verdict};

use crate::list::List;

/// The server, where there is one.
fn server() -> Option<OpenAiBuilder> {
    let Some(url) = std::env::var("DART_MATH_LLAMA_SERVER")
        .ok()
        .filter(|url| !url.is_empty())
    else {
        println!("skipped: DART_MATH_LLAMA_SERVER names no server");
        return None;
    };
    let timeouts = Timeouts {
        first_byte: Duration::from_secs(120),
        ..Timeouts::default()
    };
    Some(
        OpenAi::builder()
            .endpoint_with(url, 4)
            .timeouts(timeouts)
            .max_tokens(24),
    )
}

fn texts(generator: &OpenAi) -> Vec<Completion> {
    let list = List::new(2, 3);
    generator.run(&list).unwrap();
    list.completions().into_values().collect()
}

#[test]
fn seeds_decide_what_a_real_server_draws() {
    let Some(server) = server() else { return };
    let prompted = server.prompt(Prompt::text("Q: {problem}\nA:").unwrap());
    let sampling = Sampling {
        temperature: 1.5,
        ..Sampling::default()
    };
    let generator = prompted
        .clone()
        .sampling(sampling)
        .logprobs(true)
        .connect()
        .unwrap();
    let completions = texts(&generator);
    let mut different: Vec<&str> = completions
        .iter()
        .map(|completion| completion.text.as_str())
        .collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 6, "{completions:?}");
    for completion in &completions {
        assert!(
            (1..=24).contains(&completion.token_count()),
            "{completion:?}"
        );
        assert_eq!(
            completion.finish == Finish::Length,
            completion.token_count() == 24,
            "{completion:?}"
        );
        // At this temperature what is drawn is far from certain.
        assert!(
            completion.logprob.is_none_or(|logprob| logprob < -1.0),
            "{completion:?}"
        );
    }
    assert!(
        completions
            .iter()
            .any(|completion| completion.logprob.is_some()),
        "{completions:?}"
    );

    // Without company, so that nothing is rounded otherwise: the same seeds, the same tokens.
    let alone = |stream| {
        let url = std::env::var("DART_MATH_LLAMA_SERVER").unwrap();
        let generator = OpenAi::builder()
            .endpoint_with(url, 1)
            .prompt(Prompt::text("Q: {problem}\nA:").unwrap())
            .sampling(sampling)
            .max_tokens(8)
            .extra("cache_prompt", false.into())
            .stream(stream);
        let texts = texts(&generator.connect().unwrap());
        texts
            .into_iter()
            .map(|completion| {
                (
                    completion.text,
                    completion.counted_tokens,
                    completion.finish,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(alone(true), alone(false));
}

#[test]
fn a_run_over_a_real_server_ends() {
    let Some(server) = server() else { return };
    let prompt = Prompt::chat().with_system("Answer with one number.");
    let generator = server
        .prompt(prompt)
        .stop(vec!["\n".into()])
        .connect()
        .unwrap();
    let grader = |problem: &Problem, completion: &Completion| {
        Verdict::new(completion.text.contains(&problem.reference), "contains")
    };
    let problems = vec![
        Problem::new("What is 1 + 1?", "2"),
        Problem::new("What is 2 + 3?", "5"),
    ];
    let run = Run::builder(problems)
        .strategy(Vanilla { trials: 3 })
        .keep(dart_math::dars::Keep::All)
        .build()
        .unwrap();
    let outcome = run.run(&generator, &grader).unwrap();
    assert_eq!(
        (outcome.stop, outcome.totals.trials),
        (RunStop::Finished, 6)
    );
    for trial in outcome.trials() {
        let trial = trial.unwrap();
        assert!(
            trial.tokens > 0 && !trial.response.contains('\n'),
            "{trial:?}"
        );
    }
}

#[test]
fn a_real_server_refuses_what_is_too_long_and_stops_what_is_not_wanted() {
    let Some(server) = server() else { return };
    let prompted = server.prompt(Prompt::text("Q: {problem}\nA:").unwrap());
    let generator = prompted.clone().connect().unwrap();
    let problems = ["What is 1 + 1?".to_owned(), "one two three ".repeat(4000)];
    let problems = problems.map(|question| std::sync::Arc::new(Problem::new(question, "2")));
    let rejected = generator.check(&problems).unwrap();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected[0].problem, 1);

    let generator = prompted
        .max_tokens(400)
        .extra("ignore_eos", true.into())
        .connect()
        .unwrap();
    let list = List::new(1, 2);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(1500));
            list.no_longer_wants((0..2).map(|number| TrialId { problem: 0, number }));
        });
        generator.run(&list).unwrap();
    });
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(
        list.completions()
            .values()
            .all(|completion| completion.finish == Finish::Cancelled)
    );
}
