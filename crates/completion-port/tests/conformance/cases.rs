//! Cases as plain functions of a rig, listed at the head of their file.

/// Makes a test of each: `name`, or `name with adjust` for limits of its own.
macro_rules! tests {
    (@run $case:ident) => { crate::harness::on_each_backend(super::$case) };
    (@run $case:ident $adjust:expr) => { crate::harness::on_each_backend_with($adjust, super::$case) };
    ($($case:ident $(with $adjust:expr)?),* $(,)?) => {
        mod tests {
            $(#[test]
            fn $case() {
                tests!(@run $case $($adjust)?);
            })*
        }
    };
}
