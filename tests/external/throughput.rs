//! The example `throughput` as a user runs it: one line of JSON, the same tokens with any number of slots and
//! threads, and refusals.

use serde_json::Value;

use crate::harness::{Test, tests};
use crate::tool::{Ran, Tool};

pub(crate) const TESTS: &[Test] = tests![
    a_ragged_load_keeps_its_slots_busy_and_its_tokens,
    memory_of_the_kv_cache_is_what_the_formula_gives,
    what_cannot_be_measured_is_refused,
];

fn report(args: &[&str]) -> Value {
    let Ran { code, out, err } = Tool::new("throughput").run(args);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().count(), 1);
    serde_json::from_str(&out).unwrap()
}

fn a_ragged_load_keeps_its_slots_busy_and_its_tokens() {
    let load = "--model abacus --prompt-count 5 --samples-per-prompt 4 --prompt-tokens 12 \
        --new-tokens 20 --lengths spread --temperature 1.6 --top-p 0.95";
    let run = |more: &str| {
        let args: Vec<&str> = load.split_whitespace().chain(more.split(' ')).collect();
        report(&args)
    };
    let first = run("--slots 7 --threads 2");
    assert_eq!(first["occupancy_before_drain"], 1.0);
    let number = |name: &str| first[name].as_f64().unwrap();
    // 20 completions of 7 to 63 tokens.
    let tokens = number("generated_tokens");
    assert!((140.0..=1260.0).contains(&tokens), "{tokens}");
    let rate = tokens / number("seconds");
    assert!((number("tokens_per_second") / rate - 1.0).abs() < 1e-3);
    for name in [
        "decode_tokens_per_second",
        "prefill_tokens_per_second",
        "peak_kv_bytes",
        "fma_peak",
    ] {
        assert!(number(name) > 0.0, "{name}");
    }
    for share in [
        "occupancy",
        "fma_peak_share",
        "fma_peak_share_in_linear_layers",
    ] {
        assert!((0.0..=1.0).contains(&number(share)), "{share}");
    }
    assert!(cfg!(not(target_os = "linux")) || number("peak_bytes") > number("weight_bytes"));
    for part in ["total", "linear", "attention", "sampling", "other"] {
        let times = &first["step_ms"][part];
        assert!(times["p10"].as_f64() <= times["median"].as_f64(), "{part}");
    }
    for other in ["--slots 1 --threads 1", "--slots 32 --threads 1"] {
        let report = run(other);
        assert_eq!(report["tokens_digest"], first["tokens_digest"], "{other}");
    }
    // Another seed gives other tokens, so the digest is meaningful.
    let other = run("--slots 7 --seed 1");
    assert_ne!(other["tokens_digest"], first["tokens_digest"]);
}

/// The KV cache takes as much memory as documented, and half of that with 16 bits.
fn memory_of_the_kv_cache_is_what_the_formula_gives() {
    let model = dart_math::model::Model::built_in().unwrap();
    let config = model.config();
    let width = config.head_dim + config.head_dim.next_multiple_of(16);
    // The last of 70 tokens is not fed to the model.
    let positions = 12usize.next_multiple_of(16) + 7 * 69usize.next_multiple_of(64);
    let numbers = config.layers * config.kv_heads * width * positions;
    for (kv_type, size) in [("f32", 4), ("f16", 2)] {
        let load = "--model abacus --samples-per-prompt 7 --slots 7 --prompt-tokens 12 \
            --new-tokens 70 --kv-type";
        let args: Vec<&str> = load.split_whitespace().chain([kv_type]).collect();
        let report = report(&args);
        let bytes = report["peak_kv_bytes"].as_u64().unwrap();
        assert_eq!(bytes, (numbers * size) as u64, "{kv_type}");
        assert_eq!(report["settings"]["kv_type"], kv_type);
        let weights = report["weight_bytes"].as_u64().unwrap();
        assert!(cfg!(not(target_os = "linux")) || report["peak_bytes"].as_u64() > Some(weights));
    }
}

fn what_cannot_be_measured_is_refused() {
    for (args, reason) in [
        (&["--slots", "3"][..], "--model"),
        (&["--model", "abacus", "--new-tokens", "100000"], "context"),
        (
            &["--random-weights", "/nowhere/config.json"],
            "no such file",
        ),
        (&["--model", "abacus", "--top-p", "2"], "top_p"),
        (
            &["--model", "abacus", "--new-tokens", "18446744073709551615"],
            "context",
        ),
        (
            &[
                "--model",
                "abacus",
                "--prompt-count",
                "18446744073709551615",
            ],
            "completions",
        ),
        (
            &["--model", "abacus", "--activation-type", "int4"],
            "f32, int8",
        ),
    ] {
        let Ran { code, out, err } = Tool::new("throughput").run(args);
        assert_ne!(code, Some(0));
        assert!(out.is_empty() && err.contains(reason), "{err}");
    }
}
