//! All ways to write an answer are equal, and answers found equal have equal values.

use dart_math::answer::Checker;
use proptest::prelude::*;

use crate::expression::{Answer, Expression, Pen, differ};

use Expression as E;

fn symbol() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["x", "y", "n", "a", "\\pi"])
}

pub(crate) fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        4 => (0u32..1000).prop_map(E::Whole),
        1 => (0u32..100, 1u32..1000).prop_map(|(whole, part)| E::Decimal(whole, part)),
        2 => symbol().prop_map(E::Symbol),
    ];
    leaf.prop_recursive(3, 10, 2, |inner| {
        let boxed = inner.prop_map(Box::new);
        let pair = (boxed.clone(), boxed.clone());
        prop_oneof![
            boxed.clone().prop_map(E::Negative),
            pair.clone().prop_map(|(a, b)| E::Sum(a, b)),
            pair.clone().prop_map(|(a, b)| E::Difference(a, b)),
            pair.prop_map(|(a, b)| E::Product(a, b)),
            (boxed.clone(), 1u32..30).prop_map(|(a, b)| E::Quotient(a, b)),
            (boxed.clone(), symbol()).prop_map(|(a, b)| E::Over(a, Box::new(E::Symbol(b)))),
            (boxed.clone(), 2u32..4).prop_map(|(a, b)| E::Power(a, b)),
            boxed.clone().prop_map(E::Root),
            boxed.clone().prop_map(E::Exponential),
            (prop::sample::select(vec!["\\sin", "\\cos"]), boxed)
                .prop_map(|(name, a)| E::Call(name, a)),
        ]
    })
}

pub(crate) fn answer() -> impl Strategy<Value = Answer> {
    let several = || prop::collection::vec(expression(), 2..4);
    let unit = prop::sample::select(vec!["cm", "hours", "dollars", "apples", "kg"]);
    prop_oneof![
        6 => expression().prop_map(Answer::Bare),
        1 => (prop::sample::select(vec!["x", "y", "k"]), expression())
            .prop_map(|(name, value)| Answer::Assigned(name, value)),
        1 => (0u32..10_000, unit).prop_map(|(value, unit)| Answer::Measured(value, unit)),
        1 => (0u32..1000).prop_map(Answer::Percent),
        1 => (0u32..360).prop_map(Answer::Degrees),
        1 => several().prop_map(Answer::List),
        1 => several().prop_map(Answer::Tuple),
        1 => several().prop_map(Answer::Set),
        1 => (-50i32..50, 1u32..50, any::<bool>(), any::<bool>())
            .prop_map(|(from, size, left, right)| Answer::Interval(from, size, left, right)),
        1 => (prop::sample::select(vec!["<", ">", "\\le", "\\ge"]), expression())
            .prop_map(|(relation, value)| Answer::From(relation, value)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn all_writings_of_an_answer_are_equal(
        answer in answer(),
        choices in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let plain = Pen::new(&[]).answer(&answer);
        let other = Pen::new(&choices).answer(&answer);
        let checker = Checker::default();
        // Such an answer contains a root without a real value.
        prop_assume!(checker.reference(&plain).kind() != "not read as mathematics");
        for (left, right) in [(&plain, &other), (&other, &plain)] {
            let verdict = checker.equal(left, right);
            prop_assert!(verdict.equal, "{} vs {}: {}", left, right, verdict);
        }
    }

    #[test]
    fn the_order_of_a_list_changes_no_verdict(
        left in prop::collection::vec(expression(), 2..4),
        right in prop::collection::vec(expression(), 2..4),
        seed in any::<u8>(),
    ) {
        let checker = Checker::default();
        let write = |items: &[Expression]| {
            let mut pen = Pen::new(&[]);
            let items: Vec<String> = items.iter().map(|item| pen.expression(item)).collect();
            items.join(", ")
        };
        let mut turned = right.clone();
        turned.rotate_left(usize::from(seed) % right.len());
        let before = checker.equal(&write(&left), &write(&right));
        let after = checker.equal(&write(&left), &write(&turned));
        prop_assert_eq!(before.equal, after.equal);
        let same = checker.equal(&write(&right), &write(&turned));
        // A root without a real value may be unreadable. Then only the text is compared.
        let unread = matches!(&*same.rule, "text" | "undecided");
        prop_assert!(same.equal || unread, "{} vs {}: {}", write(&right), write(&turned), same);
    }

    #[test]
    fn symmetric_on_answers(left in answer(), right in answer()) {
        let checker = Checker::default();
        let (left, right) = (Pen::new(&[]).answer(&left), Pen::new(&[]).answer(&right));
        let verdict = checker.equal(&left, &right);
        let back = checker.equal(&right, &left);
        prop_assert_eq!(verdict.equal, back.equal, "{} vs {}", left, right);
    }

    /// Expressions found equal have the same value wherever both have one. Most pairs differ in one place: a number, a
    /// sign or an operation.
    #[test]
    fn equal_expressions_have_equal_values(
        left in expression(),
        at in 0usize..12,
        change in any::<u8>(),
        choices in prop::collection::vec(any::<u8>(), 1..24),
    ) {
        let right = left.nudged(at, change);
        let (one, other) = (Pen::new(&[]).expression(&left), Pen::new(&choices).expression(&right));
        let verdict = Checker::default().equal(&one, &other);
        if verdict.equal && let Some(point) = differ(&left, &right) {
            prop_assert!(false, "{} vs {} at {:?}: {}", one, other, point, verdict);
        }
    }
}
