//! The scheduler's tests on the CPU.

macro_rules! on_the_cpu {
    ($($module:ident::$name:ident,)+) => {
        $(#[test]
        fn $name() {
            crate::scheduler::$module::$name();
        })+
    };
}

crate::scheduler::each_test!(on_the_cpu);
