#!/usr/bin/env bash
# Reports registers, shared memory and spills of every shipped kernel: scripts/kernel_report.sh [ARCH…]
#
# Assembles src/engine/cuda/ptx/*.ptx for the given architectures (by default sm_80, sm_89 and sm_90) with the
# assembler of CUDA 12.4, which scripts/ptx.sh fetches. Fails if a kernel spills registers to memory.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/ptx.sh" --fetch
ptxas=${DART_MATH_CUDA_WHEELS:-$root/target/cuda-12.4}/nvidia/cuda_nvcc/bin/ptxas
[ $# -gt 0 ] || set -- sm_80 sm_89 sm_90
report=$(mktemp)
trap 'rm -f "$report"' EXIT
for arch; do
  for ptx in "$root"/src/engine/cuda/ptx/*.ptx; do
    "$ptxas" -v -arch="$arch" -o /dev/null "$ptx" >>"$report" 2>&1 || { cat "$report"; exit 1; }
  done
done
awk '
  /Compiling entry function/ {
    split($0, quoted, "\047")
    kernel = quoted[2]
    arch = quoted[4]
  }
  /bytes spill stores/ {
    stack = $1
    spilled = $5
    if (spilled + 0 > 0) spills++
  }
  / registers/ {
    match($0, /Used [0-9]+/)
    registers = substr($0, RSTART + 5, RLENGTH - 5)
    shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH - 11) : 0
    printf "%-36s %-6s %4d registers %6d B shared %5d B stack %5d B spilled\n",
      kernel, arch, registers, shared, stack, spilled
    if (registers + 0 > most) most = registers + 0
    kernels++
  }
  END {
    printf "%d kernels, at most %d registers, %d with spills\n", kernels, most, spills
    exit spills > 0 || kernels == 0
  }
' "$report"
