//! systemd's unit files: parsing, the graph, the directive table and [`plan::ExecPlan`].
//!
//! Pure: the caller reads the files ([`load::UnitSource`]). The builder and PID 1 run this same code: the builder
//! to report ([`check::check`]), PID 1 to load ([`load::Loader`]), order ([`graph::Graph`]) and plan
//! ([`plan::ExecPlan`]).
//!
//! - text: [`parse`], [`value`], [`words`], [`specifier`], [`environment`], [`name`]
//! - meaning: [`directive`] (one row a directive), [`unit`] (what the rows fill in)
//! - whole: [`load`], [`graph`], [`check`]
//! - outcome: [`plan`], [`seccomp`], [`control`]; [`notify`]: what comes back

pub mod account;
pub mod capability;
pub mod check;
pub mod control;
pub mod device;
pub mod directive;
pub mod environment;
pub mod finding;
pub mod graph;
pub mod load;
pub mod name;
pub mod notify;
pub mod parse;
pub mod plan;
pub mod seccomp;
pub mod specifier;
pub mod unit;
pub mod value;
pub mod words;
