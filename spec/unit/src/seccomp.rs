//! Filters of system calls: from the plan's description ([`crate::plan::Seccomp`]) to one classic BPF program.
//!
//! systemd loads one filter per directive and architecture; the kernel then takes the most severe answer, and of
//! equally severe ones that of the filter loaded last. Here that choice is made beforehand, for each call of each
//! architecture, and the program only looks the answer up: by a binary search over the numbers of the calls, and a
//! few comparisons where a call's arguments matter. seccomp(2), bpf(4), systemd.exec(5).
//!
//! - `groups`: systemd's groups; [`names`]: lists of calls, with groups resolved, and error numbers
//! - `abi`: the calls' numbers; `rule`: what each directive denies; `assemble`: instructions

use std::collections::BTreeMap;

use crate::plan::Seccomp;

mod abi;
mod assemble;
mod groups;
pub mod names;
mod rule;

pub use abi::Machine;

/// Most instructions that the kernel takes (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// An instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// Instructions skipped if true.
    pub jt: u8,
    /// Instructions skipped if false.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// SECCOMP_RET_*: what the kernel does with a call. As signed numbers, smaller is more severe.
pub mod answer {
    /// The process dies of SIGSYS.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// The call fails with the error number in the lower half.
    pub const ERRNO: u32 = 0x0005_0000;
    /// The call is made and logged.
    pub const LOG: u32 = 0x7ffc_0000;
    /// The call is made.
    pub const ALLOW: u32 = 0x7fff_0000;
}

/// The program of a description; none if nothing is filtered. MemoryDenyWriteExecute= is not in it: the kernel has a
/// switch of its own for that ([`write_execute`]). `personality` is the execution domain that LockPersonality= locks.
pub fn compile(
    seccomp: &Seccomp,
    machine: Machine,
    personality: u32,
) -> Result<Vec<Instruction>, String> {
    if seccomp.is_empty() {
        return Ok(Vec::new());
    }
    let rules = rule::rules(seccomp, personality);
    let lists = rule::Lists::new(seccomp);
    if rules.is_empty() && lists.is_empty() && seccomp.architectures.is_none() {
        return Ok(Vec::new());
    }
    program(&lists, &rules, machine, seccomp)
}

/// The program that stands in for PR_SET_MDWE where a kernel before 6.3 does not have it.
pub fn write_execute(machine: Machine) -> Result<Vec<Instruction>, String> {
    let all = Seccomp::default();
    program(
        &rule::Lists::new(&all),
        &rule::write_execute(),
        machine,
        &all,
    )
}

/// Whether SystemCallFilter= lets all of these calls pass.
pub(crate) fn permits(seccomp: &Seccomp, calls: &[&str]) -> bool {
    // systemd looks whether a call is in the list at all.
    seccomp.calls.as_ref().is_none_or(|list| {
        let known = names::resolve(list);
        known.is_empty()
            || calls
                .iter()
                .all(|call| known.contains_key(call) == list.allow)
    })
}

fn program(
    lists: &rule::Lists<'_>,
    rules: &[rule::Rule],
    machine: Machine,
    seccomp: &Seccomp,
) -> Result<Vec<Instruction>, String> {
    let permitted = |abi: &abi::Abi| machine.permits(*abi, seccomp.architectures.as_deref());
    let mut sections = Vec::new();
    for (token, abis) in machine.abis() {
        let mut verdicts = BTreeMap::new();
        // Numbers between two ranges of calls belong to the range before them.
        for abi in abis {
            let range = abi.numbers();
            if permitted(abi) {
                let default = lists.default_verdict();
                verdicts.insert(*range.start(), default.clone());
                abi::for_each_call(*abi, |number, call| {
                    let verdict = rule::verdict(lists, rules, *abi, call);
                    verdicts.insert(number, verdict);
                    // Whatever is no call ends the run; the next call writes over it.
                    verdicts
                        .entry(number.saturating_add(1))
                        .or_insert_with(|| default.clone());
                });
            } else {
                verdicts.insert(*range.start(), rule::Verdict::always(answer::KILL_PROCESS));
            }
        }
        if abis.iter().any(permitted) {
            sections.push((token, assemble::search(&verdicts)?));
        }
    }
    let other = match seccomp.architectures {
        Some(_) => answer::KILL_PROCESS,
        None => answer::ALLOW,
    };
    assemble::program(sections, other)
}

#[cfg(test)]
mod tests;
