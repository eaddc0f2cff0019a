//! Any text is parsed as a reference without a panic, and equals itself, with surrounding space too.
#![no_main]

use dart_math::answer::Checker;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let reference = Checker::default().reference(&text);
    assert!(!reference.kind().is_empty());
    for answer in [text.to_string(), format!(" {text}\n")] {
        let verdict = reference.equal(&answer);
        assert!(
            verdict.equal || verdict.rule == "empty",
            "{answer:?} is not {:?}: {verdict}",
            reference.text()
        );
    }
});
