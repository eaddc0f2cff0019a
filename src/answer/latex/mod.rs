//! Reading mathematics: a lexer and an operator-precedence parser for what answers are written
//! in (LaTeX, plain text and Unicode), to a syntax tree with spans. Gives nothing a value.

mod figures;
mod lexer;
mod parser;
mod print;
mod tree;
mod words;

pub(super) use figures::{are_no_arithmetic, chosen, is_sentence, parts};
pub(super) use lexer::{Tok, Token, tokens};
pub(super) use parser::{statement, tree};
pub(super) use print::print;
pub(super) use tree::{BigOperator, Domain, Kind, Literal, Node, Relation};
pub(super) use words::is_symbol;
