//! Pieces of answers, from which random texts are made. Shared by the property tests, the benchmark and the fuzz
//! targets.

/// LaTeX, Unicode and words. Users of this list add single ASCII characters.
#[rustfmt::skip]
pub(crate) const PIECES: &[&str] = &[
    "\\frac{", "}{", "\\sqrt{", "\\sqrt[3]{", "\\pm ", "\\cdot ", "\\times ", "\\infty", "\\cup ",
    "\\cap ", "\\setminus ", "\\in ", "\\mid ", "\\{", "\\}", "\\left(", "\\right)", "\\text{",
    "\\text{ cm}", "\\mathrm{", "\\mathbb{R}", "\\%", "\\$", "^\\circ", "\\sin ", "\\cos ",
    "\\tan ", "\\arcsin ", "\\arctan ", "\\ln ", "\\log_{", "\\exp", "\\binom{", "\\sum_{k=1}^{",
    "\\prod_{k=1}^{", "\\int ", "\\lim_{x\\to 0}", "\\ldots", "\\equiv ", "\\pmod{7}",
    "\\overline{", "\\lfloor ", "\\rfloor ", "\\begin{pmatrix}", "\\end{pmatrix}",
    "\\begin{cases}", "\\end{cases}", "\\\\", "\\boxed{", "f(x)", "AB", " and ", " or ", " km",
    " cm", " dollars", "yes", "\\textbf{(A)}", "½", "²", "√", "π", "−", "×", "°", "∞", "≤", "≥",
    "\\pi ", "\\le ", "\\ge ", "\\ne ", "\\approx ", "^{", "_{", "e^{", "\\bmod ", "\\gcd(",
    "\\max(", "\\langle ", "\\rangle ", "\\mathbf{i}", "\\hat{", "\\frac12", "\\sinh ",
    "\\begin{vmatrix}", "\\end{vmatrix}", "x^2", "10^", "1,000", "3.14", "0.333333333333",
    "\\sqrt2", "\\pi/2", "2\\pi i", "\\emptyset", "\\mathbb{Z}", "|x|", "\\circ ", "\\forall ",
    "\\to ", "\\Rightarrow ", "x=", "y=", "(-\\infty,", "\\theta", "\\alpha", "n!", "\\quad ",
    "\\displaystyle ", "per ", " hours", " p.m.", "3:30", "2:3", "the answer is ", "\\dfrac{",
    "\\overrightarrow{", "\\det", "^{99}", "^{-1}", "_2", "i", "e", "\\ ",
];

/// Decodes a fuzzer's input: ASCII as it is, and a piece for each byte above.
#[allow(dead_code)] // not every user of this file has units
pub(crate) fn unpacked(unit: &[u8]) -> String {
    let mut text = String::with_capacity(2 * unit.len());
    for &byte in unit {
        match usize::from(byte).checked_sub(128) {
            None => text.push(char::from(byte)),
            Some(index) => text.push_str(PIECES[index % PIECES.len()]),
        }
    }
    text
}
