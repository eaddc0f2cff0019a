//! The scheduler's tests, on the CUDA backend.

use crate::engine::beside_others;
use crate::harness::Test;
use crate::scheduler;

macro_rules! on_cuda {
    ($($module:ident::$name:ident,)+) => {
        &[$(Test {
            name: concat!("cuda::scheduler::", stringify!($name)),
            run: || {
                let _beside_others = beside_others();
                scheduler::$module::$name();
            },
        }),+]
    };
}

pub(crate) const TESTS: &[Test] = scheduler::each_test!(on_cuda);
