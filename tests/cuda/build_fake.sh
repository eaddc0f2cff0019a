#!/usr/bin/env bash
# Builds a CUDA driver and a cuBLAS that need no GPU: the engine's kernels run in the emulation.
#
#   tests/cuda/build_fake.sh OUT_DIR [KERNEL_DIR…]
#
# Writes OUT_DIR/libcuda.so.1 (driver, emulation and every *.cu of the KERNEL_DIRs, by default
# src/engine/cuda/kernels) and OUT_DIR/libcublas.so.13, with unversioned links.
# Files that are up to date are not rebuilt. Environment:
#   CXX          a C++17 compiler (by default, c++, g++ and clang++ are tried)
#   EXACT=1      bit-exact mma of Hopper (slower), and functions that give the same bits on every
#                machine (functions.h), as for the stored hashes
#   JOBS         concurrent compilers (by default the number of cores)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 1 ] || { sed -n '2,12p' "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
engine=$(cd "$here/../../src/engine/cuda/kernels" && pwd)
kernels=()
for folder in "${@:2}"; do kernels+=("$(cd "$folder" && pwd)"); done
[ ${#kernels[@]} -gt 0 ] || kernels=("$engine")
emulation=$here/emulation
# Allow only one build at a time in a directory, if the system has flock.
exec 9>"$out/lock"
if command -v flock >/dev/null; then flock 9; fi
jobs_at_once=${JOBS:-$(nproc 2>/dev/null || echo 2)}

find_compiler() {
  local candidate
  for candidate in "${CXX:-}" c++ g++ clang++; do
    [ -n "$candidate" ] || continue
    if echo 'int main() {}' | $candidate -std=c++17 -x c++ -fsyntax-only - 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo "no C++17 compiler (set CXX)" >&2
  return 1
}
compiler=$(find_compiler)
# Fused multiply-adds and reordered sums would give other bits than nvcc's code.
flags=(-std=c++17 -O2 -w -fPIC -ffp-contract=off -I"$emulation" "${kernels[@]/#/-I}" -I"$engine")
# The build machine runs the code, so fmaf in the kernels is an instruction if the processor has one.
if grep -qsw fma /proc/cpuinfo && grep -qsw avx2 /proc/cpuinfo; then flags+=(-mavx2 -mfma); fi
[ "${EXACT:-0}" = 1 ] && flags+=(-DEMU_EXACT_MMA -DEXACT_FUNCTIONS)

# Do not reuse objects built with other flags or another compiler.
stamp="$compiler ${flags[*]}"
if [ "$(cat "$out/flags" 2>/dev/null)" != "$stamp" ]; then
  rm -f "$out"/*.o "$out"/*.d
  printf '%s\n' "$stamp" >"$out/flags"
fi

# up_to_date OBJECT: is it newer than everything that its dependency file names?
up_to_date() {
  local object=$1 depends=${1%.o}.d file
  [ -f "$object" ] && [ -f "$depends" ] || return 1
  for file in $(sed -e 's/^[^:]*://' -e 's/\\$//' "$depends"); do
    [ -e "$file" ] && [ ! "$file" -nt "$object" ] || return 1
  done
}

compiled=0
running=0
pids=()
# compile SOURCE OBJECT [FLAG…]
compile() {
  local source=$1 object=$2
  shift 2
  up_to_date "$object" && return 0
  compiled=1
  if [ "$running" -ge "$jobs_at_once" ]; then
    wait "${pids[0]}"
    pids=("${pids[@]:1}")
    running=$((running - 1))
  fi
  (
    # The object appears only when it is whole.
    "$compiler" "${flags[@]}" "$@" -MMD -MF "${object%.o}.d" -x c++ -c "$source" -o "$object.part"
    mv "$object.part" "$object"
  ) &
  pids+=($!)
  running=$((running + 1))
}

kernel_objects=()
for folder in "${kernels[@]}"; do
  for source in "$folder"/*.cu; do
    [ -e "$source" ] || continue
    object=$out/kernel_$(basename "$source" .cu).o
    kernel_objects+=("$object")
    compile "$source" "$object"
  done
done
compile "$emulation/emu.cpp" "$out/emu.o"
compile "$emulation/fakecuda.cpp" "$out/fakecuda.o"
compile "$emulation/fakeblas.cpp" "$out/fakeblas.o" -O3
for pid in "${pids[@]}"; do wait "$pid"; done

if [ "$compiled" = 1 ] || [ ! -f "$out/libcuda.so.1" ] || [ ! -f "$out/libcublas.so.13" ] ||
  [ "$(cat "$out/kernels" 2>/dev/null)" != "${kernel_objects[*]}" ]; then
  # -Bsymbolic: a real driver in the same process must not take the place of our own functions.
  "$compiler" -shared -pthread -Wl,-Bsymbolic -Wl,-soname,libcuda.so.1 \
    -o "$out/libcuda.so.part" "${kernel_objects[@]}" "$out/emu.o" "$out/fakecuda.o"
  mv "$out/libcuda.so.part" "$out/libcuda.so.1"
  "$compiler" -shared -pthread -Wl,-Bsymbolic -Wl,-soname,libcublas.so.13 -Wl,-rpath,"\$ORIGIN" \
    -o "$out/libcublas.so.part" "$out/fakeblas.o" "$out/libcuda.so.1"
  mv "$out/libcublas.so.part" "$out/libcublas.so.13"
  ln -sfn libcuda.so.1 "$out/libcuda.so"
  ln -sfn libcublas.so.13 "$out/libcublas.so"
  printf '%s\n' "${kernel_objects[*]}" >"$out/kernels"
fi
