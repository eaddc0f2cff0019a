//! The number of concurrent requests of an endpoint, and the distribution of requests over endpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use dart_math::Generator;

use crate::list::{List, builder};
use crate::logged::warnings;
use crate::server::{Asked, Reply, Server};

const PART: Duration = Duration::from_millis(5);

#[test]
fn it_grows_where_that_pays() {
    // The server handles any number of requests at once, so throughput grows with it.
    let server = Server::new(|_| Reply::Good(PART));
    let generator = builder(&[&server]).connect().unwrap();
    let list = List::new(10, 60);
    generator.run(&list).unwrap();
    list.check_all();
    let statistics = &generator.statistics()[0];
    assert!(statistics.max_in_flight >= 16, "{statistics:?}");
    assert!(list.max_offered() >= 8);
}

#[test]
fn it_stays_below_what_a_server_takes() {
    let server = Server::new(|asked| match asked.at_work > 10 {
        true => Reply::Status(429, vec![], "too many".into()),
        false => Reply::Good(PART),
    });
    let generator = builder(&[&server]).connect().unwrap();
    let list = List::new(10, 30);
    let (run, said) = warnings(|| generator.run(&list));
    run.unwrap();
    list.check_all();
    // Only the first, second, fourth, eighth, … overload is logged.
    let (warnings, url) = (
        said.matches("an endpoint is overloaded").count(),
        server.url(),
    );
    assert!((1..=5).contains(&warnings), "{said}");
    assert!(
        said.contains(&format!("endpoint=\"{url}\"")) && said.contains("status 429: too many"),
        "{said}"
    );
    let statistics = &generator.statistics()[0];
    assert!(
        statistics.failures > 0 && statistics.failures < 100,
        "{statistics:?}"
    );
    assert!((1..=16).contains(&statistics.concurrency), "{statistics:?}");
    assert!(server.log(|log| log.most_at_work) <= 17);
}

#[test]
fn a_bound_is_kept() {
    let (first, second) = (
        Server::new(|_| Reply::Good(PART)),
        Server::new(|_| Reply::Good(PART)),
    );
    let generator = builder(&[])
        .endpoint_with(first.url(), 1)
        .endpoint_with(second.url(), 6);
    let generator = generator.connect().unwrap();
    let list = List::new(5, 20);
    generator.run(&list).unwrap();
    list.check_all();
    let most: Vec<usize> = generator
        .statistics()
        .iter()
        .map(|endpoint| endpoint.max_in_flight)
        .collect();
    assert!(most[0] == 1 && (4..=6).contains(&most[1]), "{most:?}");
}

#[test]
fn the_faster_endpoint_gets_more() {
    let fast = Server::new(|_| Reply::Good(Duration::from_millis(1)));
    let slow = Server::new(|_| Reply::Good(Duration::from_millis(40)));
    let generator = builder(&[])
        .endpoint_with(fast.url(), 4)
        .endpoint_with(slow.url(), 4);
    let generator = generator.connect().unwrap();
    let list = List::new(5, 30);
    generator.run(&list).unwrap();
    list.check_all();
    let (fast, slow) = (fast.requests(), slow.requests());
    assert!(slow > 0 && fast > 4 * slow, "{fast} and {slow}");
}

#[test]
fn trials_of_a_problem_go_where_its_prompt_is() {
    let servers = [0, 1].map(|_| Server::new(|_| Reply::Good(Duration::from_millis(20))));
    let generator = builder(&[&servers[0], &servers[1]]).connect().unwrap();
    // As many requests as both endpoints start with.
    let list = List::new(2, 4);
    generator.run(&list).unwrap();
    list.check_all();
    let prompt = |asked: &Asked| asked.body["prompt"].to_string();
    for server in &servers {
        let prompts: BTreeSet<String> = server.log(|log| log.asked.iter().map(prompt).collect());
        assert_eq!((server.requests(), prompts.len()), (4, 1));
    }
}
