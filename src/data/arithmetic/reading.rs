//! Parses questions: the operations that the sentences describe, and the value asked for.

use super::Asked;
use super::chain::Chain;
use super::language::{Kind, OBJECTS, PEOPLE, Person, Setting};

/// The content of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) asked: Asked,
    pub(super) chain: Chain,
}

/// Parses a question of the language. The error describes what is not part of it.
pub(super) fn read(question: &str) -> Result<Reading, String> {
    let sentences: Vec<&str> = question
        .split_inclusive(['.', '?'])
        .map(str::trim)
        .collect();
    let mut furthest = Unread {
        sentence: 0,
        reason: "is empty".into(),
    };
    // Some settings begin alike: report the reason of the one that parsed the most.
    for setting in Setting::ALL {
        match read_in(setting, &sentences) {
            Ok(reading) => return Ok(reading),
            Err(unread) if unread.sentence > furthest.sentence => furthest = unread,
            Err(_) => {}
        }
    }
    Err(format!("the question {}", furthest.reason))
}

/// The sentence, counted from 1, at which parsing stopped, and the reason.
struct Unread {
    sentence: usize,
    reason: String,
}

/// The people and things of a story, as far as it has been parsed.
struct Cast {
    setting: Setting,
    objects: &'static str,
    /// In order of appearance. In comparisons, each person but the first is compared with the previous one.
    people: Vec<&'static Person>,
}

fn read_in(setting: Setting, sentences: &[&str]) -> Result<Reading, Unread> {
    let unread = |index: usize, what: &str| Unread {
        sentence: index + 1,
        reason: format!("has {:?}, which {what}", shortened(sentences[index])),
    };
    let (Some((opening, story)), Some((asking, _))) =
        (sentences.split_first(), sentences.split_last())
    else {
        return Err(Unread {
            sentence: 0,
            reason: String::new(),
        });
    };
    let Some((mut cast, start)) = open(setting, opening) else {
        return Err(unread(0, "is no known beginning of a story"));
    };
    let mut chain = Chain::new(start);
    let story = story.split_last().map_or(&[][..], |(_, story)| story);
    for (index, sentence) in story.iter().enumerate() {
        let Some((kind, number)) = cast.operation(sentence) else {
            return Err(unread(index + 1, "describes no known operation"));
        };
        if let Err(reason) = chain.apply(kind, number) {
            return Err(unread(index + 1, &format!("cannot be: {reason}")));
        }
    }
    let last = sentences.len() - 1;
    match cast.asked(asking) {
        Some(asked) if last > 0 => Ok(Reading { asked, chain }),
        _ => Err(unread(last, "does not ask for a number of the story")),
    }
}

/// Parses a story's first sentence: its cast and number.
fn open(setting: Setting, sentence: &str) -> Option<(Cast, u64)> {
    setting.openings().iter().find_map(|template| {
        let filled = Filled::of(template, sentence)?;
        let objects = OBJECTS.into_iter().find(|&name| filled.is("{o}", name))?;
        let people = match filled.word("{A}") {
            Some(name) => vec![person(name)?],
            None => Vec::new(),
        };
        let cast = Cast {
            setting,
            objects,
            people,
        };
        Some((cast, filled.number?))
    })
}

impl Cast {
    /// Parses the operation that a sentence describes.
    fn operation(&mut self, sentence: &str) -> Option<(Kind, u64)> {
        for kind in Kind::ALL {
            for template in self.setting.sentences(kind) {
                if let Some(filled) = Filled::of(template, sentence)
                    && self.fits(&filled)
                {
                    if self.setting == Setting::People
                        && let Some(actor) = filled.word("{A}")
                    {
                        self.people.extend(person(actor));
                    }
                    let number = filled.number.unwrap_or(2);
                    return Some((kind, number));
                }
            }
        }
        None
    }

    /// Returns whether the words match this story's people and things.
    fn fits(&self, filled: &Filled<'_>) -> bool {
        filled.words.iter().all(|&(place, word)| {
            let first = self.people.first();
            match (place, self.setting) {
                ("{o}", _) => word == self.objects,
                ("{A}", Setting::Person) => first.is_some_and(|first| first.0 == word),
                ("{B}", Setting::Person) => {
                    person(word).is_some() && first.is_some_and(|first| first.0 != word)
                }
                ("{A}", Setting::People) => {
                    person(word).is_some() && self.people.iter().all(|known| known.0 != word)
                }
                ("{B}", Setting::People) => self.people.last().is_some_and(|last| last.0 == word),
                ("{A}" | "{B}", Setting::Box) => person(word).is_some(),
                (place, _) => first.is_some_and(|first| first.pronoun(place) == word),
            }
        })
    }

    /// Parses what the last sentence asks for.
    fn asked(&self, sentence: &str) -> Option<Asked> {
        [Asked::EveryValue, Asked::LastValue]
            .into_iter()
            .find(|&asked| {
                let templates = self.setting.questions(asked);
                templates.iter().any(|template| {
                    Filled::of(template, sentence).is_some_and(|filled| {
                        filled.words.iter().all(|&(place, word)| match place {
                            "{o}" => word == self.objects,
                            "{A}" => self.people.last().is_some_and(|last| last.0 == word),
                            place => self
                                .people
                                .first()
                                .is_some_and(|first| first.pronoun(place) == word),
                        })
                    })
                })
            })
    }
}

fn person(name: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.0 == name)
}

/// The values of a sentence's placeholders.
struct Filled<'a> {
    number: Option<u64>,
    words: Vec<(&'static str, &'a str)>,
}

impl<'a> Filled<'a> {
    /// Returns `None` if the sentence does not match the template.
    fn of(template: &'static str, sentence: &'a str) -> Option<Self> {
        let mut filled = Filled {
            number: None,
            words: Vec::new(),
        };
        let (mut template, mut rest) = (template, sentence);
        while let Some(at) = template.find('{') {
            rest = rest.strip_prefix(&template[..at])?;
            let place = &template[at..at + "{n}".len()];
            template = &template[at + place.len()..];
            if place == "{n}" {
                let (number, after) = number(rest)?;
                filled.number = Some(number);
                rest = after;
            } else {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphabetic())
                    .unwrap_or(rest.len());
                filled.words.push((place, &rest[..end]));
                rest = &rest[end..];
            }
        }
        (rest == template).then_some(filled)
    }

    fn word(&self, place: &str) -> Option<&'a str> {
        let found = self.words.iter().find(|(known, _)| *known == place);
        found.map(|(_, word)| *word)
    }

    fn is(&self, place: &str, word: &str) -> bool {
        self.word(place) == Some(word)
    }
}

/// Parses a number without leading zeros at the beginning of a text and returns it with the rest of the text.
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().ok()?, after))
}

/// Returns the beginning of a text, for a message.
pub(super) fn shortened(text: &str) -> &str {
    match text.char_indices().nth(60) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
