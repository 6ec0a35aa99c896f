//! One completion port over Windows IOCP, Linux io_uring and readiness.
