//! The first line of a run: what is sampled, with which model, and how much.

use dart_math::dars::{Limits, Strategy};
use dart_math::model::ModelSource;
use dart_math::report::counted;

use crate::common::tool::say;
use crate::{Args, StrategyName};

/// Prints the model, problems and strategy of the run.
pub(crate) fn say_all(args: &Args, problems: usize, strategy: &dyn Strategy, limits: Limits) {
    let from = match (&args.problems, args.last_value) {
        (Some(path), _) => format!("from {}", path.display()),
        (None, true) => "built in, the last value asked for".into(),
        (None, false) => "built in, every value asked for".into(),
    };
    let source = ModelSource::parse(&args.engine.model);
    let built_in = args.server.is_empty() && matches!(source, Ok(ModelSource::BuiltIn));
    let model = match args.server.is_empty() {
        true => format!("model {}", args.engine.model),
        false => format!("model of {}", args.server.join(", ")),
    };
    say!(
        "{}{}; {} ({from}); {}; seed {}",
        model,
        if built_in { " (built in)" } else { "" },
        counted(problems, "problem"),
        describe(args, strategy, limits),
        args.seed
    );
    if built_in && args.problems.is_some() {
        say!(
            "note: the built-in model knows the built-in problems only, and will hardly solve any of \
             other files: --model takes another"
        );
    }
}

/// Describes a strategy with its parameters.
fn describe(args: &Args, strategy: &dyn Strategy, limits: Limits) -> String {
    let settings = strategy.settings();
    let number = |name: &str| settings.get(name).and_then(|value| value.as_u64());
    let trials = |name: &str| counted(number(name).unwrap_or(0), "trial");
    let responses = || counted(number("k").unwrap_or(0), "correct response");
    let goal = match (args.strategy, &args.pass_rates) {
        (StrategyName::Vanilla, _) => {
            format!("vanilla, {} a problem", trials("trials"))
        }
        (StrategyName::Uniform, _) => format!("uniform, {} a problem", responses()),
        (StrategyName::Prop2diff, None) => format!(
            "prop2diff, up to {} a problem by the fail rate of its first {}",
            responses(),
            trials("pilot")
        ),
        (StrategyName::Prop2diff, Some(table)) => format!(
            "prop2diff, up to {} a problem by the pass rates of {}",
            responses(),
            table.display()
        ),
    };
    let mut words = vec![goal];
    if let Some(most) = limits.trials_per_problem {
        words.push(format!("at most {}", counted(most, "trial")));
    }
    if args.dedup {
        words.push("no duplicates".to_owned());
    }
    if let Some(below) = limits.futility {
        words.push(format!("futile below a chance of {below}"));
    }
    let run = [
        limits.trials.map(|most| counted(most, "trial")),
        limits.tokens.map(|most| counted(most, "token")),
        limits.time.map(|most| format!("{} s", most.as_secs_f64())),
    ];
    let run: Vec<String> = run.into_iter().flatten().collect();
    if !run.is_empty() {
        words.push(format!("at most {} in all", run.join(" or ")));
    }
    words.join(", ")
}
