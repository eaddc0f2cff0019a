//! Extraction of final answers: fixtures of marked and unmarked answers, and properties.

use std::fmt::Write as _;

use dart_math::answer::{Extracted, Marker, NoAnswer, extract};
use proptest::prelude::*;

/// Each row has a response and the expected text and marker, or null.
#[test]
fn fixtures() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/answer/extraction.jsonl"
    );
    let rows = std::fs::read_to_string(path).unwrap();
    let mut wrong = String::new();
    let mut count = 0;
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let response = row["response"].as_str().unwrap();
        let lenient = row["lenient"].as_bool().unwrap_or(false);
        let found = extract(response, lenient);
        let text = found.as_ref().ok().map(|found| &*found.text);
        let marker = found.as_ref().ok().map(|found| found.marker.to_string());
        if text != row["extracted"].as_str() || marker.as_deref() != row["marker"].as_str() {
            writeln!(wrong, "{line}\n    {found:?}").unwrap();
        }
        if let Ok(found) = &found {
            assert_stands_in(response, found);
        }
        count += 1;
    }
    assert!(count >= 300, "only {count} rows");
    assert!(wrong.is_empty(), "{wrong}");
}

/// The text equals its span. If it is composed of several places, its characters occur in the span in this order.
/// Escaped JSON strings are an exception.
fn assert_stands_in(response: &str, found: &Extracted<'_>) {
    let place = &response[found.span.clone()];
    if found.text == place || found.marker == Marker::Json {
        return;
    }
    let mut signs = place.chars();
    for sign in found.text.replace(", ", " ").chars() {
        let stands = sign == ' ' || signs.any(|other| other == sign);
        assert!(stands, "{found:?} does not stand in {response:?}");
    }
}

#[test]
fn says_why_there_is_no_answer() {
    for (response, reason) in [
        (r"We get \boxed{5", NoAnswer::CutOff),
        ("The answer is 4. <answer>5", NoAnswer::CutOff),
        (r"$\frac{\boxed{5}}{6}$", NoAnswer::Part),
        (r"It goes into \boxed{}.", NoAnswer::EmptyBox),
        (r"<think>So \boxed{5}", NoAnswer::Unfinished),
        ("So it goes.", NoAnswer::Unmarked),
    ] {
        assert_eq!(extract(response, true), Err(reason), "{response}");
        assert!(!reason.to_string().is_empty());
    }
}

/// Megabyte texts that provoke repeated scanning are processed in linear time. Otherwise, this test would not end.
#[test]
fn work_is_linear_in_the_text() {
    let pieces = [
        r"\boxed{",
        r"\boxed{1}",
        r"\boxed{1} and ",
        r"\boxed5 ",
        r"\boxed (",
        "$",
        "$$",
        "$1",
        r"\(",
        r"\[",
        r"\",
        "{",
        "}",
        "answer",
        "answer is ",
        "the answer is 5 ",
        "the answer to ",
        "answer: **",
        "the final answer is not ",
        "5 is the answer ",
        "is the answer ",
        "<answer>",
        "{\"answer\": \"",
        "{\"answer\": [1,",
        "#",
        "####",
        "#### 5\n",
        "A: 5\n",
        "A:",
        "\n#",
        "\nProblem:",
        "<think>",
        "</think>",
        "<|im_end|>",
        "<",
        "[",
        "w",
        "box",
        "答案是",
        "故选",
        "因此",
        "correct option is ",
        "option (B) is correct ",
        "so ",
        "so x = 5\n",
        "so x is ",
        ". so ",
        "I hope it is correct",
        "the answer is $x$ is ",
        "$a$ and ",
        "**",
        "`",
        "1 ",
        "A ",
        "1.",
        "A1",
        "\n",
        " ",
        ",",
        ".",
    ];
    let nested = r"\boxed{".repeat(60_000) + &"}".repeat(60_000);
    assert!(extract(&nested, true).is_ok());
    for piece in pieces {
        for start in ["", "The answer is ", "So "] {
            let text = format!("{start}{}", piece.repeat(1_000_000 / piece.len()));
            let _ = extract(&text, false);
            let _ = extract(&text, true);
        }
    }
}

/// Responses made of typical pieces.
fn response() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "The ",
        "answer",
        "answers",
        " is ",
        " are ",
        ": ",
        ":",
        "Answer",
        "Final ",
        "final ",
        "final answer",
        "**",
        "*",
        "#",
        "####",
        "\n",
        "\n\n",
        "A: ",
        "B: ",
        "5",
        "12",
        "3.5",
        "1,000",
        "$",
        "$$",
        r"\(",
        r"\)",
        r"\[",
        r"\]",
        r"\boxed",
        r"\boxed{",
        r"\fbox{",
        "{",
        "}",
        r"\{",
        r"\}",
        r"\frac{1}{2}",
        "x = ",
        "x",
        ", ",
        " and ",
        " or ",
        ". ",
        ".",
        "。",
        "，",
        "!",
        "?",
        " I hope",
        "I hope it is correct",
        "答案",
        "答案是",
        "：",
        "故选",
        "所以",
        "为",
        "B",
        "(B)",
        "option ",
        "choice ",
        "correct ",
        "The correct option is ",
        "so ",
        "So ",
        "Therefore, ",
        "because ",
        "cm",
        "%",
        r"\%",
        "percent",
        "{\"answer\": ",
        "\"",
        "\\\"",
        "\\",
        "[",
        "]",
        "(",
        ")",
        "`",
        "```",
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "not ",
        "at least ",
        "é",
        "½",
        "p.m.",
        "e.g. ",
        "</",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\text{",
        "if ",
        "the ",
        "our ",
        "=",
        "-",
        "<|im_end|>",
        "\nProblem: ",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// An answer that fits into every form.
fn answer() -> impl Strategy<Value = String> {
    prop_oneof![
        (-10_000i64..10_000).prop_map(|n| n.to_string()),
        (1i64..1000, 1i64..1000).prop_map(|(a, b)| format!("{a}.{b}")),
        (1i64..1000, 1i64..1000).prop_map(|(a, b)| format!(r"\frac{{{a}}}{{{b}}}")),
        (1i64..100, 2i64..100).prop_map(|(a, b)| format!(r"{a}\sqrt{{{b}}}")),
        (1i64..100, 2i64..100).prop_map(|(a, b)| format!("({a}, {b})")),
        (1i64..100, 2i64..100).prop_map(|(a, b)| format!(r"\left[{a}, {b}\right)")),
        (1i64..100, 2i64..100).prop_map(|(a, b)| format!(r"\{{{a}, {b}\}}")),
        (1i64..100, 2i64..100).prop_map(|(a, b)| format!("x = {a}y + {b}")),
        (1i64..1000).prop_map(|a| format!("{a},000")),
        (1i64..1000).prop_map(|a| format!(r"{a}\text{{ cm}}^2")),
        (1i64..100).prop_map(|a| format!(r"\begin{{pmatrix}} {a} \\ 2 \end{{pmatrix}}")),
    ]
}

/// The forms that mark an answer, with `@` in its place, and their markers.
const FORMS: &[(&str, Marker)] = &[
    (r"So it is $\boxed{@}$.", Marker::Box),
    (r"So it is \boxed{ @ }", Marker::Box),
    (r"So \[ \fbox{@}. \] Done.", Marker::Box),
    (
        r"The final answer is $\boxed{@}$. I hope it is correct.",
        Marker::Box,
    ),
    (
        "The final answer is $@$. I hope it is correct.",
        Marker::FinalAnswer,
    ),
    (
        "Final Answer: The final answer is $@$. I hope it is correct.",
        Marker::FinalAnswer,
    ),
    ("**Final Answer:** @", Marker::FinalAnswer),
    ("**Final Answer**\n\n$$@$$", Marker::FinalAnswer),
    ("## Final Answer\n\\[ @ \\]\n", Marker::FinalAnswer),
    ("<answer>@</answer>", Marker::Tag),
    ("<answer>\n$@$\n</answer>", Marker::Tag),
    ("#### @", Marker::Hashes),
    ("The answer is @.", Marker::Answer),
    ("The answer is $@$.", Marker::Answer),
    ("The answer is: \\(@\\), as required.", Marker::Answer),
    ("So the correct answer is **@**.", Marker::Answer),
    ("The answer is `@`", Marker::Answer),
    ("Answer: @", Marker::Answer),
    ("**Answer**: @\n", Marker::Answer),
    ("**Answer: @**", Marker::Answer),
    ("### Answer\n@\n", Marker::Answer),
    ("A: @\n", Marker::Answer),
    ("Therefore $@$ is our answer.", Marker::Answer),
    ("答案是 @。", Marker::Answer),
    ("答案：$@$。", Marker::Answer),
    ("So it is $@$. I hope it is correct.", Marker::Minerva),
];

/// Texts that may follow the end of a solution.
const NEXT: &[&str] = &[
    "\n\nProblem: What is 2+2?\nThe final answer is 4. \\boxed{4}",
    "\n\nProblem:\nWhat is 2+2?\n#### 4",
    "\n\n**Problem 2.** What is 2+2?\n\nThe answer is 4.",
    "\n### Instruction:\nWhat is 2+2?\n\n### Response:\n\\boxed{4",
    "\nQuestion: What is 2+2?\nA: 4",
    "\nQ: What is 2+2?\nA: 4",
    "\nHuman: What is 2+2?\nAssistant: <answer>4</answer>",
    "\nUser: <think>no</think> \\boxed{4}",
    "<|im_end|>\n<|im_start|>user\nWhat is 2+2?",
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\\boxed{4}",
    "</s><s>[INST] \\boxed{4} [/INST]",
    "<|endoftext|>The answer is 4.",
    "<end_of_turn>\n<start_of_turn>user\n\\boxed{4}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in any::<String>(), lenient in any::<bool>()) {
        if let Ok(found) = extract(&text, lenient) {
            prop_assert!(text.get(found.span).is_some());
        }
    }

    #[test]
    fn an_answer_stands_where_it_is_said_to(text in response(), lenient in any::<bool>()) {
        if let Ok(found) = extract(&text, lenient) {
            assert_stands_in(&text, &found);
            prop_assert!(!found.text.trim().is_empty(), "{:?} of {:?}", found, text);
        }
    }

    #[test]
    fn an_answer_in_any_form_is_found(
        answer in answer(),
        form in prop::sample::select(FORMS),
        intro in prop::sample::select(vec!["", "We add 3 and 4 to get $7$.\n", "First, x = 3.\n\n"]),
    ) {
        let response = format!("{intro}{}", form.0.replace('@', &answer));
        let found = extract(&response, false).unwrap();
        prop_assert_eq!(&*found.text, answer.as_str(), "{}", response);
        prop_assert_eq!(found.marker, form.1, "{}", response);
        prop_assert_eq!(&response[found.span], answer.as_str());
    }

    #[test]
    fn a_next_turn_changes_nothing(
        answer in answer(),
        form in prop::sample::select(FORMS),
        next in prop::sample::select(NEXT),
    ) {
        let response = form.0.replace('@', &answer);
        let before = extract(&response, false);
        let longer = format!("{response}{next}");
        prop_assert_eq!(extract(&longer, false), before, "{}", longer);
    }

    #[test]
    fn reasoning_changes_nothing(
        answer in answer(),
        form in prop::sample::select(FORMS),
        thought in response(),
    ) {
        let thought = thought.replace('<', "");
        let response = form.0.replace('@', &answer);
        let thoughtful = format!("<think>{thought}</think>{response}");
        let found = extract(&thoughtful, false).unwrap();
        prop_assert_eq!(found.text, extract(&response, false).unwrap().text);
    }

    #[test]
    fn a_box_that_is_cut_off_is_no_answer(text in response(), answer in answer()) {
        let text = text.replace(['<', '{', '}'], "").replace("boxed", "").replace("Problem", "");
        let response = format!("{text}\nSo $\\boxed{{{answer}");
        prop_assert_eq!(extract(&response, true), Err(NoAnswer::CutOff), "{}", response);
    }
}
