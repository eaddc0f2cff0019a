#!/usr/bin/env python3
"""Writes seeds for the fuzz targets to fuzz/corpus/TARGET/*, from the committed fixtures.

    python3 fuzz/seeds.py
    cargo +nightly fuzz run equal -- -dict=fuzz/latex.dict -max_len=400

`extract` and `parse` take text. `equal` takes two texts separated by a byte 1, in which bytes from 128 stand
for the pieces in tests/answer/pieces.rs. `sound` takes bytes from which an expression is built.
"""
import hashlib
import json
import pathlib
import random
import re

here = pathlib.Path(__file__).resolve().parent
fixtures = here.parent / "tests" / "fixtures" / "answer"

source = (here.parent / "tests" / "answer" / "pieces.rs").read_text()
table = source[source.index("const PIECES") :]
pieces = [json.loads(piece) for piece in re.findall(r'"(?:[^"\\]|\\.)*"', table)]
by_length = sorted(range(len(pieces)), key=lambda index: -len(pieces[index]))


def packed(text):
    """Encodes a text for `equal`, with a byte for each piece in it, so that the seeds contain all pieces."""
    out = bytearray()
    at = 0
    while at < len(text):
        for index in by_length:
            if len(pieces[index]) > 1 and text.startswith(pieces[index], at):
                out.append(128 + index)
                at += len(pieces[index])
                break
        else:
            code = ord(text[at])
            if code < 128:
                out.append(code)
            elif text[at] in pieces:
                out.append(128 + pieces.index(text[at]))
            at += 1
    return bytes(out)


def write(target, unit):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(unit).hexdigest()).write_bytes(unit)


count = 0
for path in sorted(fixtures.glob("*.txt")):
    for line in path.read_text().splitlines():
        halves = re.split(" [≡≢] ", line)
        if line.startswith("#") or len(halves) != 2:
            continue
        left, right = halves
        write("equal", packed(left) + b"\x01" + packed(right))
        for side in halves:
            write("parse", side.encode())
        write("extract", f"So the answer is ${left}$.\n".encode())
        write("extract", f"Therefore \\boxed{{{right}}}.".encode())
        count += 1
for path in sorted(fixtures.glob("*.jsonl")):
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if "response" in row:
            write("extract", row["response"].encode())
        elif "left" in row:
            write("equal", packed(row["left"]) + b"\x01" + packed(row["right"]))
        count += 1
generator = random.Random(1)
for _ in range(300):
    write("sound", bytes(generator.randrange(256) for _ in range(generator.randrange(8, 48))))
print(f"seeds of {count} rows in {here / 'corpus'}")
