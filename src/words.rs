//! Splits texts into words for comparison, independent of markup.
//!
//! A word is a run of letters and digits, in lower case. An ideograph is a word of its own, because it is
//! written without spaces. `1,000`, `1{,}000` and `1\,000` are `1000`, `0.5` is one word, `Janet's` is
//! `janets`. LaTeX commands for layout and for signs (`\frac`, `\left`, `\cdot`, `\text`) are left out;
//! others, such as `\sin` and `\angle`, are words (`sin`, `angle`). Drawings (`[asy]` to `[/asy]`) are left
//! out. For example, `$\frac{1}{2}$`, `1/2` and `½` have the same words. All other characters (signs,
//! punctuation, spaces) only separate words.

use std::borrow::Cow;
use std::iter::{Map, Peekable};
use std::str::Chars;

/// LaTeX commands without a word in plain text, sorted.
const MARKUP: &[&str] = &[
    "approx",
    "bar",
    "begin",
    "big",
    "bigg",
    "biggl",
    "biggr",
    "bigl",
    "bigr",
    "binom",
    "boldsymbol",
    "boxed",
    "cap",
    "cdot",
    "cdots",
    "cfrac",
    "choose",
    "circ",
    "cup",
    "dbinom",
    "ddots",
    "degree",
    "dfrac",
    "displaystyle",
    "div",
    "dots",
    "dotsc",
    "emph",
    "end",
    "equiv",
    "fbox",
    "frac",
    "ge",
    "geq",
    "hline",
    "hspace",
    "in",
    "infty",
    "ldots",
    "le",
    "left",
    "leq",
    "mathbb",
    "mathbf",
    "mathcal",
    "mathit",
    "mathrm",
    "mbox",
    "mid",
    "ne",
    "neq",
    "operatorname",
    "over",
    "overline",
    "phantom",
    "pm",
    "qquad",
    "quad",
    "right",
    "rule",
    "sim",
    "text",
    "textbf",
    "textit",
    "textrm",
    "textstyle",
    "tfrac",
    "times",
    "to",
    "vdots",
    "vspace",
];

/// Returns the words of a text, separated by single spaces.
pub(crate) fn of(text: &str) -> String {
    Reader::new(&without_drawings(text), false).read()
}

/// Returns the words of a text and the signs of its formulas (`+`, `=`, …), for texts that are too short to
/// be distinguished by words alone.
pub(crate) fn with_signs(text: &str) -> String {
    Reader::new(&without_drawings(text), true).read()
}

/// Returns a text without its drawings. An unterminated drawing is kept.
fn without_drawings(text: &str) -> Cow<'_, str> {
    const DRAWING: [&str; 2] = ["[asy]", "[/asy]"];
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, inside)) = rest.split_once(DRAWING[0])
        && let Some((_, after)) = inside.split_once(DRAWING[1])
    {
        kept.push_str(before);
        kept.push(' ');
        rest = after;
    }
    match kept.is_empty() {
        true => Cow::Borrowed(rest),
        false => Cow::Owned(kept + rest),
    }
}

/// Returns every n-gram (run of `n` words) with its byte offset. Empty if there are fewer words.
pub(crate) fn grams(words: &str, n: usize) -> impl Iterator<Item = (usize, &str)> {
    let starts = || {
        let first = (!words.is_empty()).then_some(0);
        let spaces = words.bytes().enumerate().filter(|(_, byte)| *byte == b' ');
        first.into_iter().chain(spaces.map(|(at, _)| at + 1))
    };
    // A run ends before the space that precedes the n-th following word.
    let end = words.len() + 1;
    let last = (!words.is_empty()).then_some(end);
    let ends = starts().chain(last).skip(n.max(1));
    starts()
        .zip(ends)
        .map(|(from, to)| (from, &words[from..to - 1]))
}

/// Returns the number of words.
pub(crate) fn count(words: &str) -> usize {
    match words.is_empty() {
        true => 0,
        false => 1 + words.bytes().filter(|byte| *byte == b' ').count(),
    }
}

/// The characters of a text, with full-width forms replaced by the usual ones.
type Plain<'a> = Map<Chars<'a>, fn(char) -> char>;

struct Reader<'a> {
    rest: Peekable<Plain<'a>>,
    /// The last character read.
    last: char,
    words: String,
    /// Whether the next character begins a new word.
    apart: bool,
    signs: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, signs: bool) -> Self {
        Reader {
            rest: text.chars().map(plain as fn(char) -> char).peekable(),
            last: ' ',
            words: String::new(),
            apart: true,
            signs,
        }
    }

    fn read(mut self) -> String {
        while let Some(c) = self.rest.next() {
            self.take(c);
            self.last = c;
        }
        self.words
    }

    fn take(&mut self, c: char) {
        match c {
            '\\' => self.command(),
            _ if is_ignored(c) => {}
            '\'' | '’' | '‘' | 'ʼ' => {}
            ',' | '.' if self.is_within_number(c) => {
                if c == '.' {
                    self.words.push('.');
                }
            }
            '{' if self.skip_separator(&[',', '}']) => {}
            _ => match parts(c) {
                Some(parts) => {
                    self.apart = true;
                    parts.chars().for_each(|c| match c {
                        ' ' => self.apart = true,
                        c => self.push(c),
                    });
                    self.apart = true;
                }
                None if is_ideograph(c) => {
                    self.apart = true;
                    self.push(c);
                    self.apart = true;
                }
                None if c.is_alphanumeric() => {
                    let lower = c.to_lowercase().filter(|c| !is_ignored(*c));
                    lower.for_each(|c| self.push(c));
                }
                None => {
                    self.apart = true;
                    self.sign(c);
                }
            },
        }
    }

    fn push(&mut self, c: char) {
        if std::mem::take(&mut self.apart) && !self.words.is_empty() {
            self.words.push(' ');
        }
        self.words.push(c);
    }

    /// Handles a sign, which is a word of its own if signs count.
    fn sign(&mut self, c: char) {
        let c = match c {
            '−' | '–' => '-',
            '×' | '⋅' | '·' => '*',
            c => c,
        };
        // Powers and fractions are left out: they are written in too many ways.
        let is_sign = match c {
            // A factorial; elsewhere it ends a sentence.
            '!' => self.last.is_ascii_digit(),
            // Two of them are a dash.
            '-' => self.last != '-' && self.rest.peek() != Some(&'-'),
            c => "+-*=<>%≤≥≠".contains(c),
        };
        if self.signs && is_sign {
            self.push(c);
            self.apart = true;
        }
    }

    /// Returns whether a comma or point is inside a number: a point before a digit, or a comma before exactly
    /// three digits.
    fn is_within_number(&self, c: char) -> bool {
        let mut ahead = self.rest.clone();
        let digits = (0..4).take_while(|_| ahead.next_if(char::is_ascii_digit).is_some());
        let digits = digits.count();
        let enough = if c == '.' { digits > 0 } else { digits == 3 };
        enough && !self.apart && self.last.is_ascii_digit()
    }

    /// Skips a LaTeX thousands separator, if this is one.
    fn skip_separator(&mut self, rest: &[char]) -> bool {
        let mut ahead = self.rest.clone();
        if self.apart
            || !self.last.is_ascii_digit()
            || !rest.iter().all(|c| ahead.next_if_eq(c).is_some())
        {
            return false;
        }
        let after = Reader {
            rest: ahead.clone(),
            last: self.last,
            words: String::new(),
            apart: false,
            signs: false,
        };
        let skips = after.is_within_number(',');
        if skips {
            self.rest = ahead;
        }
        skips
    }

    /// Handles a command: its name is a word, unless it is markup.
    fn command(&mut self) {
        if self.skip_separator(&[',']) || self.skip_separator(&['!']) {
            return;
        }
        self.apart = true;
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(char::is_ascii_alphabetic) {
            name.push(c);
        }
        if name.is_empty() {
            // `\\`, `\$` and `\,` are one sign.
            self.rest.next();
            return;
        }
        match &*name {
            "begin" | "end" => self.skip_group(),
            "cdot" | "times" => self.sign('*'),
            "le" | "leq" => self.sign('≤'),
            "ge" | "geq" => self.sign('≥'),
            "ne" | "neq" => self.sign('≠'),
            _ => {}
        }
        if MARKUP.binary_search(&&*name).is_err() {
            name.to_ascii_lowercase().chars().for_each(|c| self.push(c));
        }
        self.apart = true;
    }

    /// Skips the name of an environment.
    fn skip_group(&mut self) {
        let mut ahead = self.rest.clone();
        let name = |c: &char| c.is_ascii_alphabetic() || *c == '*';
        if ahead.next() == Some('{') {
            while ahead.next_if(name).is_some() {}
            if ahead.next() == Some('}') {
                self.rest = ahead;
            }
        }
    }
}

/// Returns the usual form of a full-width character.
fn plain(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => c,
    }
}

/// Returns whether a character is invisible or only a combining mark.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{300}'..='\u{36F}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

/// Returns whether a character belongs to a script without spaces between words: Han, Hiragana or Katakana.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Returns the words for a character that LaTeX writes differently.
fn parts(c: char) -> Option<&'static str> {
    Some(match c {
        '⁰' | '₀' => "0",
        '¹' | '₁' => "1",
        '²' | '₂' => "2",
        '³' | '₃' => "3",
        '⁴' | '₄' => "4",
        '⁵' | '₅' => "5",
        '⁶' | '₆' => "6",
        '⁷' | '₇' => "7",
        '⁸' | '₈' => "8",
        '⁹' | '₉' => "9",
        '½' => "1 2",
        '⅓' => "1 3",
        '⅔' => "2 3",
        '¼' => "1 4",
        '¾' => "3 4",
        '√' => "sqrt",
        'π' => "pi",
        'θ' => "theta",
        'α' => "alpha",
        'β' => "beta",
        '∠' => "angle",
        '△' => "triangle",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_no_part_of_the_words() {
        for (text, words) in [
            ("", ""),
            (" \t\n$$ --- ", ""),
            ("Janet’s ducks lay 16 eggs.", "janets ducks lay 16 eggs"),
            ("Janet's DUCKS lay\n16 eggs", "janets ducks lay 16 eggs"),
            (r"$\frac{1}{2}$, 1/2, ½", "1 2 1 2 1 2"),
            (r"$x^{2}$ x² x^2", "x 2 x 2 x 2"),
            (
                r"1,000 1{,}000 1\,000 1\!000 1000",
                "1000 1000 1000 1000 1000",
            ),
            ("1,00 1,0000 10,20", "1 00 1 0000 10 20"),
            ("0.5. 3.x .5", "0.5 3 x 5"),
            (
                r"\begin{align*}\sin\theta\\ &= \pi\end{align*}",
                "sin theta pi",
            ),
            ("sin θ = π", "sin theta pi"),
            (r"\text{Find }\left(a,b\right)\cdot\$5", "find a b 5"),
            ("ÉCOLE e\u{301}cole STRASSE", "école ecole strasse"),
            ("ｘ＋１２，０００", "x 12000"),
            ("求x的值", "求 x 的 值"),
            ("Of[asy]draw((0,0));[/asy]it [asy]x[/asy]", "of it"),
            ("[asy]x[/asy][asy]open", "asy open"),
            ("so\u{AD}lu\u{200B}tion", "solution"),
            ("\\", ""),
            (r"\begin{", ""),
            (r"\begin{a b}", "a b"),
            ("{,", ""),
            ("\u{1F600}\u{0}", ""),
        ] {
            assert_eq!(of(text), words, "{text}");
        }
        assert!(MARKUP.is_sorted());
    }

    #[test]
    fn signs_distinguish_short_texts() {
        assert_eq!(with_signs(r"What is $3 \times 5$?"), "what is 3 * 5");
        assert_eq!(with_signs("What is 3 × 5?"), "what is 3 * 5");
        assert_eq!(with_signs("x^2 − 1 = 0"), "x 2 - 1 = 0");
        assert_ne!(with_signs("What is 3 + 5?"), with_signs("What is 3 - 5?"));
        assert_eq!(with_signs("1,000.5 − 2"), "1000.5 - 2");
        assert_eq!(
            with_signs("So -- 5! --- or six! Then"),
            "so 5 ! or six then"
        );
    }

    #[test]
    fn grams_are_all_runs_of_words() {
        let of = |words, n| grams(words, n).collect::<Vec<_>>();
        assert_eq!(of("a bc d", 2), [(0, "a bc"), (2, "bc d")]);
        assert_eq!(of("a bc d", 3), [(0, "a bc d")]);
        assert_eq!(of("a bc d", 1), [(0, "a"), (2, "bc"), (5, "d")]);
        assert!(of("a bc d", 4).is_empty() && of("", 1).is_empty());
        assert!(of("a", usize::MAX).is_empty());
        assert_eq!((count(""), count("a"), count("a bc d")), (0, 1, 3));
        // Multi-byte characters.
        assert_eq!(of("é 求 b", 2), [(0, "é 求"), (3, "求 b")]);
    }

    /// Normalisation is idempotent.
    #[test]
    fn words_of_words_are_the_same() {
        for text in [
            r"Let $a,$ $b\ge0$; 1,000,000.25 or \frac12?",
            "A-b_c d\u{301}",
            "Σίσυφος İ",
        ] {
            assert_eq!(of(&of(text)), of(text));
        }
    }

    #[test]
    fn huge_texts_take_one_pass() {
        let text = r"\begin{1,000".repeat(100_000);
        assert!(count(&of(&text)) >= 100_000);
        assert_eq!(of(&"\\".repeat(1_000_001)), "");
        assert!(count(&of(&"1,000".repeat(100_000))) >= 99_999);
        assert_eq!(of(&",000".repeat(100_000)).len(), 300_000);
    }
}
