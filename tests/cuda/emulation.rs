//! The CUDA kernels without a GPU: their sources, compiled by the system's C++ compiler over an
//! emulation (`tests/cuda/emulation`), run as programs that check values, races and bounds;
//! mistakes planted on purpose must be reported. And the PTX that is shipped belongs to those
//! sources.
//!
//! Every `tests/cuda/kernels/*.cpp` is such a program. It includes the kernels that it tests
//! (`#include "attention.cu"`), is linked with the emulation, exits with 0 if all is right, and
//! takes fewer and smaller shapes, those that use every stage of a pipeline again, with the
//! argument `small` (under a sanitizer).
//!
//! They need a C++17 compiler, some of them its sanitizers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use sha2::Digest as _;

use crate::harness::{Need, Test, repository, tests};

/// What needs no compiler.
pub(crate) const PTX: &[Test] = tests![
    ptx_belongs_to_the_sources,
    ptx_is_for_old_cards_and_drivers,
    kernels_compared_by_hash_have_no_special_functions,
];
/// What a compiler is enough for.
pub(crate) const COMPILED: &[Test] = tests![
    kernels_compute_what_plain_loops_do,
    kernels_give_the_stored_bits,
    kernels_give_the_stored_bits_by_way_of_a_driver,
    hashes_show_what_no_error_does,
    the_fake_driver_keeps_the_drivers_rules,
    ptx_takes_the_arguments_of_the_sources,
];
/// What wants ThreadSanitizer.
pub(crate) const THREADS: &[Test] = tests![kernels_have_no_races];
/// What wants AddressSanitizer.
pub(crate) const ADDRESSES: &[Test] = tests![kernels_stay_inside_their_memory];
/// What wants both.
pub(crate) const SANITIZED: &[Test] = tests![
    planted_mistakes_are_reported,
    mistakes_in_the_kernels_are_noticed
];

/// Nothing here takes so long, on any machine.
const MAX_RUN: Duration = Duration::from_secs(600);

/// What a program of ours exits with when the emulation reported a mistake, or values were wrong
/// (`tests/cuda/planted/planted.cpp`), and when a sanitizer did.
const REPORTED: i32 = 3;
const WRONG: i32 = 4;
const SANITIZER: i32 = 66;

fn kernels() -> PathBuf {
    repository("src/engine/cuda/kernels")
}

fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let wanted = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    };
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(wanted)
        .collect();
    found.sort();
    found
}

// ---- programs -----------------------------------------------------------------------------------

/// A place among the processors: as many compilers and programs run as there are, over all tests.
struct Place;

static PLACES: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Place {
    fn take() -> Self {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let taken = PLACES.0.lock().unwrap();
        let mut taken = PLACES.1.wait_while(taken, |taken| *taken >= most).unwrap();
        *taken += 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *PLACES.0.lock().unwrap() -= 1;
        PLACES.1.notify_one();
    }
}

/// Runs a command to its end, or for at most [`MAX_RUN`].
fn run(command: &mut Command) -> Output {
    let _place = Place::take();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Its output is read while it runs, lest it wait for the pipe.
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let read = |from: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    };
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || read(&mut stdout));
        let stderr = scope.spawn(move || read(&mut stderr));
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > MAX_RUN {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Output {
            status,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    })
}

/// The end of what a program wrote.
/// How a program ended (its exit status, or the signal that killed it), and the end of what it said.
fn ending(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(60)..].join("\n");
    format!("{}\n{last}", output.status)
}

/// How a program is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Build {
    Fast,
    /// Races between threads are reported.
    Threads,
    /// Accesses outside of memory and undefined arithmetic are reported.
    Addresses,
    /// The arithmetic of the stored hashes.
    Exact,
    /// The same with other instructions: fused multiply-adds are the library's.
    ExactPortable,
}

impl Build {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Build::Fast => &["-O2"],
            Build::Threads => &["-O1", "-g1", "-fsanitize=thread"],
            Build::Addresses => &[
                "-O1",
                "-g1",
                "-fsanitize=address,alignment,bounds,shift,signed-integer-overflow",
                "-fno-sanitize-recover=all",
            ],
            Build::Exact => &["-O2", "-DEMU_EXACT_MMA", "-DEXACT_FUNCTIONS"],
            #[cfg(target_arch = "x86_64")]
            Build::ExactPortable => &[
                "-O1",
                "-mno-fma",
                "-mno-avx",
                "-DEMU_EXACT_MMA",
                "-DEXACT_FUNCTIONS",
            ],
            #[cfg(not(target_arch = "x86_64"))]
            Build::ExactPortable => &["-O1", "-DEMU_EXACT_MMA", "-DEXACT_FUNCTIONS"],
        }
    }

    /// What tells the emulation's runtime, which is itself compiled without a sanitizer.
    fn runtime(self) -> &'static [&'static str] {
        match self {
            Build::Fast | Build::Exact | Build::ExactPortable => &[],
            Build::Threads => &["-DEMU_TSAN"],
            Build::Addresses => &["-DEMU_ASAN"],
        }
    }
}

/// The system's C++ compiler.
struct Compiler {
    command: String,
    sanitizers: Vec<Build>,
}

/// The compiler, where there is one.
fn find_compiler() -> Option<&'static Compiler> {
    static FOUND: OnceLock<Option<Compiler>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let own = std::env::var("CXX").ok();
        let names = own
            .into_iter()
            .chain(["c++", "g++", "clang++"].map(str::to_owned));
        let works = |name: &String, flags: &[&str]| {
            let out = output_directory().join(format!("trial{}", flags.len()));
            let source = out.with_extension("cpp");
            std::fs::write(&source, "#include <vector>\nint main() { return 0; }\n").unwrap();
            let compiled = Command::new(name)
                .args(["-std=c++17", "-pthread"])
                .args(flags)
                .arg(&source)
                .arg("-o")
                .arg(&out)
                .output();
            compiled.is_ok_and(|output| output.status.success())
                && Command::new(&out)
                    .output()
                    .is_ok_and(|output| output.status.success())
        };
        let command = names.into_iter().find(|name| works(name, &[]))?;
        let mut sanitizers = vec![Build::Threads, Build::Addresses];
        sanitizers.retain(|build| works(&command, build.flags()));
        Some(Compiler {
            command,
            sanitizers,
        })
    });
    found.as_ref()
}

fn compiler() -> &'static Compiler {
    find_compiler().expect("there is no C++17 compiler")
}

/// Of tests that compile C++ so.
pub(crate) fn need(builds: &[Build]) -> Need {
    let missing = match find_compiler() {
        None => Some("no C++17 compiler (set CXX)".into()),
        Some(compiler) => builds
            .iter()
            .find(|build| **build != Build::Fast && !compiler.sanitizers.contains(build))
            .map(|build| format!("{} has no working {:?}", compiler.command, build.flags())),
    };
    Need::new("compiler", missing)
}

fn output_directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda_emulation");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Flags by which the kernels' `fmaf` is an instruction, where the processor has it.
fn fused_multiply_add() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
        return &["-mavx2", "-mfma"];
    }
    &[]
}

/// What any of our C++ may include.
fn include_directories() -> [PathBuf; 4] {
    let tests = repository("tests/cuda");
    [
        tests.join("emulation"),
        kernels(),
        tests.join("kernels"),
        tests.join("planted"),
    ]
}

/// A number of all that a compilation can read, and of its command.
fn fingerprint(command: &str, directories: &[PathBuf]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(command.as_bytes());
    for path in directories
        .iter()
        .flat_map(|each| files(each, &["h", "cpp", "cu"]))
    {
        hasher.write(path.file_name().unwrap().as_encoded_bytes());
        hasher.write(&std::fs::read(&path).unwrap());
    }
    hasher.finish()
}

impl Compiler {
    /// Compiles (and links, unless the flags say otherwise), if that was not done before.
    fn make(&self, name: &str, first: &[PathBuf], flags: &[&str], inputs: &[PathBuf]) -> PathBuf {
        let mut directories = first.to_vec();
        directories.extend(include_directories());
        let mut command = Command::new(&self.command);
        // As nvcc's -fmad=false: products and sums are rounded apart unless the source says fma.
        command
            .args(["-std=c++17", "-w", "-ffp-contract=off", "-pthread"])
            .args(fused_multiply_add())
            .args(flags);
        for directory in &directories {
            command.arg("-I").arg(directory);
        }
        command.args(inputs);
        let number = fingerprint(&format!("{command:?}"), &directories);
        let out = output_directory().join(format!("{name}-{number:016x}"));
        if out.exists() {
            return out;
        }
        // Of sources or flags that are no more.
        for entry in std::fs::read_dir(output_directory()).unwrap() {
            let old = entry.unwrap().path();
            let stem = old.file_name().unwrap().to_string_lossy().into_owned();
            if stem.rsplit_once('-').is_some_and(|(stem, _)| stem == name) {
                std::fs::remove_file(old).unwrap();
            }
        }
        let part = out.with_extension("part");
        let output = run(command.arg("-o").arg(&part));
        assert!(
            output.status.success(),
            "{name} does not compile: {}",
            ending(&output)
        );
        std::fs::rename(&part, &out).unwrap();
        out
    }

    /// The emulation's runtime.
    fn runtime(&self, build: Build) -> PathBuf {
        static LOCK: Mutex<()> = Mutex::new(());
        let _one = LOCK
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let build = match build {
            Build::Exact | Build::ExactPortable => Build::Fast,
            sanitized => sanitized,
        };
        let source = repository("tests/cuda/emulation/emu.cpp");
        let flags = [&["-O2", "-c"], build.runtime()].concat();
        self.make(&format!("emulation_{build:?}"), &[], &flags, &[source])
    }

    /// A program over the emulation. Files in `first` stand before the kernels' own.
    fn program(&self, name: &str, build: Build, first: &[PathBuf], source: PathBuf) -> PathBuf {
        let runtime = self.runtime(build);
        self.make(
            &format!("{name}_{build:?}"),
            first,
            build.flags(),
            &[source, runtime],
        )
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env(
            "TSAN_OPTIONS",
            format!("exitcode={SANITIZER} report_signal_unsafe=0"),
        )
        // Threads that a mistake stops never give back what they have.
        .env(
            "ASAN_OPTIONS",
            format!("exitcode={SANITIZER} detect_leaks=0"),
        )
        .env(
            "UBSAN_OPTIONS",
            format!("exitcode={SANITIZER} print_stacktrace=1"),
        );
    command
}

/// Does `work` on every item, on several threads, and fails with all failures.
fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), String> + Sync) {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(|| work(item)))
            .collect();
        started
            .into_iter()
            .filter_map(|thread| thread.join().unwrap().err())
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

// ---- kernels ------------------------------------------------------------------------------------

fn kernel_tests() -> Vec<(String, PathBuf)> {
    let sources = files(&repository("tests/cuda/kernels"), &["cpp"]);
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    sources
        .into_iter()
        .map(|path| (name(&path), path))
        .collect()
}

fn test_kernels(build: Build, arguments: &[&str]) {
    let compiler = compiler();
    for_each(&kernel_tests(), |(name, source)| {
        let program = compiler.program(name, build, &[], source.clone());
        let begin = Instant::now();
        let output = run(command(&program).args(arguments));
        let end = String::from_utf8_lossy(&output.stdout);
        let end = end.lines().last().unwrap_or("no output");
        eprintln!("{build:?}: {end} ({:.1} s)", begin.elapsed().as_secs_f64());
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{name} ({build:?}): {}", ending(&output))),
        }
    });
}

fn kernels_compute_what_plain_loops_do() {
    test_kernels(Build::Fast, &[]);
}

fn kernels_have_no_races() {
    test_kernels(Build::Threads, &["small"]);
}

fn kernels_stay_inside_their_memory() {
    test_kernels(Build::Addresses, &["small"]);
}

// ---- bits that are stored -----------------------------------------------------------------------

/// The stored hashes of a program's cases.
fn hashes(name: &str) -> PathBuf {
    repository(&format!("tests/cuda/kernels/hashes/{name}.txt"))
}

/// Set, hashes are written instead of compared: after a change of the kernels or their cases.
const WRITE_HASHES: &str = "DART_MATH_WRITE_HASHES";

fn kernels_give_the_stored_bits() {
    let compiler = compiler();
    for_each(&kernel_tests(), |(name, source)| {
        for build in [Build::Exact, Build::ExactPortable] {
            let program = compiler.program(name, build, &[], source.clone());
            let is_written = build == Build::Exact && std::env::var_os(WRITE_HASHES).is_some();
            let option = if is_written {
                "--write-hashes"
            } else {
                "--hashes"
            };
            let begin = Instant::now();
            let output = run(command(&program).args(["hashes", option]).arg(hashes(name)));
            let end = String::from_utf8_lossy(&output.stdout);
            let end = end.lines().last().unwrap_or("no output");
            eprintln!("{build:?}: {end} ({:.1} s)", begin.elapsed().as_secs_f64());
            if !output.status.success() {
                return Err(format!("{name} ({build:?}): {}", ending(&output)));
            }
        }
        Ok(())
    });
}

/// The programs as they run on a GPU, on the shipped PTX, over the fake driver.
fn kernels_give_the_stored_bits_by_way_of_a_driver() {
    let compiler = compiler();
    let libraries = output_directory().join("exact_driver");
    let built = run(Command::new("bash")
        .arg(repository("tests/cuda/build_fake.sh"))
        .args([&libraries, &kernels(), &repository("tests/cuda/kernels")])
        .env("CXX", &compiler.command)
        .env("EXACT", "1")
        .env("JOBS", "1"));
    assert!(built.status.success(), "{}", ending(&built));
    let runtime = compiler.runtime(Build::Fast);
    for_each(&kernel_tests(), |(name, source)| {
        let inputs = [source.clone(), runtime.clone(), PathBuf::from("-ldl")];
        let flags = ["-O1", "-DON_DEVICE"];
        let program = compiler.make(&format!("{name}_on_device"), &[], &flags, &inputs);
        let output = run(command(&program)
            .args(["hashes", "--exact", "--hashes"])
            .arg(hashes(name))
            .arg("--ptx")
            .arg(repository("src/engine/cuda/ptx"))
            .env("LD_LIBRARY_PATH", &libraries));
        let end = String::from_utf8_lossy(&output.stdout);
        let end = end.lines().last().unwrap_or("no output");
        eprintln!("{end}");
        // Of kernels that only tests have there is no shipped PTX.
        let has_all = end.ends_with("not on the device 0") || name == "mma";
        match output.status.success() && has_all {
            true => Ok(()),
            false => Err(format!("{name}: {}", ending(&output))),
        }
    });
}

/// Test programs say themselves which kernels they do not compare on a GPU; what the compiler made of
/// the others has no approximate instruction.
fn kernels_compared_by_hash_have_no_special_functions() {
    let said = std::fs::read_to_string(repository("tests/cuda/kernels/test.h")).unwrap();
    let (_, list) = said.split_once("WITH_SPECIAL_FUNCTIONS[] = {").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    let special: Vec<_> = list.split('"').skip(1).step_by(2).collect();
    let mut compared = 0;
    for (_, ptx) in ptx_files() {
        for kernel in ptx.split(".entry ").skip(1) {
            let (name, body) = kernel.split_once('(').unwrap();
            if special.iter().any(|special| name.starts_with(special)) {
                continue;
            }
            compared += 1;
            assert!(
                !body.contains(".approx"),
                "{name} has approximate instructions"
            );
        }
    }
    assert!(compared > 0);
}

// ---- planted mistakes ---------------------------------------------------------------------------

/// A kernel of `planted.cu`, how it is compiled, which of the orders of threads (0 to 2) and copies
/// (0 late, 1 early) must show what, and a part of what is said.
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

/// A mistake planted into the engine's own kernels: the program that must notice, its build, the
/// file, what stands there, and what is put in its place.
struct Mutation {
    what: &'static str,
    program: &'static str,
    build: Build,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

/// Shapes of the kernels' tests are large enough to show these.
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
    /// The program with the mistake in it; `name` is nobody else's.
    fn program(&self, name: &str) -> PathBuf {
        let original = std::fs::read_to_string(kernels().join(self.file)).unwrap();
        let places = original.matches(self.from).count();
        assert_eq!(places, 1, "{}: places in {}", self.what, self.file);
        let directory = output_directory().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        // All of them: an include is looked for beside its file first.
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

/// A change so small that every value stays within its error.
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

// ---- the fake driver ----------------------------------------------------------------------------

fn the_fake_driver_keeps_the_drivers_rules() {
    let compiler = compiler();
    let libraries = output_directory().join("driver");
    let script = repository("tests/cuda/build_fake.sh");
    let built = run(Command::new("bash")
        .arg(script)
        .arg(&libraries)
        .arg(repository("tests/cuda/planted"))
        .env("CXX", &compiler.command)
        .env("JOBS", "1"));
    assert!(built.status.success(), "{}", ending(&built));
    let source = repository("tests/cuda/driver/driver.cpp");
    let rpath = format!("-Wl,-rpath,{}", libraries.display());
    let inputs = [
        source,
        libraries.join("libcublas.so.13"),
        libraries.join("libcuda.so.1"),
    ];
    let first = [repository("tests/cuda/driver")];
    let program = compiler.make("driver", &first, &["-O1", &rpath], &inputs);
    let output = run(command(&program).env("FAKE_CUDA_DEVICES", "2"));
    assert!(output.status.success(), "{}", ending(&output));
}

// ---- what is shipped ----------------------------------------------------------------------------

/// As scripts/ptx.py reckons it.
fn hash_of_sources() -> String {
    let mut hasher = sha2::Sha256::new();
    for path in files(&kernels(), &["cu", "h"])
        .iter()
        .chain([&repository("scripts/ptx.py")])
    {
        hasher.update(path.file_name().unwrap().as_encoded_bytes());
        hasher.update([0]);
        hasher.update(std::fs::read(path).unwrap());
        hasher.update([0]);
    }
    hasher
        .finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

fn ptx_files() -> Vec<(String, String)> {
    let paths = files(&repository("src/engine/cuda/ptx"), &["ptx"]);
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| (name(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The rest of the first line that begins so.
fn after<'a>(text: &'a str, beginning: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(beginning))
        .unwrap_or("(none)")
        .trim()
}

fn ptx_belongs_to_the_sources() {
    let sources = hash_of_sources();
    let names = |paths: Vec<PathBuf>| -> Vec<_> {
        paths
            .iter()
            .map(|path| path.file_stem().unwrap().to_os_string())
            .collect()
    };
    let made = names(files(&repository("src/engine/cuda/ptx"), &["ptx"]));
    assert_eq!(
        made,
        names(files(&kernels(), &["cu"])),
        "a PTX file a source: run scripts/ptx.sh"
    );
    for (name, ptx) in ptx_files() {
        let told = after(&ptx, "// sources ");
        assert_eq!(
            told, sources,
            "{name}.ptx is older than its sources: run scripts/ptx.sh"
        );
    }
}

fn ptx_is_for_old_cards_and_drivers() {
    for (name, ptx) in ptx_files() {
        assert_eq!(after(&ptx, ".target "), "sm_80", "{name}");
        let version = after(&ptx, ".version ");
        let numbers: Vec<u32> = version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        assert!(
            numbers <= vec![8, 4],
            "{name}: PTX {version} needs a driver newer than 550"
        );
    }
}

/// Bytes of every parameter of every kernel in a PTX file.
fn ptx_parameters(ptx: &str) -> BTreeMap<String, Vec<u32>> {
    let mut kernels = BTreeMap::new();
    let mut name = None;
    for line in ptx.lines() {
        if let Some((_, rest)) = line.split_once(".entry ") {
            let (found, _) = rest.split_once('(').unwrap();
            kernels.insert(found.to_owned(), Vec::new());
            name = Some(found.to_owned());
        }
        let Some(kernel) = &name else { continue };
        if line.trim_start().starts_with('{') {
            name = None;
        } else if let Some((_, parameter)) = line.split_once(".param ") {
            let kinds = [("64 ", 8), ("32 ", 4), ("16 ", 2), ("8 ", 1)];
            let (declared, count) = match parameter.split_once('[') {
                Some((declared, rest)) => (declared, rest.split(']').next().unwrap()),
                None => (parameter, "1"),
            };
            let declared = format!("{} ", declared.trim_end_matches(','));
            let kind = declared.split_whitespace().rev().nth(1).unwrap_or_default();
            let bits = format!(
                "{} ",
                kind.trim_start_matches(|c: char| !c.is_ascii_digit())
            );
            let (_, bytes) = kinds.iter().find(|(text, _)| *text == bits).unwrap();
            kernels
                .get_mut(kernel)
                .unwrap()
                .push(bytes * count.parse::<u32>().unwrap());
        }
    }
    kernels
}

fn ptx_takes_the_arguments_of_the_sources() {
    let compiler = compiler();
    let runtime = compiler.runtime(Build::Fast);
    let sources = files(&kernels(), &["cu"]);
    let objects = Mutex::new(vec![
        repository("tests/cuda/driver/signatures.cpp"),
        runtime,
    ]);
    for_each(&sources, |source| {
        let stem = source.file_stem().unwrap().to_string_lossy().into_owned();
        // The language is that of what follows.
        let inputs = [PathBuf::from("-xc++"), source.clone()];
        let object = compiler.make(&format!("{stem}_object"), &[], &["-O0", "-c"], &inputs);
        objects.lock().unwrap().push(object);
        Ok(())
    });
    let mut inputs = objects.into_inner().unwrap();
    inputs[2..].sort();
    let program = compiler.make("signatures", &[], &[], &inputs);
    let output = run(&mut Command::new(&program));
    assert!(output.status.success(), "{}", ending(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    let in_sources: BTreeMap<String, Vec<u32>> = printed
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap().to_owned();
            (name, words.map(|word| word.parse().unwrap()).collect())
        })
        .collect();
    let mut in_ptx = BTreeMap::new();
    for (_, ptx) in ptx_files() {
        in_ptx.extend(ptx_parameters(&ptx));
    }
    assert!(!in_ptx.is_empty());
    assert_eq!(in_ptx, in_sources);
}
