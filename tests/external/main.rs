//! Tests that need more than the crate's sources: real models, labelled answers, published problem sets, or the
//! examples' binaries. Tests whose needs are not met are reported as ignored.

mod coverage;
mod dataset_script;
mod documents;
#[cfg(feature = "engine")]
mod families;
#[cfg(feature = "openai")]
#[path = "../shared/files.rs"]
mod files;
#[cfg(feature = "engine")]
mod generate;
#[cfg(feature = "engine")]
#[path = "../golden/mod.rs"]
mod golden;
#[cfg(feature = "engine")]
mod golden_real;
#[cfg(feature = "engine")]
mod golden_text;
mod grade;
#[path = "../harness/mod.rs"]
mod harness;
mod kills;
mod labelled;
#[cfg(feature = "openai")]
mod llama;
#[cfg(feature = "engine")]
mod models;
mod problem_sets;
#[path = "../run/scripted/mod.rs"]
mod scripted;
#[cfg(feature = "engine")]
mod synthesize;
#[cfg(feature = "engine")]
mod template_flag;
#[cfg(feature = "engine")]
mod throughput;
#[cfg(feature = "engine")]
#[path = "../engine/tiny/mod.rs"]
mod tiny;
mod tool;

use std::process::ExitCode;

use harness::Need;

fn main() -> ExitCode {
    kills::be_one();
    harness::run([
        (Need::shared(), coverage::TESTS),
        (Need::shared(), labelled::TESTS),
        (Need::shared(), problem_sets::TESTS),
        (Need::nothing(), kills::TESTS),
        (Need::program("python3"), dataset_script::TESTS),
        (Need::program("bash"), documents::SCRIPTS),
        (Need::python_package("datasets", "yaml"), documents::YAML),
        #[cfg(feature = "engine")]
        (
            Need::example("synthesize")
                .and(Need::example("generate"))
                .and(Need::example("throughput"))
                .and(Need::example("grade"))
                .and(Need::example("report")),
            documents::FLAGS,
        ),
        (Need::example("grade"), grade::TESTS),
        #[cfg(feature = "openai")]
        (Need::python_package("llama", "xllamacpp"), llama::TESTS),
        #[cfg(feature = "openai")]
        (
            Need::python_package("llama", "xllamacpp"),
            llama::deaths::TESTS,
        ),
        #[cfg(all(feature = "openai", feature = "engine"))]
        (
            Need::python_package("llama", "xllamacpp").and(Need::example("synthesize")),
            llama::synthesize::TESTS,
        ),
        #[cfg(feature = "engine")]
        (Need::models(), golden_real::TESTS),
        #[cfg(feature = "engine")]
        (Need::models(), golden_text::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("generate"), generate::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("synthesize"), synthesize::clean::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("synthesize"), synthesize::directory::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("synthesize"), synthesize::input::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("synthesize"), synthesize::output::TESTS),
        #[cfg(feature = "engine")]
        (
            Need::example("synthesize").and(Need::example("journal")),
            synthesize::pool::TESTS,
        ),
        #[cfg(all(feature = "engine", unix))]
        (Need::example("synthesize"), synthesize::signals::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("synthesize"), families::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("synthesize"), template_flag::TESTS),
        #[cfg(feature = "engine")]
        (Need::example("throughput"), throughput::TESTS),
    ])
}
