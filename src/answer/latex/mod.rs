//! Parses mathematics in LaTeX, plain text and Unicode: a lexer and an operator-precedence parser that builds a
//! syntax tree with spans. Does not evaluate anything.

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
