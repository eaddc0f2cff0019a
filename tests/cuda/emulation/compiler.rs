//! Compiles and runs C++ programs over the emulation.

use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::harness::{Need, repository};

/// No program takes this long on any machine.
pub(super) const MAX_RUN: Duration = Duration::from_secs(600);

/// Exit codes of the programs (`tests/cuda/planted/planted.cpp`): the emulation reported a mistake, values were wrong,
/// or a sanitizer reported a mistake.
pub(super) const REPORTED: i32 = 3;
pub(super) const WRONG: i32 = 4;
pub(super) const SANITIZER: i32 = 66;

pub(super) fn kernels() -> PathBuf {
    repository("src/engine/cuda/kernels")
}

pub(super) fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
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

/// A slot for a process. All tests together run at most one compiler or program per processor.
pub(super) struct Place;

pub(super) static PLACES: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Place {
    pub(super) fn take() -> Self {
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

/// Runs a command to its end. It is killed after [`MAX_RUN`].
pub(super) fn run(command: &mut Command) -> Output {
    let _place = Place::take();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Output is read concurrently, so that a full pipe does not block the program.
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

/// Describes how a program ended: its exit status or signal, and the end of its output.
pub(super) fn ending(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(60)..].join("\n");
    format!("{}\n{last}", output.status)
}

/// A way to compile a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Build {
    Fast,
    /// Reports races between threads.
    Threads,
    /// Reports accesses out of bounds and undefined arithmetic.
    Addresses,
    /// The arithmetic of the stored hashes.
    Exact,
    /// The same arithmetic with other instructions: the library computes fused multiply-adds.
    ExactPortable,
}

impl Build {
    pub(super) fn flags(self) -> &'static [&'static str] {
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

    /// Definitions for the emulation's runtime, which is compiled without a sanitizer.
    pub(super) fn runtime(self) -> &'static [&'static str] {
        match self {
            Build::Fast | Build::Exact | Build::ExactPortable => &[],
            Build::Threads => &["-DEMU_TSAN"],
            Build::Addresses => &["-DEMU_ASAN"],
        }
    }
}

/// The system's C++ compiler.
pub(super) struct Compiler {
    pub(super) command: String,
    sanitizers: Vec<Build>,
}

/// Returns the compiler, if there is one.
pub(super) fn find_compiler() -> Option<&'static Compiler> {
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

pub(super) fn compiler() -> &'static Compiler {
    find_compiler().expect("there is no C++17 compiler")
}

/// The need of tests that compile C++ in these ways.
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

pub(super) fn output_directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda_emulation");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Flags that make the kernels' `fmaf` an instruction, if the processor has it.
pub(super) fn fused_multiply_add() -> &'static [&'static str] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
        return &["-mavx2", "-mfma"];
    }
    &[]
}

/// Include directories of all C++ programs.
pub(super) fn include_directories() -> [PathBuf; 4] {
    let tests = repository("tests/cuda");
    [
        tests.join("emulation"),
        kernels(),
        tests.join("kernels"),
        tests.join("planted"),
    ]
}

/// A hash of the command and of all files that a compilation may read.
pub(super) fn fingerprint(command: &str, directories: &[PathBuf]) -> u64 {
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
    /// Compiles (and links, unless the flags say otherwise), unless the output exists.
    pub(super) fn make(
        &self,
        name: &str,
        first: &[PathBuf],
        flags: &[&str],
        inputs: &[PathBuf],
    ) -> PathBuf {
        let mut directories = first.to_vec();
        directories.extend(include_directories());
        let mut command = Command::new(&self.command);
        // Like nvcc's -fmad=false: products and sums are rounded separately unless the source uses fma.
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
        // Remove outputs of older sources or flags.
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

    /// Compiles the emulation's runtime.
    pub(super) fn runtime(&self, build: Build) -> PathBuf {
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

    /// Compiles a program over the emulation. Directories in `first` precede the kernels' own in the include path.
    pub(super) fn program(
        &self,
        name: &str,
        build: Build,
        first: &[PathBuf],
        source: PathBuf,
    ) -> PathBuf {
        let runtime = self.runtime(build);
        self.make(
            &format!("{name}_{build:?}"),
            first,
            build.flags(),
            &[source, runtime],
        )
    }
}

pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env(
            "TSAN_OPTIONS",
            format!("exitcode={SANITIZER} report_signal_unsafe=0"),
        )
        // Threads stopped by a mistake never free their memory.
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

/// Runs `work` on every item, on several threads. Panics with all failures.
pub(super) fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), String> + Sync) {
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
