//! The steps of scheduling, in systemd's order.

use std::collections::BTreeSet;
use std::ffi::c_int;

use spec_unit::plan::scheduling::MAX_NUMA_NODES;
use spec_unit::plan::{ExecPlan, NumaMode, NumaNodes};

use super::step::Step;

/// The nice value comes after the policy, which may change it; all of it while the child is root.
pub(super) fn scheduling(plan: &ExecPlan, steps: &mut Vec<Step>) {
    let settings = &plan.scheduling;
    let filter = settings.coredump_filter;
    steps.extend(filter.map(|bits| Step::CoredumpFilter(format!("{bits:#x}").into_bytes())));
    steps.extend(settings.cpu.map(|cpu| {
        let reset = if cpu.reset_on_fork {
            libc::SCHED_RESET_ON_FORK
        } else {
            0
        };
        Step::CpuScheduling {
            policy: cpu.policy as c_int | reset,
            priority: cpu.priority as c_int,
        }
    }));
    steps.extend(plan.nice.map(Step::Nice));
    if !settings.cpus.is_empty() {
        steps.push(Step::CpuAffinity(mask(&settings.cpus)));
    }
    steps.extend(settings.numa.as_ref().map(|numa| {
        let (nodes, all) = match (numa.mode, &numa.nodes) {
            // The kernel refuses nodes where it has no use for them.
            (NumaMode::Default | NumaMode::Local, _) => (Vec::new(), false),
            (_, NumaNodes::All) => (vec![0; MAX_NUMA_NODES as usize / 64], true),
            (_, NumaNodes::Some(nodes)) => (mask(nodes), false),
        };
        Step::NumaPolicy {
            mode: numa.mode as c_int,
            nodes,
            all,
        }
    }));
    steps.extend(
        settings
            .io
            .map(|io| Step::IoPriority((io.class << 13 | io.priority) as c_int)),
    );
    steps.extend(settings.timer_slack_ns.map(Step::TimerSlack));
}

/// One bit a number; nothing for none.
fn mask(numbers: &BTreeSet<u32>) -> Vec<u64> {
    let words = numbers.last().map_or(0, |last| *last as usize / 64 + 1);
    let mut mask = vec![0; words];
    for number in numbers {
        if let Some(word) = mask.get_mut(*number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_number() {
        assert_eq!(mask(&[].into()), [0u64; 0]);
        assert_eq!(mask(&[0, 3, 64].into()), [9, 1]);
    }
}
