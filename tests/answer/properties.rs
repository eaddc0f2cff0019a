//! Properties of verdicts on arbitrary texts, readable or not.

use dart_math::answer::Checker;
use proptest::prelude::*;

use crate::pieces::PIECES;

/// Texts made of pieces and single characters.
fn latex() -> impl Strategy<Value = String> {
    let single = prop::sample::select(
        "0123456789+-*/^_(){}[]=<>|,.;:! xyznabei\\$&'"
            .split("")
            .collect::<Vec<_>>(),
    );
    let piece = prop_oneof![single, prop::sample::select(PIECES)];
    prop::collection::vec(piece, 1..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_a_verdict(a in any::<String>(), b in any::<String>()) {
        let checker = Checker::builder().lenient(true).build();
        let _ = checker.equal(&a, &b);
        let _ = checker.grade(&a, &b);
    }

    #[test]
    fn reflexive(a in latex()) {
        let verdict = Checker::default().equal(&a, &a);
        prop_assert!(verdict.equal || verdict.rule == "empty", "{verdict}");
    }

    #[test]
    fn symmetric(a in latex(), b in latex()) {
        let checker = Checker::default();
        prop_assert_eq!(checker.equal(&a, &b).equal, checker.equal(&b, &a).equal);
    }

    /// The verdict, including its wording, is the same on every call and with a reference parsed before.
    #[test]
    fn deterministic(a in latex(), b in latex()) {
        let checker = Checker::default();
        let reference = checker.reference(&a);
        let first = reference.equal(&b);
        prop_assert_eq!(&first, &reference.equal(&b));
        prop_assert_eq!(&first, &checker.equal(&a, &b));
        prop_assert_eq!(reference.grade(&b), checker.grade(&a, &b));
    }

    /// An extracted answer occurs in the response, unless it joins several parts or ends with a percent sign.
    #[test]
    fn what_is_read_stands_in_the_response(a in latex(), b in latex()) {
        let checker = Checker::builder().lenient(true).build();
        let graded = checker.grade(&a, &b);
        if let Some(extracted) = &graded.extracted {
            prop_assert!(b.contains(extracted.trim()) || extracted.contains(", ") || extracted.ends_with("\\%"),
                "{:?} is not in {:?}", extracted, b);
        }
    }

    #[test]
    fn spaces_and_delimiters_change_nothing(a in -1000i64..1000, b in 1i64..1000) {
        let checker = Checker::default();
        let plain = format!("\\frac{{{a}}}{{{b}}}x+{a}");
        let forms = [
            format!("$\\dfrac{{{a}}}{{{b}}} x + {a}$"),
            format!("\\boxed{{\\tfrac {{ {a} }} {{ {b} }} x+{a}}}"),
            format!("{a}+x\\cdot\\left({a}/{b}\\right)"),
        ];
        for form in forms {
            let verdict = checker.equal(&plain, &form);
            prop_assert!(verdict.equal, "{} vs {}: {}", plain, form, verdict);
        }
    }

    #[test]
    fn one_value_in_many_forms(a in 1000i64..1_000_000_000) {
        let checker = Checker::default();
        let digits = a.to_string();
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let forms = [
            grouped.clone(),
            grouped.replace(',', "{,}"),
            grouped.replace(',', "\\,"),
            format!("\\${grouped}"),
            format!("{a}.00"),
            format!("{}/2", 2 * a),
            format!("{grouped} apples"),
            format!("x = {a}"),
        ];
        for form in forms {
            let verdict = checker.equal(&digits, &form);
            prop_assert!(verdict.equal, "{} vs {}: {}", digits, form, verdict);
        }
    }
}
