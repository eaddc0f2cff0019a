//! Detects the processor's vector instructions, and compiles functions for each instruction set.

use crate::engine::kernel_settings::Instructions;

/// An instruction set that this processor supports. Values exist only for detected sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Level(Kind);

/// The instruction sets that kernels are compiled for, narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The baseline of the architecture.
    Portable,
    /// AVX2, FMA and F16C, which come together: 16 registers of 8 f32.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Additionally AVX-512F: 32 registers of 16 f32.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON, which every 64-bit ARM processor has: 32 registers of 4 f32.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// Returns the widest level of this processor.
    pub(super) fn detect() -> Self {
        Level::available().fold(Level(Kind::Portable), |_, wider| wider)
    }

    /// Returns all levels of this processor, narrowest first.
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

    /// Returns the level of an instruction set, if this processor supports it.
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

    /// Whether multiply-adds are fused. Logits depend on nothing else of a level.
    pub(in crate::engine) fn fuses(self) -> bool {
        PORTABLE_FUSES || self.0 != Kind::Portable
    }

    /// The instruction set. A `Level` guarantees that its instructions may be used.
    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

/// Whether the portable path fuses multiply-adds: only if every processor of the architecture can.
/// Elsewhere each FMA would call a software routine.
pub(super) const PORTABLE_FUSES: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a · b + c`, fused or not.
#[inline(always)]
pub(super) fn multiply_add<const FUSE: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSE { a.mul_add(b, c) } else { a * b + c }
}

/// Defines a function that is compiled for each level and takes the level first. Its body is an
/// `#[inline(always)]` function, generic over whether multiply-adds are fused.
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
                // SAFETY: a level exists only if its instructions were detected.
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
