//! Exact expectations and coverages: sums over all ends that sampling can reach.

use super::*;

const RATES: [f64; 9] = [0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99];

fn binomial(n: u32, k: u32, p: f64) -> f64 {
    let (n, k) = (f64::from(n), f64::from(k));
    let log = |share: f64, times: f64| {
        if times == 0.0 {
            0.0
        } else {
            times * share.ln()
        }
    };
    (ln_choose(n, k) + log(p, k) + log(1.0 - p, n - k)).exp()
}

/// Every end of inverse sampling to `goal` successes within `most` trials, with its probability.
fn inverse(goal: u32, most: u32, p: f64) -> Vec<(u32, u32, bool, f64)> {
    let mut ends = Vec::new();
    for trials in goal..=most {
        let last = binomial(trials - 1, goal - 1, p) * p;
        ends.push((trials, goal, true, last));
    }
    for correct in 0..goal.min(most + 1) {
        ends.push((most, correct, false, binomial(most, correct, p)));
    }
    ends
}

/// Every tally that a strategy may end with, and its probability.
type Ends = Vec<(Tally, f64)>;

fn vanilla(n: u32, p: f64) -> Ends {
    let tally = |correct| Tally {
        trials: n,
        correct,
        ..Tally::default()
    };
    (0..=n).map(|c| (tally(c), binomial(n, c, p))).collect()
}

fn uniform(k: u32, most: u32, p: f64) -> Ends {
    let tally = |(trials, correct, at_success, share)| {
        let tally = Tally {
            trials,
            correct,
            at_success,
            ..Tally::default()
        };
        (tally, share)
    };
    inverse(k, most, p).into_iter().map(tally).collect()
}

fn prop2diff(k: u32, m: u32, most: u32, p: f64) -> Ends {
    after_pilot(k, m, p, &|target, own| {
        let later = inverse(target - own, most - m, p);
        let end = |(trials, correct, at_success, share)| {
            let tally = Tally {
                trials: m + trials,
                correct: own + correct,
                at_success,
                ..Tally::default()
            };
            (tally, share)
        };
        later.into_iter().map(end).collect()
    })
}

/// Ends of a pilot of m trials and of what follows it, a function of the target and the pilot's successes.
fn after_pilot(k: u32, m: u32, p: f64, later: &dyn Fn(u32, u32) -> Ends) -> Ends {
    let target = |correct: u32| (k * (m - correct)).div_ceil(m).max(1);
    let mut ends = Vec::new();
    for own in 0..=m {
        let share = binomial(m, own, p);
        let pilot = Some(Pilot {
            trials: m,
            correct: own,
            nearly_met: own < m && target(own + 1) <= own + 1 && target(own) > own,
            highest_target: target(0),
        });
        if target(own) <= own {
            let tally = Tally {
                trials: m,
                correct: own,
                pilot,
                ..Tally::default()
            };
            ends.push((tally, share));
            continue;
        }
        for (tally, later) in later(target(own), own) {
            ends.push((Tally { pilot, ..tally }, share * later));
        }
    }
    ends
}

/// Checks that the probabilities sum to 1, the estimate is unbiased and the interval covers.
fn check(name: &str, ends: &Ends, p: f64, least: f64) {
    let mass: f64 = ends.iter().map(|(_, share)| share).sum();
    assert!((mass - 1.0).abs() < 1e-9, "{name} {p}: {mass}");
    let mean: f64 = ends
        .iter()
        .map(|(tally, share)| share * tally.pass_rate().unwrap())
        .sum();
    assert!((mean - p).abs() < 1e-9, "{name} {p}: {mean}");
    let covered: f64 = ends
        .iter()
        .filter(|(tally, share)| {
            let (low, high) = tally.interval().unwrap();
            let rate = tally.pass_rate().unwrap();
            assert!((0.0..=1.0).contains(&rate), "{tally:?}: {rate}");
            *share > 0.0 && low <= p && p <= high
        })
        .map(|(_, share)| share)
        .sum();
    assert!(covered >= least, "{name} {p}: {covered}");
}

#[test]
fn estimates_have_no_bias_and_intervals_cover() {
    for p in RATES {
        for n in [1, 4, 30] {
            check("vanilla", &vanilla(n, p), p, 0.95);
        }
        for (k, most) in [(2, 40), (4, 300), (40, 400)] {
            check("uniform", &uniform(k, most, p), p, 0.95);
        }
        for (k, m) in [(16, 8), (192, 8), (40, 4), (3, 8), (1, 4)] {
            check("prop2diff", &prop2diff(k, m, 400, p), p, 0.93);
        }
    }
}

/// Every end of inverse sampling with an end for futility, by enumerating all orders.
fn futile(k: u32, most: u32, below: f64, (m, own): (u32, u32), p: f64) -> Ends {
    let rule = Futility {
        target: k,
        limit: most,
        below,
    };
    let mut ends = Vec::new();
    // The probability of having this many trials and correct ones and continuing.
    let mut open = std::collections::BTreeMap::from([(own, 1.0)]);
    for trials in m + 1.. {
        let mut next = std::collections::BTreeMap::new();
        for (correct, share) in open {
            for (correct, share) in [(correct + 1, share * p), (correct, share * (1.0 - p))] {
                let met = correct >= k;
                if met || trials >= most || trials >= rule.end(correct) {
                    let tally = Tally {
                        trials,
                        correct,
                        at_success: met,
                        futility: Some(rule),
                        ..Tally::default()
                    };
                    ends.push((tally, share));
                } else {
                    *next.entry(correct).or_insert(0.0) += share;
                }
            }
        }
        open = next;
        if open.is_empty() {
            break;
        }
    }
    // Several orders may reach the same end.
    let key = |tally: &Tally| (tally.trials, tally.correct);
    ends.sort_by_key(|(tally, _)| key(tally));
    ends.dedup_by(|(later, share), (first, sum)| {
        let same = key(later) == key(first) && later.at_success == first.at_success;
        if same {
            *sum += *share;
        }
        same
    });
    ends
}

#[test]
fn ends_for_futility_take_nothing_from_the_estimates() {
    for p in RATES {
        for (k, most, below) in [
            (4, 60, 0.01),
            (4, 60, 0.3),
            (12, 200, 0.05),
            (40, 300, 1e-4),
        ] {
            let ends = futile(k, most, below, (0, 0), p);
            check(&format!("futility {k} {most} {below}"), &ends, p, 0.93);
            for tries in [1, 2, 5] {
                let known = ends.iter().all(|(tally, _)| tally.pass_at(tries).is_some());
                let first = Futility {
                    target: k,
                    limit: most,
                    below,
                };
                assert_eq!(known, tries <= first.end(0), "{k} {most} {below} {tries}");
                if known {
                    let mean: f64 = ends
                        .iter()
                        .map(|(tally, share)| share * tally.pass_at(tries).unwrap())
                        .sum();
                    let exact = 1.0 - (1.0 - p).powi(tries as i32);
                    assert!(
                        (mean - exact).abs() < 1e-8,
                        "{k} {most} {below} {tries}: {mean}"
                    );
                }
            }
        }
        for (k, m, most, below) in [(16, 8, 120, 0.05), (16, 8, 40, 0.3), (3, 8, 100, 0.05)] {
            let later = |target, own| futile(target, most, below, (m, own), p);
            let ends = after_pilot(k, m, p, &later);
            check(
                &format!("pilot, futility {k} {most} {below}"),
                &ends,
                p,
                0.93,
            );
        }
    }
}

#[test]
fn giving_up_takes_nothing_from_the_estimate() {
    // Until the third success, given up after 5 trials without one.
    let (k, most, give_up) = (3, 200, 5);
    for p in RATES {
        let mut mean = 0.0;
        let mut mass = (1.0 - p).powi(give_up as i32);
        for tally in uniform(k, most, p).into_iter().map(|(tally, _)| tally) {
            if tally.correct == 0 {
                continue;
            }
            let tally = Tally {
                give_up_after: Some(give_up),
                ..tally
            };
            // Orders whose first trials are not all wrong.
            let (n, c) = match tally.at_success {
                true => (tally.trials - 1, tally.correct - 1),
                false => (tally.trials, tally.correct),
            };
            let without = match n.checked_sub(give_up).filter(|rest| *rest >= c) {
                Some(rest) => ln_choose(f64::from(rest), f64::from(c)).exp(),
                None => 0.0,
            };
            let orders = ln_choose(f64::from(n), f64::from(c)).exp() - without;
            let wrong = tally.trials - tally.correct;
            let share = orders * p.powi(tally.correct as i32) * (1.0 - p).powi(wrong as i32);
            mass += share;
            mean += share * tally.pass_rate().unwrap();
        }
        assert!((mass - 1.0).abs() < 1e-9, "{p}: {mass}");
        assert!((mean - p).abs() < 1e-9, "{p}: {mean}");
    }
}

#[test]
fn all_wrong_has_no_bias_within_what_was_tried() {
    for p in RATES {
        let mean = |ends: Ends, trials: f64| -> f64 {
            ends.iter()
                .map(|(tally, share)| share * tally.all_wrong(trials).unwrap())
                .sum()
        };
        let wrong = |trials: i32| (1.0 - p).powi(trials);
        let between = 0.75 * wrong(3) + 0.25 * wrong(4);
        assert!((mean(vanilla(12, p), 3.25) - between).abs() < 1e-9);
        assert!((mean(prop2diff(16, 8, 400, p), 3.25) - between).abs() < 1e-9);
        assert!((mean(prop2diff(16, 8, 400, p), 10.0) - wrong(10)).abs() < 1e-9);
        assert!((mean(uniform(5, 400, p), 4.0) - wrong(4)).abs() < 1e-9);
    }
    let untried = Tally::default();
    assert_eq!(untried.all_wrong(3.0), None);
    // Beyond the number of trials, it falls with every further trial.
    let tally = Tally {
        trials: 4,
        ..Tally::default()
    };
    let shares: Vec<f64> = (0..20)
        .map(|n| tally.all_wrong(f64::from(n)).unwrap())
        .collect();
    assert!(shares[4] == 1.0 && shares[5] < 1.0 && shares[19] < shares[5] && shares[19] > 0.0);
}

#[test]
fn small_counts_have_no_nonsense() {
    let tally = |trials, correct, at_success| Tally {
        trials,
        correct,
        at_success,
        ..Tally::default()
    };
    assert_eq!(tally(0, 0, false).pass_rate(), None);
    assert_eq!(tally(0, 0, false).interval(), None);
    assert_eq!(tally(1, 1, true).pass_rate(), Some(1.0));
    assert_eq!(tally(4, 1, true).pass_rate(), Some(0.25));
    assert_eq!(tally(2, 2, true).pass_rate(), Some(1.0));
    assert_eq!(tally(5, 0, false).pass_rate(), Some(0.0));
    let (low, high) = tally(8, 8, false).interval().unwrap();
    // (0.025^(1/8))
    assert!(
        (low - 0.630_583).abs() < 1e-5 && high == 1.0,
        "{low} {high}"
    );
    let (low, high) = tally(5, 0, false).interval().unwrap();
    assert!(low == 0.0 && (high - 0.521_824).abs() < 1e-5, "{high}");
    // scipy.stats.beta.ppf(0.025, 3, 8), beta.ppf(0.975, 4, 7)
    let (low, high) = tally(10, 3, false).interval().unwrap();
    assert!((low - 0.066_739_5).abs() < 1e-6 && (high - 0.652_452_9).abs() < 1e-6);
}

#[test]
fn pass_at_k_has_no_bias_within_what_was_tried() {
    for p in RATES {
        let check = |name: &str, ends: Ends, k: u32| {
            let mean: f64 = ends
                .iter()
                .map(|(tally, share)| share * tally.pass_at(k).unwrap())
                .sum();
            let pass = 1.0 - (1.0 - p).powi(k as i32);
            assert!((mean - pass).abs() < 1e-9, "{name} {p} {k}: {mean} {pass}");
        };
        for k in [1, 4, 12] {
            check("vanilla", vanilla(12, p), k);
            check("uniform", uniform(5, 400, p), k);
            check("first success", uniform(1, 400, p), k);
            check("prop2diff", prop2diff(16, 8, 400, p), k);
        }
        // Far beyond what easy problems need, up to the limit of trials.
        check("uniform", uniform(5, 400, p), 256);
        check("prop2diff", prop2diff(16, 8, 400, p), 256);
    }
    // Chen et al.: 1 - C(7, 3) / C(10, 3).
    let fixed = Tally {
        trials: 10,
        correct: 3,
        ..Tally::default()
    };
    assert!((fixed.pass_at(3).unwrap() - (1.0 - 35.0 / 120.0)).abs() < 1e-12);
    assert_eq!(fixed.pass_at(8), Some(1.0));
    assert_eq!((fixed.pass_at(0), fixed.pass_at(11)), (None, None));
    assert_eq!(Tally::default().pass_at(1), None);
}

/// Every order of trials until the third success, 5 trials without one, or 12 trials.
#[test]
fn giving_up_takes_nothing_from_pass_at_k() {
    let (goal, most, give_up) = (3, 12, 5);
    for p in [0.05, 0.3, 0.8] {
        let mut means = [0.0; 5];
        let mut open = vec![(Tally::default(), 1.0)];
        let mut mass = 0.0;
        while let Some((tally, share)) = open.pop() {
            let given_up = tally.correct == 0 && tally.trials == give_up;
            let met = tally.correct == goal;
            if given_up || met || tally.trials == most {
                let tally = Tally {
                    at_success: met,
                    give_up_after: Some(give_up),
                    ..tally
                };
                mass += share;
                for (mean, k) in means.iter_mut().zip(1..) {
                    *mean += share * tally.pass_at(k).unwrap();
                }
                assert_eq!(tally.pass_at(give_up + 1), None);
                continue;
            }
            for (correct, rate) in [(0, 1.0 - p), (1, p)] {
                let tally = Tally {
                    trials: tally.trials + 1,
                    correct: tally.correct + correct,
                    ..tally
                };
                open.push((tally, share * rate));
            }
        }
        assert!((mass - 1.0).abs() < 1e-9);
        for (mean, k) in means.into_iter().zip(1..) {
            let pass = 1.0 - (1.0 - p).powi(k);
            assert!((mean - pass).abs() < 1e-9, "{p} {k}: {mean} {pass}");
        }
    }
}
