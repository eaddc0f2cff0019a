//! Decides whether two answers are equal: which values are compared, and by which rule. Answers that are not
//! understood are equal only if the texts have the same tokens, words or syntax tree.

mod choice;
mod collections;
mod compare;
mod conjunction;
mod numbers;
mod text;

use std::borrow::Cow;

use crate::answer::budget::{Budget, EvalError, MAX_INPUT};
use crate::answer::latex::{self, Tok, Token};
use crate::answer::value::{self, Value};

pub(super) use compare::{Options, Tolerance};

/// The rule and reason of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) equal: bool,
    pub(super) rule: &'static str,
    pub(super) reason: Cow<'static, str>,
}

impl Decision {
    fn yes(rule: &'static str) -> Self {
        Decision {
            equal: true,
            rule,
            reason: Cow::Borrowed(""),
        }
    }

    fn no(rule: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Decision {
            equal: false,
            rule,
            reason: reason.into(),
        }
    }
}

/// A parsed answer.
#[derive(Debug, Clone)]
pub(super) struct Read {
    text: String,
    tokens: Vec<Token>,
    value: Result<Value, EvalError>,
}

impl Read {
    /// Parses an answer into tokens, a tree and a value.
    pub(super) fn new(text: &str, budget: &mut Budget) -> Read {
        let text = unquoted(text.trim());
        let mut read = Read {
            text: text.to_owned(),
            tokens: Vec::new(),
            value: Err(EvalError::LimitExceeded),
        };
        if text.len() > MAX_INPUT {
            return read;
        }
        match latex::tokens(text, budget) {
            Ok(tokens) => read.tokens = tokens,
            Err(_) => return read,
        }
        read.value = match value::date(&upright(text)) {
            Some(date) => Ok(Value::Date(date)),
            None => match value::spoken(text) {
                Some(number) => Ok(number),
                None => evaluate(&read.tokens, budget),
            },
        };
        if conjunction::contradict(&read.tokens, &read.value) {
            read.value = match read.value {
                // `0.062 meters or 6.2 centimeters`: two quantities, not a sum.
                Ok(Value::Quantity(..)) => conjunction::alternatives(&read.tokens)
                    .map(|part| evaluate(part, budget))
                    .collect::<Result<_, _>>()
                    .map(Value::List),
                _ => Err(EvalError::Unsupported),
            };
        }
        read
    }

    /// Returns how the answer was read, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Ok(value) => value.kind(),
            Err(EvalError::LimitExceeded) => "too long or too deep to read",
            Err(EvalError::Unsupported) => "not read as mathematics",
        }
    }
}

/// Decides whether two answers are equal.
pub(super) fn decide(
    reference: &Read,
    answer: &Read,
    options: Options,
    budget: &mut Budget,
) -> Decision {
    if answer.text.is_empty() || reference.text.is_empty() {
        return Decision::no("empty", "one side is empty");
    }
    if reference.text == answer.text || text::identical(&reference.tokens, &answer.tokens) {
        return Decision::yes("identical");
    }
    if let Some(decision) = choice::choice(&reference.tokens, &answer.tokens) {
        return decision;
    }
    // `(A) 33.3` and `(A) \frac{100}{3}`: compare the contents after the same letter.
    if let Some((left, right)) = choice::chosen(&reference.tokens, &answer.tokens)
        && let (Ok(left), Ok(right)) = (evaluate(left, budget), evaluate(right, budget))
        && let Ok(true) = compare::Comparison::new(options, budget).values(&left, &right)
    {
        return Decision::yes("choice");
    }
    if text::is_run(&reference.tokens) && text::is_run(&answer.tokens) {
        // `ABC` and `CBA` are different words, even if they are the same product.
        return Decision::no("text", "other letters, or in another order");
    }
    let compared = match (&reference.value, &answer.value) {
        (Ok(left), Ok(right))
            if conjunction::differ((&reference.tokens, left), (&answer.tokens, right)) =>
        {
            return Decision::no("list", "one joins with and, the other with or");
        }
        (Ok(left), Ok(right)) => {
            let mut comparison = compare::Comparison::new(options, budget);
            let (left, right) = (
                conjunction::alternative(&reference.tokens, left, &mut comparison),
                conjunction::alternative(&answer.tokens, right, &mut comparison),
            );
            match comparison.values(left, right) {
                Ok(true) if comparison.is_numeric() => {
                    return Decision {
                        reason: Cow::Borrowed("agrees to far more digits than by coincidence"),
                        ..Decision::yes(comparison.rule())
                    };
                }
                Ok(true) => return Decision::yes(comparison.rule()),
                Ok(false) => {
                    let rule = comparison.rule();
                    match exactly((reference, left), (answer, right), options, budget) {
                        Some(decision) => return decision,
                        None => Ok(rule),
                    }
                }
                Err(stop) => Err(stop),
            }
        }
        (Err(stop), _) | (_, Err(stop)) => Err(*stop),
    };
    if compared == Err(EvalError::LimitExceeded) {
        return Decision::no("undecided", "the bound on steps, bits or depth was reached");
    }
    let is_prose = |read: &Read| match &read.value {
        Ok(Value::Text(_) | Value::Statement(_)) => true,
        Ok(_) => false,
        Err(_) => true,
    };
    if is_prose(reference) || is_prose(answer) {
        if text::same_words(&reference.tokens, &answer.tokens) {
            return Decision::yes("text");
        }
        // Both have no known value, but have the same tree.
        if reference.value.is_err() && answer.value.is_err() {
            let tree = |read: &Read, budget: &mut Budget| {
                let tree = budget.attempt(|budget| latex::tree(&read.tokens, budget));
                tree.ok().flatten().map(latex::Node::plain)
            };
            let left = tree(reference, budget);
            if left.is_some() && left == tree(answer, budget) {
                return Decision::yes("identical");
            }
        }
        let unread = if reference.value.is_err() {
            "the reference is not read as mathematics and the texts differ"
        } else if answer.value.is_err() {
            "the answer is not read as mathematics and the texts differ"
        } else {
            "the texts differ"
        };
        return Decision::no("text", unread);
    }
    match compared {
        Ok(rule) => Decision::no(
            rule,
            if reference.kind() == answer.kind() {
                Cow::Borrowed("not shown to be equal")
            } else {
                Cow::Owned(format!("{} against {}", reference.kind(), answer.kind()))
            },
        ),
        Err(_) => Decision::no("unread", "a part has no value that is known here"),
    }
}

/// Evaluates tokens as one expression, or else as a statement of words and formulas.
fn evaluate(tokens: &[Token], budget: &mut Budget) -> Result<Value, EvalError> {
    budget.spend(tokens.len())?;
    if let Some(labels) = latex::chosen(tokens) {
        let labels = labels.into_iter().map(|label| Value::Text(label.into()));
        return Ok(Value::Tuple(labels.collect()));
    }
    if let Some(parts) = latex::parts(tokens) {
        return numbered(&parts, budget);
    }
    if latex::are_no_arithmetic(tokens) {
        return Err(EvalError::Unsupported);
    }
    let whole = match latex::is_sentence(tokens) {
        true => None,
        false => budget.attempt(|budget| {
            latex::tree(tokens, budget).and_then(|tree| value::evaluate(&tree, budget))
        })?,
    };
    match whole {
        Some(value) => Ok(value),
        None => value::statement(&latex::statement(tokens, budget)?, budget),
    }
}

/// Decides by the exact value that either side gives before an approximation.
fn exactly(
    (reference, left): (&Read, &Value),
    (answer, right): (&Read, &Value),
    options: Options,
    budget: &mut Budget,
) -> Option<Decision> {
    let (a, b) = (
        exact(&reference.tokens, budget),
        exact(&answer.tokens, budget),
    );
    if a.is_none() && b.is_none() {
        return None;
    }
    let (a, b) = (a.as_ref().unwrap_or(left), b.as_ref().unwrap_or(right));
    let mut comparison = compare::Comparison::new(options, budget);
    let same = matches!(comparison.values(a, b), Ok(true));
    same.then(|| Decision::yes(comparison.rule()))
}

/// Returns the constant before the only `\approx` of a text: `\frac13 \approx 0.333` may be compared as either.
fn exact(tokens: &[Token], budget: &mut Budget) -> Option<Value> {
    let is_approximation =
        |token: &&Token| matches!(&token.tok, Tok::Command(name) if name == "approx");
    let at = tokens.iter().position(|token| is_approximation(&token))?;
    if tokens[at + 1..]
        .iter()
        .any(|token| is_approximation(&token))
    {
        return None;
    }
    match evaluate(&tokens[..at], budget) {
        Ok(value) if value.is_constant() => Some(value),
        _ => None,
    }
}

/// Evaluates numbered parts: each label with the value after it.
fn numbered(parts: &[(String, &[Token])], budget: &mut Budget) -> Result<Value, EvalError> {
    let mut values = Vec::with_capacity(parts.len());
    for (label, tokens) in parts {
        values.push(Value::Equation(value::Equation {
            name: Some(label.clone()),
            value: Box::new(budget.nested(|budget| evaluate(tokens, budget))?),
            difference: None,
            negated: false,
        }));
    }
    Ok(Value::Tuple(values))
}

/// Removes the commands for upright type from a short text: `4\text{ July}`.
fn upright(text: &str) -> Cow<'_, str> {
    const MAX_UPRIGHT: usize = 60;
    if text.len() > MAX_UPRIGHT || !text.contains("\\text{") {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\\text{", "").replace('}', ""))
}

/// Removes one pair of quotation marks around a text.
fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.is_empty() && !inner.contains(quote)) {
            return inner.trim();
        }
    }
    text
}

/// Returns whether a token is only punctuation at the end of a sentence.
fn is_stop(token: &Token) -> bool {
    matches!(token.tok, Tok::Symbol('.' | ',') | Tok::NewLine)
}
