//! The spans of a run, as a subscriber receives them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dart_math::dars::{Keep, Run, Uniform};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::scripted::{Scripted, grader, problems, trials};

thread_local! {
    /// The spans that this thread has entered.
    static ENTERED: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A recorded span.
#[derive(Debug, Clone)]
struct Span {
    name: &'static str,
    level: Level,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    entered: u32,
    closed: bool,
}

/// Records all spans of the crate on all threads.
#[derive(Clone, Default)]
struct Recorder {
    spans: Arc<Mutex<BTreeMap<u64, Span>>>,
    next: Arc<AtomicU64>,
}

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("dart_math::dars")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let metadata = attributes.metadata();
        let current = || ENTERED.with_borrow(|entered| entered.last().copied());
        let parent = attributes.parent().map(Id::into_u64);
        let mut span = Span {
            name: metadata.name(),
            level: *metadata.level(),
            parent: match attributes.is_contextual() {
                true => current(),
                false => parent,
            },
            fields: BTreeMap::new(),
            entered: 0,
            closed: false,
        };
        attributes.record(&mut span);
        let id = 1 + self.next.fetch_add(1, Ordering::Relaxed);
        self.spans.lock().unwrap().insert(id, span);
        Id::from_u64(id)
    }

    fn enter(&self, id: &Id) {
        let id = id.into_u64();
        ENTERED.with_borrow_mut(|entered| entered.push(id));
        self.spans.lock().unwrap().get_mut(&id).unwrap().entered += 1;
    }

    fn exit(&self, id: &Id) {
        let left = ENTERED.with_borrow_mut(Vec::pop);
        assert_eq!(left, Some(id.into_u64()));
    }

    fn try_close(&self, id: Id) -> bool {
        self.spans
            .lock()
            .unwrap()
            .get_mut(&id.into_u64())
            .unwrap()
            .closed = true;
        true
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

#[test]
fn sampling_and_every_grading_are_spans_of_the_run() {
    const SEED: u64 = 7_060_805;
    let recorder = Recorder::default();
    // The subscriber is global because graders have their own threads. The seed identifies this test's run.
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let run = || {
        let run = Run::builder(problems(&[0.9, 0.4])).strategy(Uniform { k: 3 });
        let run = run.seed(SEED).keep(Keep::All).journal(&journal);
        run.build().unwrap()
    };
    let outcome = run().run(&Scripted::default(), &grader).unwrap();

    let spans = recorder.spans.lock().unwrap().clone();
    let seed = SEED.to_string();
    let runs = spans
        .iter()
        .filter(|(_, span)| span.name == "run" && span.fields.get("seed") == Some(&seed));
    let runs: Vec<_> = runs.collect();
    let [(id, run_span)] = &runs[..] else {
        panic!("{runs:?}")
    };
    assert_eq!((run_span.level, run_span.parent), (Level::INFO, None));
    assert_eq!(run_span.fields["problems"], "2");
    let within = |name: &str| -> Vec<&Span> {
        let spans = spans.values().filter(|span| span.name == name);
        spans.filter(|span| span.parent == Some(**id)).collect()
    };
    let [sample] = within("sample")[..] else {
        panic!("{spans:?}")
    };
    let [opening] = within("journal")[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(opening.fields["path"], journal.display().to_string());
    let grading = within("grade");
    for span in [sample, opening].iter().chain(&grading) {
        assert!(span.entered == 1 && span.closed, "{span:?}");
    }
    assert!(grading.iter().all(|span| span.level == Level::DEBUG));
    // Every trial that counts was graded once.
    for trial in trials(&outcome) {
        let is_it = |span: &&&Span| {
            span.fields["trial"] == trial.number.to_string()
                && span.fields["problem"].contains(&trial.problem)
        };
        assert_eq!(grading.iter().filter(is_it).count(), 1, "{trial:?}");
    }
}
