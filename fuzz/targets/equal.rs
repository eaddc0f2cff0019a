//! Two texts separated by a byte 1: the verdict is the same in both orders, and each side equals itself. Bytes from
//! 128 stand for pieces of answers, so that few bytes make much mathematics.
#![no_main]

use dart_math::answer::Checker;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/answer/pieces.rs"]
mod pieces;

fuzz_target!(|data: &[u8]| {
    let text = pieces::unpacked(data);
    let (left, right) = text.split_once('\u{1}').unwrap_or((&text, "1"));
    let checker = Checker::default();
    let references = [checker.reference(left), checker.reference(right)];
    let verdict = references[0].equal(right);
    let back = references[1].equal(left);
    assert_eq!(
        verdict.equal, back.equal,
        "{left:?} vs {right:?}: {verdict}; the other way {back}"
    );
    for (reference, side) in references.iter().zip([left, right]) {
        let itself = reference.equal(side);
        assert!(
            itself.equal || itself.rule == "empty",
            "{side:?} is not itself: {itself}"
        );
    }
});
