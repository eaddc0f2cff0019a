//! Cancelling trials that are no longer wanted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dart_math::remote::OpenAiBuilder;
use dart_math::{Completion, Finish, Generator, Next, Offer, Source, TrialId};

use crate::list::{List, builder};
use crate::server::{Reply, Server, text};

fn wait_for(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it never happened"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_connection_is_closed_and_what_there_was_delivered() {
    drops_what_is_no_longer_wanted(|server, builder| ((), builder.endpoint(server.url())));
}

/// Cancels two of four trials halfway. `reach` adds the server as an endpoint, and returns what connects the two,
/// which is kept until the end.
pub(crate) fn drops_what_is_no_longer_wanted<B>(
    reach: impl Fn(&Server, OpenAiBuilder) -> (B, OpenAiBuilder),
) {
    for stream in [true, false] {
        // Responses to one problem's two seeds stall halfway, until their trials are cancelled.
        let server = Server::new(|asked| match asked.body["prompt"] == "Q: question 1?\nA:" {
            true if asked.body["stream"] == true => Reply::Stall(350),
            true => Reply::Stall(100),
            false => Reply::Good(Duration::from_millis(1)),
        });
        let long = dart_math::remote::Timeouts::default();
        let builder = builder(&[]).stream(stream).timeouts(long);
        let (_between, builder) = reach(&server, builder);
        let generator = builder.connect().unwrap();
        let list = List::new(2, 2);
        let dropped: BTreeSet<TrialId> = (0..2)
            .map(|number| TrialId { problem: 1, number })
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_for(|| server.requests() == 4 && server.log(|log| log.completed.len()) == 2);
                std::thread::sleep(Duration::from_millis(50));
                list.no_longer_wants(dropped.clone());
            });
            let begun = Instant::now();
            generator.run(&list).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(5));
        });
        wait_for(|| server.log(|log| log.closed) == 2);
        for (trial, completion) in list.completions() {
            assert_eq!(
                completion.finish == Finish::Cancelled,
                dropped.contains(&trial)
            );
            if dropped.contains(&trial) {
                let seed = dart_math::trial_seed(3, "p1", trial.number) & ((1 << 53) - 1);
                let whole = text(seed);
                assert!(whole.starts_with(&completion.text));
                assert_eq!(completion.text.is_empty(), !stream, "{completion:?}");
                assert_eq!(completion.token_count() > 0, stream);
            }
        }
        let statistics = &generator.statistics()[0];
        assert_eq!(
            (
                statistics.completed,
                statistics.cancelled,
                statistics.failures
            ),
            (2, 2, 0)
        );
    }
}

#[test]
fn a_source_that_panics_waits_for_nobody() {
    struct Panics(List);
    impl Source for Panics {
        fn next(&self, offer: Offer<'_>) -> Next {
            self.0.next(offer)
        }
        fn wanted(&self, _: TrialId) -> bool {
            true
        }
        fn deliver(&self, _: TrialId, _: Completion) {
            panic!("as scripted");
        }
    }
    let server = Server::new(|asked| match asked.body["prompt"] == "Q: question 1?\nA:" {
        true => Reply::Stall(0),
        false => Reply::Good(Duration::from_millis(50)),
    });
    let generator = builder(&[&server]).connect().unwrap();
    let begun = Instant::now();
    let run = || generator.run(&Panics(List::new(2, 2)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    assert!(panicked.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
    wait_for(|| server.log(|log| log.closed) >= 2);
}

#[test]
fn what_waits_for_a_server_is_dropped_without_one() {
    let server = Server::good();
    let generator = builder(&[&server]).connect().unwrap();
    server.die();
    let list = List::new(1, 3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            list.no_longer_wants((0..3).map(|number| TrialId { problem: 0, number }));
        });
        generator.run(&list).unwrap();
    });
    let completions = list.completions();
    assert_eq!(completions.len(), 3);
    assert!(
        completions
            .values()
            .all(|completion| completion.finish == Finish::Cancelled)
    );
}
