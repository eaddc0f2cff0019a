#!/usr/bin/env bash
# What is to be checked and measured on a machine with an NVIDIA GPU, in one command there.
#
#   scripts/gpu.sh build DIR    with Rust and the CUDA toolkit: the stripped binary and this script
#   scripts/gpu.sh run DIR      with a GPU and python3, no Rust: prints tables
#
# `run` holds the CUDA device against the CPU of the same machine, in f32 and in bf16, with the
# built-in model, and measures sampling. Nothing is downloaded.
set -euo pipefail

build() {
  local dir=$1
  mkdir -p "$dir"
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  cargo build --release --no-default-features --features cuda --example generate
  strip -o "$dir/generate" "${CARGO_TARGET_DIR:-target}/release/examples/generate"
  cp "scripts/gpu.sh" "$dir/"
  ls -l "$dir"
}

# The CUDA libraries may lie in Python packages only.
libraries() {
  local library
  for library in libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libcudart.so.13 libnvrtc.so.13; do
    ldconfig -p | grep -q "$library" || find / -name "$library" -not -path '*/stubs/*' 2>/dev/null | head -n 1 | xargs -r dirname
  done | sort -u | paste -sd:
}

run() {
  local dir=$1 out
  out=$(mktemp -d)
  LD_LIBRARY_PATH="$(libraries):${LD_LIBRARY_PATH:-}"
  export LD_LIBRARY_PATH
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  cat >"$out/prompts.jsonl" <<'ROWS'
{"id":"1","prompt":"A box holds 5 stones. Ruth puts in 5 more. How many stones are in the box now?"}
{"id":"2","prompt":"Emma starts with 7 tickets. She buys 25 more. She buys 6 more. How many tickets does she have in the end?"}
{"id":"3","prompt":"Anna has 14 stones. Hugo has 4 stones fewer than Anna. If Hugo made 5 equal piles, each would be what Ruth has. Sara has 2 more than Ruth. How many stones does Sara have?"}
ROWS
  generate() { # NAME FLAGS…: completions to NAME.jsonl, the summary line to the screen
    local name=$1
    shift
    "$dir/generate" --prompts "$out/prompts.jsonl" --json "$@" >"$out/$name.jsonl" 2>"$out/$name.log" ||
      { cat "$out/$name.log"; return 1; }
    printf '%-28s ' "$name"
    tail -n 1 "$out/$name.log"
  }
  echo "== correctness: built-in model, 3 prompts"
  generate cpu-greedy --greedy --device cpu
  generate cuda-f32-greedy --greedy --device cuda --dtype f32
  generate cuda-bf16-greedy --greedy --device cuda --dtype bf16
  generate cpu-sampled --samples 64 --device cpu
  generate cuda-f32-sampled --samples 64 --device cuda --dtype f32
  generate cuda-bf16-sampled --samples 64 --device cuda --dtype bf16
  python3 - "$out" <<'PY'
import json, sys
rows = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")]
print("| CUDA against CPU | completions with the same tokens | largest difference of log-probability among them |")
print("|---|---|---|")
failed = False
for kind in ("greedy", "sampled"):
    want = rows(f"cpu-{kind}")
    for dtype in ("f32", "bf16"):
        got = rows(f"cuda-{dtype}-{kind}")
        pairs = [(a, b) for a, b in zip(want, got) if a["tokens"] == b["tokens"]]
        worst = max((abs(a["logprob"] - b["logprob"]) for a, b in pairs), default=float("nan"))
        print(f"| {dtype}, {kind} | {len(pairs)} of {len(want)} | {worst:.2e} |")
        failed |= len(want) != len(got) or (dtype == "f32" and kind == "greedy" and len(pairs) != len(want))
sys.exit("f32 on the GPU differs from the CPU" if failed else 0)
PY
  echo "== sampling, built-in model: plain operations, no kernels of our own yet"
  for slots in 32 64 256; do
    generate "cuda-f32-$slots-slots" --samples 256 --slots "$slots" --device cuda --dtype f32
  done
  generate "cpu-32-slots" --samples 256 --slots 32 --device cpu
}

case ${1:-} in
  build | run) "$1" "${2:?DIR}" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
