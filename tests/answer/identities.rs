//! Identities with parameters that no normal form covers, which must be equal, and the same with a small error, which
//! must be unequal.

use dart_math::answer::Checker;
use proptest::prelude::*;

/// Both sides are equal in both orders, and unequal if `10^-power` is added to one of them.
fn holds(left: &str, right: &str, power: u32) -> Result<(), TestCaseError> {
    let checker = Checker::default();
    for (reference, answer) in [(left, right), (right, left)] {
        let verdict = checker.equal(reference, answer);
        prop_assert!(verdict.equal, "{} vs {}: {}", reference, answer, verdict);
    }
    let wrong = format!("{right}+10^{{-{power}}}");
    for (reference, answer) in [(left, &*wrong), (&*wrong, left)] {
        let verdict = checker.equal(reference, answer);
        prop_assert!(!verdict.equal, "{} vs {}: {}", reference, answer, verdict);
    }
    Ok(())
}

/// `(a + b√c)^n` in the form `p + q√c`.
fn surd_power(a: i64, b: i64, c: i64, n: u32) -> (i64, i64) {
    (1..n).fold((a, b), |(p, q), _| (p * a + q * b * c, p * b + q * a))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn of_nested_roots(a in 1i64..20, b in 1i64..20, c in prop::sample::select(vec![2i64, 3, 5, 6, 7, 10]), power in 3u32..150) {
        let (p, q) = surd_power(a, b, c, 2);
        holds(&format!("\\sqrt{{{p}+{q}\\sqrt{{{c}}}}}"), &format!("{a}+{b}\\sqrt{{{c}}}"), power)?;
        let (p, q) = surd_power(a, b, c, 3);
        holds(&format!("\\sqrt[3]{{{p}+{q}\\sqrt{{{c}}}}}"), &format!("{a}+{b}\\sqrt{{{c}}}"), power)?;
        // Conjugates add up to an integer.
        let sum = format!("\\sqrt[3]{{{p}+{q}\\sqrt{{{c}}}}}+\\sqrt[3]{{{p}-{q}\\sqrt{{{c}}}}}");
        holds(&sum, &format!("{}", 2 * a), power)?;
    }

    #[test]
    fn of_inverse_functions(a in 1i64..40, b in 1i64..40, c in 1i64..40, d in 1i64..40, power in 3u32..150) {
        // arctan a/b + arctan c/d = arctan (ad + bc)/(bd - ac), plus π if the denominator is negative.
        let (top, bottom) = (a * d + b * c, b * d - a * c);
        prop_assume!(bottom != 0);
        let sum = format!("\\arctan\\frac{{{a}}}{{{b}}}+\\arctan\\frac{{{c}}}{{{d}}}");
        let other = format!("\\arctan\\left(\\frac{{{top}}}{{{bottom}}}\\right)");
        let other = if bottom < 0 { format!("\\pi+{other}") } else { other };
        holds(&sum, &other, power)?;
        let (p, q) = (a.min(b), a.max(b) + 1);
        holds(
            &format!("\\cos\\left(\\arcsin\\frac{{{p}}}{{{q}}}\\right)"),
            &format!("\\frac{{\\sqrt{{{}}}}}{{{q}}}", q * q - p * p),
            power,
        )?;
    }

    #[test]
    fn of_angles(a in 1i64..90, b in 1i64..90, power in 3u32..150) {
        holds(
            &format!("2\\sin {a}^\\circ\\cos {b}^\\circ"),
            &format!("\\sin {}^\\circ+\\sin({}^\\circ)", a + b, a - b),
            power,
        )?;
        holds(
            &format!("4\\sin {a}^\\circ\\sin({}^\\circ)\\sin({}^\\circ)", 60 - a, 60 + a),
            &format!("\\sin {}^\\circ", 3 * a),
            power,
        )?;
    }

    #[test]
    fn of_logarithms(a in 2i64..50, b in 2i64..50, power in 3u32..150) {
        prop_assume!(a != b);
        holds(&format!("\\log_{{{a}}} {b}\\cdot\\log_{{{b}}} {a}"), "1", power)?;
        holds(&format!("{a}^{{\\log_{{{b}}} 7}}"), &format!("7^{{\\log_{{{b}}} {a}}}"), power)?;
        let root = a * a - 1;
        holds(
            &format!("\\ln ({a}-\\sqrt{{{root}}})"),
            &format!("-\\operatorname{{arccosh}} {a}"),
            power,
        )?;
    }

    /// Functions at points close to each other, and functions close to the first terms of their series.
    #[test]
    fn near_misses(a in 1i64..30, power in 3u32..110) {
        let checker = Checker::default();
        let small = format!("10^{{-{power}}}");
        let large = format!("10^{{{power}}}");
        let near = |f: &str| (format!("{f}({a})"), format!("{f}({a}+{small})"));
        let pairs = [
            near("\\sin"),
            near("\\cos"),
            near("\\ln"),
            near("\\exp"),
            near("\\arctan"),
            near("\\sinh"),
            (format!("\\sqrt{{{a}+{small}}}"), format!("\\sqrt{{{a}}}")),
            (format!("\\sqrt{{{large}+{a}}}-\\sqrt{{{large}}}"), "0".to_owned()),
            (format!("\\sqrt{{{large}^2+{a}}}"), large.clone()),
            (format!("\\cos({small})"), "1".to_owned()),
            (format!("\\sin({small})"), small.clone()),
            (format!("\\arctan({large})"), "\\frac{\\pi}{2}".to_owned()),
            (format!("\\exp({small})"), format!("1+{small}")),
            (format!("\\ln(1+{small})"), small.clone()),
            (format!("\\tanh {}", 2 * power), "1".to_owned()),
            (format!("(1+{small})^{{\\sqrt2}}"), format!("1+\\sqrt2\\cdot{small}")),
            (format!("\\sin x+{small}x"), "\\sin x".to_owned()),
            (format!("\\sqrt{{x+{small}}}"), "\\sqrt{x}".to_owned()),
            (format!("|x-{small}|"), "|x|".to_owned()),
            (format!("\\max(x,{large})"), large.clone()),
            (format!("|x-{large}|"), format!("{large}-x")),
            (format!("|x-{large}|"), format!("x-{large}")),
        ];
        for (left, right) in &pairs {
            for (reference, answer) in [(left, right), (right, left)] {
                let verdict = checker.equal(reference, answer);
                prop_assert!(!verdict.equal, "{} vs {}: {}", reference, answer, verdict);
            }
        }
    }
}
