#!/usr/bin/env bash
# Checks and measures the CUDA backend on a machine with an NVIDIA GPU. That machine needs no Rust, because
# everything is built elsewhere.
#
#   scripts/gpu.sh build DIR              build the programs and copy them to DIR (under 40 MB; PROFILE=dev builds
#                                         faster)
#   scripts/gpu.sh check DIR OUT          on the GPU (at most 150 s): compare kernels with plain loops and, by hash,
#                                         with the emulation (40 s), and logits and tokens with the CPU engine;
#                                         run compute-sanitizer, if installed (20 s per tool)
#   scripts/gpu.sh measure DIR OUT [S]    on the GPU: tokens per second of three 7-8B shapes, at most S seconds (350)
#   scripts/gpu.sh peers DIR OUT [S]      on the GPU: transformers' continuous batching, same load (120 s per shape)
#   scripts/gpu.sh profile DIR OUT SHAPE  on the GPU: kernel times in a step of 256 rows with 300 new tokens (90 s)
#   scripts/gpu.sh rehearse DIR OUT       here: check and measure over the fake driver, with a tiny shape
#
# Each part writes its file to OUT when it ends. If a part fails, the next one still runs. Tables are printed to
# standard output. Weights are random numbers of the exact shape, created on the device. Building needs a C++17
# compiler and the wheels that scripts/ptx.sh fetches.
#
# Hashes of kernels are equal if the card's tensor cores sum products like Hopper's. On other cards they may differ.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
usage() { sed -n '2,20p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb=$1
mkdir -p "$2" && dir=$(cd "$2" && pwd)
seconds=${4:-}
rehearsal=
exact_fake=
if [ "$verb" != build ]; then
  [ $# -ge 3 ] || usage
  mkdir -p "$3" && out=$(cd "$3" && pwd)
fi
begin=$SECONDS

# Builds the kernels' tests as programs for a GPU, and PTX whose functions give the same bits on every machine. Copies
# the shipped PTX.
build_kernels() {
  local flags=(-std=c++17 -O2 -w -ffp-contract=off -pthread) source program
  local includes=(-Itests/cuda/emulation -Isrc/engine/cuda/kernels -Itests/cuda/kernels)
  rm -rf "$dir/kernels" && mkdir -p "$dir/kernels/exact"
  cp -r src/engine/cuda/ptx "$dir/kernels/shipped"
  cp -r tests/cuda/kernels/hashes "$dir/kernels/"
  bash scripts/ptx.sh --exact "$dir/kernels/exact"
  "${CXX:-c++}" "${flags[@]}" "${includes[@]}" -c tests/cuda/emulation/emu.cpp -o "$dir/kernels/emu.o"
  for source in tests/cuda/kernels/*.cpp; do
    program=$dir/kernels/$(basename "$source" .cpp)
    "${CXX:-c++}" "${flags[@]}" "${includes[@]}" -DON_DEVICE -static-libstdc++ -static-libgcc "$source" \
      "$dir/kernels/emu.o" -ldl -o "$program"
    strip "$program"
  done
  rm "$dir/kernels/emu.o"
}

build() {
  set -e
  build_kernels
  local profile=${PROFILE:-release} target=${CARGO_TARGET_DIR:-target} folder test
  folder=$target/$profile/examples
  [ "$profile" = dev ] && folder=$target/debug/examples
  cargo build --profile "$profile" --no-default-features --features cuda --example throughput
  cp "$folder/throughput" "$dir/"
  test=$(cargo test --profile "$profile" --no-default-features --features cuda --test cuda --no-run \
    --message-format json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and made.get("target", {}).get("name") == "cuda":
        print(made["executable"])')
  cp "$test" "$dir/cuda_tests"
  strip "$dir/throughput" "$dir/cuda_tests"
  # The test binary looks for its fixtures in the checkout in which it was built.
  pwd >"$dir/checkout"
  du -sh "$dir"
}

# Finds cuBLAS if the loader does not, for example in Python packages.
find_cublas() {
  ldconfig -p 2>/dev/null | grep -q 'libcublas\.so\.1[23]' && return
  local found
  found=$(find /usr/local /opt /usr/lib -name 'libcublas.so.1[23]' 2>/dev/null | head -1)
  [ -n "$found" ] && export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$(dirname "$found")
}

card() { nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.draw --format=csv,noheader 2>&1; }

# left MOST UNTIL: the seconds until UNTIL seconds have passed since the start, at most MOST
left() {
  local left=$(($2 - SECONDS + begin))
  echo $((left < $1 ? left : $1))
}

# Runs each kernel's test with the shipped PTX, and with the PTX of exact functions, whose bits must all be equal.
kernels() {
  echo "## kernels: values against plain loops, bits against the emulation's hashes"
  echo "| program | PTX | cases | wrong | worst error | equal bits | races | not on the device | s |"
  echo "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
  local hashes program set exact seconds at row='^.*: (.*) cases, (.*) wrong, worst error (.*), equal bits (.*), races (.*), not on the device (.*)$'
  for hashes in "$dir"/kernels/hashes/*.txt; do
    program=$(basename "$hashes" .txt)
    for set in shipped exact; do
      exact=()
      [ "$set" = exact ] && exact=(--exact)
      seconds=$(left 40 40)
      [ "$seconds" -gt 0 ] || { echo "| $program | $set | no time left |"; continue; }
      at=$SECONDS
      LD_LIBRARY_PATH=${exact_fake:+$exact_fake:}${LD_LIBRARY_PATH:-} timeout -k 5 "$seconds" "$dir/kernels/$program" \
        hashes --hashes "$hashes" --ptx "$dir/kernels/$set" "${exact[@]}" >"$out/kernels-$program-$set.log" 2>&1
      if [[ $(tail -n 1 "$out/kernels-$program-$set.log") =~ $row ]]; then
        echo "| $program | $set | $(printf '%s | ' "${BASH_REMATCH[@]:1}")$((SECONDS - at)) |"
      else
        echo "| $program | $set | failed: $(tail -n 1 "$out/kernels-$program-$set.log" | cut -c1-300) |"
      fi
    done
  done
  grep -hE 'WRONG|RACE|OTHER BITS' "$out"/kernels-*.log | head -20
}

# Runs compute-sanitizer on small cases with the shipped PTX.
sanitize() {
  command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer"; return; }
  local tool program seconds at
  for tool in memcheck racecheck; do
    at=$SECONDS
    for program in elementwise random sampler attention; do
      seconds=$(left $((20 - SECONDS + at)) 150)
      [ "$seconds" -gt 0 ] || { echo "$tool of $program: no time left"; continue; }
      timeout -k 5 "$seconds" compute-sanitizer --tool "$tool" "$dir/kernels/$program" small \
        --ptx "$dir/kernels/shipped" >"$out/$tool-$program.log" 2>&1
      echo "$tool of $program: exit $?, $(grep -E 'SUMMARY' "$out/$tool-$program.log" | tail -n 1)"
    done
  done
}

check() {
  kernels | tee "$out/kernels.md"
  engine_tests
  sanitize | tee "$out/sanitizer.md"
}

engine_tests() {
  # The test binary looks for its fixtures where it was built.
  local home
  home=$(cat "$dir/checkout")
  if [ ! -e "$home" ]; then mkdir -p "$(dirname "$home")" && ln -s "$PWD" "$home"; fi
  echo "## check: the engine's tests on this device"
  # A rehearsal runs one short test.
  DART_MATH_CUDA=${rehearsal:-real} timeout -k 5 "$(left 150 150)" "$dir/cuda_tests" --test-threads 1 "engine::${rehearsal:+slots}" \
    >"$out/check.log" 2>&1
  echo "exit $?, $((SECONDS - begin)) s since the start"
  grep -E '^test |test result|largest|divergence|greedy|steps:|panicked|error' "$out/check.log" | head -60
}

# run NAME SECONDS ARGUMENTS…: runs a load and prints a line of the table
run() {
  local name=$1 most=$2
  shift 2
  local left=$((${seconds:-350} - SECONDS + begin))
  [ "$left" -gt 8 ] || { echo "| $name | no time left |"; return; }
  [ "$most" -lt "$left" ] || most=$left
  timeout -k 5 "$most" "$dir/throughput" --device "${device:-cuda}" "$@" >"$out/$name.json" 2>"$out/$name.log"
  local status=$?
  python3 - "$name" "$status" "$out/$name.json" "$out/$name.log" <<'PY'
import json, sys
name, status, path, log = sys.argv[1:5]
try:
    r = json.load(open(path))
except Exception:
    print(f"| {name} | failed with {status}: {open(log).read().strip()[-300:]} |")
    sys.exit()
step = r["step_ms"]["total"]
print(f"| {name} | {r['slots']} | {r['tokens_per_second']:.0f} | {r['decode_tokens_per_second']:.0f} | "
      f"{step['median']:.2f} | {step['p10']:.2f} | {r['occupancy']:.2f} | "
      f"{r['weight_bytes']/1e9:.1f} | {r['peak_kv_bytes']/1e9:.1f} | {r['seconds']:.1f} | {r['tokens_digest']} |")
PY
}

# load SHAPE SLOTS PROMPTS SAMPLES [SUFFIX ARGUMENTS…]: prints a line of the table
load() {
  local shape=$1 slots=$2 prompts=$3 samples=$4 suffix=${5:-}
  shift $(($# < 5 ? $# : 5))
  local tokens=(--prompt-tokens 300 --new-tokens 600)
  [ -n "$rehearsal" ] && tokens=(--prompt-tokens 20 --new-tokens 12)
  run "$shape-$slots$suffix" 60 --random-weights "benches/shapes/$shape.json" "${tokens[@]}" --temperature 1.6 --top-p 0.95 \
    --slots "$slots" --prompt-count "$prompts" --samples-per-prompt "$samples" "$@"
}

measure() {
  echo "## measure: $(card | head -1)"
  echo "| run | slots | tok/s, all included | tok/s decoding | step ms, median | p10 | occupancy | weights GB | KV GB | s | digest |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
  if [ -n "$rehearsal" ]; then
    load tiny 4 2 4
    load tiny 8 2 4
    load tiny 8 2 4 -deterministic --deterministic
    load tiny 8 8 1 -unshared
    # Two devices of the fake driver must give the same tokens.
    FAKE_CUDA_DEVICES=2 device=cuda:all load tiny 2 2 4 -two-devices
    return
  fi
  local shape shapes=(deepseek-math-7b qwen2.5-math-7b llama-3-8b)
  for shape in "${shapes[@]}"; do load "$shape" 256 8 64; done
  card
  load qwen2.5-math-7b 256 512 1 -unshared
  load qwen2.5-math-7b 256 16 64 -spread --lengths spread
  load qwen2.5-math-7b 256 8 64 -deterministic --deterministic
  for shape in "${shapes[@]}"; do load "$shape" 64 2 64; done
  for shape in "${shapes[@]}"; do load "$shape" 512 16 64; done
}

peers() {
  echo "## peers: $(card | head -1)"
  local shape left
  for shape in llama-3-8b qwen2.5-math-7b deepseek-math-7b; do
    left=$((${seconds:-360} - SECONDS + begin))
    [ "$left" -gt 60 ] || { echo "$shape: no time left"; continue; }
    [ "$left" -lt 120 ] || left=120
    timeout -k 5 $((left + 5)) python3 scripts/measure_transformers.py --config "benches/shapes/$shape.json" \
      --prompts 4 --samples 64 --prompt-tokens 300 --new-tokens 600 --slots 256 --temperature 1.6 --top-p 0.95 \
      --seconds "$left" --json "$out/transformers-$shape.json" >"$out/transformers-$shape.log" 2>&1
    echo "$shape: exit $?"
    tail -n 1 "$out/transformers-$shape.log" | cut -c1-600
  done
}

# Profiles two steps. Skips the launches of random weights, a prefill and 300 steps; a few more do no harm.
profile() {
  local shape=${seconds:-qwen2.5-math-7b} layers launches
  layers=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["num_hidden_layers"])' "benches/shapes/$shape.json")
  launches=$((10 * layers + 4))
  timeout -k 5 90 ncu --clock-control none --graph-profiling node --metrics gpu__time_duration.sum --csv \
    --launch-skip $((launches * 302)) --launch-count $((2 * launches)) \
    "$dir/throughput" --device cuda --random-weights "benches/shapes/$shape.json" --prompt-tokens 300 --new-tokens 310 \
    --temperature 1.6 --top-p 0.95 --samples-per-prompt 64 --prompt-count 4 --slots 256 >"$out/profile-$shape.csv" 2>"$out/profile-$shape.log"
  echo "## profile of $shape: exit $?"
  python3 - "$out/profile-$shape.csv" <<'PY'
import csv, collections, sys
lines = [line for line in open(sys.argv[1], errors="replace") if line.startswith('"')]
times = collections.defaultdict(list)
for row in csv.DictReader(lines):
    value, unit = float(row["Metric Value"].replace(",", "")), row["Metric Unit"]
    times[row["Kernel Name"].split("(")[0][:60], row["Grid Size"]].append(value * {"ns": 1e-3, "us": 1, "ms": 1e3}.get(unit, 1))
total = sum(map(sum, times.values()))
print("| kernel | grid | launches | us each | share |\n| --- | --- | ---: | ---: | ---: |")
for (name, grid), all_ in sorted(times.items(), key=lambda item: -sum(item[1])):
    print(f"| {name} | {grid} | {len(all_)} | {sum(all_) / len(all_):.1f} | {100 * sum(all_) / total:.1f} % |")
PY
}

case $verb in
  build) build ;;
  check) find_cublas; check ;;
  measure) find_cublas; measure ;;
  peers) peers ;;
  profile) find_cublas; profile ;;
  rehearse)
    rehearsal=fake
    fake=$dir/fake
    exact_fake=$dir/fake-exact
    bash tests/cuda/build_fake.sh "$fake" || exit 1
    EXACT=1 bash tests/cuda/build_fake.sh "$exact_fake" src/engine/cuda/kernels tests/cuda/kernels || exit 1
    begin=$SECONDS
    # The tests find a driver by themselves.
    check
    export LD_LIBRARY_PATH=$fake:${LD_LIBRARY_PATH:-}
    measure
    ;;
  *) usage ;;
esac
