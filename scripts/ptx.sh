#!/usr/bin/env bash
# Compiles the CUDA kernels to the PTX that the crate ships: scripts/ptx.sh [--check | --exact DIR]
#
# Each src/engine/cuda/kernels/*.cu becomes a src/engine/cuda/ptx/*.ptx for compute capability 8.0 and later,
# in PTX version 8.4, which NVIDIA drivers from 550 on accept. With --check, nothing is written, and the exit
# status tells whether the files are up to date. With --exact, the kernels and those of their tests are
# written to DIR, with functions that give the same bits on every machine (functions.h), for comparison with
# the emulation's hashes.
#
# The compiler is NVRTC of CUDA 12.4, fetched as a Python wheel into target/cuda-12.4 (or
# DART_MATH_CUDA_WHEELS). The wheel of nvcc 12.4 only contains the assembler. No GPU, CUDA toolkit or C++
# compiler is needed. Needs python3 with pip.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheels=${DART_MATH_CUDA_WHEELS:-$root/target/cuda-12.4}
# Install both at once, because pip does not add packages to an existing target directory.
if [ ! -f "$wheels/complete" ]; then
  rm -rf "$wheels"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --no-compile --target "$wheels" nvidia-cuda-nvrtc-cu12==12.4.127 nvidia-cuda-nvcc-cu12==12.4.131
  chmod +x "$wheels/nvidia/cuda_nvcc/bin/ptxas"
  touch "$wheels/complete"
fi
[ "${1:-}" = --fetch ] || exec python3 "$root/scripts/ptx.py" "$wheels" "$root" "$@"
