//! Names that the lexer knows: the meaning of commands, and which runs of letters are words rather than
//! products of variables.

/// Returns the canonical name of a command. Formatting without meaning becomes `""`.
pub(super) fn canonical(command: &str) -> &str {
    match command {
        "dfrac" | "tfrac" | "cfrac" | "frac" => "frac",
        "dbinom" | "tbinom" | "binom" => "binom",
        "leq" | "leqslant" | "leqq" | "le" => "le",
        "geq" | "geqslant" | "geqq" | "ge" => "ge",
        "ne" | "neq" | "not=" => "ne",
        "lt" => "lt",
        "gt" => "gt",
        "approx" | "simeq" | "approxeq" | "thickapprox" => "approx",
        "ldots" | "cdots" | "dots" | "dotsc" | "dotsb" | "dotsm" | "dotso" => "ldots",
        "varnothing" | "emptyset" => "emptyset",
        "cdot" | "ast" | "bullet" => "cdot",
        "div" => "div",
        "mid" | "vert" | "lvert" | "rvert" => "|",
        "lVert" | "rVert" | "Vert" | "|" => "Vert",
        "lbrace" | "{" => "{",
        "rbrace" | "}" => "}",
        "lbrack" => "[",
        "rbrack" => "]",
        "lparen" | "lgroup" => "(",
        "rparen" | "rgroup" => ")",
        "ulcorner" | "lceil" => "lceil",
        "urcorner" | "rceil" => "rceil",
        "llcorner" | "lfloor" => "lfloor",
        "lrcorner" | "rfloor" => "rfloor",
        "setminus" | "backslash" | "smallsetminus" => "setminus",
        "epsilon" | "varepsilon" => "epsilon",
        "phi" | "varphi" => "phi",
        "infty" | "infinity" => "infty",
        "degree" | "textdegree" => "degree",
        "to" | "rightarrow" | "longrightarrow" => "to",
        "Rightarrow" | "implies" | "Longrightarrow" => "implies",
        "iff" | "Leftrightarrow" | "Longleftrightarrow" => "iff",
        "land" | "wedge" => "wedge",
        "lor" | "vee" => "vee",
        "asin" | "arcsin" => "arcsin",
        "acos" | "arccos" => "arccos",
        "atan" | "arctan" | "arctg" => "arctan",
        "acot" | "arccot" | "arcctg" => "arccot",
        "asec" | "arcsec" => "arcsec",
        "acsc" | "arccsc" => "arccsc",
        "asinh" | "arcsinh" | "arsinh" => "arcsinh",
        "acosh" | "arccosh" | "arcosh" => "arccosh",
        "atanh" | "arctanh" | "artanh" => "arctanh",
        "tg" | "tan" => "tan",
        "ctg" | "cot" => "cot",
        "cosec" | "csc" => "csc",
        "ceil" => "ceil",
        "mod" | "bmod" => "mod",
        "exponentialE" => "e",
        "imaginaryI" => "i",
        "langle" | "lang" => "langle",
        "rangle" | "rang" => "rangle",
        "prime" => "prime",
        "displaystyle" | "textstyle" | "scriptstyle" | "limits" | "nolimits" | "left" | "right"
        | "mleft" | "mright" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl"
        | "Bigr" | "biggl" | "biggr" | "Biggl" | "Biggr" | "middle" | "noindent" | "relax"
        | "quad" | "qquad" | "," | ";" | ":" | "!" | ">" | " " | "/" | "thinspace" | "enspace"
        | "medspace" | "negthinspace" | "centering" | "hfill" | "newline" | "bf" | "it"
        | "nonumber" | "protect" | "par" | "tiny" | "small" | "normalsize" | "large" | "Large"
        | "LARGE" | "huge" | "Huge" => "",
        other => other,
    }
}

/// Returns whether the braces of a command contain upright text.
pub(super) fn is_text_command(command: &str) -> bool {
    matches!(
        command,
        "text"
            | "textbf"
            | "textit"
            | "textrm"
            | "textsf"
            | "texttt"
            | "textnormal"
            | "textsc"
            | "emph"
            | "mbox"
            | "hbox"
            | "mathrm"
            | "rm"
            | "mathsf"
            | "mathtt"
            | "operatorname"
            | "operatorname*"
            | "underline"
    )
}

/// Returns the command for a function or constant that may be written without a backslash.
pub(super) fn bare_command(run: &str) -> Option<&'static str> {
    Some(match run {
        "sin" => "sin",
        "cos" => "cos",
        "tan" | "tg" => "tan",
        "cot" | "ctg" => "cot",
        "sec" => "sec",
        "csc" => "csc",
        "sinh" => "sinh",
        "cosh" => "cosh",
        "tanh" => "tanh",
        "arcsin" | "asin" => "arcsin",
        "arccos" | "acos" => "arccos",
        "arctan" | "atan" => "arctan",
        "asinh" | "arsinh" | "arcsinh" => "arcsinh",
        "acosh" | "arcosh" | "arccosh" => "arccosh",
        "atanh" | "artanh" | "arctanh" => "arctanh",
        "ln" => "ln",
        "log" => "log",
        "lg" => "lg",
        "exp" => "exp",
        "sqrt" => "sqrt",
        "cbrt" => "cbrt",
        "abs" => "abs",
        "max" => "max",
        "min" => "min",
        "gcd" => "gcd",
        "lcm" => "lcm",
        "floor" => "floor",
        "ceil" | "ceiling" => "ceil",
        "mod" => "mod",
        "pi" => "pi",
        "inf" | "infty" | "infinity" | "Infinity" | "oo" => "infty",
        "alpha" => "alpha",
        "beta" => "beta",
        "theta" => "theta",
        "lambda" => "lambda",
        "epsilon" | "varepsilon" => "epsilon",
        "gamma" => "gamma",
        "delta" => "delta",
        "sigma" => "sigma",
        "omega" => "omega",
        "phi" => "phi",
        "rho" => "rho",
        "degrees" | "degree" | "deg" => "circ",
        "percent" | "percentage" | "pct" => "%",
        "union" => "cup",
        _ => return None,
    })
}

/// Returns whether a command is a Greek letter, which is a name like any other letter.
pub(crate) fn is_greek(command: &str) -> bool {
    matches!(
        command,
        "alpha"
            | "beta"
            | "gamma"
            | "delta"
            | "epsilon"
            | "zeta"
            | "eta"
            | "theta"
            | "vartheta"
            | "iota"
            | "kappa"
            | "lambda"
            | "mu"
            | "nu"
            | "xi"
            | "rho"
            | "varrho"
            | "sigma"
            | "varsigma"
            | "tau"
            | "upsilon"
            | "phi"
            | "chi"
            | "psi"
            | "omega"
            | "Gamma"
            | "Delta"
            | "Theta"
            | "Lambda"
            | "Xi"
            | "Pi"
            | "Sigma"
            | "Upsilon"
            | "Phi"
            | "Psi"
            | "Omega"
    )
}

/// Returns whether a command is a name or symbol by itself, like a letter.
pub(crate) fn is_symbol(command: &str) -> bool {
    is_greek(command)
        || matches!(
            command,
            "ell"
                | "hbar"
                | "imath"
                | "jmath"
                | "partial"
                | "nabla"
                | "aleph"
                | "beth"
                | "wp"
                | "Re"
                | "Im"
                | "top"
                | "bot"
                | "star"
                | "checkmark"
                | "square"
                | "Box"
                | "blacksquare"
                | "bigcirc"
                | "bigstar"
                | "spadesuit"
                | "heartsuit"
                | "diamondsuit"
                | "clubsuit"
                | "complement"
                | "mho"
                | "Omicron"
                | "omicron"
                | "odot"
                | "oplus"
                | "varpi"
                | "varnothing"
                | "Reals"
                | "dagger"
                | "sharp"
                | "flat"
        )
}

/// Returns a relation that is known only by name. Two such statements are equal if both sides are.
pub(crate) fn relation(command: &str) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "to",
        "implies",
        "iff",
        "sim",
        "cong",
        "propto",
        "parallel",
        "perp",
        "notin",
        "subset",
        "subseteq",
        "subsetneq",
        "subsetneqq",
        "nsubseteq",
        "supset",
        "supseteq",
        "supsetneq",
        "ni",
        "ll",
        "gg",
        "prec",
        "succ",
        "preceq",
        "succeq",
        "nmid",
        "asymp",
        "mapsto",
        "leftarrow",
        "leftrightarrow",
        "Leftarrow",
        "nparallel",
        "triangleq",
        "nless",
        "ngtr",
    ];
    NAMES.iter().find(|name| **name == command).copied()
}

/// Returns whether a command is a function that takes the next operand as its argument.
pub(crate) fn is_function(command: &str) -> bool {
    matches!(
        command,
        "sin"
            | "cos"
            | "tan"
            | "cot"
            | "sec"
            | "csc"
            | "sinh"
            | "cosh"
            | "tanh"
            | "coth"
            | "sech"
            | "csch"
            | "arcsin"
            | "arccos"
            | "arctan"
            | "arccot"
            | "arcsec"
            | "arccsc"
            | "arcsinh"
            | "arccosh"
            | "arctanh"
            | "ln"
            | "log"
            | "lg"
            | "exp"
            | "abs"
            | "max"
            | "min"
            | "gcd"
            | "lcm"
            | "floor"
            | "ceil"
            | "cbrt"
            | "det"
            | "arg"
            | "Re"
            | "Im"
            | "sgn"
            | "operatorname"
    )
}

/// Short words that are never a product of variables.
const SHORT_WORDS: &[&str] = &[
    "am", "an", "and", "any", "are", "as", "at", "be", "box", "but", "by", "can", "cat", "cm",
    "cup", "day", "do", "dog", "egg", "eq", "few", "for", "ft", "get", "go", "had", "has", "he",
    "her", "him", "his", "hr", "hrs", "if", "in", "is", "it", "its", "kg", "km", "kph", "lb",
    "lbs", "let", "man", "may", "men", "mg", "mi", "min", "mL", "ml", "mm", "mph", "my", "new",
    "no", "nor", "not", "now", "odd", "of", "off", "old", "on", "one", "or", "our", "out", "oz",
    "pm", "red", "see", "set", "she", "six", "so", "sq", "sum", "ten", "the", "to", "two", "up",
    "us", "was", "way", "we", "who", "yd", "per", "usd", "mile", "hours", "each", "pcs", "kmh",
    "yes", "you", "six", "pet", "pen", "car", "bus", "bag", "can", "cut", "win", "won", "end",
    "all", "blue", "nan", "sec", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb",
    "rpm", "mpg", "gpm", "bpm", "fps", "wpm", "kmph", "mps", "psi", "mar", "apr", "jun", "jul",
    "aug", "sep", "oct", "nov", "dec",
];

/// How a run of letters is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// A word or a unit.
    Word,
    /// One name of several capital letters, such as a segment `AB`.
    Name,
    /// A product of one-letter variables.
    Product,
}

/// Returns whether letters must be printed as upright text to be read as one name. Without it, they would be
/// split or read as a word.
pub(super) fn is_text(letters: &str) -> bool {
    letters.contains(|c: char| !c.is_ascii_alphabetic()) || read_run(letters) == Run::Word
}

/// Returns how to read a run of at least two ASCII letters that is not a known function.
pub(super) fn read_run(run: &str) -> Run {
    let lower = run.to_ascii_lowercase();
    if run.bytes().all(|b| b.is_ascii_uppercase()) {
        if matches!(run, "AM" | "PM") {
            return Run::Word;
        }
        if SHORT_WORDS.contains(&lower.as_str()) && run.len() > 2 {
            return Run::Word;
        }
        return Run::Name;
    }
    if SHORT_WORDS.contains(&run) || SHORT_WORDS.contains(&lower.as_str()) && run.len() > 2 {
        return Run::Word;
    }
    if run.len() >= 4 && run.bytes().any(|b| b"aeiouyAEIOUY".contains(&b)) {
        return Run::Word;
    }
    Run::Product
}
