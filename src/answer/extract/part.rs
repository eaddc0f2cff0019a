//! Boxes around a part of a formula: `-\boxed{5}`, `\frac{\boxed{5}}{6}`, `\boxed{5}^2`. What
//! stands in such a box is not the answer.

/// What the formula around a box makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// Nothing: the box holds all of a value.
    Nothing,
    /// A minus sign right before it.
    Minus,
    /// Something else.
    Formula,
}

/// Commands that make something of what stands next.
const OPERATIONS: &[&str] = &[
    "\\cdot", "\\times", "\\div", "\\frac{", "\\dfrac{", "\\tfrac{", "\\sqrt{", "\\sqrt", "\\ln",
    "\\log", "\\sin", "\\cos", "\\tan",
];

/// What stands close to a box, before it and behind it.
pub(super) fn around(before: &str, behind: &str) -> Around {
    let near = before.trim_end_matches(' ');
    let close = near.len() == before.len();
    // `2\boxed{5}`, `0.\boxed{5}`. (`step 2.\boxed{5}` ends a sentence.)
    let fraction = near.strip_suffix("0.");
    if close
        && (near.ends_with(|c: char| c.is_ascii_digit())
            || fraction.is_some_and(|rest| rest.is_empty() || rest.ends_with(['$', '=', ' '])))
    {
        return Around::Formula;
    }
    if near.ends_with(['+', '*', '/', '^', '±', '×', '÷', '√']) && !near.ends_with("**") && close
        || near.ends_with("^{")
        || OPERATIONS.iter().any(|command| near.ends_with(command))
    {
        return Around::Formula;
    }
    if made_another(near) {
        return Around::Formula;
    }
    let is_value = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '\\');
    let mut next = behind.chars();
    let part = match next.next() {
        Some('^') => {
            let power = behind[1..].trim_start_matches(['{', ' ']);
            !power.starts_with("\\circ") && !power.starts_with("\\prime")
        }
        Some('+' | '*' | '/' | '-') => is_value(next.as_str()) && !behind.starts_with("**"),
        Some('!') => ["$", "\\)", "\\]"]
            .iter()
            .any(|end| next.as_str().starts_with(end)),
        // `\boxed{5}.2`, `\boxed{5},000`
        Some('.') => next.as_str().starts_with(|c: char| c.is_ascii_digit()),
        Some(',') => {
            let digits = next.as_str().bytes().take_while(u8::is_ascii_digit);
            digits.count() == 3
        }
        Some('_') => true,
        Some('{' | '0'..='9' | '²' | '³') => true,
        Some(c) if c.is_ascii_alphabetic() => {
            !next.as_str().starts_with(|c: char| c.is_alphabetic())
        }
        Some('\\') => [
            "\\cdot",
            "\\times",
            "\\div",
            "\\frac",
            "\\sqrt",
            "\\pi",
            "\\pm",
            "\\tfrac",
            "\\dfrac",
            "\\overline",
        ]
        .iter()
        .any(|command| behind.starts_with(command)),
        _ => false,
    };
    if part {
        return Around::Formula;
    }
    match before.strip_suffix('-') {
        // `Answer:- \boxed{5}`, `so-\boxed{5}`.
        Some(rest) if !rest.ends_with(|c: char| c.is_alphabetic() || matches!(c, ':' | '-')) => {
            Around::Minus
        }
        _ => Around::Nothing,
    }
}

/// Whether the words right before a box make another number of what stands in it: `minus`, `half of`.
fn made_another(before: &str) -> bool {
    let words = before.trim_end_matches(['$', ' ', '*']);
    [
        "minus",
        "negative",
        "half",
        "half of",
        "twice",
        "double",
        "triple",
        "a third of",
        "a quarter of",
    ]
    .iter()
    .any(|phrase| {
        let start = words.len().checked_sub(phrase.len());
        let found = start.and_then(|start| words.split_at_checked(start));
        found.is_some_and(|(rest, last)| {
            last.eq_ignore_ascii_case(phrase) && !rest.ends_with(char::is_alphanumeric)
        })
    })
}
