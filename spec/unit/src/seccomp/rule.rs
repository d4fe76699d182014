//! What each directive denies, and what that comes to for one call.

use super::abi::Abi;
use super::answer;
use super::names::{self, Calls};
use crate::plan::{CallAction, CallList, Namespace, Seccomp};

const EPERM: u32 = answer::ERRNO | 1;
const ENOSYS: u32 = answer::ERRNO | 38;
const EAFNOSUPPORT: u32 = answer::ERRNO | 97;

/// A call is answered so where all tests hold.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) call: &'static str,
    pub(super) case: Case,
}

/// An answer where all tests hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) tests: Vec<Test>,
    pub(super) answer: u32,
}

/// A test of the lower half of an argument: all that the kernel itself looks at in these calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    /// From 0.
    pub(super) argument: u8,
    /// The bits that count.
    pub(super) mask: u32,
    pub(super) is: Is,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Is {
    Equal(u32),
    NoneOf(Vec<u32>),
}

/// What becomes of a call: the first case that holds, or else the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) cases: Vec<Case>,
    pub(super) otherwise: u32,
}

impl Verdict {
    pub(super) fn always(answer: u32) -> Self {
        Self {
            cases: Vec::new(),
            otherwise: answer,
        }
    }
}

/// SystemCallFilter= and SystemCallLog=, resolved.
pub(super) struct Lists<'a> {
    filter: Option<List<'a>>,
    log: Option<List<'a>>,
}

/// One of them.
struct List<'a> {
    calls: Calls<'a>,
    /// What becomes of the calls in it.
    listed: u32,
    /// What becomes of all others.
    others: u32,
}

impl List<'_> {
    fn of(&self, call: &str) -> Option<u32> {
        let said = self.calls.get(call)?;
        Some(said.map_or(self.listed, answer_of))
    }
}

fn answer_of(action: CallAction) -> u32 {
    match action {
        CallAction::Kill => answer::KILL_PROCESS,
        CallAction::Errno(number) => answer::ERRNO | u32::from(number),
    }
}

impl<'a> Lists<'a> {
    pub(super) fn new(seccomp: &'a Seccomp) -> Self {
        let filter = |list: &'a CallList| {
            let mut calls = names::resolve(list);
            // The child tells with it what failed; systemd's does the same.
            if list.allow {
                calls.insert("write", None);
            } else {
                calls.remove("write");
            }
            let denied = answer_of(seccomp.denied);
            let (listed, others) = if list.allow {
                (answer::ALLOW, denied)
            } else {
                (denied, answer::ALLOW)
            };
            List {
                calls,
                listed,
                others,
            }
        };
        let log = |list: &'a CallList| {
            let mut calls = names::resolve(list);
            calls.values_mut().for_each(|action| *action = None);
            let (listed, others) = if list.allow {
                (answer::LOG, answer::ALLOW)
            } else {
                (answer::ALLOW, answer::LOG)
            };
            List {
                calls,
                listed,
                others,
            }
        };
        let matters = |list: &List<'_>| !list.calls.is_empty() || list.others != answer::ALLOW;
        Self {
            filter: seccomp.calls.as_ref().map(filter).filter(matters),
            log: seccomp.log.as_ref().map(log).filter(matters),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filter.is_none() && self.log.is_none()
    }

    /// What the lists say of a call; of one that goes through another, what they say of that, if nothing of itself.
    fn answer(&self, call: &str, through: &str) -> u32 {
        let of = |list: &List<'_>| {
            list.of(call)
                .or_else(|| list.of(through))
                .unwrap_or(list.others)
        };
        let both = self.filter.iter().chain(&self.log).map(of);
        both.min_by_key(|answer| severity(*answer))
            .unwrap_or(answer::ALLOW)
    }

    /// What becomes of a number that is no call.
    pub(super) fn default_verdict(&self) -> Verdict {
        Verdict::always(self.answer("", ""))
    }
}

/// The kernel's order: the smaller, the more severe. Error numbers are equal.
fn severity(answer: u32) -> i32 {
    (answer & 0xffff_0000) as i32
}

/// What becomes of a call.
pub(super) fn verdict(lists: &Lists<'_>, rules: &[Rule], abi: Abi, call: &str) -> Verdict {
    let base = lists.answer(call, call);
    if let Some((calls, mask)) = abi.multiplexed(call) {
        return multiplexed(lists, call, calls, mask, base);
    }
    let mut cases = vec![Case {
        tests: Vec::new(),
        answer: base,
    }];
    let of_call = rules.iter().filter(|rule| rule.call == call);
    cases.extend(
        of_call
            .filter(|rule| holds(rule, abi))
            .map(|rule| rule.case.clone()),
    );
    // Stable: of equally severe answers the first one stays first.
    cases.sort_by_key(|case| severity(case.answer));
    let end = cases.iter().position(|case| case.tests.is_empty());
    let end = end.unwrap_or(cases.len());
    let otherwise = cases.get(end).map_or(base, |case| case.answer);
    cases.truncate(end);
    Verdict { cases, otherwise }
}

/// Whether a rule is made for an architecture: systemd leaves out what i386 can do in two ways.
fn holds(rule: &Rule, abi: Abi) -> bool {
    match rule.call {
        "socket" | "shmat" => abi != Abi::X86,
        // Its old form takes its arguments from memory: it goes altogether.
        "mmap" => (abi == Abi::X86) == rule.case.tests.is_empty(),
        _ => true,
    }
}

fn multiplexed(
    lists: &Lists<'_>,
    through: &str,
    calls: &[&str],
    mask: u32,
    otherwise: u32,
) -> Verdict {
    let named = (1..).zip(calls).filter(|(_, call)| !call.is_empty());
    let cases = named.map(|(number, call)| Case {
        tests: vec![equal(0, mask, number)],
        answer: lists.answer(call, through),
    });
    Verdict {
        cases: cases.filter(|case| case.answer != otherwise).collect(),
        otherwise,
    }
}

fn equal(argument: u8, mask: u32, value: u32) -> Test {
    Test {
        argument,
        mask,
        is: Is::Equal(value),
    }
}

fn bits(argument: u8, bits: u32) -> Test {
    equal(argument, bits, bits)
}

fn none_of(argument: u8, values: impl IntoIterator<Item = u32>) -> Test {
    Test {
        argument,
        mask: u32::MAX,
        is: Is::NoneOf(values.into_iter().collect()),
    }
}

fn rule(call: &'static str, tests: Vec<Test>, answer: u32) -> Rule {
    Rule {
        call,
        case: Case { tests, answer },
    }
}

/// What the directives deny besides the lists; what systemd loads last comes first.
pub(super) fn rules(seccomp: &Seccomp, personality: u32) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut all = |wanted: bool, calls: Vec<&'static str>| {
        let calls = calls.into_iter().filter(|_| wanted);
        rules.extend(calls.map(|call| rule(call, Vec::new(), EPERM)));
    };
    all(seccomp.private_devices, names::group("@raw-io"));
    all(seccomp.clock, names::group("@clock"));
    all(seccomp.kernel_logs, vec!["syslog"]);
    all(seccomp.kernel_modules, names::group("@module"));
    all(seccomp.kernel_tunables, vec!["_sysctl"]);
    all(seccomp.hostname, vec!["sethostname", "setdomainname"]);
    if seccomp.lock_personality {
        let others = vec![none_of(0, [personality])];
        rules.push(rule("personality", others, EPERM));
    }
    if let Some(kept) = &seccomp.namespaces {
        rules.extend(namespaces(kept));
    }
    if seccomp.suid_sgid {
        rules.extend(suid_sgid());
    }
    if seccomp.realtime {
        // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
        let others = vec![none_of(1, [0, 3, 5])];
        rules.push(rule("sched_setscheduler", others, EPERM));
    }
    if let Some(families) = &seccomp.address_families {
        let numbers = families.families.iter().map(|family| u32::from(*family));
        if families.allow {
            let others = vec![none_of(0, numbers)];
            rules.push(rule("socket", others, EAFNOSUPPORT));
        } else {
            let each = |family| rule("socket", vec![equal(0, u32::MAX, family)], EAFNOSUPPORT);
            rules.extend(numbers.map(each));
        }
    }
    rules
}

/// RestrictNamespaces=. The flags of clone3(2) lie in memory: without it, programs turn to clone(2).
fn namespaces(kept: &[Namespace]) -> Vec<Rule> {
    let kinds = [
        (Namespace::Time, 0x80),
        (Namespace::Mount, 0x0002_0000),
        (Namespace::Cgroup, 0x0200_0000),
        (Namespace::Uts, 0x0400_0000),
        (Namespace::Ipc, 0x0800_0000),
        (Namespace::User, 0x1000_0000),
        (Namespace::Pid, 0x2000_0000),
        (Namespace::Network, 0x4000_0000),
    ];
    let denied = kinds.iter().filter(|(kind, _)| !kept.contains(kind));
    let denied: Vec<u32> = denied.map(|(_, flag)| *flag).collect();
    if denied.is_empty() {
        return Vec::new();
    }
    let mut rules = vec![rule("clone3", Vec::new(), ENOSYS)];
    if denied.len() == kinds.len() {
        rules.push(rule("setns", Vec::new(), EPERM));
    } else {
        // 0 enters whatever kind the descriptor is of.
        rules.push(rule("setns", vec![equal(1, u32::MAX, 0)], EPERM));
    }
    for flag in denied {
        rules.push(rule("unshare", vec![bits(0, flag)], EPERM));
        rules.push(rule("clone", vec![bits(0, flag)], EPERM));
        rules.push(rule("setns", vec![bits(1, flag)], EPERM));
    }
    rules
}

/// RestrictSUIDSGID=. The mode of openat2(2) lies in memory: without it, programs turn to openat(2).
fn suid_sgid() -> Vec<Rule> {
    // The argument that is the mode.
    const MODES: &[(&str, u8)] = &[
        ("chmod", 1),
        ("fchmod", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("mkdir", 1),
        ("mkdirat", 2),
        ("mknod", 1),
        ("mknodat", 2),
        ("creat", 1),
    ];
    // O_CREAT and __O_TMPFILE, without which the mode is not looked at.
    const CREATE: [u32; 2] = [0o100, 0o20_000_000];
    let mut rules = vec![rule("openat2", Vec::new(), ENOSYS)];
    for bit in [0o4000, 0o2000] {
        let plain = |(call, mode): &(&'static str, u8)| rule(call, vec![bits(*mode, bit)], EPERM);
        rules.extend(MODES.iter().map(plain));
        for create in CREATE {
            for (call, flags) in [("open", 1), ("openat", 2)] {
                let tests = vec![bits(flags, create), bits(flags + 1, bit)];
                rules.push(rule(call, tests, EPERM));
            }
        }
    }
    rules
}

/// MemoryDenyWriteExecute=.
pub(super) fn write_execute() -> Vec<Rule> {
    const WRITE_EXECUTE: u32 = 2 | 4;
    const EXECUTE: u32 = 4;
    const SHM_EXEC: u32 = 0o100_000;
    vec![
        rule("mmap", vec![bits(2, WRITE_EXECUTE)], EPERM),
        rule("mmap", Vec::new(), EPERM),
        rule("mmap2", vec![bits(2, WRITE_EXECUTE)], EPERM),
        rule("mprotect", vec![bits(2, EXECUTE)], EPERM),
        rule("pkey_mprotect", vec![bits(2, EXECUTE)], EPERM),
        rule("shmat", vec![bits(2, SHM_EXEC)], EPERM),
    ]
}
