//! Programs run by a small interpreter: each rule for each architecture, and any list against a naive reading of it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::plan::{
    AddressFamilies, Architecture, CallAction, CallList, CallWord, Namespace, Seccomp,
};

mod interpreter;
mod lists;

pub(super) const X86_64: u32 = 0xc000_003e;
pub(super) const X86: u32 = 0x4000_0003;
pub(super) const AARCH64: u32 = 0xc000_00b7;
pub(super) const ARM: u32 = 0x4000_0028;
pub(super) const X32: u32 = 0x4000_0000;
const RISCV: u32 = 0xc000_00f3;
const EPERM: u32 = answer::ERRNO | 1;
const ENOSYS: u32 = answer::ERRNO | 38;

fn words(allow: bool, words: &[&str]) -> CallList {
    let word = |text: &&str| {
        let (inverted, text) = text
            .strip_prefix('~')
            .map_or((false, *text), |rest| (true, rest));
        let (name, action) = match text.split_once(':') {
            None => (text, None),
            Some((name, action)) => (name, Some(names::action(action).unwrap())),
        };
        CallWord {
            name: name.into(),
            inverted,
            action,
        }
    };
    CallList {
        allow,
        words: words.iter().map(word).collect(),
    }
}

/// What becomes of a call made by its number.
fn run(seccomp: &Seccomp, token: u32, number: u32, arguments: &[u64]) -> u32 {
    let machine = if [X86_64, X86].contains(&token) {
        Machine::X86_64
    } else {
        Machine::Aarch64
    };
    let program = compile(seccomp, machine, 0).unwrap();
    interpreter::run(&program, token, number, arguments)
}

/// The number of a call in the table of an architecture; x32 is asked for as `X32`.
fn number(token: u32, call: &str) -> Option<u32> {
    let abi = match token {
        X86_64 => abi::Abi::X86_64,
        X32 => abi::Abi::X32,
        X86 => abi::Abi::X86,
        AARCH64 => abi::Abi::Aarch64,
        _ => abi::Abi::Arm,
    };
    let mut found = None;
    abi::for_each_call(abi, |number, name| {
        if name == call {
            found = Some(number);
        }
    });
    found
}

/// What becomes of a call on every architecture that has it.
fn everywhere(seccomp: &Seccomp, call: &str, arguments: &[u64]) -> BTreeSet<u32> {
    let tables = [
        (X86_64, X86_64),
        (X86_64, X32),
        (X86, X86),
        (AARCH64, AARCH64),
        (ARM, ARM),
    ];
    let answer = |(token, table)| Some(run(seccomp, token, number(table, call)?, arguments));
    tables.into_iter().filter_map(answer).collect()
}

fn all(answer: u32) -> BTreeSet<u32> {
    BTreeSet::from([answer])
}

#[test]
fn numbers_are_the_kernels() {
    let cases = [
        (X86_64, "mkdir", Some(83)),
        (X32, "mkdir", Some(X32 | 83)),
        (X32, "execve", Some(X32 | 520)),
        (X32, "pwritev2", Some(X32 | 547)),
        (X32, "uselib", None),
        (X86, "mkdir", Some(39)),
        (AARCH64, "mkdir", None),
        (AARCH64, "mkdirat", Some(34)),
        (ARM, "mkdir", Some(39)),
        (ARM, "set_tls", Some(0x000f_0005)),
    ];
    for (token, call, expected) in cases {
        assert_eq!(number(token, call), expected, "{call} {token:x}");
    }
}

#[test]
fn nothing_asked_for_is_no_program() {
    let none = Seccomp::default();
    assert_eq!(compile(&none, Machine::X86_64, 0), Ok(vec![]));
    let mut empty = none.clone();
    empty.calls = Some(words(false, &[]));
    assert_eq!(compile(&empty, Machine::X86_64, 0), Ok(vec![]));
}

#[test]
fn a_list_of_what_is_allowed_denies_all_else() {
    let mut filter = Seccomp {
        calls: Some(words(true, &["@default", "@file-system", "~mkdir"])),
        ..Seccomp::default()
    };
    assert_eq!(everywhere(&filter, "openat", &[]), all(answer::ALLOW));
    assert_eq!(everywhere(&filter, "execve", &[]), all(answer::ALLOW));
    assert_eq!(everywhere(&filter, "write", &[]), all(answer::ALLOW));
    assert_eq!(everywhere(&filter, "mkdir", &[]), all(answer::KILL_PROCESS));
    assert_eq!(everywhere(&filter, "mount", &[]), all(answer::KILL_PROCESS));
    assert_eq!(run(&filter, X86_64, 5000, &[]), answer::KILL_PROCESS);
    assert_eq!(run(&filter, X86_64, u32::MAX, &[]), answer::KILL_PROCESS);
    assert_eq!(run(&filter, RISCV, 83, &[]), answer::ALLOW);
    filter.denied = CallAction::Errno(1);
    assert_eq!(everywhere(&filter, "mount", &[]), all(EPERM));
}

#[test]
fn a_list_of_what_is_denied_allows_all_else() {
    let filter = Seccomp {
        calls: Some(words(
            false,
            &[
                "~@mount",
                "~mkdir:ENOENT",
                "~reboot:kill",
                "umount2",
                "~write",
            ],
        )),
        denied: CallAction::Errno(13),
        ..Seccomp::default()
    };
    let errno = |number| all(answer::ERRNO | number);
    assert_eq!(everywhere(&filter, "mount", &[]), errno(13));
    assert_eq!(everywhere(&filter, "mkdir", &[]), errno(2));
    assert_eq!(
        everywhere(&filter, "reboot", &[]),
        all(answer::KILL_PROCESS)
    );
    assert_eq!(everywhere(&filter, "umount2", &[]), all(answer::ALLOW));
    assert_eq!(everywhere(&filter, "write", &[]), all(answer::ALLOW));
    assert_eq!(run(&filter, X86_64, 5000, &[]), answer::ALLOW);
}

#[test]
fn a_call_taken_out_of_what_is_allowed_may_fail_in_its_own_way() {
    let filter = Seccomp {
        calls: Some(words(true, &["@system-service", "~@chown:EACCES"])),
        ..Seccomp::default()
    };
    assert_eq!(everywhere(&filter, "chown", &[]), all(answer::ERRNO | 13));
    assert_eq!(everywhere(&filter, "chmod", &[]), all(answer::ALLOW));
}

#[test]
fn the_two_ways_of_i386_are_one() {
    let mut filter = Seccomp {
        calls: Some(words(false, &["~connect", "~shmat:EACCES"])),
        denied: CallAction::Errno(1),
        ..Seccomp::default()
    };
    let (socketcall, ipc) = (102, 117);
    assert_eq!(run(&filter, X86, socketcall, &[3]), EPERM);
    assert_eq!(run(&filter, X86, socketcall, &[2]), answer::ALLOW);
    assert_eq!(run(&filter, X86, ipc, &[21]), answer::ERRNO | 13);
    assert_eq!(run(&filter, X86, ipc, &[0x0001_0015]), answer::ERRNO | 13);
    assert_eq!(run(&filter, X86, ipc, &[22]), answer::ALLOW);
    filter.calls = Some(words(true, &["@default", "connect"]));
    assert_eq!(run(&filter, X86, socketcall, &[3]), answer::ALLOW);
    assert_eq!(run(&filter, X86, socketcall, &[2]), EPERM);
}

#[test]
fn the_log_yields_to_what_is_denied() {
    let filter = Seccomp {
        calls: Some(words(false, &["~mkdir"])),
        log: Some(words(true, &["mkdir", "rmdir"])),
        ..Seccomp::default()
    };
    assert_eq!(everywhere(&filter, "mkdir", &[]), all(answer::KILL_PROCESS));
    assert_eq!(everywhere(&filter, "rmdir", &[]), all(answer::LOG));
    assert_eq!(everywhere(&filter, "read", &[]), all(answer::ALLOW));
    let others = Seccomp {
        log: Some(words(false, &["~read"])),
        ..Seccomp::default()
    };
    assert_eq!(everywhere(&others, "read", &[]), all(answer::ALLOW));
    assert_eq!(everywhere(&others, "rmdir", &[]), all(answer::LOG));
}

#[test]
fn architectures_that_are_not_listed_die() {
    let with = |architectures: &[Architecture]| Seccomp {
        architectures: Some(architectures.to_vec()),
        ..Seccomp::default()
    };
    let native = with(&[Architecture::Native]);
    for token in [X86_64, AARCH64] {
        assert_eq!(run(&native, token, 1, &[]), answer::ALLOW);
        assert_eq!(run(&native, token, 5000, &[]), answer::ALLOW);
        assert_eq!(run(&native, token, u32::MAX, &[]), answer::ALLOW);
    }
    for (token, number) in [(X86, 4), (ARM, 4), (RISCV, 64), (X86_64, X32 | 1)] {
        assert_eq!(run(&native, token, number, &[]), answer::KILL_PROCESS);
    }
    let second = with(&[Architecture::X86, Architecture::Arm]);
    for (token, expected) in [
        (X86, answer::ALLOW),
        (ARM, answer::ALLOW),
        (RISCV, answer::KILL_PROCESS),
    ] {
        assert_eq!(run(&second, token, 4, &[]), expected);
    }
    let x32 = with(&[Architecture::X32]);
    assert_eq!(run(&x32, X86_64, X32 | 1, &[]), answer::ALLOW);
    assert_eq!(run(&x32, X86, 4, &[]), answer::KILL_PROCESS);
}

#[test]
fn sockets_of_other_families_are_not_made() {
    let with = |allow, families: &[u16]| Seccomp {
        address_families: Some(AddressFamilies {
            allow,
            families: families.to_vec(),
        }),
        ..Seccomp::default()
    };
    let unsupported = answer::ERRNO | 97;
    let native = [X86_64, AARCH64, ARM];
    let answers = |filter: &Seccomp, family: u64| -> BTreeSet<u32> {
        let socket = |token| run(filter, token, number(token, "socket").unwrap(), &[family]);
        native.into_iter().map(socket).collect()
    };
    let only = with(true, &[1, 10]);
    assert_eq!(answers(&only, 1), all(answer::ALLOW));
    assert_eq!(answers(&only, 10), all(answer::ALLOW));
    assert_eq!(answers(&only, 2), all(unsupported));
    assert_eq!(answers(&only, 0), all(unsupported));
    // The kernel's int has 32 bits: what stands above does not matter.
    assert_eq!(answers(&only, 1 << 32 | 2), all(unsupported));
    assert_eq!(answers(&with(true, &[]), 1), all(unsupported));
    let but = with(false, &[2]);
    assert_eq!(answers(&but, 2), all(unsupported));
    assert_eq!(answers(&but, 1 << 32 | 2), all(unsupported));
    assert_eq!(answers(&but, 1), all(answer::ALLOW));
    // As systemd: i386 has socketcall(2), whose arguments lie in memory.
    assert_eq!(run(&only, X86, 359, &[2]), answer::ALLOW);
    let many: Vec<u16> = (0..64).collect();
    assert_eq!(answers(&with(true, &many), 63), all(answer::ALLOW));
}

#[test]
fn namespaces_are_neither_made_nor_entered() {
    let none = Seccomp {
        namespaces: Some(vec![]),
        ..Seccomp::default()
    };
    let (new_user, new_net, new_ns) = (0x1000_0000, 0x4000_0000, 0x0002_0000);
    assert_eq!(everywhere(&none, "unshare", &[new_user]), all(EPERM));
    assert_eq!(everywhere(&none, "unshare", &[0x200]), all(answer::ALLOW));
    assert_eq!(everywhere(&none, "clone", &[new_net | 17]), all(EPERM));
    assert_eq!(everywhere(&none, "clone", &[17]), all(answer::ALLOW));
    assert_eq!(everywhere(&none, "clone3", &[]), all(ENOSYS));
    assert_eq!(everywhere(&none, "setns", &[3, 0]), all(EPERM));
    let some = Seccomp {
        namespaces: Some(vec![Namespace::Network, Namespace::User]),
        ..Seccomp::default()
    };
    assert_eq!(everywhere(&some, "unshare", &[new_net]), all(answer::ALLOW));
    assert_eq!(
        everywhere(&some, "unshare", &[new_net | new_ns]),
        all(EPERM)
    );
    assert_eq!(
        everywhere(&some, "setns", &[3, new_net]),
        all(answer::ALLOW)
    );
    assert_eq!(everywhere(&some, "setns", &[3, new_ns]), all(EPERM));
    assert_eq!(everywhere(&some, "setns", &[3, 0]), all(EPERM));
    assert_eq!(everywhere(&some, "clone3", &[]), all(ENOSYS));
}

#[test]
fn files_get_no_setuid_and_setgid_bits() {
    let filter = Seccomp {
        suid_sgid: true,
        ..Seccomp::default()
    };
    let cases: [(&str, &[u64], u32); 14] = [
        ("chmod", &[0, 0o4755], EPERM),
        ("chmod", &[0, 0o2755], EPERM),
        ("chmod", &[0, 0o1755], answer::ALLOW),
        ("fchmod", &[0, 0o6755], EPERM),
        ("fchmodat", &[0, 0, 0o4755], EPERM),
        ("fchmodat2", &[0, 0, 0o2755], EPERM),
        ("mkdirat", &[0, 0, 0o2755], EPERM),
        ("mknodat", &[0, 0, 0o4755], EPERM),
        ("creat", &[0, 0o4755], EPERM),
        ("openat", &[0, 0, 0o101, 0o4755], EPERM),
        ("openat", &[0, 0, 0o20_200_001, 0o4755], EPERM),
        ("openat", &[0, 0, 0o1, 0o4755], answer::ALLOW),
        ("open", &[0, 0o100, 0o2644], EPERM),
        ("openat2", &[], ENOSYS),
    ];
    for (call, arguments, expected) in cases {
        assert_eq!(
            everywhere(&filter, call, arguments),
            all(expected),
            "{call}"
        );
    }
}

#[test]
fn small_walls_deny_what_they_say() {
    type Wall = fn(&mut Seccomp);
    type Call = (&'static str, &'static [u64]);
    let cases: [(Wall, Call, Call); 9] = [
        (
            |s| s.realtime = true,
            ("sched_setscheduler", &[0, 1]),
            ("sched_setscheduler", &[0, 5]),
        ),
        (
            |s| s.realtime = true,
            ("sched_setscheduler", &[0, 0x4000_0000]),
            ("sched_setscheduler", &[0, 0]),
        ),
        (
            |s| s.lock_personality = true,
            ("personality", &[8]),
            ("personality", &[0]),
        ),
        (
            |s| s.clock = true,
            ("clock_settime", &[]),
            ("clock_gettime", &[]),
        ),
        (|s| s.hostname = true, ("sethostname", &[]), ("uname", &[])),
        (
            |s| s.kernel_modules = true,
            ("finit_module", &[]),
            ("read", &[]),
        ),
        (|s| s.kernel_logs = true, ("syslog", &[]), ("read", &[])),
        (|s| s.private_devices = true, ("iopl", &[]), ("ioctl", &[])),
        (
            |s| s.kernel_tunables = true,
            ("_sysctl", &[]),
            ("sysfs", &[]),
        ),
    ];
    for (wall, (denied, with), (allowed, otherwise)) in cases {
        let mut filter = Seccomp::default();
        wall(&mut filter);
        assert!(!filter.is_empty());
        assert_eq!(everywhere(&filter, denied, with), all(EPERM), "{denied}");
        let passed = everywhere(&filter, allowed, otherwise);
        assert_eq!(passed, all(answer::ALLOW), "{allowed}");
    }
}

#[test]
fn the_stand_in_for_the_kernels_switch_refuses_writable_code() {
    for (token, machine) in [
        (X86_64, Machine::X86_64),
        (X86, Machine::X86_64),
        (AARCH64, Machine::Aarch64),
        (ARM, Machine::Aarch64),
    ] {
        let program = write_execute(machine).unwrap();
        let run = |call, protection| {
            let number = number(token, call)?;
            Some(interpreter::run(
                &program,
                token,
                number,
                &[0, 0, protection],
            ))
        };
        let map = if [X86_64, AARCH64].contains(&token) {
            "mmap"
        } else {
            "mmap2"
        };
        assert_eq!(run(map, 6), Some(EPERM));
        assert_eq!(run(map, 5), Some(answer::ALLOW));
        assert_eq!(run("mprotect", 5), Some(EPERM));
        assert_eq!(run("mprotect", 3), Some(answer::ALLOW));
        assert_eq!(run("pkey_mprotect", 4), Some(EPERM));
        let attach = if token == X86 { answer::ALLOW } else { EPERM };
        assert_eq!(
            run("shmat", 0o100_000),
            number(token, "shmat").map(|_| attach)
        );
    }
    let x86 = write_execute(Machine::X86_64).unwrap();
    assert_eq!(interpreter::run(&x86, X86, 90, &[0, 0, 1]), EPERM);
}

#[test]
fn of_equal_answers_the_lists_wins_and_kill_wins_over_all() {
    let mut filter = Seccomp {
        calls: Some(words(false, &["~clock_settime:EACCES"])),
        clock: true,
        ..Seccomp::default()
    };
    assert_eq!(
        everywhere(&filter, "clock_settime", &[]),
        all(answer::ERRNO | 13)
    );
    filter.calls = Some(words(false, &["~clock_settime"]));
    assert_eq!(
        everywhere(&filter, "clock_settime", &[]),
        all(answer::KILL_PROCESS)
    );
    filter.calls = Some(words(true, &["clock_settime"]));
    assert_eq!(everywhere(&filter, "clock_settime", &[]), all(EPERM));
}

#[test]
fn groups_are_sorted_and_hold_known_names_only() {
    assert!(groups::GROUPS.is_sorted_by_key(|(name, _)| *name));
    // systemd names them, though no architecture of ours or its own list has them.
    let nowhere = ["fstatat", "newfstat"];
    for (group, members) in groups::GROUPS {
        assert!(members.split(' ').is_sorted(), "{group}");
        for member in members.split(' ') {
            assert!(
                names::is_known(member) || nowhere.contains(&member),
                "{member}"
            );
        }
    }
    assert!(names::group("@known").contains(&"mseal"));
    assert!(names::group("@system-service").contains(&"epoll_wait"));
    assert!(!names::is_known("@nothing") && !names::is_known("fly") && !names::is_known(""));
}

#[test]
fn error_numbers_go_by_name_and_number() {
    let cases = [
        ("EPERM", Ok(CallAction::Errno(1))),
        ("EUCLEAN", Ok(CallAction::Errno(117))),
        ("ENOTSUP", Ok(CallAction::Errno(95))),
        ("EWOULDBLOCK", Ok(CallAction::Errno(11))),
        ("4095", Ok(CallAction::Errno(4095))),
        ("kill", Ok(CallAction::Kill)),
    ];
    for (text, expected) in cases {
        assert_eq!(names::action(text), expected);
    }
    for bad in ["", "4096", "-1", "+1", "EFOO", "99999999999"] {
        assert!(names::action(bad).is_err(), "{bad}");
    }
}
