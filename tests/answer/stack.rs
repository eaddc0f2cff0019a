//! Deeply nested texts on a small stack. Every recursion of the checker limits its depth, so none overflows a stack of
//! 512 KiB, in any build profile.

use dart_math::answer::Checker;

/// The stack that the deepest comparison may use: the smallest that a caller may give a thread.
const STACK: usize = 512 * 1024;

/// The text that opens a level, the innermost text, and the text that closes a level.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("(", "x", ")"),
    ("[", "1", "]"),
    ("{", "1", "}"),
    ("\\{", "1", "\\}"),
    ("\\{1,", "2", "\\}"),
    ("(1,", "2", ")"),
    ("[1,", "2", "]"),
    ("\\left(", "x", "\\right)"),
    ("\\left(x+", "1", "\\right)"),
    ("\\left\\{", "1", "\\right\\}"),
    ("|", "x", "|"),
    ("|1+", "x", "|"),
    ("\\lfloor ", "x", "\\rfloor"),
    ("\\lfloor x+", "x", "\\rfloor"),
    ("\\|", "x", "\\|"),
    ("\\langle 1,", "2", "\\rangle"),
    ("-", "x", ""),
    ("-(", "x", ")"),
    ("+", "x", ""),
    ("\\pm ", "x", ""),
    ("1\\pm(", "x", ")"),
    ("1\\pm ", "x", ""),
    ("\\sin(", "x", ")"),
    ("\\sin ", "x", ""),
    ("\\sin(1+", "x", ")"),
    ("\\cos(2", "x", ")"),
    ("\\tan(", "x", ")"),
    ("\\tan ", "x", ""),
    ("\\sinh(", "x", ")"),
    ("\\arcsin(", "x", ")"),
    ("\\arctan ", "x", ""),
    ("\\ln(", "x", ")"),
    ("\\ln(1+", "2", ")"),
    ("\\log_{", "2", "} x"),
    ("\\exp(", "x", ")"),
    ("\\max(1,", "x", ")"),
    ("\\gcd(12,", "x", ")"),
    ("f(", "x", ")"),
    ("g'(", "x", ")"),
    ("P(X=", "x", ")"),
    ("E[X+", "x", "]"),
    ("\\Gamma(", "x", ")"),
    ("\\varphi(", "10", ")"),
    ("\\frac{1}{", "x", "}"),
    ("\\frac{1}{1+", "x", "}"),
    ("\\frac{", "x", "}{2}"),
    ("\\frac{\\frac{1}{2}}{1-", "x", "}"),
    ("\\binom{", "x", "}{2}"),
    ("\\sqrt{", "2", "}"),
    ("\\sqrt{1+", "2", "}"),
    ("\\sqrt{x+", "y", "}"),
    ("\\sqrt[3]{1+", "x", "}"),
    ("\\sqrt[", "3", "]{x}"),
    ("2^{", "x", "}"),
    ("x^{", "2", "}"),
    ("x^{x+", "1", "}"),
    ("(1+", "x", ")^2"),
    ("(1+", "x", ")^{1/2}"),
    ("e^{", "x", "}"),
    ("e^{i", "\\pi", "}"),
    ("x_{", "1", "}"),
    ("1/", "x", ""),
    ("x/(", "y", ")"),
    ("", "x", "/2"),
    ("", "x", "^2"),
    ("", "x", "!"),
    ("", "5", "!^2"),
    ("", "5", "\\%"),
    ("", "5", "^\\circ"),
    ("", "x", "'"),
    ("5 eggs ", "1", ""),
    ("5 ft ", "1", " in"),
    ("5\\text{ cm} ", "1", ""),
    ("", "5", " eggs"),
    ("", "5", " per hour"),
    ("5 km/", "1", ""),
    ("5\\text{m}\\cdot ", "1", ""),
    ("\\$", "5", ""),
    ("1 \\text{ m} + ", "1 \\text{ m}", ""),
    ("5^\\circ ", "3", "'"),
    ("\\text{", "1", "}"),
    ("\\text{a ", "1", "}"),
    ("\\mathbf{", "1", "}"),
    ("\\mathbf{x}+(", "1", ")"),
    ("\\overline{", "z", "}"),
    ("\\boxed{", "1", "}"),
    ("one hundred ", "one", ""),
    ("two point ", "five", ""),
    ("minus ", "five", ""),
    ("\\sum_{k=1}^{2} (k+", "x", ")"),
    ("\\sum_{k=1}^{n} ", "k", ""),
    ("\\prod_{k=1}^{2} ", "k", ""),
    ("\\int_0^1 ", "x", "\\,dx"),
    ("\\int ", "x", "\\,dx"),
    ("\\lim_{x\\to 0} ", "x", ""),
    ("\\lim_{x\\to 0} (1+", "x", ")"),
    ("\\bigcup_{k} (", "k", ",k+1)"),
    ("\\begin{pmatrix}", "1", "\\end{pmatrix}"),
    ("\\begin{pmatrix}1&2\\\\3&", "4", "\\end{pmatrix}"),
    ("\\begin{vmatrix}1&2\\\\3&", "4", "\\end{vmatrix}"),
    ("\\begin{cases}1&x>0\\\\", "2", "&x<0\\end{cases}"),
    ("\\begin{cases}", "x=1", "\\end{cases}"),
    ("\\{x \\mid x > ", "1", "\\}"),
    ("\\{x \\in \\mathbb{R} : ", "x>1", "\\}"),
    ("(0,1)\\cup(", "0,2", ")"),
    ("(-\\infty,1)\\cup ", "(2,3)", ""),
    ("\\mathbb{R}\\setminus(", "\\{1\\}", ")"),
    ("\\mathbb{R}\\times(", "\\mathbb{Z}", ")"),
    ("x \\equiv ", "1", " \\pmod 7"),
    ("1:", "2", ""),
    ("1 \\bmod (", "7", ")"),
    ("x = ", "1", ""),
    ("x = (", "1", ")"),
    ("x > ", "1", ""),
    ("1, ", "2", ""),
    ("1; ", "2", ""),
    ("x=1 or ", "x=2", ""),
    ("x=1 and (", "x=2", ")"),
    ("for all ", "x", ", n \\in \\mathbb{Z}"),
    ("\\neg ", "p", ""),
    ("p \\wedge (", "q", ")"),
    ("A \\subset (", "B", ")"),
    ("a \\times (", "b", ")"),
    ("\\vec a \\times (", "\\vec b", ")"),
    ("A(", "1, 2", ")"),
    ("f\\circ ", "g", ""),
    ("\\cosh(\\ln(", "x", "))"),
    ("\\sqrt{2+\\sqrt{", "3", "}}"),
    ("\\frac{x+1}{x-\\sin(", "x", ")}"),
    ("\"", "1", "\""),
    ("{}_{", "10", "}C_3"),
    ("<think>", "1", "</think>"),
    ("$", "1", "$"),
    ("\\(", "1", "\\)"),
    ("**", "1", "**"),
    ("the answer is ", "1", ""),
];

/// A text with this many levels.
fn deep((open, inner, close): (&str, &str, &str), levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

fn on_a_small_stack(check: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK);
    thread.spawn(check).unwrap().join().unwrap();
}

#[test]
fn no_text_is_too_deep() {
    on_a_small_stack(|| {
        let checkers = [
            Checker::default(),
            Checker::builder()
                .lenient(true)
                .constant_of_integration(true)
                .relative_tolerance(0.01)
                .build(),
            Checker::builder().reference_digits().build(),
        ];
        for (index, family) in FAMILIES.iter().enumerate() {
            for levels in [5, 12, 20, 38, 45, 70, 113, 600] {
                let text = deep(*family, levels);
                let other = deep(*family, levels + 1);
                let checker = checkers[(index + levels) % checkers.len()];
                let reference = checker.reference(&text);
                let again = reference.clone();
                for answer in [&other, "1", "x+1", &format!("({text})")] {
                    let verdict = reference.equal(answer);
                    let _ = again.grade(&format!("So it is $\\boxed{{{answer}}}$."));
                    let _ = again.grade(&format!("The answer is {answer}."));
                    // Parsing trees and values are also compared, copied and dropped.
                    assert!(reference.equal(&text).equal, "{verdict} {text:.60}");
                }
            }
        }
    });
}

/// A text refused for its depth is undecided. It is not taken for something else.
#[test]
fn what_is_too_deep_is_undecided() {
    on_a_small_stack(|| {
        let checker = Checker::default();
        for family in [
            ("(", "x", ")"),
            ("\\sqrt{1+", "2", "}"),
            ("5 eggs ", "1", ""),
        ] {
            let verdict = checker.equal("7", &deep(family, 300));
            assert_eq!(
                (verdict.equal, &*verdict.rule),
                (false, "undecided"),
                "{family:?}"
            );
        }
    });
}
