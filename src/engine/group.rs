//! Several engines as one generator, for example for the GPUs of a machine.
//!
//! Depends on engines and the contract, but not on how they sample.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::list::List;
use super::{CompletionRequest, Engine, Event, Statistics};
use crate::{
    Completion, Error, ErrorKind, Generator, Next, Offer, Problem, Rejection, Result, Settings,
    Source, TrialId,
};

/// Engines that sample for one source concurrently, each with its own copy of the model.
///
/// A trial does not depend on the engine that samples it, as long as the devices compute alike.
///
/// ```
/// use dart_math::engine::{Engine, EngineGroup};
/// use dart_math::model::Model;
///
/// # fn main() -> dart_math::Result<()> {
/// let engine = || Engine::builder(Model::built_in()?).threads(1).build();
/// let group = EngineGroup::new(vec![engine()?, engine()?])?;
/// assert_eq!(group.engines().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EngineGroup {
    engines: Vec<Engine>,
}

impl EngineGroup {
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if there are no engines, or if two engines have settings that give
    /// different completions (another model, template or sampling). Names the first such setting.
    pub fn new(engines: Vec<Engine>) -> Result<Self> {
        let bad = |reason: String| Err(Error::new(ErrorKind::Settings, reason));
        let Some((first, others)) = engines.split_first() else {
            return bad("a group of engines needs at least one".to_owned());
        };
        let expected = first.settings();
        for (index, other) in others.iter().enumerate() {
            let found = other.settings();
            let names = expected.keys().chain(found.keys());
            let mut different = names.filter(|name| expected.get(*name) != found.get(*name));
            if let Some(name) = different.next() {
                let shown = |settings: &Settings| match settings.get(name) {
                    Some(value) => value.to_string(),
                    None => "nothing".to_owned(),
                };
                return bad(format!(
                    "engine {} of a group has {name} = {}, the first one {}",
                    index + 2,
                    shown(&found),
                    shown(&expected)
                ));
            }
        }
        Ok(EngineGroup { engines })
    }

    /// The engines, in their order.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// The statistics of each engine.
    pub fn statistics(&self) -> Vec<Statistics> {
        self.engines.iter().map(Engine::statistics).collect()
    }

    /// Completes a list of requests like [`Engine::complete`]. Each request goes to the first
    /// engine with a free slot. Events come from all engines, one at a time.
    ///
    /// # Errors
    ///
    /// As for [`Engine::complete`]. The first error of an engine stops the others.
    pub fn complete(
        &self,
        requests: &[CompletionRequest],
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let list = List::new(requests, &mut on_event)?;
        self.on_all(&list, &|engine, source| engine.serve(&list, source, true))
    }

    /// Runs `work` on all engines concurrently, with a source that ends for all of them when one
    /// fails.
    fn on_all(
        &self,
        source: &dyn Source,
        work: &(dyn Fn(&Engine, &dyn Source) -> Result<()> + Sync),
    ) -> Result<()> {
        let shared = Shared {
            source,
            failed: AtomicBool::new(false),
        };
        let run = |engine: &Engine| {
            /// Records the failure even if the engine panics.
            struct Failing<'a>(&'a AtomicBool, bool);
            impl Drop for Failing<'_> {
                fn drop(&mut self) {
                    if self.1 {
                        self.0.store(true, Ordering::Relaxed);
                    }
                }
            }
            let mut failing = Failing(&shared.failed, true);
            let result = work(engine, &shared);
            failing.1 = result.is_err();
            result
        };
        let run = &run;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .engines
                .iter()
                .map(|engine| scope.spawn(move || run(engine)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            // Wait for all engines, whatever the first result is.
            let results: Vec<Result<()>> = joined.collect();
            results.into_iter().collect()
        })
    }
}

/// A source that ends for all engines once one has failed.
struct Shared<'a> {
    source: &'a dyn Source,
    failed: AtomicBool,
}

impl Source for Shared<'_> {
    fn next(&self, offer: Offer<'_>) -> Next {
        match self.failed.load(Ordering::Relaxed) {
            true => Next::Done,
            false => self.source.next(offer),
        }
    }

    fn wanted(&self, trial: TrialId) -> bool {
        !self.failed.load(Ordering::Relaxed) && self.source.wanted(trial)
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        self.source.deliver(trial, completion);
    }
}

/// Every engine polls the source; the run ends when all engines have finished. The first error of
/// one stops the others, which deliver what they have.
impl Generator for EngineGroup {
    fn run(&self, source: &dyn Source) -> Result<()> {
        self.on_all(source, &|engine, source| engine.run(source))
    }

    /// Rejects what any of the engines rejects, because any of them may get the problem.
    fn check(&self, problems: &[Arc<Problem>]) -> Result<Vec<Rejection>> {
        let mut rejected = BTreeMap::new();
        for engine in &self.engines {
            for rejection in engine.check(problems)? {
                rejected.entry(rejection.problem).or_insert(rejection);
            }
        }
        Ok(rejected.into_values().collect())
    }

    fn is_greedy(&self) -> bool {
        self.engines.iter().any(Generator::is_greedy)
    }

    fn settings(&self) -> Settings {
        self.engines
            .first()
            .map(Generator::settings)
            .unwrap_or_default()
    }
}
