//! Any response is graded without a panic, and an extracted answer equals itself.
#![no_main]

use dart_math::answer::Checker;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let response = String::from_utf8_lossy(data);
    let mut last = None;
    for lenient in [false, true] {
        let checker = Checker::builder().lenient(lenient).build();
        let verdict = checker.grade("1", &response);
        let Some(read) = verdict.extracted else {
            assert!(!verdict.equal);
            continue;
        };
        if last.as_ref() == Some(&read) {
            continue;
        }
        let itself = checker.equal(&read, &read);
        assert!(
            itself.equal || itself.rule == "empty",
            "{read:?} is not itself: {itself}"
        );
        last = Some(read);
    }
});
