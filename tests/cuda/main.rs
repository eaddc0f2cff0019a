//! The CUDA kernels and the CUDA backend without a GPU. With `DART_MATH_CUDA=real`, the backend runs on a GPU.

#[cfg(feature = "cuda")]
mod device;
mod emulation;
#[cfg(feature = "cuda")]
mod engine;
#[cfg(feature = "cuda")]
#[path = "../golden/mod.rs"]
mod golden;
#[path = "../harness/mod.rs"]
mod harness;
#[cfg(feature = "cuda")]
#[path = "../external/models.rs"]
mod models;
#[cfg(feature = "cuda")]
#[path = "../scheduler/mod.rs"]
mod scheduler;
#[cfg(feature = "cuda")]
mod scheduler_tests;

use std::process::ExitCode;

use emulation::compiler::{Build, need};
use emulation::{planted, ptx};
use harness::Need;

fn main() -> ExitCode {
    harness::run([
        (Need::nothing(), ptx::TESTS),
        (need(&[]), ptx::COMPILED),
        (need(&[]), planted::COMPILED),
        (need(&[]), emulation::COMPILED),
        (need(&[Build::Threads]), emulation::THREADS),
        (need(&[Build::Addresses]), emulation::ADDRESSES),
        (
            need(&[Build::Threads, Build::Addresses]),
            planted::SANITIZED,
        ),
        #[cfg(feature = "cuda")]
        (engine::need_driver(), engine::TESTS),
        #[cfg(feature = "cuda")]
        (engine::need_driver(), scheduler_tests::TESTS),
        #[cfg(feature = "cuda")]
        (engine::need_model(), engine::REAL_MODEL),
        #[cfg(feature = "cuda")]
        (engine::need_fake(), engine::COUNTED),
    ])
}
