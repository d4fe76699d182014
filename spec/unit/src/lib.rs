//! systemd's unit files: parsing, the graph, the directive table and [`plan::ExecPlan`].
//!
//! Pure: the caller reads the files. The builder and PID 1 run this same code.

pub mod control;
pub mod plan;
