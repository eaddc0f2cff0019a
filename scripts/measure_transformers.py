"""Measures the output tokens per second of Hugging Face transformers. Prints a line of JSON.

    python3 scripts/measure_transformers.py --config config.json --prompts 4 --samples 64 \\
        --prompt-tokens 300 --new-tokens 600 --slots 256 --seconds 120

It measures the peer's continuous batching (a ContinuousBatchingManager, which `model.generate_batch`
uses), and nothing of this crate. The load is `--prompts` prompts of `--prompt-tokens` random tokens,
each sampled `--samples` times with exactly `--new-tokens` new tokens (no end-of-sequence token). The
model has the shape in a config.json of the hub, and random bfloat16 weights, created on the GPU.

The peer uses the best features of its version. A prompt is computed once and the request is forked.
If the KV cache of all sequences does not fit into memory, each sample is a separate request, which the
peer matches to blocks of the same prompt ("fork" in the report says which). With flash attention, it
also uses CUDA graphs, asynchronous batches and the decoding path with a block table. These ways are
tried in order, each in its own process, until one works:

    flash_attention_3          if the module `flash_attn_interface` of the distribution flash-attn-3
                               (or the package kernels) is installed
    flash_attention_3:varlen   the same without its decoding path
    flash_attention_2          if flash-attn (or the package kernels) is installed
    sdpa                       PyTorch's attention, with a mask over all sequences' keys
    static                     no continuous batching: `model.generate` with sdpa and static batches
                               of `--slots` sequences (the only one that `--static` tries)

Before the measurement, the model is created, the graphs are captured, and a load of the same shape
runs with other prompts and a few new tokens. The rate is the number of new tokens over the whole time
after that, including prefill and sampling. Everything ends `--seconds` after the start. If the load is
then unfinished, the rate covers the tokens generated so far ("complete" is false). It is then too high,
because sequences are shorter on average than in the whole load.

Needs about transformers 5.17. For tests, it also runs on a CPU, slowly.
"""

import argparse
import faulthandler
import gc
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time

START = time.time()
WARM_UP_TOKENS = 8
# Seconds before the limit at which generation stops, to leave time for the report.
RESERVE = 6


def note(text):
    print(f"[{time.time() - START:.1f} s] {text}", file=sys.stderr, flush=True)


# The process that tries the ways in turn. It never imports torch.


def ways(arguments):
    if arguments.static:
        return ["static"]
    if arguments.ways:
        return arguments.ways

    def installed(module):
        return importlib.util.find_spec(module) is not None

    found = []
    if installed("flash_attn_interface") or installed("kernels"):
        found += ["flash_attention_3", "flash_attention_3:varlen"]
    if installed("flash_attn") or installed("kernels"):
        found += ["flash_attention_2"]
    return found + ["sdpa", "static"]


def try_ways(arguments):
    end = START + arguments.seconds
    failures = []
    every_way = ways(arguments)
    for way in every_way:
        if end - time.time() < RESERVE + 5:
            failures.append(f"{way}: no time left")
            continue
        note(f"trying {way}")
        environment = {"HF_HUB_OFFLINE": "1"} | os.environ
        if way == "static":
            # Its cache grows by concatenation, which would otherwise fragment the memory.
            environment.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
        with tempfile.NamedTemporaryFile("r") as file:
            until = end - RESERVE
            # A way that hangs during its warm-up leaves some of the time to the others.
            last = way == every_way[-1]
            warm_by = until if last else time.time() + 0.6 * (until - time.time())
            command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--way", way,
                       "--until", str(until), "--warm-by", str(warm_by), "--json", file.name]
            # The peer's output goes to standard error, so that standard output only has the line of JSON.
            process = subprocess.Popen(command, env=environment, stdout=sys.stderr.fileno())
            try:
                process.wait(max(end - time.time() - 1, 1))
            except subprocess.TimeoutExpired:
                note(f"{way} did not end in time")
                process.kill()
                process.wait()
            written = file.read()
        report = json.loads(written) if written else {"error": f"exit {process.returncode}"}
        if "error" not in report:
            return report | {"failures": failures, "script_seconds": round(time.time() - START, 1)}
        failures.append(f"{way}: {report['error']}")
        note(failures[-1])
    return {"error": "no way worked", "failures": failures}


# The process that measures one way.


def make_model(arguments, device):
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    with open(arguments.config) as file:
        values = json.load(file)
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    # With this default device, everything is created on the GPU, including the f32 buffers of the rotary
    # embedding. transformers' own initialisation also runs there: normal weights, norms of one.
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    model.eval()
    for generation in (model.generation_config, model.config):
        generation.eos_token_id = None
    places = {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]}
    types = {parameter.dtype for parameter in model.parameters()}
    assert places == {device} and types == {torch.bfloat16}, (places, types)
    return model


def generation_config(arguments, new_tokens, **others):
    from transformers import GenerationConfig

    sampling = {"do_sample": False}
    if arguments.temperature > 0:
        sampling = {"do_sample": True, "temperature": arguments.temperature,
                    "top_p": arguments.top_p, "top_k": 0}
    return GenerationConfig(max_new_tokens=new_tokens, pad_token_id=0, **sampling, **others)


def make_prompts(arguments, vocabulary, seed):
    import torch

    generator = torch.Generator().manual_seed(seed)
    shape = (arguments.prompts, arguments.prompt_tokens)
    return torch.randint(vocabulary, shape, generator=generator).tolist()


def make_manager(arguments, model, way):
    """Returns a warmed-up ContinuousBatchingManager, not started, and whether it should fork requests."""
    from transformers import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.utils import WorkloadHints

    attention, _, path = way.partition(":")
    model.set_attn_implementation(f"paged|{attention}")
    generation = generation_config(arguments, arguments.new_tokens, eos_token_id=-1)
    sequences = arguments.prompts * arguments.samples
    slots = min(arguments.slots, sequences)
    length = arguments.prompt_tokens + arguments.new_tokens
    hints = WorkloadHints(arguments.prompt_tokens, arguments.new_tokens, sequences)

    def manager(blocks, fork):
        prefilled = arguments.prompts * arguments.prompt_tokens * (1 if fork else arguments.samples)
        max_batch_tokens = max(min(64 * math.ceil(prefilled / 64), 8192), slots, 1024)
        if blocks is not None:
            blocks = max(blocks, math.ceil(2 * max_batch_tokens / arguments.block_size))
        settings = ContinuousBatchingConfig(
            block_size=arguments.block_size,
            num_blocks=blocks,
            max_batch_tokens=max_batch_tokens,
            max_memory_percent=arguments.memory,
            max_requests_per_batch=slots,
            max_blocks_per_request=0 if path == "varlen" else None,
            allow_block_sharing=True,
            default_compile_level=arguments.compile_level,
            seed=1,
        )
        made = model.init_continuous_batching(generation, settings, hints)
        made.warmup()
        return made

    # The first number leaves the 15 % that the peer keeps free when it admits requests.
    least = slots * math.ceil((length + 1) / arguments.block_size)
    for blocks, fork in ((math.ceil(least / 0.85), True), (least, True), (None, False)):
        try:
            return manager(blocks, fork), fork
        except MemoryError as error:
            note(f"{blocks} blocks: {error}")
    raise MemoryError("no blocks fit")


def add_requests(arguments, manager, fork, seed, new_tokens):
    prompts = make_prompts(arguments, manager.model.config.vocab_size, seed)
    if not fork:
        prompts = [prompt for prompt in prompts for _ in range(arguments.samples)]
    # The number of sequences that the peer makes from a request.
    manager.num_return_sequences = arguments.samples if fork else 1
    manager.add_requests(prompts, max_new_tokens=new_tokens)


def results(manager, count, until):
    """Returns the numbers of new tokens of finished requests, until there are `count` or the time is up."""
    tokens = []
    while len(tokens) < count and time.time() < until:
        result = manager.get_result(timeout=0.2)
        if result is not None and result.error is not None:
            raise RuntimeError(result.error)
        if result is not None and result.is_finished():
            tokens.append(len(result.generated_tokens))
        elif not manager.is_running():
            raise RuntimeError(f"the peer stopped: {manager.background_thread_status.fatal_error}")
    return tokens


def stop(manager):
    """Stops at once and returns the numbers of new tokens of unfinished requests."""
    manager.stop(hard_stop=True, timeout=RESERVE)
    tokens = []
    while (result := manager.get_result(timeout=0.01)) is not None:
        tokens.append(len(result.generated_tokens))
    return tokens


def measure_continuous(arguments, model, way, until):
    import torch

    manager, fork = make_manager(arguments, model, way)
    sequences = arguments.prompts * arguments.samples
    try:
        manager.start()
        note("graphs captured; warming up")
        few = min(WARM_UP_TOKENS, arguments.new_tokens)
        # The first batch of an asynchronous manager is a special case, which must not contain forks.
        manager.add_request([0] * arguments.prompt_tokens, max_new_tokens=few)
        results(manager, 1, until)
        add_requests(arguments, manager, fork, seed=1, new_tokens=few)
        if len(results(manager, sequences, until)) < sequences:
            raise RuntimeError("no time left after warming up")
        faulthandler.cancel_dump_traceback_later()
        settings = manager.continuous_batching_config
        prefix_sharing = manager.batch_processor.cache.use_prefix_sharing
        batches = manager.current_batch
        note("measuring")
        start = time.perf_counter()
        add_requests(arguments, manager, fork, seed=2, new_tokens=arguments.new_tokens)
        tokens = results(manager, sequences, until)
        finished, seconds = len(tokens), time.perf_counter() - start
        batches = manager.current_batch - batches
        if finished < sequences:
            tokens += stop(manager)
            seconds = time.perf_counter() - start
    finally:
        # Its thread would keep this process alive.
        if manager.is_running():
            manager.stop(hard_stop=True, timeout=1)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {
        "attention": model.config._attn_implementation,
        "decode_path": settings.max_blocks_per_request > 0,
        "cuda_graphs": settings.use_cuda_graph,
        "asynchronous": settings.use_async_batching,
        "prefix_sharing": prefix_sharing,
        "fork": fork,
        "block_size": settings.block_size,
        "blocks": settings.num_blocks,
        "max_batch_tokens": settings.max_batch_tokens,
        "slots": settings.max_requests_per_batch,
        "batches": batches,
        "ms_per_batch": round(1000 * seconds / max(batches, 1), 2),
        **rate(tokens, seconds, finished, sequences),
    }


def most_static_slots(arguments, model):
    """Returns how many sequences fit into the KV cache beside the weights, with some memory left over."""
    import torch

    if not torch.cuda.is_available():
        return arguments.slots
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * head
    length = arguments.prompt_tokens + arguments.new_tokens
    free, _ = torch.cuda.mem_get_info()
    return max(int(0.8 * free / (length * values * model.dtype.itemsize)), 1)


def measure_static(arguments, model, until):
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Until(StoppingCriteria):
        def __call__(self, input_ids, scores, **_):
            late = time.time() >= until
            return torch.full((input_ids.shape[0],), late, device=input_ids.device)

    def generate(batch, new_tokens):
        inputs = torch.tensor(batch, device=model.device)
        generation = generation_config(arguments, new_tokens)
        output = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), generation_config=generation,
            stopping_criteria=StoppingCriteriaList([Until()]),
        )
        return [output.shape[1] - inputs.shape[1]] * len(batch)

    def load(seed):
        prompts = make_prompts(arguments, model.config.vocab_size, seed)
        return [prompt for prompt in prompts for _ in range(arguments.samples)]

    def measure(slots):
        generate(load(seed=1)[:slots], min(WARM_UP_TOKENS, arguments.new_tokens))
        faulthandler.cancel_dump_traceback_later()
        note(f"measuring static batches of {slots}")
        sequences = load(seed=2)
        tokens = []
        start = time.perf_counter()
        for first in range(0, len(sequences), slots):
            if time.time() < until:
                tokens += generate(sequences[first:first + slots], arguments.new_tokens)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return tokens, time.perf_counter() - start

    slots = min(arguments.slots, arguments.prompts * arguments.samples)
    slots = min(slots, most_static_slots(arguments, model))
    while True:
        try:
            tokens, seconds = measure(slots)
            break
        except torch.OutOfMemoryError:
            if slots == 1 or time.time() >= until:
                raise
            note(f"out of memory with {slots} slots")
            slots //= 2
        # Not in the exception handler, where the exception keeps tensors alive.
        gc.collect()
        torch.cuda.empty_cache()
    finished = sum(count == arguments.new_tokens for count in tokens)
    return {
        "attention": model.config._attn_implementation,
        "slots": slots,
        **rate(tokens, seconds, finished, arguments.prompts * arguments.samples),
    }


def rate(tokens, seconds, finished, sequences):
    if not sum(tokens):
        raise RuntimeError("no token was generated in time")
    return {
        "tokens_per_second": round(sum(tokens) / seconds, 1),
        "seconds": round(seconds, 3),
        "generated_tokens": sum(tokens),
        "finished_sequences": finished,
        "sequences": sequences,
        "complete": finished == sequences,
    }


def measure(arguments):
    import torch
    import transformers

    until = arguments.until
    faulthandler.dump_traceback_later(max(arguments.warm_by - time.time(), 1), exit=True)
    torch.manual_seed(1)
    cuda = torch.cuda.is_available()
    note(f"torch {torch.__version__}, transformers {transformers.__version__}")
    model = make_model(arguments, "cuda" if cuda else "cpu")
    if cuda:
        torch.cuda.synchronize()
    note("model made")
    if arguments.way == "static":
        report = measure_static(arguments, model, until)
    else:
        report = measure_continuous(arguments, model, arguments.way, until)
    report |= {
        "way": arguments.way,
        "model": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype),
        "prompts": arguments.prompts,
        "samples": arguments.samples,
        "prompt_tokens": arguments.prompt_tokens,
        "new_tokens": arguments.new_tokens,
        "temperature": arguments.temperature,
        "top_p": arguments.top_p,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "card": torch.cuda.get_device_name() if cuda else "none",
    }
    if cuda:
        free, total = torch.cuda.mem_get_info()
        report |= {
            "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
            "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
            "card_used_bytes": total - free,
        }
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="config.json of a model on the hub")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=64, help="samples per prompt")
    parser.add_argument("--prompt-tokens", type=int, default=300)
    parser.add_argument("--new-tokens", type=int, default=600, help="new tokens per sample")
    parser.add_argument("--slots", type=int, default=256, help="maximum of concurrent sequences")
    parser.add_argument("--temperature", type=float, default=1.6, help="0 for greedy sampling")
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seconds", type=float, default=300, help="time limit of the whole measurement")
    parser.add_argument("--static", action="store_true", help="measure `model.generate` with static batches")
    parser.add_argument("--ways", nargs="+", help="ways to try, instead of all installed ones")
    parser.add_argument("--block-size", type=int, default=256,
                        help="tokens per block of the KV cache (flash_attention_2 needs 256)")
    parser.add_argument("--memory", type=float, default=0.9,
                        help="share of the memory beside the weights that the peer may use")
    parser.add_argument("--compile-level", type=int, default=0,
                        help="the peer's default_compile_level, 0 to 3 (slow warm-up)")
    parser.add_argument("--json", metavar="OUT", help="also write the report to this file")
    # Internal arguments for the measuring process.
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--warm-by", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    if arguments.way is None:
        report = try_ways(arguments)
    else:
        try:
            report = measure(arguments)
        except BaseException as error:
            import traceback

            traceback.print_exc()
            report = {"error": f"{type(error).__name__}: {error}"[:500]}
    line = json.dumps(report)
    if arguments.json:
        with open(arguments.json, "w") as file:
            file.write(line + "\n")
    if arguments.way is None:
        print(line, flush=True)
        sys.exit("error" in report)
    # Skip the shutdown of threads and graphs, which may be slow or hang.
    sys.stderr.flush()
    os._exit("error" in report)


if __name__ == "__main__":
    main()
