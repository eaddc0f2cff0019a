//! Boxes around a part of a formula: `-\boxed{5}`, `\frac{\boxed{5}}{6}`, `\boxed{5}^2`. The content of such a
//! box alone is not the answer.

/// How the formula around a box changes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// Not at all: the box contains the whole value.
    Nothing,
    /// By a minus sign before the box.
    Minus,
    /// By anything else.
    Formula,
}

/// Commands before a box that apply to it.
const OPERATIONS: &[&str] = &[
    "\\cdot", "\\times", "\\div", "\\frac{", "\\dfrac{", "\\tfrac{", "\\sqrt{", "\\sqrt", "\\ln",
    "\\log", "\\sin", "\\cos", "\\tan", "\\pm", "\\mp", "_{", "}{", "\\{",
];

/// Examines the text right before and after a box.
pub(super) fn around(before: &str, behind: &str) -> Around {
    let near = before.trim_end_matches(' ');
    let close = near.len() == before.len();
    // `2\boxed{5}`, `0.\boxed{5}`. In `step 2.\boxed{5}`, the stop ends a sentence.
    let fraction = near.strip_suffix("0.");
    if close
        && (near.ends_with(|c: char| c.is_ascii_digit())
            || fraction.is_some_and(|rest| rest.is_empty() || rest.ends_with(['$', '=', ' '])))
    {
        return Around::Formula;
    }
    if near.ends_with(['+', '±', '×', '÷', '√']) && !near.ends_with("++")
        || near.ends_with(['*', '/', '^']) && !near.ends_with("**") && close
        || near.ends_with("^{")
        || OPERATIONS.iter().any(|command| near.ends_with(command))
        || is_member(near, close)
    {
        return Around::Formula;
    }
    if is_joined(near) || is_one_of_several(near, behind) {
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
    if part || goes_on(behind) {
        return Around::Formula;
    }
    // `x = - \boxed{5}`. In prose, a dash has spaces around it.
    let spaced = near
        .strip_suffix(['-', '−'])
        .map(|rest| rest.trim_end_matches(' '));
    if !close && spaced.is_some_and(|rest| rest.ends_with(['=', '(', '{'])) {
        return Around::Minus;
    }
    match before.strip_suffix(['-', '−']) {
        // `Answer:- \boxed{5}`, `so-\boxed{5}`.
        Some(rest) if !rest.ends_with(|c: char| c.is_alphabetic() || matches!(c, ':' | '-')) => {
            Around::Minus
        }
        _ => Around::Nothing,
    }
}

/// Returns whether the formula continues after a space: `\boxed{5} \cdot 3`, `\boxed{5} + 3i`.
fn goes_on(behind: &str) -> bool {
    let rest = behind.trim_start_matches(' ');
    if rest.len() == behind.len() {
        return false;
    }
    let commands = [
        "\\cdot", "\\times", "\\div", "\\sqrt", "\\pi", "\\pm", "·", "×", "÷",
    ];
    commands.iter().any(|command| {
        let more = rest.strip_prefix(command);
        more.is_some_and(|more| !more.starts_with(|c: char| c.is_ascii_alphabetic()))
    }) || rest.strip_prefix('+').is_some_and(|rest| {
        rest.trim_start()
            .starts_with(|c: char| c.is_ascii_digit() || c == '\\')
    })
}

/// Returns whether a box follows other members of an open tuple, set or ratio: `(6, \boxed{5})`, `6:\boxed{5}`.
fn is_member(near: &str, close: bool) -> bool {
    if let Some(ratio) = near.strip_suffix(':') {
        return close && ratio.ends_with(|c: char| c.is_ascii_digit());
    }
    let Some(members) = near.strip_suffix(',') else {
        return false;
    };
    // `1,\boxed{5}`
    if close && members.ends_with(|c: char| c.is_ascii_digit()) {
        return true;
    }
    let open = members.rfind(['(', '[']);
    open.is_some_and(|open| {
        let inside = &members[open + 1..];
        let is_value =
            |c: char| c.is_ascii_digit() || matches!(c, ',' | ' ' | '-' | '.' | '\\' | '/');
        inside.starts_with(|c: char| c.is_ascii_digit() || c == '-') && inside.chars().all(is_value)
    })
}

/// Returns whether the words before a box join another value to it: `4 or \boxed{5}`,
/// `the roots are 4 and \boxed{5}`.
fn is_joined(near: &str) -> bool {
    let words = near.trim_end_matches(['$', ' ', '*']);
    let behind_value = |conjunction: &str| {
        let rest = words.strip_suffix(conjunction)?.strip_suffix(' ')?;
        let rest = rest.trim_end_matches(['$', ' ', '*']);
        rest.ends_with(|c: char| c.is_ascii_digit() || c == '}')
            .then_some(rest)
    };
    behind_value("or").is_some()
        || behind_value("and").is_some_and(|rest| {
            let start = rest
                .rfind(['.', ';', ':', '\n', '='])
                .map_or(0, |at| at + 1);
            let clause = &rest[start..];
            rest.as_bytes().get(start.wrapping_sub(1)) != Some(&b'=') && clause.contains(" are ")
        })
}

/// Returns whether a named box is followed by another name and its value: `x = \boxed{5}, y = 6`.
fn is_one_of_several(near: &str, behind: &str) -> bool {
    let is_named = near.strip_suffix('=').is_some_and(|rest| {
        rest.trim_end()
            .ends_with(|c: char| c.is_ascii_alphabetic() || c == '}')
    });
    let rest = behind.trim_start_matches(['$', ' ']);
    let rest = [",", "and ", ", and ", ";"]
        .iter()
        .find_map(|joint| rest.strip_prefix(joint));
    is_named
        && rest.is_some_and(|rest| {
            let mut rest = rest.trim_start_matches(['$', ' ']).chars();
            let name = rest.next().is_some_and(|c| c.is_ascii_alphabetic());
            name && rest
                .as_str()
                .trim_start_matches(|c: char| c == '_' || c.is_ascii_digit())
                .trim_start()
                .starts_with('=')
        })
}

/// Returns whether the words before a box change the number in it: `minus`, `half of`.
pub(super) fn is_made_another(before: &str) -> bool {
    let words = before.trim_end_matches(['$', ' ', '*']);
    if ["不是", "并非", "不为", "负"]
        .iter()
        .any(|word| words.ends_with(word))
    {
        return true;
    }
    [
        "minus",
        "negative",
        "half of",
        "twice",
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
