//! Tests the scheduler with a decoder that records what is prefilled, held and released, and with a
//! backend whose draws arrive late.

mod delayed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device};

use super::*;
use crate::engine::decoder::Decoder;
use crate::engine::host::HostSampled;
use crate::engine::reasoning::ReasoningTags;
use crate::engine::steps::Spent;
use crate::engine::stop::StopStrings;
use crate::model::{Architecture, DecoderConfig, Model};
use crate::{Completion, Philox, Problem};

const VOCABULARY: usize = 50;

/// A decoder whose logits are a hash of all tokens so far, with records of what is held.
#[derive(Default)]
struct Accounts {
    next_id: u64,
    prefixes: BTreeMap<PrefixId, Vec<u32>>,
    sequences: BTreeMap<SequenceId, (PrefixId, Vec<u32>)>,
    /// The lengths of the prompts of each call.
    prefills: Vec<Vec<usize>>,
    max_sequences: usize,
    steps: usize,
    /// The limit of held bytes, which must never be exceeded.
    limit: Option<usize>,
    /// The step in which the first row's first logit is NaN.
    spoilt: Option<usize>,
}

impl Accounts {
    fn logits(tokens: &[u32]) -> impl Iterator<Item = f32> {
        let key = tokens
            .iter()
            .fold(7, |key, &token| Philox::new(key).bits(u64::from(token)));
        (0..VOCABULARY as u64).map(move |i| 4.0 * Philox::new(key).uniform(i) as f32)
    }

    fn check(&self) {
        let held = self.kv_bytes();
        assert!(self.limit.is_none_or(|limit| held <= limit), "{held}");
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// One byte per token: a prompt's tokens once, and those that its sequences add.
    fn kv_bytes(&self) -> usize {
        let prefixes: usize = self.prefixes.values().map(Vec::len).sum();
        let suffixes = self.sequences.values();
        let suffixes = suffixes.map(|(prefix, tokens)| tokens.len() - self.prefixes[prefix].len());
        prefixes + suffixes.sum::<usize>()
    }
}

/// The records, shared by a test and its decoder.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<Accounts>>);

impl Books {
    fn new(accounts: Accounts) -> Self {
        Books(Arc::new(Mutex::new(accounts)))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Accounts> {
        self.0.lock().unwrap()
    }

    #[track_caller]
    fn assert_empty(&self) {
        let accounts = self.open();
        assert!(accounts.prefixes.is_empty() && accounts.sequences.is_empty());
    }
}

impl Decoder for Books {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>> {
        let mut accounts = self.open();
        let lengths = prompts.iter().map(|p| p.len()).collect();
        accounts.prefills.push(lengths);
        let prefixes = prompts
            .iter()
            .map(|prompt| {
                let id = PrefixId(accounts.id());
                accounts.prefixes.insert(id, prompt.to_vec());
                (id, Accounts::logits(prompt).collect())
            })
            .collect();
        accounts.check();
        Ok(prefixes)
    }

    fn fork(&mut self, prefix: PrefixId) -> SequenceId {
        let mut accounts = self.open();
        let id = SequenceId(accounts.id());
        let tokens = accounts.prefixes[&prefix].clone();
        accounts.sequences.insert(id, (prefix, tokens));
        accounts.max_sequences = accounts.max_sequences.max(accounts.sequences.len());
        id
    }

    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()> {
        let mut accounts = self.open();
        let sequences = accounts.sequences.len();
        assert_eq!(rows.len(), sequences, "a sequence was left out");
        logits.clear();
        for (sequence, token) in rows {
            let (_, tokens) = accounts.sequences.get_mut(sequence).unwrap();
            tokens.push(*token);
            logits.extend(Accounts::logits(tokens));
        }
        accounts.check();
        if accounts.spoilt == Some(accounts.steps) {
            logits[0] = f32::NAN;
        }
        accounts.steps += 1;
        Ok(())
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.open().sequences.remove(&sequence).unwrap();
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        let mut accounts = self.open();
        let mut used = accounts.sequences.values().map(|(used, _)| *used);
        assert!(used.all(|used| used != prefix));
        accounts.prefixes.remove(&prefix).unwrap();
    }

    fn vocab_size(&self) -> usize {
        VOCABULARY
    }

    fn kv_bytes(&self) -> usize {
        self.open().kv_bytes()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        self.kv_bytes() + sequences.len()
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        tokens
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        tokens
    }

    fn weight_bytes(&self) -> usize {
        0
    }

    fn spent(&self) -> Option<Spent> {
        None
    }

    fn non_finite_weight(&self) -> Option<String> {
        Some("of the test".into())
    }
}

/// Hands out requests one list at a time, each once the previous list is delivered.
struct Lists {
    lists: Mutex<VecDeque<Vec<Request>>>,
    in_flight: AtomicUsize,
    asked: AtomicUsize,
    resident: Mutex<Vec<Vec<u32>>>,
    delivered: Mutex<BTreeMap<TrialId, Completion>>,
    /// The number of "wait" answers before "done".
    waits: AtomicUsize,
    panics: bool,
}

impl Lists {
    fn new(lists: impl IntoIterator<Item = Vec<Request>>) -> Self {
        Lists {
            lists: Mutex::new(lists.into_iter().collect()),
            in_flight: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            resident: Mutex::default(),
            delivered: Mutex::default(),
            waits: AtomicUsize::new(0),
            panics: false,
        }
    }
}

impl Source for Lists {
    fn next(&self, offer: Offer<'_>) -> Next {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Next::Wait;
        }
        match self.lists.lock().unwrap().pop_front() {
            Some(list) => {
                self.resident.lock().unwrap().push(offer.resident.to_vec());
                self.in_flight.store(list.len(), Ordering::Relaxed);
                Next::Requests(list)
            }
            None if self.waits.load(Ordering::Relaxed) > 0 => {
                self.waits.fetch_sub(1, Ordering::Relaxed);
                Next::Wait
            }
            None => Next::Done,
        }
    }

    fn wanted(&self, _: TrialId) -> bool {
        true
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        assert!(!self.panics, "the source is broken");
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let before = self.delivered.lock().unwrap().insert(trial, completion);
        assert!(before.is_none());
    }
}

fn request(problem: u32, number: u32) -> Request {
    Request {
        trial: TrialId { problem, number },
        problem: Arc::new(Problem::new("", "").with_id(format!("p{problem}"))),
        seed: crate::trial_seed(1, "", 100 * problem + number),
    }
}

/// A prompt's length grows with the problem's index. Problems beyond 100 have as many tokens as
/// their index.
fn prompt(request: &Request) -> Result<Vec<u32>> {
    let problem = request.trial.problem;
    let len = if problem > 100 { problem } else { problem + 1 };
    Ok((0..len)
        .map(|i| (i + problem) % VOCABULARY as u32)
        .collect())
}

fn model() -> Model {
    let config = DecoderConfig {
        architecture: Architecture::Llama,
        hidden_size: 8,
        intermediate_size: 8,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 8,
        vocab_size: VOCABULARY,
        context_length: 8,
        rms_norm_eps: 1e-5,
        rope_frequencies: vec![1.0; 4],
        rope_attention_factor: 1.0,
        sliding_windows: vec![None],
    };
    Model::random(config, 1, &Device::Cpu, DType::F32).unwrap()
}

fn run(books: &Books, capacity: Capacity, source: &dyn Source) -> (Result<()>, Statistics) {
    let mut backend = HostSampled::new(Box::new(books.clone()), 2);
    run_on(&mut backend, capacity, source)
}

fn run_on(
    backend: &mut dyn Backend,
    capacity: Capacity,
    source: &dyn Source,
) -> (Result<()>, Statistics) {
    let rules = Rules {
        stop_tokens: vec![3],
        stop_strings: StopStrings::default(),
        max_new_tokens: 20,
        is_length_given: true,
        context_length: 3000,
        loop_detection: true,
        reasoning: ReasoningTags::default(),
    };
    let model = model();
    let statistics = Mutex::new(Statistics::default());
    let texts = Texts {
        prompt: &prompt,
        limit: &|_| usize::MAX,
        sampling: &|_| Sampling::default(),
        detokenizer: &|| model.tokenizer().stream(),
        begins_reasoning: &|_| false,
        on_token: None,
    };
    let log = Log {
        statistics: &statistics,
        steps: None,
    };
    let result = Scheduler::new(backend, &rules, texts, capacity, source, log).run();
    (result, statistics.into_inner().unwrap())
}

const CAPACITY: Capacity = Capacity {
    slots: 4,
    prefix_cache: 2,
    kv_bytes: None,
};

#[test]
fn a_prompt_is_run_once_and_forgotten_when_it_was_not_used_for_longest() {
    let source = Lists::new([
        vec![request(1, 0), request(1, 1), request(2, 0)],
        vec![request(3, 0)],
        vec![request(2, 1)],
        vec![request(4, 0)],
        vec![request(3, 1), request(1, 2)],
    ]);
    let books = Books::default();
    let (result, statistics) = run(&books, CAPACITY, &source);
    result.unwrap();
    let resident = source.resident.into_inner().unwrap();
    // 1 and 2 were used at once, 2 last; then 3 evicts 1, and 4 evicts 3.
    assert_eq!(
        resident,
        [vec![], vec![1, 2], vec![2, 3], vec![2, 3], vec![2, 4]]
    );
    assert_eq!(
        books.open().prefills,
        [vec![2, 3], vec![4], vec![5], vec![4, 2]]
    );
    assert_eq!((statistics.prompts, statistics.prompt_tokens), (6, 20));
    assert_eq!(statistics.completions, 8);
    books.assert_empty();
}

#[test]
fn prompts_are_packed_up_to_a_bound() {
    let source = Lists::new([[900, 901, 902, 2500, 101].map(|p| request(p, 0)).to_vec()]);
    let books = Books::default();
    let capacity = Capacity {
        slots: 8,
        ..CAPACITY
    };
    run(&books, capacity, &source).0.unwrap();
    assert_eq!(
        books.open().prefills,
        [vec![900, 901], vec![902], vec![2500], vec![101]]
    );
}

#[test]
fn more_requests_than_were_offered_wait_for_their_turn() {
    let source = Lists::new([(0..30).map(|n| request(n % 3, n)).collect()]);
    let books = Books::default();
    run(&books, CAPACITY, &source).0.unwrap();
    assert_eq!(source.delivered.into_inner().unwrap().len(), 30);
    assert_eq!(books.open().max_sequences, 4);
}

#[test]
fn an_overlong_prompt_ends_its_trials_and_not_the_run() {
    let source = Lists::new([vec![request(3000, 0), request(1, 0), request(3000, 1)]]);
    let books = Books::default();
    let (result, statistics) = run(&books, CAPACITY, &source);
    result.unwrap();
    let delivered = source.delivered.into_inner().unwrap();
    assert_eq!(delivered.len(), 3);
    for number in 0..2 {
        let completion = &delivered[&TrialId {
            problem: 3000,
            number,
        }];
        assert_eq!(completion.finish, Finish::Length);
        assert!(completion.tokens.is_empty() && completion.text.is_empty());
    }
    assert_eq!(statistics.prompts, 1);
}

#[test]
fn what_is_not_a_number_ends_the_run_with_the_trials_name() {
    let all: Vec<Request> = (0..12).map(|n| request(n % 3, n)).collect();
    let good = Lists::new([all.clone()]);
    run(&Books::default(), CAPACITY, &good).0.unwrap();
    let good = good.delivered.into_inner().unwrap();
    let mut early = 0;
    for step in [0, 1, 9, 30] {
        let source = Lists::new([all.clone()]);
        let books = Books::new(Accounts {
            spoilt: Some(step),
            ..Accounts::default()
        });
        let error = run(&books, CAPACITY, &source).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        let name = error.detail().split(": ").next().unwrap();
        assert!(
            name.starts_with("problem p") && name.contains("trial"),
            "{error}"
        );
        assert!(
            error
                .detail()
                .contains("not finite: its weight of the test"),
            "{error}"
        );
        let delivered = source.delivered.into_inner().unwrap();
        assert!(delivered.len() < all.len());
        early += delivered.len();
        for (trial, completion) in delivered {
            assert_eq!(completion, good[&trial]);
        }
        books.assert_empty();
    }
    assert!(early > 0);
}

#[test]
fn preempted_trials_go_on_to_the_same_tokens() {
    let all: Vec<Request> = (0..40).map(|n| request(n % 5, n)).collect();
    let free = Lists::new([all.clone()]);
    let capacity = Capacity {
        slots: 16,
        ..CAPACITY
    };
    let (result, statistics) = run(&Books::default(), capacity, &free);
    result.unwrap();
    assert_eq!(
        (statistics.preemptions, statistics.recomputed_tokens),
        (0, 0)
    );
    let most = statistics.peak_kv_bytes;
    let free = free.delivered.into_inner().unwrap();
    let mut preemptions = Vec::new();
    // Down to what one sample of the longest prompt needs: 5 tokens, and 19 fed tokens.
    for limit in [most - 1, most / 2, most / 4, 30, 24] {
        let source = Lists::new([all.clone()]);
        let books = Books::new(Accounts {
            limit: Some(limit),
            ..Accounts::default()
        });
        let capacity = Capacity {
            kv_bytes: Some(limit),
            ..capacity
        };
        let (result, statistics) = run(&books, capacity, &source);
        result.unwrap();
        assert_eq!(source.delivered.into_inner().unwrap(), free, "{limit}");
        assert!(statistics.peak_kv_bytes <= limit);
        assert_eq!(statistics.preemptions > 0, statistics.recomputed_tokens > 0);
        let fed = statistics.busy_slots - statistics.recomputed_tokens;
        assert_eq!(fed + 40, statistics.generated_tokens);
        books.assert_empty();
        preemptions.push(statistics.preemptions);
    }
    assert!(preemptions[1] > 0 && preemptions[2] > 0, "{preemptions:?}");

    let source = Lists::new([all]);
    let capacity = Capacity {
        kv_bytes: Some(10),
        ..capacity
    };
    let books = Books::default();
    let error = run(&books, capacity, &source).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.detail().contains("kv_bytes is 10"), "{error}");
    books.assert_empty();
}

/// A source that cancels trials, including preempted ones.
#[test]
fn preempted_trials_can_be_cancelled() {
    struct Fickle(Lists);
    impl Source for Fickle {
        fn next(&self, offer: Offer<'_>) -> Next {
            self.0.next(offer)
        }
        fn wanted(&self, trial: TrialId) -> bool {
            // All but the first few, once the first of them has ended.
            self.0.delivered.lock().unwrap().is_empty() || trial.number < 3
        }
        fn deliver(&self, trial: TrialId, completion: Completion) {
            self.0.deliver(trial, completion);
        }
    }
    let source = Fickle(Lists::new([(0..12).map(|n| request(4, n)).collect()]));
    let capacity = Capacity {
        slots: 12,
        kv_bytes: Some(40),
        ..CAPACITY
    };
    let books = Books::default();
    let (result, statistics) = run(&books, capacity, &source);
    result.unwrap();
    assert!(statistics.preemptions > 0);
    let delivered = source.0.delivered.into_inner().unwrap();
    assert_eq!(delivered.len(), 12);
    let cancelled = delivered.values().filter(|c| c.finish == Finish::Cancelled);
    assert!(cancelled.count() > 3);
    books.assert_empty();
}

#[test]
fn nothing_is_held_after_a_panic_of_the_source() {
    let mut source = Lists::new([(0..9).map(|n| request(n, 0)).collect()]);
    source.panics = true;
    let books = Books::default();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = run(&books, CAPACITY, &source);
    }));
    assert!(outcome.is_err());
    books.assert_empty();
}

#[test]
fn waiting_is_sleeping() {
    let source = Lists::new([]);
    source.waits.store(20, Ordering::Relaxed);
    let (result, statistics) = run(&Books::default(), CAPACITY, &source);
    result.unwrap();
    assert_eq!(source.asked.load(Ordering::Relaxed), 21);
    // 50, 100, 200 … microseconds, then 4 milliseconds each time.
    assert!(statistics.idle_time >= Duration::from_millis(50));
    assert!(statistics.time >= statistics.idle_time);
}

#[test]
fn completions_stop_at_stop_tokens_and_at_the_limit() {
    let source = Lists::new([(0..40).map(|n| request(n % 5, n)).collect()]);
    let (result, statistics) = run(&Books::default(), CAPACITY, &source);
    result.unwrap();
    let delivered = source.delivered.into_inner().unwrap();
    let mut finishes = BTreeSet::new();
    for completion in delivered.values() {
        let (last, before) = completion.tokens.split_last().unwrap();
        assert!(!before.contains(&3));
        assert!(completion.logprob.unwrap() < 0.0);
        match completion.finish {
            Finish::Stop => assert_eq!(*last, 3),
            _ => assert_eq!(completion.tokens.len(), 20),
        }
        let shown = before.len() + usize::from(*last != 3);
        assert_eq!(completion.text.matches('<').count(), shown);
        finishes.insert(completion.finish == Finish::Stop);
    }
    assert_eq!(finishes.len(), 2, "both ways of ending are seen");
    let tokens: usize = delivered.values().map(|c| c.tokens.len()).sum();
    assert_eq!(statistics.generated_tokens, tokens as u64);
}
