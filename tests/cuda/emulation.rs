//! The CUDA kernels without a GPU. The system's C++ compiler compiles their sources over an emulation
//! (`tests/cuda/emulation`) into programs that check values, races and bounds. Mistakes planted on purpose must be
//! reported. Also, the shipped PTX must match the sources.
//!
//! Every `tests/cuda/kernels/*.cpp` is such a program. It includes the sources of the kernels that it tests, such as
//! `attention.cu`, is linked with the emulation, and exits with 0 on success. With the argument `small`, for
//! sanitizers, it tests fewer and smaller shapes, which still reuse every stage of a pipeline.
//!
//! The tests need a C++17 compiler, and some of them its sanitizers.

pub(crate) mod compiler;
pub(crate) mod planted;
pub(crate) mod ptx;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use self::compiler::{
    Build, command, compiler, ending, files, for_each, kernels, output_directory, run,
};
use crate::harness::{Test, repository, tests};

/// Tests that only need a compiler.
pub(crate) const COMPILED: &[Test] = tests![
    kernels_compute_what_plain_loops_do,
    kernels_give_the_stored_bits,
    kernels_give_the_stored_bits_by_way_of_a_driver,
    the_fake_driver_keeps_the_drivers_rules,
];
/// Tests that need ThreadSanitizer.
pub(crate) const THREADS: &[Test] = tests![kernels_have_no_races];
/// Tests that need AddressSanitizer.
pub(crate) const ADDRESSES: &[Test] = tests![kernels_stay_inside_their_memory];

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

/// The file with the stored hashes of a program's cases.
fn hashes(name: &str) -> PathBuf {
    repository(&format!("tests/cuda/kernels/hashes/{name}.txt"))
}

/// If set, hashes are written instead of compared. Set it after a change of the kernels or their cases.
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

/// Runs the programs as on a GPU, with the shipped PTX, over the fake driver.
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
        // Kernels that only tests use have no shipped PTX.
        let has_all = end.ends_with("not on the device 0") || name == "mma";
        match output.status.success() && has_all {
            true => Ok(()),
            false => Err(format!("{name}: {}", ending(&output))),
        }
    });
}

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
