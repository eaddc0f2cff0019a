//! A number inside a larger answer is compared like the number alone: with the same reference side and the same
//! tolerance.

use std::fmt::Write as _;

use dart_math::answer::Checker;

/// Wrappers of a number, with `#` in its place: one for the reference, one for the answer.
const WRAPPERS: &[(&str, &str)] = &[
    ("#", "#"),
    ("-#", "-#"),
    ("(#)", "#"),
    ("\\{#, 2\\}", "\\{2, #\\}"),
    ("\\{#\\}", "\\{#\\}"),
    ("\\{#\\}", "#"),
    ("\\{#, 2\\}", "#, 2"),
    ("#, 2", "\\{2, #\\}"),
    ("2, #", "#, 2"),
    ("2 and #", "#, 2"),
    ("(#, 2)", "(#, 2)"),
    ("\\langle #, 2\\rangle", "\\langle #, 2\\rangle"),
    ("[#, 2, 3]", "[#, 2, 3]"),
    ("A(#, 2)", "A(#, 2)"),
    ("((#, 1), 2)", "((#, 1), 2)"),
    ("[#, 50)", "[#, 50)"),
    ("[#, 50]", "[#, 50]"),
    ("(#, \\infty)", "x > #"),
    ("(-\\infty, 1) \\cup (#, \\infty)", "x > # or x < 1"),
    ("x > #", "x > #"),
    ("x \\le #", "# \\ge x"),
    ("\\{x \\mid x > #\\}", "\\{x \\mid x > #\\}"),
    ("#\\text{ cm}", "#\\text{ cm}"),
    ("#\\text{ cm}", "#"),
    ("#", "#\\text{ cm}"),
    ("# eggs", "#"),
    ("#", "\\$#"),
    ("\\$#", "\\$#"),
    ("\\$#", "# dollars"),
    ("#\\%", "#\\%"),
    ("#\\%", "#"),
    ("#", "#\\%"),
    ("#^\\circ", "#^\\circ"),
    ("#^\\circ", "#"),
    ("#", "#^\\circ"),
    (
        "\\begin{pmatrix}#&1\\\\2&3\\end{pmatrix}",
        "\\begin{bmatrix}#&1\\\\2&3\\end{bmatrix}",
    ),
    ("\\begin{pmatrix}#\\\\2\\end{pmatrix}", "(#, 2)"),
    ("(#, 2)", "\\begin{pmatrix}#\\\\2\\end{pmatrix}"),
    ("x = #", "x = #"),
    ("x = #", "#"),
    ("#", "x = #"),
    ("# = x", "x = #"),
    ("x = #, y = 2", "y = 2, x = #"),
    ("x = #, y = 2", "(#, 2)"),
    ("x = # or x = 2", "2, #"),
    ("x \\ne #", "x \\ne #"),
    ("x \\approx #", "#"),
    ("\\pm #", "\\pm #"),
    ("1 \\pm #", "1 \\pm #"),
    ("#+2i", "2i+#"),
    ("2+#i", "2+#i"),
    ("#\\mathbf{i}+2\\mathbf{j}", "#\\mathbf{i}+2\\mathbf{j}"),
    ("#\\mathbf{i}+2\\mathbf{j}", "(#, 2)"),
    ("(#, 2)", "#\\mathbf{i}+2\\mathbf{j}"),
    ("#:1", "#:1"),
    ("#\\pi", "#\\pi"),
    ("2 \\cdot #", "2 \\cdot #"),
    ("# \\times 10^{5}", "# \\times 10^{5}"),
    ("\\frac{#}{2}", "\\frac{#}{2}"),
    (
        "\\begin{cases}# & x>0\\\\ 0 & x\\le 0\\end{cases}",
        "\\begin{cases}# & x>0\\\\ 0 & x\\le 0\\end{cases}",
    ),
    ("the maximum is #", "the maximum is #"),
    ("(A) #", "(A) #"),
    ("\\textbf{(A)}\\ #", "(A) #"),
];

fn wrapped(pattern: &str, number: &str) -> String {
    pattern.replace('#', number)
}

#[test]
fn in_whatever_a_number_stands() {
    let exact = Checker::default();
    let digits = Checker::builder().reference_digits().build();
    let relative = Checker::builder().relative_tolerance(0.005).build();
    // The option, the reference's number, the answer's number, and whether they are equal.
    let rows = [
        ("exact", exact, "33.3", "\\frac{100}{3}", false),
        ("exact", exact, "\\frac{100}{3}", "33.3", false),
        ("exact", exact, "33.5", "\\frac{67}{2}", true),
        ("exact", exact, "\\frac{67}{2}", "33.5", true),
        ("exact", exact, "33.3333333333333", "\\frac{100}{3}", true),
        ("exact", exact, "\\frac{100}{3}", "33.3333333333333", true),
        ("digits", digits, "33.3", "\\frac{100}{3}", true),
        ("digits", digits, "\\frac{100}{3}", "33.3", false),
        ("digits", digits, "33.4", "\\frac{100}{3}", false),
        ("relative", relative, "33.3", "\\frac{100}{3}", true),
        ("relative", relative, "\\frac{100}{3}", "33.3", true),
        ("relative", relative, "33.0", "\\frac{100}{3}", false),
        ("relative", relative, "\\frac{100}{3}", "33.0", false),
    ];
    let mut wrong = String::new();
    for (reference, answer) in WRAPPERS {
        for (option, checker, expected, given, equal) in &rows {
            let (reference, answer) = (wrapped(reference, expected), wrapped(answer, given));
            let verdict = checker.equal(&reference, &answer);
            if verdict.equal != *equal {
                writeln!(wrong, "{option}: {reference}  vs  {answer}: {verdict}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Units are converted before numbers are compared, with the same tolerance.
#[test]
fn converted_units() {
    let digits = Checker::builder().reference_digits().build();
    let relative = Checker::builder().relative_tolerance(0.005).build();
    assert!(digits.equal("1.5 hours", "\\frac{272}{3} minutes").equal);
    assert!(!digits.equal("\\frac{272}{3} minutes", "1.5 hours").equal);
    assert!(!digits.equal("1.5 hours", "96 minutes").equal);
    assert!(relative.equal("1 mile", "1.61 km").equal);
    assert!(relative.equal("1.61 km", "1 mile").equal);
    assert!(!relative.equal("1 mile", "1.63 km").equal);
    assert!(!Checker::default().equal("1 mile", "1.61 km").equal);
}

/// The items of two lists are matched as a whole. Neither sorting nor greedy matching would match these.
#[test]
fn items_are_matched() {
    let relative = Checker::builder().relative_tolerance(0.1).build();
    for (reference, answer, equal) in [
        ("10, 11", "10.9, 9.5", true),
        ("10, 10.9", "11.9, 10.5", true),
        ("100, 105, 110", "112, 99, 107", true),
        ("100, 105, 110", "95, 96, 97", false),
        ("100, 100, 200", "100, 200, 200", false),
        ("\\{100, 105\\}", "\\{101\\}", false),
        ("\\{100, 105\\}", "\\{104, 101\\}", true),
        ("\\{100, 100\\}", "\\{101\\}", true),
        ("(100, 1), (105, 1)", "(107, 1), (100, 1)", true),
    ] {
        let verdict = relative.equal(reference, answer);
        assert_eq!(verdict.equal, equal, "{reference} vs {answer}: {verdict}");
    }
}

/// The relative tolerance is relative to the reference, so it is not symmetric.
#[test]
fn a_part_of_the_reference() {
    let half = Checker::builder().relative_tolerance(0.5).build();
    for (reference, answer, equal) in [
        ("100", "150", true),
        ("150", "100", true),
        ("100", "50", true),
        ("50", "100", false),
        ("50 cm", "100", false),
        ("100 cm", "50", true),
        ("50\\%", "100\\%", false),
        ("\\{50\\}", "\\{100\\}", false),
        ("\\{100\\}", "\\{50\\}", true),
        ("x = 50", "100", false),
        ("50", "x = 100", false),
        ("100", "x = 50", true),
        ("1 \\text{ m}", "50 cm", true),
        ("50 cm", "1 \\text{ m}", false),
        ("100+100i", "50+50i", true),
        ("50+50i", "100+100i", false),
        ("100x", "100x+1", false),
        ("100x", "101x", false),
    ] {
        let verdict = half.equal(reference, answer);
        assert_eq!(verdict.equal, equal, "{reference} vs {answer}: {verdict}");
    }
}
