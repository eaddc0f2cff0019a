//! Figures that look like arithmetic but are not: dates, ranges and scores, dimensions, bearings, chosen
//! statements, prefixed literals. Also numbered parts of an answer and equations in a sentence. If they were
//! evaluated, `3/4/2020` would equal `6/8/2020`, and `2 × 6` would equal `3 × 4`.

use super::lexer::{Tok, Token, names_side};
use super::parser::connective;
use super::tree::Literal;

/// Returns whether any figures of a text are not arithmetic, so that the text has no value.
pub(crate) fn are_no_arithmetic(tokens: &[Token]) -> bool {
    let says = tokens.iter().any(|token| is_word(&token.tok));
    let dated = |at| is_date(&tokens[at..]) && !is_over(tokens, at);
    let range_or_dimensions =
        |at| opens(tokens, at) && (is_range(&tokens[at..]) || are_dimensions(&tokens[at..]));
    (0..tokens.len()).any(|at| match &tokens[at].tok {
        Tok::Number(zero) if zero.whole == "0" && is_prefixed(&tokens[at..]) => true,
        Tok::Number(_) => {
            dated(at) || (says || is_signed_range(&tokens[at..])) && range_or_dimensions(at)
        }
        Tok::Letter(_) | Tok::Text(_) => is_bearing(&tokens[at..]),
        // `3330\%1`: a percent sign, or the remains of a division.
        Tok::Command(sign) if sign == "%" => is_number(tokens.get(at + 1)),
        _ => false,
    }) || (0..tokens.len()).any(|at| is_code(&tokens[at..]) || is_roman(&tokens[at..]))
        || is_bare_roman(tokens)
}

/// Recognizes `A-C-B`: an order of single capital letters without spaces.
fn is_code(tokens: &[Token]) -> bool {
    let capital = |at: usize| matches!(tokens.get(at).map(|token| &token.tok), Some(Tok::Letter(c)) if c.is_ascii_uppercase());
    let hyphen = |at: usize| is_symbol(tokens.get(at), &['-']);
    let close = tokens.iter().take(5).skip(1).all(|token| !token.spaced);
    // `555-1234`: a telephone number.
    let telephone = whole(tokens.first()).is_some_and(|digits| digits.len() == 3)
        && hyphen(1)
        && whole(tokens.get(2)).is_some_and(|digits| digits.len() == 4)
        && tokens.len() == 3;
    close && (capital(0) && hyphen(1) && capital(2) && hyphen(3) && capital(4) || telephone)
}

/// Recognizes a lower-case Roman numeral of several letters in brackets: `(iv)`.
fn is_roman(tokens: &[Token]) -> bool {
    is_symbol(tokens.first(), &['('])
        && numeral(tokens).is_some_and(|(_, len)| len > 3 || word_len(&tokens[1]) > 1)
}

/// Recognizes a lower-case Roman numeral of several letters that is the whole text: `ix`.
fn is_bare_roman(tokens: &[Token]) -> bool {
    const MAX_LETTERS: usize = 4;
    let letters = |token: &Token| match &token.tok {
        Tok::Letter(c @ ('i' | 'v' | 'x')) => Some(*c),
        _ => None,
    };
    if !(2..=MAX_LETTERS).contains(&tokens.len()) {
        return false;
    }
    let text: Option<String> = tokens.iter().map(letters).collect();
    text.is_some_and(|text| ROMAN.contains(&text.as_str()))
}

fn word_len(token: &Token) -> usize {
    match &token.tok {
        Tok::Name(word) | Tok::Word(word) | Tok::Text(word) => word.len(),
        _ => 1,
    }
}

/// Returns whether words come between two equations (`y=5 at x=2`) or end in a preposition before an equation.
/// One tree cannot hold such a sentence.
pub(crate) fn is_sentence(tokens: &[Token]) -> bool {
    let mut related = false;
    tokens.iter().enumerate().any(|(at, token)| {
        let words = match &token.tok {
            Tok::Word(word) | Tok::Text(word) if connective(word).is_none() => Some(word.as_str()),
            _ => None,
        };
        let places = |word: &str| {
            matches!(
                word,
                "at" | "of" | "on" | "in" | "by" | "for" | "from" | "near"
            )
        };
        let found = words.is_some_and(|word| {
            let last = word.rsplit(' ').next().unwrap_or(word);
            (related || places(last)) && names_side(&tokens[at + 1..])
        });
        match &token.tok {
            Tok::Symbol('=') => related = true,
            Tok::Symbol(',' | ';') | Tok::NewLine => related = false,
            _ => {}
        }
        found
    })
}

/// Returns the labels, in order, of statements that are chosen by number: `(2)(3)`, `①③`, `①、③`, `① and ③`.
/// Returns `None` for any other text, and for a single label in round brackets.
pub(crate) fn chosen(tokens: &[Token]) -> Option<Vec<String>> {
    let joins = |token: &Token| match &token.tok {
        Tok::Symbol(',' | ';' | '、') | Tok::Unknown('、') => true,
        Tok::Word(word) | Tok::Text(word) => connective(word) == Some(true) || word == "、",
        _ => false,
    };
    let mut labels = Vec::new();
    let mut circled = true;
    let mut at = 0;
    while at < tokens.len() {
        if !labels.is_empty() && circled && joins(&tokens[at]) {
            at += 1;
            continue;
        }
        let (found, len) = label(&tokens[at..])?;
        match found {
            Label::Circled(_) => {}
            Label::Number(number) if number < 100 => circled = false,
            _ => return None,
        }
        labels.push(found.to_string());
        at += len;
    }
    (labels.len() > 1 || circled && labels.len() == 1).then_some(labels)
}

/// Returns whether a token is a word other than a conjunction or condition, which may connect formulas.
fn is_word(tok: &Tok) -> bool {
    match tok {
        Tok::Word(word) | Tok::Text(word) => connective(word).is_none(),
        _ => false,
    }
}

fn whole(token: Option<&Token>) -> Option<&str> {
    match token.map(|token| &token.tok) {
        Some(Tok::Number(literal)) if literal.is_whole() => Some(&literal.whole),
        _ => None,
    }
}

fn is_number(token: Option<&Token>) -> bool {
    matches!(token.map(|token| &token.tok), Some(Tok::Number(literal)) if *literal != Literal::default())
}

fn is_symbol(token: Option<&Token>, symbols: &[char]) -> bool {
    matches!(token.map(|token| &token.tok), Some(Tok::Symbol(c)) if symbols.contains(c))
}

fn is_command(token: Option<&Token>, names: &[&str]) -> bool {
    matches!(token.map(|token| &token.tok), Some(Tok::Command(name)) if names.contains(&name.as_str()))
}

/// Returns whether an operator such as a fraction bar precedes a number, which is then not part of a date.
fn is_over(tokens: &[Token], at: usize) -> bool {
    at > 0 && is_symbol(tokens.get(at - 1), &['/', '-', '^', '_', '*', '+'])
}

/// Recognizes `3/4/2020`, `2020/3/4`, `01/02/03`, `3-4-2020`: three numbers without spaces that are joined by
/// slashes, one being a year or zero-padded, or joined by hyphens.
fn is_date(tokens: &[Token]) -> bool {
    let (Some(first), Some(second), Some(third)) = (
        whole(tokens.first()),
        whole(tokens.get(2)),
        whole(tokens.get(4)),
    ) else {
        return false;
    };
    let close = tokens[1..5].iter().all(|token| !token.spaced);
    let joined =
        |sign: char| is_symbol(tokens.get(1), &[sign]) && is_symbol(tokens.get(3), &[sign]);
    let ends = !is_symbol(tokens.get(5), &['/', '-', '^', '!', '*', '+', '=']);
    let day = |figures: &str| figures.len() <= 2;
    let year = |figures: &str| figures.len() == 4;
    let order = day(first) && year(third) || year(first) && day(third);
    let padded = [first, second, third]
        .iter()
        .any(|figures| figures.len() == 2 && figures.starts_with('0'));
    let dated = day(second) && (order || padded);
    // A final answer is not written as a double difference: `10-20-30` are sizes, `3-2-1` is a code.
    close && ends && (joined('/') && dated || joined('-'))
}

/// Returns whether a number may start a range or dimensions: no operator precedes it.
fn opens(tokens: &[Token], at: usize) -> bool {
    match at.checked_sub(1).map(|before| &tokens[before].tok) {
        None | Some(Tok::Word(_) | Tok::Text(_) | Tok::Currency(_) | Tok::NewLine) => true,
        Some(Tok::Symbol(c)) => matches!(c, ',' | ';' | ':' | '(' | '[' | '{' | '=' | '<' | '>'),
        Some(Tok::Command(name)) => matches!(name.as_str(), "approx" | "le" | "ge" | "ne" | "{"),
        _ => false,
    }
}

/// Returns whether a number may end a range or dimensions: no operator follows it.
fn closes(token: Option<&Token>) -> bool {
    match token.map(|token| &token.tok) {
        None
        | Some(
            Tok::Word(_)
            | Tok::Text(_)
            | Tok::Currency(_)
            | Tok::NewLine
            | Tok::Symbol(',' | ';' | '.' | ':' | ')' | ']' | '}'),
        ) => true,
        Some(Tok::Command(name)) => matches!(name.as_str(), "%" | "circ" | "}"),
        _ => false,
    }
}

/// Recognizes `5-7` in `5-7 days`, `3-2` in `won 3-2`: a range or a score.
fn is_range(tokens: &[Token]) -> bool {
    let second = 2 + usize::from(matches!(
        tokens.get(2).map(|token| &token.tok),
        Some(Tok::Currency(_))
    ));
    is_symbol(tokens.get(1), &['-'])
        && is_number(tokens.get(second))
        && closes(tokens.get(second + 1))
}

/// Recognizes `5-7\%`, `30-45^\circ`, `$5-$7`: a range even without a word.
fn is_signed_range(tokens: &[Token]) -> bool {
    is_range(tokens)
        && (is_command(tokens.get(3), &["%", "circ"])
            || matches!(
                tokens.get(2).map(|token| &token.tok),
                Some(Tok::Currency(_))
            )
            || matches!(
                tokens.get(3).map(|token| &token.tok),
                Some(Tok::Currency(_))
            ))
}

/// Recognizes `3\times 4` of a matrix, a board or a box: dimensions. Before a unit of area or volume, it is a
/// product.
fn are_dimensions(tokens: &[Token]) -> bool {
    let mut at = 1;
    loop {
        let times = is_command(tokens.get(at), &["times"])
            || is_symbol(tokens.get(at), &['*'])
            || matches!(
                tokens.get(at).map(|token| &token.tok),
                Some(Tok::Letter('x'))
            );
        if !times || !is_number(tokens.get(at + 1)) {
            break;
        }
        at += 2;
    }
    at > 1 && closes(tokens.get(at)) && !is_product_unit(&tokens[at..])
}

/// Words for quantities that are counted by multiplication.
const COUNTED: &[&str] = &[
    "arrangements",
    "choices",
    "combinations",
    "functions",
    "numbers",
    "orders",
    "outcomes",
    "permutations",
    "possibilities",
    "total",
    "ways",
];

/// Returns whether tokens are a power of a unit, or a quantity counted by multiplication: `cm^2`,
/// `square metres`.
fn is_product_unit(tokens: &[Token]) -> bool {
    let Some(Tok::Word(word) | Tok::Text(word)) = tokens.first().map(|token| &token.tok) else {
        return false;
    };
    let mut words = word.split_whitespace();
    let first = words.next().unwrap_or("");
    // `square` alone is a shape.
    let more = words.next().is_some() || tokens.get(1).is_some_and(|next| is_word(&next.tok));
    COUNTED.contains(&first)
        || more && matches!(first, "square" | "sq" | "cubic" | "cu")
        || word.ends_with(['2', '3'])
        || is_symbol(tokens.get(1), &['^'])
}

/// Recognizes `N30^\circ E`: a bearing from one point of the compass towards another.
fn is_bearing(tokens: &[Token]) -> bool {
    let compass = |token: Option<&Token>| match token.map(|token| &token.tok) {
        Some(Tok::Letter(c)) => matches!(c, 'N' | 'S' | 'E' | 'W'),
        Some(Tok::Text(text)) => matches!(text.as_str(), "N" | "S" | "E" | "W"),
        _ => false,
    };
    if !compass(tokens.first()) || !is_number(tokens.get(1)) {
        return false;
    }
    let mut rest = tokens[2..]
        .iter()
        .skip_while(|token| is_symbol(Some(token), &['^', '{', '}']))
        .skip_while(|token| is_command(Some(token), &["circ", "degree"]))
        .skip_while(|token| is_symbol(Some(token), &['}']));
    compass(rest.next())
}

/// Recognizes `0x…`, `0b…`, `0o…` without spaces, before figures that the lexer does not accept.
fn is_prefixed(tokens: &[Token]) -> bool {
    let close = |at: usize| tokens.get(at).filter(|token| !token.spaced);
    let prefix = matches!(
        close(1).map(|token| &token.tok),
        Some(Tok::Letter('x' | 'X' | 'b' | 'B' | 'o' | 'O'))
    );
    prefix
        && matches!(
            close(2).map(|token| &token.tok),
            Some(Tok::Letter(_) | Tok::Number(_) | Tok::Name(_) | Tok::Word(_))
        )
}

/// The label of a numbered part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Number(usize),
    Letter(usize),
    Roman(usize),
    Circled(usize),
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Circled numbers count as numbers.
            Label::Number(n) | Label::Circled(n) => write!(f, "({n})"),
            Label::Letter(n) => write!(f, "(letter {n})"),
            Label::Roman(n) => write!(f, "(roman {n})"),
        }
    }
}

impl Label {
    fn next(self) -> Label {
        match self {
            Label::Number(n) => Label::Number(n + 1),
            Label::Letter(n) => Label::Letter(n + 1),
            Label::Roman(n) => Label::Roman(n + 1),
            Label::Circled(n) => Label::Circled(n + 1),
        }
    }
}

/// Splits an answer into numbered parts, `(1) 5 (2) 6`, `(a) x; (b) y`, `①5②6`. Returns each label in normal
/// form with the tokens of its part. Returns `None` unless there are at least two consecutive labels, each
/// followed by a part.
pub(crate) fn parts(tokens: &[Token]) -> Option<Vec<(String, &[Token])>> {
    let (mut wanted, mut start) = label(tokens)?;
    let first = [
        Label::Number(1),
        Label::Letter(0),
        Label::Roman(1),
        Label::Circled(1),
    ];
    if !first.contains(&wanted) {
        return None;
    }
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut at = start;
    while at < tokens.len() {
        let said = at > start && ends_operand(&tokens[at - 1].tok);
        let found = label(&tokens[at..]).filter(|(found, _)| {
            let roman = numeral(&tokens[at..]).map(|(number, _)| Label::Roman(number));
            *found == wanted.next() || roman == Some(wanted.next())
        });
        if depth == 0
            && said
            && let Some((_, len)) = found
        {
            parts.push((wanted.to_string(), trimmed(&tokens[start..at])));
            wanted = wanted.next();
            start = at + len;
            at = start;
            if !tokens
                .get(at)
                .is_some_and(|token| begins_operand(&token.tok))
            {
                return None;
            }
            continue;
        }
        match &tokens[at].tok {
            Tok::Symbol('(' | '[' | '{') => depth += 1,
            Tok::Symbol(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    if parts.is_empty() {
        return None;
    }
    parts.push((wanted.to_string(), trimmed(&tokens[start..])));
    Some(parts)
}

/// Removes the punctuation at the end of a part.
fn trimmed(tokens: &[Token]) -> &[Token] {
    let ends = |token: &Token| matches!(token.tok, Tok::Symbol(',' | ';' | '.') | Tok::NewLine);
    let mut end = tokens.len();
    while end > 0 && ends(&tokens[end - 1]) {
        end -= 1;
    }
    &tokens[..end]
}

/// Returns the label that tokens begin with, and its number of tokens.
fn label(tokens: &[Token]) -> Option<(Label, usize)> {
    if is_command(tokens.first(), &["textcircled"]) {
        let number = whole(tokens.get(2))?.parse().ok()?;
        return Some((Label::Circled(number), 4));
    }
    if !is_symbol(tokens.first(), &['(']) {
        return None;
    }
    if let Some((number, len)) = numeral(tokens)
        && number == 1
    {
        return Some((Label::Roman(number), len));
    }
    let label = match &tokens.get(1)?.tok {
        Tok::Number(_) => Label::Number(whole(tokens.get(1))?.parse().ok()?),
        Tok::Letter(c @ 'a'..='h') => Label::Letter(*c as usize - 'a' as usize),
        _ => return numeral(tokens).map(|(number, len)| (Label::Roman(number), len)),
    };
    // `(1).` is a sentence by itself.
    let stop = usize::from(is_symbol(tokens.get(3), &['.']));
    is_symbol(tokens.get(2), &[')']).then_some((label, 3 + stop))
}

/// The Roman numerals that number parts and statements.
const ROMAN: &[&str] = &[
    "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii",
];

/// Reads a Roman numeral in brackets.
fn numeral(tokens: &[Token]) -> Option<(usize, usize)> {
    let close = tokens
        .iter()
        .take(6)
        .position(|token| token.tok == Tok::Symbol(')'))?;
    let mut text = String::new();
    for token in tokens.get(1..close)? {
        match &token.tok {
            Tok::Letter(c) => text.push(*c),
            Tok::Name(run) | Tok::Word(run) | Tok::Text(run) => text.push_str(run),
            _ => return None,
        }
    }
    let number = ROMAN
        .iter()
        .position(|known| text.eq_ignore_ascii_case(known))?
        + 1;
    Some((number, close + 1))
}

fn ends_operand(tok: &Tok) -> bool {
    match tok {
        Tok::Symbol(c) => matches!(c, ')' | ']' | '}' | ',' | ';' | '.' | '!' | '\''),
        Tok::Command(name) => !matches!(
            name.as_str(),
            "times"
                | "cdot"
                | "div"
                | "pm"
                | "mp"
                | "cup"
                | "cap"
                | "setminus"
                | "le"
                | "ge"
                | "ne"
        ),
        Tok::Unknown(_) | Tok::Begin(_) => false,
        _ => true,
    }
}

fn begins_operand(tok: &Tok) -> bool {
    match tok {
        Tok::Symbol(c) => matches!(c, '(' | '[' | '{' | '-' | '|'),
        Tok::Command(name) => !matches!(name.as_str(), "times" | "cdot" | "div" | "cup" | "cap"),
        Tok::Unknown(_) | Tok::End(_) | Tok::NewLine => false,
        _ => true,
    }
}
