"""Compares tokens per second with llama.cpp, in alternating runs. Prints a Markdown table.

    python3 scripts/measure_llama_cpp.py --throughput target/release/examples/throughput \\
        --llama-parallel llama_parallel --ours MODEL.Q4_1.gguf --theirs MODEL.F16.gguf MODEL.Q4_0.gguf

`llama_parallel MODEL PROMPT_TOKENS NEW_TOKENS THREADS {0|1} BATCH` is a driver of llama.cpp's library
that prefills one prompt, shares its KV cache among BATCH sequences (with KV_UNIFIED=0 in its
environment, each has its own stream) and samples greedily (0) or at temperature 1.6 and top-p 0.95
(1). It prints a line with "prefill S s" and "gen S s".

This crate is measured with f32 and int8 activations. (llama.cpp always quantizes activations.) Every
figure is the number of completion tokens over the total time, including prefill and sampling but not
loading. With many sequences, this crate uses `--ours`, and llama.cpp the file of `--theirs` and the
cache type that are fastest in a short trial of the setting. With one sequence, both use `--ours`.
Each round runs every setting of both once, one after the other. Figures are medians over the rounds.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys

ACTIVATIONS = ["f32", "int8"]
TIMES = re.compile(r"prefill ([0-9.]+)s +gen ([0-9.]+)s")


def llama(arguments, model, unified, sampled, batch, new_tokens):
    """Returns llama.cpp's tokens per second over the total time."""
    # Its driver samples one token from the prompt's logits and one in each step.
    command = [arguments.llama_parallel, model, arguments.prompt_tokens, new_tokens - 1,
               arguments.threads, int(sampled), batch]
    environment = os.environ | {"KV_UNIFIED": str(int(unified))}
    output = subprocess.run(list(map(str, command)), env=environment, check=True,
                            capture_output=True, text=True).stdout
    times = TIMES.search(output)
    if not times:
        sys.exit(f"no times in what llama.cpp's driver said: {output!r}")
    return batch * new_tokens / sum(map(float, times.groups()))


def ours(arguments, activations, sampled, batch, new_tokens):
    """Returns the example's line of JSON."""
    settings = {
        "--model": arguments.ours, "--samples-per-prompt": batch, "--slots": batch,
        "--prompt-tokens": arguments.prompt_tokens, "--new-tokens": new_tokens,
        "--threads": arguments.threads, "--kv-type": arguments.kv_type,
        "--activation-type": activations,
        "--temperature": 1.6 if sampled else 0, "--top-p": 0.95 if sampled else 1,
    }
    command = [arguments.throughput, *(str(x) for pair in settings.items() for x in pair)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True).stdout
    return json.loads(output)


def fastest(arguments, sampled, batch):
    """Returns the file and the cache type with which llama.cpp is fastest."""
    if batch == 1:
        return arguments.ours, True
    short = max(arguments.new_tokens // 4, 2)
    kinds = [(model, unified) for model in arguments.theirs for unified in (False, True)]
    return max(kinds, key=lambda kind: llama(arguments, *kind, sampled, batch, short))


def name(setting):
    return "T 1.6, top-p 0.95" if setting[0] else "greedy"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--throughput", required=True, help="the example `throughput`, built for release")
    parser.add_argument("--llama-parallel", required=True)
    parser.add_argument("--ours", required=True, help="GGUF file for this crate")
    parser.add_argument("--theirs", required=True, nargs="+", help="GGUF files of the same model for llama.cpp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--kv-type", default="f32", help="this crate's KV cache type")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64])
    arguments = parser.parse_args()

    settings = [(False, 1)]
    settings += [(sampled, batch) for sampled in (False, True) for batch in arguments.batches]
    kinds = {setting: fastest(arguments, *setting) for setting in settings}
    reports = {(activations, *setting): [] for setting in settings for activations in ACTIVATIONS}
    rates = {setting: [] for setting in settings}
    for round_ in range(arguments.rounds):
        for setting in settings:
            sampled, batch = setting
            for activations in ACTIVATIONS:
                report = ours(arguments, activations, *setting, arguments.new_tokens)
                reports[activations, *setting].append(report)
            theirs = llama(arguments, *kinds[setting], sampled, batch, arguments.new_tokens)
            rates[setting].append(theirs)
            own = [reports[a, *setting][-1]["tokens_per_second"] for a in ACTIVATIONS]
            print(f"round {round_ + 1}, {setting}: {own} and {theirs:.0f}", file=sys.stderr)

    def median(key, name):
        return statistics.median(report[name] for report in reports[key])

    def spread(values):
        return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"

    print(f"{os.path.basename(arguments.ours)}, KV cache in {arguments.kv_type}, a prompt of "
          f"{arguments.prompt_tokens} tokens, {arguments.new_tokens} new tokens, "
          f"{arguments.threads} threads; medians of {arguments.rounds} rounds, least and most")
    print()
    print("| sampling | sequences | llama.cpp, tok/s | its file and cache | ours, f32, tok/s | ratio "
          "| ours, int8, tok/s | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for setting in settings:
        model, unified = kinds[setting]
        kind = f"{os.path.basename(model)}, {'unified' if unified else 'streams'}"
        row = [name(setting), str(setting[1]), spread(rates[setting]), kind]
        for activations in ACTIVATIONS:
            own = [report["tokens_per_second"] for report in reports[activations, *setting]]
            ratio = statistics.median(own) / statistics.median(rates[setting])
            row += [spread(own), f"**{ratio:.2f}**"]
        print(f"| {' | '.join(row)} |")
    print()
    print("Ours: share of the FMA peak of f32 that was measured in the same run, and parts of a step "
          "(median ms of the median round).")
    print()
    print("| sampling | sequences | activations | FMA peak, GFLOP/s | of it, all included "
          "| in linear layers | step | linear | attention | sampling | other | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for key in sorted(reports, key=lambda key: (key[1:], key[0])):
        row = [name(key[1:]), str(key[2]), key[0], f"{median(key, 'fma_peak') / 1e9:.0f}"]
        for share in ("fma_peak_share", "fma_peak_share_in_linear_layers"):
            row.append(f"{100 * median(key, share):.0f} %")
        for part in ("total", "linear", "attention", "sampling", "other"):
            times = (report["step_ms"][part]["median"] for report in reports[key])
            row.append(f"{statistics.median(times):.2f}")
        row.append(f"{median(key, 'peak_bytes') / 1e6:.0f}")
        print(f"| {' | '.join(row)} |")
    file = os.path.getsize(arguments.ours)
    weights = reports[ACTIVATIONS[0], *settings[0]][0]["weight_bytes"]
    print()
    print(f"Weights: {weights / 1e6:.1f} MB, {weights / file:.2f} of the file.")


if __name__ == "__main__":
    main()
