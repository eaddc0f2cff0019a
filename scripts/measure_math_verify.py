#!/usr/bin/env python3
"""Measures Math-Verify on the rows of this crate's checker benchmark: pairs per CPU second, and misses.

    python3 -m venv VENV && VENV/bin/pip install math-verify==0.9.0
    VENV/bin/python scripts/measure_math_verify.py [FILE…]

FILE is a fixture of `a ≡ b` and `a ≢ b` lines (*.txt), or of rows with `reference`, `answer` or
`response`, and `expected` (*.jsonl). By default, the files are the benchmark's sample and the labelled
files in $DART_MATH_SHARED/answers (or else ../shared/answers), if present.

Pairs are graded as Math-Verify documents: both sides are parsed with its default extraction (LaTeX,
then expressions), each reference once, and compared with `verify(reference, answer)`. Bare answers are
put between dollar signs, as in its own tests. Its time limits are on (5 s per parse and per comparison),
because it does not finish without them. The time is the CPU time of this process and its children,
without the parsing of references."""
import json
import logging
import os
import pathlib
import resource
import sys

logging.disable(logging.CRITICAL)
from math_verify import parse, verify  # noqa: E402

root = pathlib.Path(__file__).resolve().parent.parent


def cpu():
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def rows(path):
    """(reference, answer, whole response?, label or None)"""
    if path.suffix == ".txt":
        for line in path.read_text().splitlines():
            for sign, label in ((" ≡ ", True), (" ≢ ", False)):
                if sign in line and not line.startswith("#"):
                    reference, answer = line.split(sign)
                    yield reference, answer, False, label
        return
    for line in path.read_text().splitlines():
        row = json.loads(line)
        label = None if row.get("debatable") else row.get("expected")
        whole = "response" in row
        answer = row.get("response", row.get("answer", row["reference"]))
        yield row["reference"], answer, whole, label


def delimited(text):
    has = any(mark in text for mark in ("$", "\\(", "\\[", "\\boxed"))
    return text if has else f"${text}$"


def run(path):
    references, pairs, seconds, worst = {}, 0, 0.0, (0.0, "")
    counts = {"positive": 0, "negative": 0, "fn": 0, "fp": 0, "failed": 0}
    for reference, answer, whole, label in rows(path):
        if reference not in references:
            try:
                references[reference] = parse(delimited(reference))
            except Exception:
                references[reference] = []
        start = cpu()
        try:
            parsed = parse(answer if whole else delimited(answer))
            equal = bool(verify(references[reference], parsed))
        except Exception:
            equal, counts["failed"] = False, counts["failed"] + 1
        took = cpu() - start
        seconds += took
        worst = max(worst, (took, f"{reference[-60:]!r} vs {answer[-60:]!r}"))
        pairs += 1
        if label is not None:
            counts["positive" if label else "negative"] += 1
            if equal != label:
                counts["fn" if label else "fp"] += 1
    rate = pairs / seconds if seconds else float("inf")
    print(
        f"{path.stem:24}{pairs:6} pairs in {seconds:8.2f} CPU-seconds: {rate:8.1f} a second"
        f"  FN {counts['fn']}/{counts['positive']}  FP {counts['fp']}/{counts['negative']}"
        f"  failed {counts['failed']}  worst {worst[0]:.2f} s: {worst[1]}",
        flush=True,
    )
    return pairs, seconds


files = [pathlib.Path(name) for name in sys.argv[1:]]
if not files:
    shared = pathlib.Path(os.environ.get("DART_MATH_SHARED", root.parent / "shared")) / "answers"
    files = [root / "tests/fixtures/answer/benchmark.txt"]
    files += sorted(path for path in shared.glob("*.jsonl") if path.stem != "gold_answers")
total = [run(path) for path in files]
pairs, seconds = sum(t[0] for t in total), sum(t[1] for t in total)
print(f"{'all':24}{pairs:6} pairs in {seconds:8.2f} CPU-seconds: {pairs / seconds:8.1f} a second")
