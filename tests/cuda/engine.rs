//! The whole CUDA backend, over a driver and a cuBLAS that need no GPU (`tests/cuda/build_fake.sh`). Logits are
//! compared with stored ones of Hugging Face transformers, and tokens with the CPU engine. Memory and synchronization
//! are checked as well.
//!
//! With `DART_MATH_CUDA=real`, the same tests run on the machine's own GPU.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use dart_math::candle::{Device, safetensors};
use dart_math::engine::{
    BackendChoice, CompletionRequest, Engine, EngineBuilder, EngineGroup, Event, Outcome, Sampling,
    check_model,
};
use dart_math::model::{DeviceChoice, DeviceList, DtypeChoice, Model, ModelSource, Prompt};
use dart_math::{
    Completion, ErrorKind, Generator, Next, Offer, Problem, Request, Source, TrialId, trial_seed,
};

use crate::golden::{TinyModel, fixtures, read_json};
use crate::harness::{Need, Test, repository, tests};
use crate::{emulation, models};

/// Tests that also run on a real GPU.
pub(crate) const TESTS: &[Test] = tests![
    logits_and_tokens_of_tiny_models_are_those_of_transformers,
    tokens_of_the_built_in_model_are_those_of_the_cpu,
    a_model_is_checked_on_the_device,
    a_smaller_kv_cache_changes_no_token,
    slots_change_no_token,
    a_group_of_devices_samples_what_one_does,
    a_list_is_completed_by_all_devices_as_by_one,
    bf16_is_near_f32,
    refusals_name_what_is_wrong,
    shapes_that_the_kernels_are_not_made_for_are_refused,
    settings_without_bounds_are_bounded,
    a_weight_that_is_not_finite_is_named,
    a_bad_prompt_of_a_list_is_named,
    logits_of_prompts_are_reckoned_with,
];
/// Tests that need a real model.
pub(crate) const REAL_MODEL: &[Test] = tests![tokens_of_a_real_model_are_those_of_the_cpu,];
/// Tests that need the fake driver.
pub(crate) const COUNTED: &[Test] = tests![
    memory_is_what_the_formula_says,
    steps_are_replayed_graphs_and_wait_for_nothing,
    a_long_context_takes_no_memory_that_completions_cannot_use,
    a_card_that_is_too_old_is_not_taken,
    a_driver_that_is_too_old_is_not_taken,
];

/// The libraries that replace the driver and cuBLAS.
struct Fake {
    driver: libloading::os::unix::Library,
    _blas: libloading::os::unix::Library,
}

/// The fake driver's counters.
#[derive(Debug, Clone, Copy)]
struct Counts {
    synchronisations: i64,
    launches: i64,
    graphs: i64,
    bytes: i64,
}

impl Fake {
    fn counts(&self) -> Counts {
        let mut counts = [0i64; 16];
        // SAFETY: the function writes at most 16 numbers.
        unsafe {
            let function = self
                .driver
                .get::<unsafe extern "C" fn(*mut i64)>(b"fake_counts");
            function.unwrap()(counts.as_mut_ptr());
        }
        Counts {
            synchronisations: counts[0],
            launches: counts[1],
            graphs: counts[2],
            bytes: counts[3],
        }
    }
}

/// The driver that runs the tests.
enum Driver {
    Real,
    Fake(Fake),
}

fn is_real() -> bool {
    std::env::var_os("DART_MATH_CUDA").as_deref() == Some(OsStr::new("real"))
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        if is_real() {
            return Driver::Real;
        }
        let script = repository("tests/cuda/build_fake.sh");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda");
        let built = Command::new("bash").arg(script).arg(&out).status();
        let built = built.unwrap_or_else(|error| panic!("bash: {error}"));
        assert!(
            built.success(),
            "the fake CUDA driver could not be built: {built}"
        );
        // SAFETY: no other thread reads the environment before the driver is initialized.
        unsafe { std::env::set_var("FAKE_CUDA_DEVICES", "2") };
        // Libraries opened by path here are found by name later.
        // SAFETY: these are our own libraries. Their initialisers only register kernels.
        let open = |name: &str| unsafe {
            use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
            Library::open(Some(out.join(name)), RTLD_NOW | RTLD_GLOBAL).unwrap()
        };
        Driver::Fake(Fake {
            driver: open("libcuda.so.1"),
            _blas: open("libcublas.so.13"),
        })
    })
}

/// The requested GPU, or the compiler that builds the fake driver.
pub(crate) fn need_driver() -> Need {
    match is_real() {
        true => Need::nothing(),
        false => emulation::compiler::need(&[emulation::compiler::Build::Fast]),
    }
}

/// The fake driver, for tests of its counters or of its emulated hardware.
pub(crate) fn need_fake() -> Need {
    match is_real() {
        true => Need::new("compiler", Some("on a real GPU nothing is counted".into())),
        false => need_driver(),
    }
}

/// A driver and a real model.
pub(crate) fn need_model() -> Need {
    need_driver().and(Need::models())
}

/// Tests that use the driver's counters run alone.
static COUNTING: RwLock<()> = RwLock::new(());

/// Held while a test runs concurrently with other tests that count nothing.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    driver();
    COUNTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// The fake driver for a test that runs alone.
macro_rules! alone {
    ($fake:ident) => {
        let Driver::Fake($fake) = driver() else {
            panic!("a real driver counts nothing");
        };
        let _alone = COUNTING.write().unwrap_or_else(PoisonError::into_inner);
    };
}

fn source(directory: &Path) -> ModelSource {
    let gguf = directory.join("model.gguf");
    match gguf.exists() {
        true => ModelSource::Gguf(gguf),
        false => ModelSource::Directory(directory.to_owned()),
    }
}

fn load(source: ModelSource, device: DeviceChoice, dtype: DtypeChoice) -> Model {
    Model::builder(source)
        .device(device)
        .dtype(dtype)
        .load()
        .unwrap()
}

fn built_in(device: DeviceChoice, dtype: DtypeChoice) -> Model {
    load(ModelSource::BuiltIn, device, dtype)
}

fn prompt(tokens: &[u32]) -> Prompt {
    Prompt {
        text: format!("{tokens:?}"),
        tokens: tokens.to_vec(),
    }
}

/// The largest difference, relative to the largest magnitude of the expected values.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // `max` would skip a NaN.
    let worst = differences.fold(
        0f32,
        |most, d| if d.is_nan() || d > most { d } else { most },
    );
    worst / scale
}

/// Logits and greedy tokens of every tiny model equal those of transformers.
fn logits_and_tokens_of_tiny_models_are_those_of_transformers() {
    let _beside_others = beside_others();
    let mut directories: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        // The backend does not support these architectures.
        .filter(|path| !path.to_string_lossy().contains("transformers_"))
        .collect();
    directories.sort();
    assert_eq!(directories.len(), 17);
    for directory in directories {
        let golden: TinyModel = read_json(&directory.join("golden.json"));
        let tensors = safetensors::load(directory.join("golden.safetensors"), &Device::Cpu);
        let expected: Vec<Vec<f32>> = tensors.unwrap()["logits"].to_vec2().unwrap();
        let model = load(source(&directory), DeviceChoice::Cuda(0), DtypeChoice::F32);
        let engine = Engine::builder(model)
            .sampling(Sampling::greedy())
            .max_new_tokens(golden.greedy.len())
            .ignore_eos(true)
            .loop_detection(false)
            .slots(3)
            .build()
            .unwrap();
        let mut worst = 0f32;
        for split in [1, golden.prompt, golden.tokens.len()] {
            let (head, tail) = golden.tokens.split_at(split);
            let found = engine.logits(head, tail).unwrap();
            for (&position, expected) in golden.positions.iter().zip(&expected) {
                if position + 1 >= split {
                    worst = worst.max(relative_error(&found[position + 1 - split], expected));
                }
            }
        }
        println!(
            "{}: largest relative error {worst:.1e}",
            directory.display()
        );
        assert!(worst <= 1e-5, "{}: {worst:e}", directory.display());
        let first = prompt(&golden.tokens[..golden.prompt]);
        let found = engine.generate(&[first.clone(), first], 0).unwrap();
        for completion in found {
            assert_eq!(completion.tokens, golden.greedy, "{}", directory.display());
        }
    }
}

/// Questions in the built-in model's language.
const QUESTIONS: [&str; 4] = [
    "Tom has 3 apples. He buys 4 more. He doubles them. How many apples does Tom have now?",
    "A box holds 12 eggs. Leo takes out 5. How many eggs are in the box at first and after each change?",
    "Mia has 20 cards. Ben has 3 times as many as Mia. How many cards does each of them have?",
    "Sam has 7 coins. Then he finds 8 coins. How many coins does he have in the end?",
];

fn settings(model: Model) -> EngineBuilder {
    Engine::builder(model).max_new_tokens(80).slots(5)
}

/// Samples completions of each question.
fn sample(builder: EngineBuilder, each: usize, seed: u64) -> Vec<Completion> {
    let engine = builder.build().unwrap();
    let prompts: Vec<Prompt> = QUESTIONS
        .iter()
        .flat_map(|question| std::iter::repeat_n(engine.prompt(question).unwrap(), each))
        .collect();
    engine.generate(&prompts, seed).unwrap()
}

fn assert_same(a: &[Completion], b: &[Completion]) {
    assert_eq!(a.len(), b.len());
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(
            (&a.tokens, &a.text, a.finish),
            (&b.tokens, &b.text, b.finish),
            "{index}"
        );
        let (a, b) = (a.logprob.unwrap(), b.logprob.unwrap());
        assert!((a - b).abs() < 1e-3, "{index}: {a} and {b}");
    }
}

/// With f32, tokens equal those of the CPU engine with all kinds of sampling and stop strings.
fn tokens_of_the_built_in_model_are_those_of_the_cpu() {
    let _beside_others = beside_others();
    let dart = Sampling::dart();
    for (sampling, stop) in [
        (Sampling::greedy(), None),
        (Sampling::default(), None),
        (dart, None),
        (dart, Some("=")),
        (
            Sampling {
                top_k: Some(5),
                min_p: 0.02,
                ..dart
            },
            None,
        ),
        (
            Sampling {
                repetition_penalty: 1.3,
                ..dart
            },
            None,
        ),
    ] {
        let run = |device| {
            let builder = settings(built_in(device, DtypeChoice::F32)).sampling(sampling);
            let builder = match stop {
                Some(stop) => builder.stop(vec![stop.to_owned()]),
                None => builder,
            };
            sample(builder, 3, 7)
        };
        assert_same(&run(DeviceChoice::Cuda(0)), &run(DeviceChoice::Cpu));
    }
}

/// Checks a model as a user does on a new card: logits of each type are compared with the CPU's reference.
fn a_model_is_checked_on_the_device() {
    let _beside_others = beside_others();
    for dtype in [DtypeChoice::F32, DtypeChoice::Bf16] {
        let files = Model::builder(ModelSource::BuiltIn)
            .device(DeviceChoice::Cuda(0))
            .dtype(dtype);
        let engine = settings(files.clone().load().unwrap()).build().unwrap();
        let report = check_model(&engine, Some(&files), QUESTIONS[0]);
        assert!(report.passed(), "{dtype}: {report}");
        let is_reference = |check: &&dart_math::engine::Check| check.name.contains("reference");
        let reference = report.checks.iter().find(is_reference).unwrap();
        assert_eq!(reference.outcome, Outcome::Passed, "{}", reference.detail);
        println!("{dtype}: {}", reference.detail);
    }
}

/// With less memory, samples wait or are preempted, and no token changes.
fn a_smaller_kv_cache_changes_no_token() {
    let _beside_others = beside_others();
    let builder = || {
        let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::F32);
        // Each sample needs three pages, but one is forecast.
        let builder = settings(model)
            .sampling(Sampling::dart())
            .max_new_tokens(130);
        builder.ignore_eos(true).loop_detection(false)
    };
    let free = sample(builder(), 4, 3);
    let config = Model::built_in().unwrap().config().clone();
    let page = 2 * config.layers * config.kv_heads * 64 * config.head_dim * 4;
    let engine = builder().kv_bytes(6 * page).build().unwrap();
    let prompts: Vec<Prompt> = QUESTIONS
        .iter()
        .flat_map(|question| std::iter::repeat_n(engine.prompt(question).unwrap(), 4))
        .collect();
    let tight = engine.generate(&prompts, 3).unwrap();
    assert_same(&tight, &free);
    let statistics = engine.statistics();
    assert!(statistics.preemptions > 0, "{statistics:?}");
    assert!(statistics.peak_kv_bytes <= 6 * page, "{statistics:?}");
}

/// A trial is a pure function of its own key, whatever the number of slots.
fn slots_change_no_token() {
    let _beside_others = beside_others();
    let run = |slots, deterministic| {
        let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::F32);
        let builder = settings(model).sampling(Sampling::dart()).slots(slots);
        sample(builder.deterministic(deterministic), 3, 11)
    };
    let alone = run(1, false);
    assert_same(&run(12, false), &alone);
    assert_same(&run(7, true), &alone);
}

/// A real model with 135 million weights in a quantized file. Greedy tokens equal those of the CPU engine, unless two
/// logits tie.
fn tokens_of_a_real_model_are_those_of_the_cpu() {
    let _beside_others = beside_others();
    let (_, path) = models::fixture::<serde_json::Value>("smollm2");
    let engine = |device| {
        let model = load(ModelSource::Gguf(path.clone()), device, DtypeChoice::F32);
        let builder = Engine::builder(model).sampling(Sampling::greedy());
        builder.max_new_tokens(16).slots(2).build().unwrap()
    };
    let (cpu, cuda) = (engine(DeviceChoice::Cpu), engine(DeviceChoice::Cuda(0)));
    let prompts = ["The capital of France is", "1, 2, 3, 4,"];
    let prompts = prompts.map(|text| cpu.model().raw_prompt(text).unwrap());
    let expected = cpu.generate(&prompts, 0).unwrap();
    let found = cuda.generate(&prompts, 0).unwrap();
    for ((prompt, expected), found) in prompts.iter().zip(&expected).zip(&found) {
        println!("{:?}", found.text);
        let pairs = expected.tokens.iter().zip(&found.tokens);
        let Some(at) = pairs.clone().position(|(a, b)| a != b) else {
            assert_eq!(expected.tokens.len(), found.tokens.len());
            continue;
        };
        let logits = cpu.logits(&prompt.tokens, &expected.tokens[..at]).unwrap();
        let [a, b] = [expected, found].map(|completion| completion.tokens[at] as usize);
        let gap = logits[at][a] - logits[at][b];
        assert!(gap.abs() < 1e-4, "token {at}: {a} and {b} are {gap} apart");
    }
}

/// Two devices behind one generator sample every trial once, and as one device does.
fn a_group_of_devices_samples_what_one_does() {
    let _beside_others = beside_others();
    let engine = |device| {
        let model = built_in(DeviceChoice::Cuda(device), DtypeChoice::F32);
        settings(model)
            .sampling(Sampling::dart())
            .slots(3)
            .build()
            .unwrap()
    };
    let trials = |generator: &dyn Generator| {
        let requests = QUESTIONS.iter().zip(0..).flat_map(|(question, problem)| {
            (0..4).map(move |number| Request {
                trial: TrialId { problem, number },
                problem: Arc::new(Problem::new(*question, "")),
                seed: trial_seed(5, question, number),
            })
        });
        let source = Listed {
            requests: Mutex::new(requests.collect()),
            delivered: Mutex::default(),
        };
        generator.run(&source).unwrap();
        let delivered = source.delivered.into_inner().unwrap();
        assert_eq!(delivered.len(), 16);
        delivered
    };
    let group = EngineGroup::new(vec![engine(0), engine(1)]).unwrap();
    let found = trials(&group);
    let both = group.statistics();
    assert!(both.iter().all(|one| one.completions > 0), "{both:?}");
    for ((trial, found), (other, expected)) in found.iter().zip(&trials(&engine(1))) {
        assert_eq!(trial, other);
        assert_eq!(found.tokens, expected.tokens);
    }
}

/// Completions of a list on all devices equal those of one engine, whichever device has a free slot first.
fn a_list_is_completed_by_all_devices_as_by_one() {
    let _beside_others = beside_others();
    let devices: DeviceList = "cuda:all".parse().unwrap();
    let devices = devices.devices().unwrap();
    assert!(devices.starts_with(&[DeviceChoice::Cuda(0)]));
    assert!(is_real() || devices.len() == 2, "{devices:?}");
    let absent = format!("cuda:0,cuda:{}", devices.len());
    let absent: DeviceList = absent.parse().unwrap();
    let error = absent.devices().unwrap_err().to_string();
    assert!(error.contains(&absent.to_string()[7..]), "{error}");
    let engine = |device| {
        let builder = settings(built_in(device, DtypeChoice::F32)).sampling(Sampling::dart());
        builder.slots(3).build().unwrap()
    };
    let group = EngineGroup::new(devices.into_iter().map(engine).collect()).unwrap();
    let first = &group.engines()[0];
    let prompts = QUESTIONS.map(|question| first.prompt(question).unwrap());
    let requests = CompletionRequest::list(&prompts.map(|prompt| vec![prompt; 4]).concat(), 5);
    let mut completions = vec![None; requests.len()];
    let mut tokens = 0;
    let completed = group.complete(&requests, |event| {
        match event {
            Event::Completed {
                request,
                completion,
            } => {
                let before = completions[request].replace(completion);
                assert!(before.is_none(), "request {request} was completed twice");
            }
            _ => tokens += 1,
        }
        ControlFlow::Continue(())
    });
    completed.unwrap();
    let found: Vec<Completion> = completions.into_iter().map(Option::unwrap).collect();
    let expected: usize = found.iter().map(|completion| completion.tokens.len()).sum();
    assert_eq!(tokens, expected);
    let shares = group.statistics();
    assert!(shares.iter().all(|one| one.completions > 0), "{shares:?}");
    let prompts: Vec<Prompt> = requests
        .iter()
        .map(|request| request.prompt.clone())
        .collect();
    assert_same(&found, &first.generate(&prompts, 5).unwrap());
    // After an early stop, no engine continues.
    let mut heard = 0;
    let left = group.complete(&requests, |_| {
        heard += 1;
        ControlFlow::Break(())
    });
    left.unwrap();
    assert_eq!(heard, 1);
    let bad = CompletionRequest {
        max_new_tokens: Some(0),
        ..requests[0].clone()
    };
    let error = group.complete(&[bad], |_| unreachable!()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}

/// Issues a list of requests and collects the completions.
struct Listed {
    requests: Mutex<VecDeque<Request>>,
    delivered: Mutex<BTreeMap<TrialId, Completion>>,
}

impl Source for Listed {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut requests = self.requests.lock().unwrap();
        let free = offer.free.min(requests.len());
        match free {
            0 => Next::Done,
            free => Next::Requests(requests.drain(..free).collect()),
        }
    }

    fn wanted(&self, _: TrialId) -> bool {
        true
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let before = self.delivered.lock().unwrap().insert(trial, completion);
        assert!(before.is_none(), "{trial:?} came twice");
    }
}

/// The KV cache's memory follows the formula in `docs/performance.md`, and the device's memory is freed.
fn memory_is_what_the_formula_says() {
    alone!(fake);
    let before = fake.counts().bytes;
    let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::Bf16);
    let config = model.config().clone();
    let builder = settings(model)
        .ignore_eos(true)
        .loop_detection(false)
        .slots(3);
    let engine = builder.build().unwrap();
    let taken = fake.counts().bytes - before;
    let page = 2 * config.layers * config.kv_heads * 64 * config.head_dim * 2;
    let prompt = engine.prompt(QUESTIONS[0]).unwrap();
    engine.generate(&vec![prompt.clone(); 3], 1).unwrap();
    // The last of 80 tokens is sampled but not fed.
    let pages = prompt.tokens.len().div_ceil(64) + 3 * 79usize.div_ceil(64);
    assert_eq!(engine.statistics().peak_kv_bytes, pages * page);
    let projections = config.qkv_size() + config.heads * config.head_dim;
    let layer = config.hidden_size * (projections + 3 * config.intermediate_size);
    let vectors = (2 * config.layers + 1) * config.hidden_size * 4;
    let weights = 2 * (config.layers * layer + config.vocab_size * config.hidden_size) + vectors;
    assert_eq!(engine.weight_bytes(), weights);
    assert!(taken as usize > weights + pages * page);
    drop(engine);
    assert_eq!(fake.counts().bytes, before);
}

/// With bf16, the distributions are close to those of f32 at every position.
fn bf16_is_near_f32() {
    let _beside_others = beside_others();
    let engine = |dtype| {
        settings(built_in(DeviceChoice::Cuda(0), dtype))
            .build()
            .unwrap()
    };
    let (narrow, wide) = (engine(DtypeChoice::Bf16), engine(DtypeChoice::F32));
    let question = wide.prompt(QUESTIONS[1]).unwrap();
    let continuation = wide
        .generate(std::slice::from_ref(&question), 5)
        .unwrap()
        .remove(0)
        .tokens;
    let found = narrow.logits(&question.tokens, &continuation).unwrap();
    let expected = wide.logits(&question.tokens, &continuation).unwrap();
    let distribution = |row: &[f32]| -> Vec<f64> {
        let most = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let powers: Vec<f64> = row.iter().map(|&x| f64::from(x - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|x| x / sum).collect()
    };
    let mut divergence = 0.0;
    let mut worst = 0f32;
    for (found, expected) in found.iter().zip(&expected) {
        worst = worst.max(relative_error(found, expected));
        let (p, q) = (distribution(expected), distribution(found));
        let terms = p.iter().zip(&q).filter(|(p, _)| **p > 1e-12);
        divergence += terms
            .map(|(p, q)| p * (p / q.max(1e-300)).ln())
            .sum::<f64>();
    }
    divergence /= expected.len() as f64;
    println!("bf16: mean divergence {divergence:.2e} nats, largest error {worst:.1e}");
    assert!(divergence < 1e-3 && worst < 0.05, "{divergence} {worst}");
    // At least half of the greedy completions equal those of f32.
    let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::Bf16);
    let completions = sample(settings(model).sampling(Sampling::greedy()), 1, 0);
    let expected = sample(
        settings(built_in(DeviceChoice::Cpu, DtypeChoice::F32)).sampling(Sampling::greedy()),
        1,
        0,
    );
    let equal = completions
        .iter()
        .zip(&expected)
        .filter(|(a, b)| a.tokens == b.tokens)
        .count();
    println!(
        "bf16: {equal} of {} greedy completions equal",
        expected.len()
    );
    assert!(2 * equal >= expected.len());
}

/// Decoding replays graphs: without separate launches or allocations, and with one synchronization per step.
fn steps_are_replayed_graphs_and_wait_for_nothing() {
    alone!(fake);
    let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::Bf16);
    let builder = settings(model).sampling(Sampling::dart()).ignore_eos(true);
    let engine = builder.loop_detection(false).build().unwrap();
    let prompts = vec![engine.prompt(QUESTIONS[0]).unwrap(); 5];
    engine.generate(&prompts, 1).unwrap();
    let before = (fake.counts(), engine.statistics().steps);
    engine.generate(&prompts, 2).unwrap();
    let after = (fake.counts(), engine.statistics().steps);
    let steps = (after.1 - before.1) as i64;
    let graphs = after.0.graphs - before.0.graphs;
    let launches = after.0.launches - before.0.launches;
    let waits = after.0.synchronisations - before.0.synchronisations;
    println!("{steps} steps: {graphs} graphs, {launches} launches, {waits} waits");
    assert_eq!(graphs, steps);
    // Launches of the prefill, and one for the first tokens.
    let layers = engine.model().config().layers as i64;
    assert!(launches <= 3 + 8 * layers, "{launches}");
    // One synchronization for the tokens of each step, and for the first tokens.
    assert!(waits <= steps + 2, "{waits}");
    assert_eq!(after.0.bytes, before.0.bytes);
}

/// Refused settings are reported with an alternative.
fn refusals_name_what_is_wrong() {
    let _beside_others = beside_others();
    let error = Model::builder(ModelSource::BuiltIn)
        .device(DeviceChoice::Cuda(99))
        .load();
    let error = error.err().unwrap().to_string();
    assert!(error.contains("cuda:99"), "{error}");
    let half = Model::builder(ModelSource::BuiltIn)
        .device(DeviceChoice::Cuda(0))
        .dtype(DtypeChoice::F16)
        .load();
    assert!(half.err().unwrap().to_string().contains("bf16 or f32"));
    let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::Bf16);
    let error = settings(model)
        .kv_bytes(1000)
        .build()
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("1000 bytes"), "{error}");
    let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::Bf16);
    let error = settings(model)
        .backend(BackendChoice::Candle)
        .build()
        .err()
        .unwrap();
    assert!(error.to_string().contains("candle-cuda"), "{error}");
}

/// A Llama with this shape and random weights, configured by a `config.json`.
fn random_llama(
    (hidden, intermediate): (usize, usize),
    (heads, kv_heads, head_dim): (usize, usize, usize),
    (context, vocabulary): (i64, usize),
    dtype: DtypeChoice,
) -> dart_math::Result<Model> {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": intermediate, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_dim, "num_hidden_layers": 1,
        "max_position_embeddings": context, "vocab_size": vocabulary, "rms_norm_eps": 1e-5,
        "rope_theta": 1e4, "tie_word_embeddings": false,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    Model::random_like(&path, 3, DeviceChoice::Cuda(0), dtype)
}

/// Shapes that the kernels do not support are refused by name.
fn shapes_that_the_kernels_are_not_made_for_are_refused() {
    let _beside_others = beside_others();
    use DtypeChoice::{Bf16, F32};
    for (widths, heads, dtype, reason) in [
        ((20, 32), (2, 1, 32), Bf16, Some("hidden_size is 20")),
        ((32, 30), (2, 1, 32), Bf16, Some("intermediate_size is 30")),
        ((32, 32), (2, 1, 96), Bf16, Some("heads of width 96")),
        ((32, 32), (17, 1, 32), Bf16, Some("17 query heads")),
        ((32, 32), (2, 1, 258), F32, Some("heads of width 258")),
        ((21, 33), (17, 1, 256), F32, None),
        ((24, 40), (16, 1, 32), Bf16, None),
    ] {
        let engine = settings(random_llama(widths, heads, (128, 61), dtype).unwrap()).build();
        match (engine, reason) {
            (Ok(engine), None) => {
                let found = engine.generate(&[prompt(&[1, 2, 3])], 0).unwrap();
                assert!(!found[0].tokens.is_empty());
            }
            (Err(error), Some(reason)) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.to_string().contains(reason), "{error}");
            }
            (engine, reason) => panic!("{engine:?} in place of {reason:?}"),
        }
    }
}

/// Sizes beyond the available memory are no error. Too many slots are one.
fn settings_without_bounds_are_bounded() {
    let _beside_others = beside_others();
    let builder = || {
        let model = built_in(DeviceChoice::Cuda(0), DtypeChoice::F32);
        settings(model).sampling(Sampling::dart())
    };
    let expected = sample(builder(), 1, 5);
    let keeping_all = builder().prefix_cache(usize::MAX);
    assert_same(&sample(keeping_all.max_new_tokens(80), 1, 5), &expected);
    let whole = builder().kv_bytes(usize::MAX);
    assert_same(&sample(whole, 1, 5), &expected);
    let error = builder().slots(usize::MAX).build().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("slots is 18446744"), "{error}");
}

/// The memory of a step depends on the longest completion, not on the model's context.
fn a_long_context_takes_no_memory_that_completions_cannot_use() {
    alone!(fake);
    let taken = |context| {
        let before = fake.counts().bytes;
        let model = random_llama((32, 32), (2, 1, 32), (context, 61), DtypeChoice::F32);
        let builder = settings(model.unwrap()).slots(64).kv_bytes(1 << 20);
        let engine = builder.build().unwrap();
        let taken = fake.counts().bytes - before;
        drop(engine);
        taken
    };
    let rotary_tables = |context: i64| 2 * context * 16 * 4;
    let (short, long) = (1 << 12, 1 << 17);
    let expected = rotary_tables(long) - rotary_tables(short);
    assert_eq!(taken(long) - taken(short), expected);
}

/// If logits are not finite, the weight that causes this is named, as on the CPU.
fn a_weight_that_is_not_finite_is_named() {
    let _beside_others = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let from = fixtures().join("qwen2");
    for file in std::fs::read_dir(&from).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let mut tensors = safetensors::load(&path, &Device::Cpu).unwrap();
    let name = "model.layers.1.mlp.down_proj.weight";
    let weight = tensors[name].clone();
    let zero = weight.zeros_like().unwrap();
    let not_a_number = zero.affine(1.0, f64::NAN).unwrap();
    tensors.insert(name.to_owned(), not_a_number);
    safetensors::save(&tensors, &path).unwrap();
    for device in [DeviceChoice::Cpu, DeviceChoice::Cuda(0)] {
        let source = ModelSource::Directory(folder.path().to_owned());
        let engine = settings(load(source, device, DtypeChoice::F32)).build();
        let engine = engine.unwrap();
        let errors = [
            engine.logits(&[1], &[2]).map(|_| ()),
            engine.generate(&[prompt(&[1, 2])], 0).map(|_| ()),
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NonFinite);
            let named = "weight down projection of layer 1 holds a value that is not finite";
            assert!(error.to_string().contains(named), "{device}: {error}");
        }
    }
}

/// Runs a test of this file again in a process with other environment variables. Returns whether this is that process.
fn is_with(test: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "DART_MATH_TEST_AGAIN";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let command = command
        .args(["--exact", &format!("engine::{test}")])
        .env(MARK, "1");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("1 passed"), "{shown}");
    false
}

/// A card or driver that is too old is an error if the device was requested. Otherwise, the CPU is used.
fn is_too_old(reason: &str) {
    driver();
    let load = |device| Model::builder(ModelSource::BuiltIn).device(device).load();
    let error = load(DeviceChoice::Cuda(0)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Device);
    let error = error.to_string();
    assert!(
        error.contains("cuda:0") && error.contains(reason),
        "{error}"
    );
    let model = load(DeviceChoice::Auto).unwrap();
    assert_eq!(model.cuda(), None);
    let engine = settings(model).build().unwrap();
    let question = engine.prompt(QUESTIONS[0]).unwrap();
    assert_eq!(engine.generate(&[question], 0).unwrap().len(), 1);
}

fn a_card_that_is_too_old_is_not_taken() {
    let name = "a_card_that_is_too_old_is_not_taken";
    if is_with(name, &[("FAKE_CUDA_CAPABILITY", "75")]) {
        is_too_old("compute capability is 7.5");
    }
}

fn a_driver_that_is_too_old_is_not_taken() {
    let name = "a_driver_that_is_too_old_is_not_taken";
    if is_with(name, &[("FAKE_CUDA_VERSION", "12030")]) {
        is_too_old("this one is for CUDA 12.3");
    }
}

/// A token that the model does not have is an error that names the request.
fn a_bad_prompt_of_a_list_is_named() {
    let _beside_others = beside_others();
    let good = prompt(&[1, 2, 3]);
    let unknown = Model::built_in().unwrap().config().vocab_size as u32;
    for device in [DeviceChoice::Cpu, DeviceChoice::Cuda(0)] {
        let engine = settings(built_in(device, DtypeChoice::F32))
            .build()
            .unwrap();
        let list = [good.clone(), prompt(&[1, unknown]), good.clone()];
        let error = engine.generate(&list, 0).unwrap_err().to_string();
        assert!(
            error.contains(&format!("problem 2 of the list: token {unknown}")),
            "{error}"
        );
        assert_eq!(engine.generate(&list[..1], 0).unwrap().len(), 1);
    }
}

/// Cached prompts also keep their logits, so fewer are kept if memory is small.
fn logits_of_prompts_are_reckoned_with() {
    let name = "logits_of_prompts_are_reckoned_with";
    if !is_with(name, &[("FAKE_CUDA_MEMORY", "64000000")]) {
        return;
    }
    driver();
    // Each prompt has 200 kB of logits and 16 kB of KV cache.
    let shape = ((8, 8), (1, 1, 32), (128, 50_000), DtypeChoice::F32);
    let model = random_llama(shape.0, shape.1, shape.2, shape.3).unwrap();
    let builder = settings(model).slots(4).prefix_cache(1000);
    let engine = builder.max_new_tokens(2).build().unwrap();
    let prompts: Vec<Prompt> = (0..200).map(|i| prompt(&[1, i])).collect();
    assert_eq!(engine.generate(&prompts, 0).unwrap().len(), 200);
    let statistics = engine.statistics();
    assert_eq!(statistics.prompts, 200);
    let page = 2 * 64 * 32 * 4;
    assert!(statistics.peak_kv_bytes > 20 * page, "{statistics:?}");
}
