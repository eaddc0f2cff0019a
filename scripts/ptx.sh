#!/usr/bin/env bash
# Compiles the CUDA kernels to the PTX that the crate ships: scripts/ptx.sh [--check | --exact DIR]
#
# src/engine/cuda/kernels/*.cu becomes src/engine/cuda/ptx/*.ptx for compute capability 8.0 and
# later, of PTX version 8.4: NVIDIA drivers from 550 on take it. With --check nothing is written;
# the exit status says whether the files are what would be. With --exact
# DIR gets the kernels, and those of their tests, with functions whose bits are the same on every
# machine (functions.h): for comparison with the emulation's hashes.
#
# The compiler is NVRTC of CUDA 12.4, fetched as a Python wheel into target/cuda-12.4 (or
# DART_MATH_CUDA_WHEELS): no GPU, no toolkit and no C++ compiler are needed. (The wheel of nvcc 12.4
# has only the assembler.) Needs python3 with pip.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheels=${DART_MATH_CUDA_WHEELS:-$root/target/cuda-12.4}
# Both at once: pip does not add to a folder that is there.
if [ ! -f "$wheels/complete" ]; then
  rm -rf "$wheels"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --no-compile --target "$wheels" nvidia-cuda-nvrtc-cu12==12.4.127 nvidia-cuda-nvcc-cu12==12.4.131
  chmod +x "$wheels/nvidia/cuda_nvcc/bin/ptxas"
  touch "$wheels/complete"
fi
[ "${1:-}" = --fetch ] || exec python3 "$root/scripts/ptx.py" "$wheels" "$root" "$@"
