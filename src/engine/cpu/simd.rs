//! What vector instructions this processor has, and functions compiled for each set of them.

use crate::engine::kernel_settings::Instructions;

/// Instructions that this processor was found to have; exists for those alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Level(Kind);

/// The sets of instructions that kernels are compiled for, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2, FMA and F16C, which come together: 16 registers of 8.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F besides: 32 registers of 16.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON, which every processor of its architecture has: 32 registers of 4.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// The widest level of this processor.
    pub(super) fn detect() -> Self {
        Level::available().fold(Level(Kind::Portable), |_, wider| wider)
    }

    /// All levels of this processor, narrowest first.
    pub(super) fn available() -> impl Iterator<Item = Level> {
        #[cfg(target_arch = "x86_64")]
        let kinds = {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f");
            [
                Some(Kind::Portable),
                avx2.then_some(Kind::Avx2),
                avx512.then_some(Kind::Avx512),
            ]
        };
        #[cfg(target_arch = "aarch64")]
        let kinds = [Some(Kind::Portable), Some(Kind::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let kinds = [Some(Kind::Portable)];
        kinds.into_iter().flatten().map(Level)
    }

    /// The level of a set of instructions, where this processor has them.
    pub(in crate::engine) fn of(instructions: Instructions) -> Option<Self> {
        let named = |level: &Level| match level.kind() {
            Kind::Portable => instructions == Instructions::Portable,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => instructions == Instructions::Avx2,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => instructions == Instructions::Avx512,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => instructions == Instructions::Neon,
        };
        match instructions {
            Instructions::Widest => Some(Level::detect()),
            _ => Level::available().find(named),
        }
    }

    /// Whether multiply-adds are rounded once, which is all that logits depend on.
    pub(in crate::engine) fn fuses(self) -> bool {
        PORTABLE_FUSES || self.0 != Kind::Portable
    }

    /// Which set this is. That its instructions may be used is what a `Level` stands for.
    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

/// Whether the portable path fuses multiply-adds: where every processor of the architecture does.
/// Elsewhere each would be the call of a software routine.
pub(super) const PORTABLE_FUSES: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a · b + c`, fused or not.
#[inline(always)]
pub(super) fn multiply_add<const FUSE: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSE { a.mul_add(b, c) } else { a * b + c }
}

/// Defines a function that is compiled for each level and takes the level first. Its body is an
/// `#[inline(always)]` function that is generic over whether multiply-adds are fused.
macro_rules! for_each_level {
    (
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident
    ) => {
        $(#[$doc])*
        pub(super) fn $name(
            level: $crate::engine::cpu::simd::Level,
            $($arg: $type),*
        ) $(-> $ret)? {
            use $crate::engine::cpu::simd::{Kind, PORTABLE_FUSES};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f")]
            fn avx512($($arg: $type),*) $(-> $ret)? {
                $body::<true>($($arg),*)
            }
            match level.kind() {
                Kind::Portable => $body::<PORTABLE_FUSES>($($arg),*),
                // SAFETY: a level exists only where its instructions were detected.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => $body::<true>($($arg),*),
            }
        }
    };
}
pub(super) use for_each_level;
