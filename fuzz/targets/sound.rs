//! Two expressions, the second a changed copy of the first or a new one. If the checker finds them equal, their
//! floating-point values agree wherever both have one. The verdict is the same in both orders.
#![no_main]

use dart_math::answer::Checker;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/answer/expression.rs"]
#[allow(dead_code)]
mod expression;

use expression::{Expression, Pen, differ};

/// Builds an expression from a fuzzer's bytes. Missing bytes are 0.
fn grown(bytes: &mut impl Iterator<Item = u8>, depth: u32) -> Expression {
    let mut next = || bytes.next().unwrap_or(0);
    let kind = if depth == 0 { next() % 3 } else { next() % 16 };
    match kind {
        0 => return Expression::Whole(u32::from(next())),
        1 => return Expression::Symbol(["x", "y", "n", "a", "\\pi"][usize::from(next() % 5)]),
        2 => return Expression::Decimal(u32::from(next() % 20), 1 + u32::from(next())),
        _ => {}
    }
    let number = u32::from(next());
    let mut part = || Box::new(grown(bytes, depth - 1));
    match kind {
        3 | 4 => Expression::Sum(part(), part()),
        5 => Expression::Difference(part(), part()),
        6 | 7 => Expression::Product(part(), part()),
        8 => Expression::Over(part(), part()),
        9 => Expression::Quotient(part(), 1 + number),
        10 => Expression::Power(part(), 2 + number % 4),
        11 => Expression::Root(part()),
        12 => Expression::Exponential(part()),
        13 => Expression::Negative(part()),
        _ => {
            let name = ["\\sin", "\\cos", "\\ln", "\\arctan"][(number % 4) as usize];
            Expression::Call(name, part())
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [at, change, style, rest @ ..] = data else {
        return;
    };
    let mut bytes = rest.iter().copied();
    let left = grown(&mut bytes, 4);
    let right = match change % 3 {
        0 => grown(&mut bytes, 4),
        _ => left.nudged(usize::from(at % 16), change / 3),
    };
    let choices = [*style, style.rotate_left(3) ^ 0x5a, at ^ change, 7];
    let checker = Checker::default();
    let plain = Pen::new(&[]).expression(&left);
    let other = Pen::new(&choices).expression(&right);
    let verdict = checker.equal(&plain, &other);
    if verdict.equal {
        if let Some(point) = differ(&left, &right) {
            panic!("{plain} vs {other} differ at {point:?}: {verdict}");
        }
    }
    let back = checker.equal(&other, &plain);
    assert_eq!(
        verdict.equal, back.equal,
        "{plain} vs {other}: {verdict}; back {back}"
    );
});
