//! How a child shares processors, memory nodes and disks, and what its timers and core files are like.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Most processors that a mask can name.
pub const MAX_CPUS: u32 = 8192;
/// Most memory nodes that a mask can name.
pub const MAX_NUMA_NODES: u32 = 1024;

/// Each where it is given; what is not is as PID 1 has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduling {
    /// sched_setscheduler(2).
    pub cpu: Option<CpuScheduling>,
    /// Processors it may run on, sched_setaffinity(2); empty means all.
    pub cpus: BTreeSet<u32>,
    /// set_mempolicy(2).
    pub numa: Option<NumaPolicy>,
    /// ioprio_set(2).
    pub io: Option<IoScheduling>,
    /// PR_SET_TIMERSLACK, nanoseconds; 0 is the kernel's default.
    pub timer_slack_ns: Option<u64>,
    /// `/proc/self/coredump_filter`.
    pub coredump_filter: Option<u32>,
}

/// sched_setscheduler(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CpuScheduling {
    /// SCHED_OTHER 0, SCHED_FIFO 1, SCHED_RR 2, SCHED_BATCH 3, SCHED_IDLE 5.
    pub policy: u32,
    /// 1 to 99 for SCHED_FIFO and SCHED_RR, 0 for the others.
    pub priority: u32,
    /// SCHED_RESET_ON_FORK.
    pub reset_on_fork: bool,
}

/// ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoScheduling {
    /// IOPRIO_CLASS_RT 1, IOPRIO_CLASS_BE 2, IOPRIO_CLASS_IDLE 3.
    pub class: u32,
    /// 0 (first) to 7.
    pub priority: u32,
}

/// set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaPolicy {
    /// How memory is taken.
    pub mode: NumaMode,
    /// From where.
    #[serde(default)]
    pub nodes: NumaNodes,
}

/// Memory policies, numbered as in `<linux/mempolicy.h>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum NumaMode {
    /// MPOL_DEFAULT.
    Default = 0,
    /// MPOL_PREFERRED.
    Preferred = 1,
    /// MPOL_BIND.
    Bind = 2,
    /// MPOL_INTERLEAVE.
    Interleave = 3,
    /// MPOL_LOCAL.
    Local = 4,
}

/// Memory nodes of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumaNodes {
    /// All that the child may use.
    All,
    /// These; empty means that the policy needs none.
    Some(BTreeSet<u32>),
}

impl Default for NumaNodes {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Scheduling {
    /// Refuses numbers out of range; what fits together is left to the kernel.
    pub(super) fn check(&self) -> Result<(), String> {
        let over = |set: &BTreeSet<u32>, most| set.last().is_some_and(|number| *number >= most);
        if over(&self.cpus, MAX_CPUS) {
            return Err(format!("scheduling.cpus: at most {MAX_CPUS} processors"));
        }
        if let Some(cpu) = self.cpu
            && (!matches!(cpu.policy, 0..=3 | 5) || cpu.priority > 99)
        {
            return Err("scheduling.cpu: a policy 0 to 3 or 5, a priority of at most 99".into());
        }
        if let Some(io) = self.io
            && (!(1..=3).contains(&io.class) || io.priority > 7)
        {
            return Err("scheduling.io: a class 1 to 3, a priority of at most 7".into());
        }
        match &self.numa {
            Some(NumaPolicy {
                nodes: NumaNodes::Some(nodes),
                ..
            }) if over(nodes, MAX_NUMA_NODES) => {
                Err(format!("scheduling.numa: at most {MAX_NUMA_NODES} nodes"))
            }
            _ => Ok(()),
        }
    }
}
