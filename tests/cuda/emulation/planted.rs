//! Mistakes planted on purpose. Each must be detected.

use std::path::PathBuf;

use super::compiler::{
    Build, REPORTED, SANITIZER, WRONG, command, compiler, ending, files, for_each, kernels,
    output_directory, run,
};
use super::hashes;
use crate::harness::{Test, repository, tests};

/// Tests that only need a compiler.
pub(crate) const COMPILED: &[Test] = tests![hashes_show_what_no_error_does];
/// Tests that need both sanitizers.
pub(crate) const SANITIZED: &[Test] = tests![
    planted_mistakes_are_reported,
    mistakes_in_the_kernels_are_noticed
];

/// A kernel of `planted.cu`, its build, the orders of threads (0 to 2) and copies (0 late, 1 early) in which the
/// mistake must show, the exit code, and a part of the message.
type Planted = (&'static str, Build, &'static [(u8, u8)], i32, &'static str);

const ALL: &[(u8, u8)] = &[(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)];
const LATE: &[(u8, u8)] = &[(0, 0), (1, 0), (2, 0)];

const PLANTED: &[Planted] = &[
    ("stages", Build::Fast, ALL, 0, ""),
    ("stages", Build::Threads, ALL, 0, ""),
    ("stages", Build::Addresses, ALL, 0, ""),
    ("warps", Build::Fast, ALL, 0, ""),
    ("warps", Build::Threads, ALL, 0, ""),
    ("warps", Build::Addresses, ALL, 0, ""),
    ("stages_no_first_barrier", Build::Fast, ALL, WRONG, "wrong"),
    (
        "stages_no_first_barrier",
        Build::Threads,
        ALL,
        SANITIZER,
        "data race",
    ),
    (
        "stages_no_second_barrier",
        Build::Threads,
        ALL,
        SANITIZER,
        "data race",
    ),
    (
        "warps_no_barrier",
        Build::Threads,
        ALL,
        SANITIZER,
        "data race",
    ),
    ("stages_short_wait", Build::Fast, LATE, WRONG, "nan"),
    (
        "stages_short_array",
        Build::Addresses,
        ALL,
        SANITIZER,
        "heap-buffer-overflow",
    ),
    (
        "divergent_barrier",
        Build::Fast,
        ALL,
        REPORTED,
        "24 threads never reach",
    ),
    (
        "two_barriers",
        Build::Fast,
        ALL,
        REPORTED,
        "different barriers",
    ),
    (
        "divergent_shuffle",
        Build::Fast,
        ALL,
        REPORTED,
        "lanes that never come",
    ),
    (
        "shuffle_outside",
        Build::Fast,
        ALL,
        REPORTED,
        "outside the mask",
    ),
    (
        "never_waited",
        Build::Fast,
        ALL,
        REPORTED,
        "never waited for",
    ),
    ("misaligned_copy", Build::Fast, ALL, REPORTED, "misaligned"),
];

fn planted_mistakes_are_reported() {
    for build in [Build::Fast, Build::Threads, Build::Addresses] {
        let compiler = compiler();
        let source = repository("tests/cuda/planted/planted.cpp");
        let program = compiler.program("planted", build, &[], source);
        let planted: Vec<_> = PLANTED
            .iter()
            .filter(|planted| planted.1 == build)
            .collect();
        for_each(&planted, |(kernel, _, orders, status, said)| {
            for (order, copies) in *orders {
                let (order, copies) = (order.to_string(), copies.to_string());
                let output = run(command(&program).args([kernel, &order[..], &copies[..]]));
                let end = ending(&output);
                if output.status.code() != Some(*status) || !end.contains(said) {
                    return Err(format!(
                        "{kernel} ({build:?}), order {order}, copies {copies}: not {status} with \
                         '{said}', but {end}"
                    ));
                }
            }
            Ok(())
        });
    }
}

/// A mistake planted in the engine's own kernels: the program that must detect it, its build, the file, the original
/// text, and its replacement.
struct Mutation {
    what: &'static str,
    program: &'static str,
    build: Build,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// The shapes in the kernels' tests are large enough to reveal these.
static MUTATIONS: [Mutation; 4] = [
    Mutation {
        what: "prefix attention without the barrier before a stage is written again",
        program: "attention",
        build: Build::Threads,
        file: "attention.cu",
        from: "      // Before the stage (in the last round: the queries too) is written again.\n      \
               __syncthreads();",
        to: "",
    },
    Mutation {
        what: "suffix attention without the warp's barrier before a stage is written again",
        program: "attention",
        build: Build::Threads,
        file: "attention.cu",
        from: "    // Before the stage is written again.\n    __syncwarp();",
        to: "",
    },
    Mutation {
        what: "suffix attention waits for one copy too few",
        program: "attention",
        build: Build::Fast,
        file: "attention.cu",
        from: "copy_wait<STAGES - 1>();",
        to: "copy_wait<STAGES>();",
    },
    Mutation {
        what: "a block's sum without its barrier",
        program: "elementwise",
        build: Build::Threads,
        file: "device.h",
        from: "  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;\n  __syncthreads();",
        to: "  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;",
    },
];

impl Mutation {
    /// Compiles the program with the mistake. `name` must be unique.
    fn program(&self, name: &str) -> PathBuf {
        let original = std::fs::read_to_string(kernels().join(self.file)).unwrap();
        let places = original.matches(self.from).count();
        assert_eq!(places, 1, "{}: places in {}", self.what, self.file);
        let directory = output_directory().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        // Copy all files, because an include is first searched in the directory of the including file.
        for path in files(&kernels(), &["cu", "h"]) {
            let mut text = std::fs::read_to_string(&path).unwrap();
            if path.file_name().unwrap() == self.file {
                text = text.replacen(self.from, self.to, 1);
            }
            std::fs::write(directory.join(path.file_name().unwrap()), text).unwrap();
        }
        let source = repository("tests/cuda/kernels").join(self.program);
        let source = source.with_extension("cpp");
        let name = format!("{}_{name}", self.program);
        compiler().program(&name, self.build, &[directory], source)
    }
}

fn mistakes_in_the_kernels_are_noticed() {
    for_each(&MUTATIONS, |mutation| {
        let place = MUTATIONS
            .iter()
            .position(|each| std::ptr::eq(each, mutation));
        let program = mutation.program(&format!("mutation{}", place.unwrap()));
        let output = run(command(&program).arg("small"));
        match output.status.success() {
            true => Err(format!("nobody noticed: {}", mutation.what)),
            false => Ok(()),
        }
    });
}

/// A mistake so small that every value stays within its tolerance. Only the hashes reveal it.
fn hashes_show_what_no_error_does() {
    let mutation = Mutation {
        what: "the gate's exponential with a constant that is 0.0003 % off",
        program: "elementwise",
        build: Build::Exact,
        file: "elementwise.cu",
        from: "constexpr float LOG2_E = 1.44269504088896340736f;",
        to: "constexpr float LOG2_E = 1.4427f;",
    };
    let program = mutation.program("smallest_mutation");
    let without = run(command(&program).arg("hashes"));
    assert!(without.status.success(), "{}", ending(&without));
    let output = run(command(&program)
        .args(["hashes", "--hashes"])
        .arg(hashes("elementwise")));
    assert_eq!(output.status.code(), Some(1), "{}", ending(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.contains("OTHER BITS")) {
        assert!(line.starts_with("silu_mul_bf16"), "{line}");
    }
    assert!(text.contains("OTHER BITS"), "{text}");
}
