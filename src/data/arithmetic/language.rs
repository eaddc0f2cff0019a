//! The closed language of the questions: people, things, and sentence templates.

use super::Asked;

/// A name, and whether the pronoun is `she`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person(pub(super) &'static str, bool);

impl Person {
    /// Returns the pronoun for a placeholder.
    pub(super) fn pronoun(&self, place: &str) -> &'static str {
        match (place, self.1) {
            ("{P}", false) => "He",
            ("{P}", true) => "She",
            ("{p}", false) => "he",
            ("{p}", true) => "she",
            (_, false) => "him",
            (_, true) => "her",
        }
    }
}

pub(super) const PEOPLE: [Person; 16] = [
    Person("Tom", false),
    Person("Mia", true),
    Person("Leo", false),
    Person("Anna", true),
    Person("Ben", false),
    Person("Sara", true),
    Person("Max", false),
    Person("Lily", true),
    Person("Sam", false),
    Person("Nora", true),
    Person("Paul", false),
    Person("Emma", true),
    Person("Omar", false),
    Person("Ruth", true),
    Person("Hugo", false),
    Person("Clara", true),
];

pub(super) const OBJECTS: [&str; 16] = [
    "apples", "marbles", "coins", "stamps", "books", "shells", "cards", "pencils", "eggs",
    "stones", "beads", "cookies", "buttons", "stickers", "pears", "tickets",
];

/// The kinds of operation. Halving and doubling have their own sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Add,
    Subtract,
    Multiply,
    Double,
    Divide,
    Halve,
}

impl Kind {
    pub(super) const ALL: [Kind; 6] = [
        Kind::Add,
        Kind::Subtract,
        Kind::Multiply,
        Kind::Double,
        Kind::Divide,
        Kind::Halve,
    ];

    pub(super) fn sign(self) -> char {
        match self {
            Kind::Add => '+',
            Kind::Subtract => '-',
            Kind::Multiply | Kind::Double => '*',
            Kind::Divide | Kind::Halve => '/',
        }
    }
}

/// The topic of a story. In its sentences, `{n}` is the operation's number, `{o}` the objects, `{A}` the name
/// of the acting person, `{P}` `{p}` `{m}` the pronoun as subject (capitalised or not) and as object, and
/// `{B}` another name (in [`Setting::People`], one whose number is already known).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// A person gains and loses objects.
    Person,
    /// Each person has more or fewer than the previous one.
    People,
    /// Things are put into and taken out of a box.
    Box,
}

impl Setting {
    pub(super) const ALL: [Setting; 3] = [Setting::Person, Setting::People, Setting::Box];

    pub(super) fn openings(self) -> &'static [&'static str] {
        match self {
            Setting::Person => &["{A} has {n} {o}.", "{A} starts with {n} {o}."],
            Setting::People => &["{A} has {n} {o}."],
            Setting::Box => &["There are {n} {o} in a box.", "A box holds {n} {o}."],
        }
    }

    pub(super) fn questions(self, asked: Asked) -> &'static [&'static str] {
        match (self, asked) {
            (Setting::Person, Asked::LastValue) => &[
                "How many {o} does {A} have now?",
                "How many {o} does {p} have in the end?",
            ],
            (Setting::People, Asked::LastValue) => &["How many {o} does {A} have?"],
            (Setting::Box, Asked::LastValue) => &[
                "How many {o} are in the box now?",
                "How many {o} does the box hold in the end?",
            ],
            (Setting::Person, Asked::EveryValue) => &[
                "How many {o} does {A} have at first and after each change?",
                "How many {o} does {p} have each time, from first to last?",
            ],
            (Setting::People, Asked::EveryValue) => &[
                "How many {o} does each of them have?",
                "How many {o} do they have, from first to last?",
            ],
            (Setting::Box, Asked::EveryValue) => &[
                "How many {o} are in the box at first and after each change?",
                "How many {o} does the box hold each time, from first to last?",
            ],
        }
    }

    pub(super) fn sentences(self, kind: Kind) -> &'static [&'static str] {
        match (self, kind) {
            (Setting::Person, Kind::Add) => &[
                "{P} buys {n} more.",
                "Then {p} finds {n} {o}.",
                "{B} gives {m} {n} more.",
                "{P} gets {n} from {B}.",
            ],
            (Setting::Person, Kind::Subtract) => &[
                "{P} loses {n}.",
                "Then {p} sells {n} {o}.",
                "{P} gives {n} to {B}.",
                "{B} takes {n} from {m}.",
            ],
            (Setting::Person, Kind::Multiply) => &[
                "{P} swaps each for {n} new ones.",
                "Soon {p} has {n} times as many.",
            ],
            (Setting::Person, Kind::Double) => {
                &["{P} doubles them.", "Soon {p} has twice as many."]
            }
            (Setting::Person, Kind::Divide) => &[
                "{P} makes {n} equal piles and keeps one.",
                "{P} splits them among {n} friends and buys back one share.",
            ],
            (Setting::Person, Kind::Halve) => &["{P} keeps only half.", "{P} gives half to {B}."],
            (Setting::People, Kind::Add) => &[
                "{A} has {n} more than {B}.",
                "{A} has {n} {o} more than {B}.",
            ],
            (Setting::People, Kind::Subtract) => &[
                "{A} has {n} fewer than {B}.",
                "{A} has {n} {o} fewer than {B}.",
            ],
            (Setting::People, Kind::Multiply) => &["{A} has {n} times as many as {B}."],
            (Setting::People, Kind::Double) => &[
                "{A} has twice as many as {B}.",
                "{A} has double what {B} has.",
            ],
            (Setting::People, Kind::Divide) => &[
                "{B} has {n} times as many as {A}.",
                "If {B} made {n} equal piles, each would be what {A} has.",
            ],
            (Setting::People, Kind::Halve) => &[
                "{A} has half as many as {B}.",
                "{A} has half of what {B} has.",
            ],
            (Setting::Box, Kind::Add) => &["{A} puts in {n} more.", "Then {A} adds {n} {o}."],
            (Setting::Box, Kind::Subtract) => &["{A} takes out {n}.", "Then {A} removes {n} {o}."],
            (Setting::Box, Kind::Multiply) => &[
                "{A} swaps each for {n} new ones.",
                "{A} fills it to {n} times as many.",
            ],
            (Setting::Box, Kind::Double) => &[
                "{A} doubles the number of {o}.",
                "{A} fills it to twice as many.",
            ],
            (Setting::Box, Kind::Divide) => &["{A} makes {n} equal piles and puts back one."],
            (Setting::Box, Kind::Halve) => &["{A} takes out half.", "Then {A} removes half."],
        }
    }
}

/// Fills in a sentence template.
pub(super) fn fill(
    sentence: &str,
    number: u64,
    objects: &str,
    actor: &Person,
    other: &Person,
) -> String {
    sentence
        .replace("{n}", &number.to_string())
        .replace("{o}", objects)
        .replace("{A}", actor.0)
        .replace("{B}", other.0)
        .replace("{P}", actor.pronoun("{P}"))
        .replace("{p}", actor.pronoun("{p}"))
        .replace("{m}", actor.pronoun("{m}"))
}
