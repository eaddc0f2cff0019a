//! A value never equals a neighbouring one, wherever it stands.

use dart_math::answer::Checker;
use proptest::prelude::*;

fn refused(pairs: &[(String, String)]) -> Result<(), TestCaseError> {
    let checker = Checker::default();
    for (left, right) in pairs {
        for (reference, answer) in [(left, right), (right, left)] {
            let verdict = checker.equal(reference, answer);
            prop_assert!(!verdict.equal, "{} vs {}: {}", reference, answer, verdict);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn whole_numbers(a in -1_000_000_000i64..1_000_000_000, b in 1i64..10_000) {
        let next = a + 1;
        let both = |write: &dyn Fn(i64) -> String| (write(a), write(next));
        refused(&[
            both(&|a| format!("{a}")),
            both(&|a| format!("{a}\\sqrt{{2}}")),
            both(&|a| format!("{a}x")),
            both(&|a| format!("x^2+{a}")),
            both(&|a| format!("{a}\\pi")),
            both(&|a| format!("{a}\\%")),
            both(&|a| format!("{a}^\\circ")),
            both(&|a| format!("{a}\\text{{ cm}}")),
            both(&|a| format!("\\${a}")),
            both(&|a| format!("({a}, {b})")),
            both(&|a| format!("\\{{{a}, {b}.5\\}}")),
            both(&|a| format!("x = {a}")),
            both(&|a| format!("y = {a}x+{b}")),
            both(&|a| format!("x > {a}")),
            both(&|a| format!("[{a}, \\infty)")),
            both(&|a| format!("{a}, {b}.5, 0.25")),
            both(&|a| format!("{a}:{b}.5")),
            both(&|a| format!("e^{{{a}}}")),
            both(&|a| format!("x^{{{a}}}")),
            both(&|a| format!("\\begin{{pmatrix}}{a}\\\\{b}\\end{{pmatrix}}")),
            both(&|a| format!("{a}+2i")),
            both(&|a| format!("\\frac{{{a}x+1}}{{x}}")),
        ])?;
    }

    #[test]
    fn positive_whole_numbers(a in 2i64..100_000_000) {
        let next = a + 1;
        let both = |write: &dyn Fn(i64) -> String| (write(a), write(next));
        refused(&[
            both(&|a| format!("\\sqrt{{{a}}}")),
            both(&|a| format!("\\sqrt[3]{{{a}}}")),
            both(&|a| format!("1+\\sqrt{{{a}}}")),
            both(&|a| format!("\\ln {a}")),
            both(&|a| format!("\\log_2 {a}")),
            both(&|a| format!("2^{{{a}}}")),
            both(&|a| format!("10^{{-{a}}}")),
            both(&|a| format!("\\frac{{1}}{{{a}}}")),
            both(&|a| format!("{}!", 2 + a % 3000)),
            both(&|a| format!("x_{{{a}}}")),
        ].into_iter().filter(|(left, right)| left != right).collect::<Vec<_>>())?;
    }

    #[test]
    fn fractions(a in -100_000i64..100_000, b in 1i64..100_000) {
        let write = |a: i64, b: i64| format!("\\frac{{{a}}}{{{b}}}");
        let mut pairs = vec![
            (write(a, b), write(a + 1, b)),
            (write(a, b), write(a - 1, b)),
            (write(a, b), format!("{}/{b}", a + 1)),
            (format!("{} x", write(a, b)), format!("{} x", write(a + 1, b))),
        ];
        if a != 0 {
            pairs.push((write(a, b), write(a, b + 1)));
            pairs.push((write(a, b), write(-a, b)));
        }
        if a != b && a != -b && a != 0 {
            pairs.push((write(a, b), write(b, a)));
        }
        refused(&pairs)?;
    }

    #[test]
    fn last_digits_of_decimals(whole in 0u32..100_000, digits in 1usize..6, part in any::<u32>()) {
        let modulus = 10u32.pow(digits as u32);
        let part = part % modulus;
        let other = (part + 1) % modulus;
        let exact = u64::from(whole) * u64::from(modulus) + u64::from(part);
        refused(&[
            (format!("{whole}.{part:0digits$}"), format!("{whole}.{other:0digits$}")),
            (format!("\\frac{{{exact}}}{{{modulus}}}"), format!("{whole}.{other:0digits$}")),
            (format!("{whole}.{part:0digits$}"), format!("{whole}.{part:0digits$}1")),
        ])?;
    }

    /// A decimal with 12 digits equals the value that it rounds. It may be off by one unit of the last digit.
    #[test]
    fn twelve_digits(a in 1i64..1000, b in 3i64..1000) {
        prop_assume!(a % b != 0);
        let value = a as f64 / b as f64;
        let decimals = 11 - value.abs().log10().floor() as i32;
        let decimals = usize::try_from(decimals).unwrap_or(0);
        let near = format!("{value:.decimals$}");
        let far = format!("{:.decimals$}", value + 3.0 * 10f64.powi(-(decimals as i32)));
        let short = format!("{value:.prec$}", prec = decimals - 1);
        let fraction = format!("\\frac{{{a}}}{{{b}}}");
        let checker = Checker::default();
        prop_assert!(checker.equal(&fraction, &near).equal, "{} vs {}", fraction, near);
        refused(&[(fraction.clone(), far)])?;
        // A short decimal may be the exact value.
        if value.to_string().len() > 14 {
            refused(&[(fraction, short)])?;
        }
    }
}
