//! Texts made to take long, nest deeply or overflow. The work for each is bounded by counted steps. Otherwise, these
//! tests would not end. They run in a thread with a small stack.

use dart_math::answer::Checker;

use crate::hostile_texts::hostile_texts;

/// Runs a check with a small stack, on which deep recursion would overflow.
fn with_small_stack(check: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(check)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn every_pair_of_neighbours_is_decided_the_same_in_both_orders() {
    with_small_stack(|| {
        let checker = Checker::builder().lenient(true).build();
        let texts = hostile_texts();
        for (index, text) in texts.iter().enumerate() {
            let _ = checker.grade("1", text);
            let neighbour = &texts[(index + 1) % texts.len()];
            let verdict = checker.equal(text, neighbour);
            let back = checker.equal(neighbour, text);
            assert_eq!(verdict.equal, back.equal, "{index}: not symmetric");
        }
    });
}

/// A text that exceeds the bounds is undecided. It is not taken for a number.
#[test]
fn none_is_taken_for_a_number() {
    with_small_stack(|| {
        let checker = Checker::default();
        let texts = hostile_texts();
        let mut wrong = Vec::new();
        let mut undecided = 0;
        for text in &texts {
            for number in ["7", "-3", "41.5"] {
                for verdict in [checker.equal(text, number), checker.equal(number, text)] {
                    undecided += usize::from(verdict.rule == "undecided");
                    let known = matches!(
                        &*verdict.rule,
                        "undecided" | "text" | "unread" | "kind" | "number" | "expression" | "list"
                    );
                    if verdict.equal || !known {
                        wrong.push(format!(
                            "{:.60} vs {number}: {verdict}",
                            text.escape_debug()
                        ));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        assert!(undecided > 6 * 20, "only {undecided} were undecided");
    });
}

#[test]
fn memory_for_a_long_text_is_not_kept() {
    let checker = Checker::default();
    let long = "7".repeat(1_000_000);
    let verdict = checker.equal(&long, &format!("{long}0"));
    assert_eq!((verdict.equal, &*verdict.rule), (false, "undecided"));
    assert!(checker.equal(&long, &long).equal);
}

/// Items compared one by one count as steps, whatever they are.
#[test]
fn many_items_are_counted() {
    let checker = Checker::default();
    let constraints = |range: &mut dyn Iterator<Item = usize>| {
        let items: Vec<String> = range.map(|k| format!("x>{k}")).collect();
        items.join(", ")
    };
    let verdict = checker.equal(
        &constraints(&mut (0..1314)),
        &constraints(&mut (0..1314).rev()),
    );
    assert_eq!((verdict.equal, &*verdict.rule), (false, "undecided"));
    let few = checker.equal(&constraints(&mut (0..60)), &constraints(&mut (0..60).rev()));
    assert!(few.equal, "{few}");
    // Items with a normal form are looked up by it, so many of them are no problem.
    let numbers: Vec<String> = (0..1000).map(|k| k.to_string()).collect();
    let back: Vec<String> = numbers.iter().rev().cloned().collect();
    for (open, close) in [("", ""), ("\\{", "\\}")] {
        let pair = [&numbers, &back].map(|items| format!("{open}{}{close}", items.join(" , ")));
        assert!(checker.equal(&pair[0], &pair[1]).equal, "{open}");
    }
    let sines: Vec<String> = (1..200).map(|k| format!("\\sin {k}x")).collect();
    let sum = sines.join("+");
    assert!(!checker.equal(&sum, &format!("{sum}+1")).equal);
}
