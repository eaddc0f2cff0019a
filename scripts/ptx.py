"""Compiles the CUDA kernels to PTX with NVRTC: called by ptx.sh, which says more.

ptx.py WHEELS ROOT [--check | --exact OUT]

The first lines of a PTX file name its source and hold a hash of all kernel sources and this file,
by which tests/cuda/emulation.rs finds PTX that is out of date."""

import ctypes
import glob
import hashlib
import os
import re
import sys

# Multiplication and addition are rounded apart unless the source says fma: the bits are those of the
# emulation, and the sampler's those of the CPU.
FLAGS = ["--gpu-architecture=compute_80", "--std=c++17", "--fmad=false"]

# NVRTC has no standard headers; this is all that the kernels want of them.
HEADERS = {
    "cstdint": "typedef signed char int8_t; typedef unsigned char uint8_t;"
    "typedef short int16_t; typedef unsigned short uint16_t;"
    "typedef int int32_t; typedef unsigned int uint32_t;"
    "typedef long long int64_t; typedef unsigned long long uint64_t;"
    "typedef unsigned long long uintptr_t;",
    "cmath": "#define INFINITY __int_as_float(0x7f800000)",
    "climits": "#define INT_MAX 2147483647\n#define INT_MIN (-INT_MAX - 1)",
}


def hash_of_sources(folder):
    """Of names and contents, in the order of names, and of what compiles them."""
    hasher = hashlib.sha256()
    names = sorted(n for n in os.listdir(folder) if n.endswith((".cu", ".h")))
    for path in [os.path.join(folder, n) for n in names] + [os.path.abspath(__file__)]:
        with open(path, "rb") as file:
            hasher.update(os.path.basename(path).encode() + b"\0" + file.read() + b"\0")
    return hasher.hexdigest()


class Nvrtc:
    def __init__(self, wheels):
        [path] = glob.glob(wheels + "/nvidia/cuda_nvrtc/lib/libnvrtc.so.*")
        self.nvrtc = ctypes.CDLL(path)

    def text(self, program, name):
        size = ctypes.c_size_t()
        getattr(self.nvrtc, f"nvrtcGet{name}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.nvrtc, f"nvrtcGet{name}")(program, buffer)
        return buffer.value.decode()

    def compile(self, includes, path, flags):
        def strings(items):
            return (ctypes.c_char_p * len(items))(*[item.encode() for item in items])

        with open(path, encoding="utf-8") as file:
            source = file.read()
        name = os.path.basename(path)
        program = ctypes.c_void_p()
        options = flags + ["--include-path=" + includes]
        created = self.nvrtc.nvrtcCreateProgram(
            ctypes.byref(program),
            source.encode(),
            name.encode(),
            len(HEADERS),
            strings(list(HEADERS.values())),
            strings(list(HEADERS)),
        )
        if created:
            sys.exit(f"{name}: NVRTC answers {created}")
        failed = self.nvrtc.nvrtcCompileProgram(program, len(options), strings(options))
        log = self.text(program, "ProgramLog")
        if log:
            print(log, file=sys.stderr)
        if failed:
            sys.exit(f"{name} does not compile")
        ptx = self.text(program, "PTX")
        self.nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
        return ptx


def without_comments(ptx):
    """Comments name the compiler's build; they and blank lines are a tenth of the text."""
    lines = (re.sub(r"\s*//.*", "", line).rstrip() for line in ptx.splitlines())
    return "\n".join(line for line in lines if line.strip()) + "\n"


def make_exact(nvrtc, root, out):
    """The kernels and those of their tests with functions that are the same on every machine
    (functions.h): for tests/cuda/kernels, not shipped."""
    kernels = os.path.join(root, "src/engine/cuda/kernels")
    os.makedirs(out, exist_ok=True)
    for folder in [kernels, os.path.join(root, "tests/cuda/kernels")]:
        for name in sorted(n for n in os.listdir(folder) if n.endswith(".cu")):
            ptx = nvrtc.compile(kernels, os.path.join(folder, name), FLAGS + ["--define-macro=EXACT_FUNCTIONS"])
            with open(os.path.join(out, name[:-3] + ".ptx"), "w", encoding="utf-8") as file:
                file.write(without_comments(ptx))


def main():
    wheels, root = sys.argv[1:3]
    if sys.argv[3:4] == ["--exact"]:
        make_exact(Nvrtc(wheels), root, sys.argv[4])
        return
    check = "--check" in sys.argv[3:]
    folder = os.path.join(root, "src/engine/cuda/kernels")
    out = os.path.join(root, "src/engine/cuda/ptx")
    sources = hash_of_sources(folder)
    nvrtc = Nvrtc(wheels)
    os.makedirs(out, exist_ok=True)
    names = sorted(n for n in os.listdir(folder) if n.endswith(".cu"))
    texts = {}
    for name in names:
        texts[name[:-3] + ".ptx"] = (
            f"// Made from src/engine/cuda/kernels/{name} by scripts/ptx.sh.\n"
            f"// sources {sources}\n"
            f"// NVRTC 12.4 {' '.join(FLAGS)}\n"
            + without_comments(nvrtc.compile(folder, os.path.join(folder, name), FLAGS))
        )
    differ = []
    for name in sorted(set(texts) | {n for n in os.listdir(out) if n.endswith(".ptx")}):
        path = os.path.join(out, name)
        old = None
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                old = file.read()
        if old == texts.get(name):
            continue
        differ.append(name)
        if check:
            continue
        if name in texts:
            with open(path, "w", encoding="utf-8") as file:
                file.write(texts[name])
        else:
            os.remove(path)
    for name, text in texts.items():
        print(f"{name}: {len(text)} bytes, {text.count('.entry ')} kernels")
    print(f"all: {sum(map(len, texts.values()))} bytes")
    if check and differ:
        sys.exit("out of date: " + ", ".join(differ))


main()
