//! Tests balls against values computed elsewhere, against other precisions, and against identities between the
//! functions.
#![allow(clippy::unwrap_used)]

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use proptest::prelude::*;

use super::Fail;
use super::ball::Ball;
use super::calls;
use super::complex::Complex;
use super::elementary::{Constants, arc_tangent, cos_sin, exponential, logarithm};
use super::magnitude::Magnitude;
use crate::answer::budget::Budget;

fn parse(text: &str) -> RBig {
    let (top, bottom) = text.split_once('/').unwrap_or((text, "1"));
    RBig::from_parts(
        top.parse::<IBig>().unwrap(),
        bottom.parse::<UBig>().unwrap(),
    )
}

/// Returns `-1.2345e-6` as a rational number, with one unit of its last digit.
fn decimal(text: &str) -> (RBig, RBig) {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa: IBig = format!("{whole}{part}").parse().unwrap();
    let exponent = exponent.parse::<i64>().unwrap() - part.len() as i64;
    let power = RBig::from(UBig::from(10u8).pow(exponent.unsigned_abs() as usize));
    let unit = if exponent < 0 {
        RBig::ONE / power
    } else {
        power
    };
    (RBig::from(mantissa) * &unit, unit)
}

/// Returns the endpoints of a ball.
fn ends(ball: &Ball) -> (RBig, RBig) {
    let power = |exponent: i64| {
        let power = RBig::from(UBig::ONE << exponent.unsigned_abs() as usize);
        if exponent < 0 {
            RBig::ONE / power
        } else {
            power
        }
    };
    let (mid, exponent) = ball.parts();
    let mid = RBig::from(mid.clone()) * power(exponent);
    let radius = ball.radius();
    if radius.is_zero() {
        return (mid.clone(), mid);
    }
    let unit = radius.top() - 64;
    let radius = RBig::from(radius.units(unit)) * power(unit);
    (&mid - &radius, mid + radius)
}

fn apply(name: &str, x: &Ball, bits: usize, constants: &mut Constants) -> Result<Ball, Fail> {
    match name {
        "pi" => constants.pi(bits),
        "exp" => exponential(x, bits, constants),
        "ln" => logarithm(x, bits, constants),
        "sin" => Ok(cos_sin(x, bits, constants)?.1),
        "cos" => Ok(cos_sin(x, bits, constants)?.0),
        "arctan" => arc_tangent(x, bits, constants),
        "sqrt" => x.root(2, bits),
        "cbrt" => x.root(3, bits),
        _ => calls::real(
            name,
            std::slice::from_ref(x),
            bits,
            constants,
            &mut Budget::default(),
        ),
    }
}

#[test]
fn values_computed_elsewhere_lie_inside() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/numeric/values.txt"
    ));
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (name, argument, digits) = (
            words.next().unwrap(),
            parse(words.next().unwrap()),
            words.next().unwrap(),
        );
        let (value, unit) = decimal(digits);
        for bits in [64, 100, 256, 400, 420, 1000] {
            // With fresh and with cached constants.
            let mut constants = Constants::default();
            for more in [300, 0] {
                let argument = Ball::rational(&argument, bits + 120).unwrap();
                let _ = apply(name, &argument, bits + more, &mut constants);
                let ball = apply(name, &argument, bits, &mut constants).unwrap();
                let (low, high) = ends(&ball);
                assert!(
                    low <= &value + &unit && high >= &value - &unit,
                    "{line} at {bits}"
                );
                // The ball must also be narrow: to within a few bits of the requested precision, or of the
                // argument's size if that is reduced.
                let width = (&high - &low) / RBig::from(UBig::ONE << 140);
                let size = ball.upper();
                let floor = size.top().max(-140) - bits as i64 + 126;
                let bound = if floor >= 0 {
                    RBig::from(UBig::ONE << floor as usize)
                } else {
                    RBig::ONE / RBig::from(UBig::ONE << floor.unsigned_abs() as usize)
                };
                assert!(width <= bound, "{line} at {bits}: too wide");
            }
        }
        lines += 1;
    }
    assert!(lines > 100);
}

/// Generates a ball of any size with a radius of any size.
fn any_ball() -> impl Strategy<Value = Ball> {
    (any::<i64>(), -90i64..30, prop::option::of(-120i64..-2)).prop_map(|(mid, exponent, radius)| {
        let radius = radius.map_or(Magnitude::ZERO, Magnitude::power_of_two);
        Ball::new(mid.into(), exponent, radius, 64).unwrap()
    })
}

/// Returns a point of a ball, at `part` sixteenths between its endpoints.
fn inside(ball: &Ball, part: u8) -> Ball {
    let (low, high) = ends(ball);
    let point = &low + (high - &low) * RBig::from_parts(part.into(), UBig::from(16u8));
    Ball::rational(&point, 600).unwrap()
}

/// Returns whether two balls overlap, as they must if they contain the same number.
fn meet(a: &Ball, b: &Ball) -> bool {
    let (a, b) = (ends(a), ends(b));
    a.0 <= b.1 && b.0 <= a.1
}

const UNARY: [&str; 18] = [
    "exp", "ln", "sin", "cos", "arctan", "sqrt", "cbrt", "arcsin", "arccos", "arcsinh", "arccosh",
    "arctanh", "arcsec", "arccsc", "arccot", "coth", "sech", "csch",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// The result contains the value at every point of the argument, at any precision.
    #[test]
    fn functions_hold_the_values_of_all_points(
        x in any_ball(),
        part in 0u8..=16,
        bits in 20usize..200,
        more in 100usize..700,
    ) {
        let mut constants = Constants::default();
        for name in UNARY {
            let Ok(wide) = apply(name, &x, bits, &mut constants) else {
                continue;
            };
            if wide.sign() != Some(0) && wide.top().abs() > 4000 {
                // Too long for the comparison.
                continue;
            }
            // A point that is not known to lie in the domain at this precision is skipped.
            if let Ok(narrow) = apply(name, &inside(&x, part), bits + more, &mut constants) {
                prop_assert!(meet(&wide, &narrow), "{name} of {x:?}: {wide:?} {narrow:?}");
            }
        }
    }

    #[test]
    fn arithmetic_holds_the_values_of_all_points(
        x in any_ball(),
        y in any_ball(),
        part in 0u8..=16,
        other in 0u8..=16,
        bits in 20usize..200,
        n in -9i64..9,
    ) {
        let (a, b) = (inside(&x, part), inside(&y, other));
        let more = bits + 700;
        let pairs = [
            (x.add(&y, bits), a.add(&b, more)),
            (x.subtract(&y, bits), a.subtract(&b, more)),
            (x.multiply(&y, bits), a.multiply(&b, more)),
            (x.divide(&y, bits), a.divide(&b, more)),
            (x.power(n, bits), a.power(n, more)),
            (Ok(x.absolute()), Ok(a.absolute())),
            (x.shift(n, bits), a.shift(n, more)),
        ];
        for (index, pair) in pairs.into_iter().enumerate() {
            if let (Ok(wide), Ok(narrow)) = pair {
                prop_assert!(meet(&wide, &narrow), "operation {index} of {x:?}, {y:?}");
            }
        }
    }

    /// Exact balls stay exact if the result is short enough.
    #[test]
    fn small_whole_numbers_are_exact(a in -10_000i64..10_000, b in 1i64..10_000) {
        let (x, y) = (Ball::whole(a), Ball::whole(b));
        let product = x.multiply(&y, 64).unwrap();
        prop_assert_eq!(product.as_whole(), Some(IBig::from(a * b)));
        prop_assert_eq!(product.divide(&y, 64).unwrap().as_whole(), Some(IBig::from(a)));
        prop_assert_eq!(y.multiply(&y, 64).unwrap().root(2, 64).unwrap().as_whole(), Some(b.into()));
        // Zero stays exact: real numbers must not become complex.
        let third = Ball::rational(&RBig::from_parts(b.into(), UBig::from(3u8)), 64).unwrap();
        prop_assert!(Ball::zero().divide(&third, 64).unwrap().is_zero());
        prop_assert!(Ball::zero().multiply(&third, 64).unwrap().is_zero());
        let quotient = RBig::from_parts(a.into(), UBig::try_from(b).unwrap());
        let ball = Ball::rational(&quotient, 64).unwrap();
        let (low, high) = ends(&ball);
        prop_assert!(low <= quotient && quotient <= high);
        let floor = quotient.floor();
        match ball.floors() {
            Some((low, high)) => prop_assert!(low <= floor && floor <= high),
            None => prop_assert!(false, "{quotient} has no floor"),
        }
    }

    /// Inverse functions return the argument.
    #[test]
    fn inverses(x in any_ball(), bits in 40usize..300) {
        let mut constants = Constants::default();
        for (there, back) in [
            ("exp", "ln"),
            ("ln", "exp"),
            ("arcsin", "sin"),
            ("arccos", "cos"),
        ] {
            let there = apply(there, &x, bits, &mut constants);
            if let Ok(y) = there.and_then(|y| apply(back, &y, bits, &mut constants)) {
                prop_assert!(meet(&x, &y), "{back}: {x:?} {y:?}");
            }
        }
    }

    /// Identities of complex exponentials, logarithms, powers and absolute values.
    #[test]
    fn complex_identities(
        (a, b) in (-40i64..40, -40i64..40),
        (c, d) in (-40i64..40, 1i64..40),
        bits in 64usize..300,
    ) {
        let mut constants = Constants::default();
        let part = |n: i64| Ball::rational(&RBig::from_parts(n.into(), UBig::from(7u8)), bits);
        let number = |re: i64, im: i64| -> Result<Complex, Fail> {
            Ok(Complex { re: part(re)?, im: part(im)? })
        };
        let (z, w) = (number(a, b).unwrap(), number(c, d).unwrap());
        let same = |x: &Complex, y: &Complex| meet(&x.re, &y.re) && meet(&x.im, &y.im);
        // e^(z+w) = e^z e^w.
        let sum = z.add(&w, bits).unwrap().exponential(bits, &mut constants).unwrap();
        let left = z.exponential(bits, &mut constants).unwrap();
        let right = w.exponential(bits, &mut constants).unwrap();
        prop_assert!(same(&sum, &left.multiply(&right, bits).unwrap()));
        // e^(ln w) = w, and the argument is the principal one.
        let logarithm = w.logarithm(bits, &mut constants).unwrap();
        prop_assert!(same(&w, &logarithm.exponential(bits, &mut constants).unwrap()));
        prop_assert!(logarithm.im.sign() == Some(1));
        // (w^(1/3))³ = w, w/w = 1, w^-3 = 1/w³, |w|² = re² + im².
        let third = RBig::from_parts(IBig::ONE, UBig::from(3u8));
        let root = w.rational_power(&third, bits, &mut constants).unwrap();
        prop_assert!(same(&w, &root.power(3, bits, &mut constants).unwrap()));
        prop_assert!(same(&w.divide(&w, bits).unwrap(), &Complex::whole(1)));
        let cube = w.power(3, bits, &mut constants).unwrap();
        let inverse = w.power(-3, bits, &mut constants).unwrap();
        prop_assert!(same(&cube.multiply(&inverse, bits).unwrap(), &Complex::whole(1)));
        // cos² + sin² = 1, and e^(iz) = cos z + i sin z.
        let (cosine, sine) = z.cos_sin(bits, &mut constants).unwrap();
        let square = |x: &Complex| x.multiply(x, bits).unwrap();
        let one = square(&cosine).add(&square(&sine), bits).unwrap();
        prop_assert!(same(&one, &Complex::whole(1)));
        let turned = z.multiply(&Complex::imaginary(), bits).unwrap();
        let turned = turned.exponential(bits, &mut constants).unwrap();
        let sine = sine.multiply(&Complex::imaginary(), bits).unwrap();
        prop_assert!(same(&turned, &cosine.add(&sine, bits).unwrap()));
    }
}

/// Operands at the limits give an error or a ball, and never need much memory.
#[test]
fn sizes_are_bounded() {
    let mut constants = Constants::default();
    let huge = Ball::new(IBig::from(3), (1 << 40) - 8, Magnitude::ZERO, 64).unwrap();
    let tiny = Ball::whole(1).divide(&huge, 64).unwrap();
    assert!(huge.multiply(&huge, 64).is_err());
    assert!(tiny.multiply(&tiny, 64).is_err());
    assert!(exponential(&huge, 64, &mut constants).is_err());
    assert!(cos_sin(&huge, 64, &mut constants).is_err());
    assert!(huge.floors().is_none() && huge.as_whole().is_none());
    let sum = huge.add(&tiny, 64).unwrap();
    assert!(sum.parts().0 <= &IBig::from(3) && !sum.is_exact());
    for name in ["arctan", "sqrt", "cbrt", "ln"] {
        for x in [&huge, &tiny] {
            let value = apply(name, x, 64, &mut constants).unwrap();
            assert_eq!(value.sign().map(i8::abs), Some(1), "{name}");
        }
    }
    assert!(apply("sin", &tiny, 64, &mut constants).unwrap().sign() == Some(1));
    assert!(Ball::whole(2).power(1 << 41, 64).is_err());
    assert!(Ball::whole(0).power(i64::MIN, 64).is_err());
    assert!(Ball::whole(1).divide(&Ball::zero(), 64).is_err());
    // Repeated squaring makes a radius vanish without overflow.
    let mut ball = Ball::around_zero(Magnitude::power_of_two(-60));
    for _ in 0..80 {
        ball = ball.multiply(&ball.clone(), 64).unwrap();
    }
    assert!(!ball.is_exact());
}
