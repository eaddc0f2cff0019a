//! Reading mathematics: a lexer and an operator-precedence parser for what answers are written
//! in (LaTeX, plain text and Unicode), to a syntax tree with spans. Gives nothing a value.

mod lexer;
mod parser;
mod tree;
mod words;

pub(super) use lexer::{Tok, Token, tokens};
pub(super) use parser::tree;
pub(super) use tree::{Big, Kind, Literal, Node, Relation};
