//! Golden plans of scheduling.

use proptest::prelude::*;

use super::super::tests::{plan, read};
use super::*;

fn scheduling(text: &str) -> Scheduling {
    plan(&format!("ExecStart=/bin/a\n{text}")).scheduling
}

/// The settings, and how many lines were warned of.
fn settings(text: &str) -> (SchedulingSettings, usize) {
    let (unit, findings) = read(&format!("[Service]\n{text}"));
    assert!(unit.refusals.is_empty());
    (unit.service.scheduling, findings.len())
}

#[test]
fn without_a_word_nothing_is_changed() {
    assert_eq!(scheduling(""), Scheduling::default());
    assert_eq!(
        scheduling("CPUSchedulingResetOnFork=yes\n").cpu,
        None,
        "of no use alone"
    );
}

#[test]
fn a_policy_brings_the_priority_into_its_range() {
    let cpu = |text: &str| {
        let cpu = scheduling(text).cpu.unwrap();
        (cpu.policy, cpu.priority, cpu.reset_on_fork)
    };
    assert_eq!(cpu("CPUSchedulingPolicy=rr\n"), (2, 1, false));
    let given = "CPUSchedulingPriority=50\nCPUSchedulingPolicy=fifo\n";
    assert_eq!(cpu(given), (1, 50, false));
    let both = "CPUSchedulingPolicy=fifo\nCPUSchedulingPriority=7\nCPUSchedulingResetOnFork=1\n";
    assert_eq!(cpu(both), (1, 7, true));
    assert_eq!(
        cpu(&format!("{both}CPUSchedulingPolicy=batch\n")),
        (3, 0, true)
    );
    assert_eq!(cpu("CPUSchedulingPolicy=idle\n"), (5, 0, false));
    assert_eq!(
        settings("CPUSchedulingPolicy=fast\nCPUSchedulingPriority=100\n").1,
        2
    );
}

#[test]
fn lists_of_processors_add_up_until_an_empty_one() {
    let cpus = |text: &str| scheduling(text).cpus.into_iter().collect::<Vec<_>>();
    assert_eq!(
        cpus("CPUAffinity=0-2,5 7\nCPUAffinity=2-3\n"),
        [0, 1, 2, 3, 5, 7]
    );
    assert_eq!(cpus("CPUAffinity=0\nCPUAffinity=\nCPUAffinity=1\n"), [1]);
    for bad in ["3-1", "8192", "a", "1-", "-1", "numa"] {
        let (settings, warned) = settings(&format!("CPUAffinity={bad}\n"));
        assert_eq!((settings.cpus.len(), warned), (0, 1), "{bad}");
    }
}

#[test]
fn a_memory_policy_has_the_nodes_it_needs() {
    let numa = scheduling("NUMAPolicy=bind\nNUMAMask=0\nNUMAMask=2-3\n").numa;
    let nodes = NumaNodes::Some([0, 2, 3].into());
    let mode = NumaMode::Bind;
    assert_eq!(numa, Some(NumaPolicy { mode, nodes }));
    let all = scheduling("NUMAPolicy=interleave\nNUMAMask=all\n").numa;
    assert_eq!(all.unwrap().nodes, NumaNodes::All);
    assert_eq!(scheduling("NUMAMask=0\n").numa, None);
    let policy = |mode, nodes: &[u32]| NumaPolicy {
        mode,
        nodes: NumaNodes::Some(nodes.iter().copied().collect()),
    };
    assert!(fitting(&policy(NumaMode::Bind, &[])).is_err());
    assert!(fitting(&policy(NumaMode::Preferred, &[0, 1])).is_err());
    assert!(fitting(&policy(NumaMode::Preferred, &[])).is_ok());
    assert!(fitting(&policy(NumaMode::Local, &[])).is_ok());
}

#[test]
fn disks_default_to_best_effort_4_and_are_reset_together() {
    let io = |text: &str| scheduling(text).io.map(|io| (io.class, io.priority));
    assert_eq!(io("IOSchedulingClass=idle\n"), Some((3, 4)));
    assert_eq!(io("IOSchedulingPriority=0\n"), Some((2, 0)));
    assert_eq!(
        io("IOSchedulingClass=realtime\nIOSchedulingPriority=7\n"),
        Some((1, 7))
    );
    assert_eq!(
        io("IOSchedulingClass=realtime\nIOSchedulingPriority=\n"),
        None
    );
}

#[test]
fn slack_is_nanoseconds_and_infinity_leaves_it() {
    let slack = |text: &str| scheduling(&format!("TimerSlackNSec={text}\n")).timer_slack_ns;
    assert_eq!(slack("50"), Some(50));
    assert_eq!(slack("1ms 2"), Some(1_000_002));
    assert_eq!(slack("infinity"), None);
}

#[test]
fn mappings_are_ored_by_name_or_in_hexadecimal() {
    let filter = |text: &str| scheduling(text).coredump_filter;
    assert_eq!(
        filter("CoredumpFilter=default private-dax shared-dax\n"),
        Some(0x1b3)
    );
    assert_eq!(
        filter("CoredumpFilter=0x100 10\nCoredumpFilter=shared-huge\n"),
        Some(0x150)
    );
    assert_eq!(filter("CoredumpFilter=all\n"), Some(u32::MAX));
    assert_eq!(filter("CoredumpFilter=1\nCoredumpFilter=\n"), None);
    assert_eq!(
        settings("CoredumpFilter=1 stack\n"),
        (SchedulingSettings::default(), 1)
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_list_panic(text in "[0-9, -]{0,20}|\\PC{0,20}") {
        if let Ok(set) = members(&text, MAX_CPUS) {
            prop_assert!(set.last().is_none_or(|last| *last < MAX_CPUS));
        }
    }
}
