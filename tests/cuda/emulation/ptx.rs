//! The shipped PTX matches the sources, and old cards and drivers accept it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use sha2::Digest as _;

use super::compiler::{Build, compiler, ending, files, for_each, kernels, run};
use crate::harness::{Test, repository, tests};

/// Tests that need no compiler.
pub(crate) const TESTS: &[Test] = tests![
    ptx_belongs_to_the_sources,
    ptx_is_for_old_cards_and_drivers,
    kernels_compared_by_hash_have_no_special_functions,
];
/// Tests that only need a compiler.
pub(crate) const COMPILED: &[Test] = tests![ptx_takes_the_arguments_of_the_sources];

/// Computes the hash of the sources as scripts/ptx.py does.
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

/// Returns the rest of the first line with this prefix.
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
        let recorded = after(&ptx, "// sources ");
        assert_eq!(
            recorded, sources,
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

/// Returns the size in bytes of every parameter of every kernel in a PTX file.
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
        // `-x` sets the language of the following files.
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

/// The test programs list the kernels that they do not compare on a GPU. The PTX of all others must have no approximate
/// instructions.
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
