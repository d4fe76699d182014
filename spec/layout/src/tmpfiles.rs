//! tmpfiles.d(5) as the builder compiles it and PID 1 executes it.
