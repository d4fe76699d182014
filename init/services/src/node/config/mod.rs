//! The machine config of this node: where it comes from, what is in force, what was before.
//!
//! - [`boot`] runs once at boot, before any unit: it decides which document is in force and gives each program its
//!   part ([`parts`]). It never fails: a node without a config boots and says so.
//! - [`keeper`] is the long-running half, root with next to no rights: it takes a new document, has what changed taken
//!   up, tries one for a while, and goes back. The node API asks it over a socket ([`serve`], [`ask`]).
//! - [`ledger`] is the memory of both, on the state partition.
//!
//! Which document is in force: what was applied last, as long as the place the machine was given its config at (a
//! credential, a disk: `node::platform`) still offers what it offered then. A new offer is taken at the next boot; one
//! that does not hold is said and left.

mod ask;
mod boot;
mod keeper;
mod ledger;
mod parts;
mod serve;

pub(super) use ask::{Answer, Ask, Problem, ask};
pub(super) use boot::run as boot;
pub(super) use ledger::in_force;
pub(super) use serve::run as keep;

#[cfg(test)]
mod tests;
