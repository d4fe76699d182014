//! Any list of calls: within the kernel's limits, and the same as read word by word.

use super::*;

/// Names that matter to the tables in different ways.
const NAMES: &[&str] = &[
    "read",
    "write",
    "mkdir",
    "execve",
    "socket",
    "connect",
    "socketcall",
    "ipc",
    "shmget",
    "mmap",
    "mmap2",
    "openat",
    "set_tls",
    "personality",
    "exit_group",
    "riscv_hwprobe",
    "@default",
    "@system-service",
    "@privileged",
    "@mount",
    "@network-io",
    "@ipc",
    "@known",
    "@file-system",
    "@clock",
];

fn any_list() -> impl Strategy<Value = CallList> {
    let action = prop_oneof![
        3 => Just(None),
        1 => Just(Some(CallAction::Kill)),
        1 => (0u16..=4095).prop_map(|number| Some(CallAction::Errno(number))),
    ];
    let word =
        (0..NAMES.len(), any::<bool>(), action).prop_map(|(name, inverted, action)| CallWord {
            name: NAMES[name].into(),
            inverted,
            action: action.filter(|_| inverted),
        });
    (any::<bool>(), prop::collection::vec(word, 0..12))
        .prop_map(|(allow, words)| CallList { allow, words })
}

fn has(word: &str, call: &str) -> bool {
    match groups::members(word) {
        Some(mut members) => members.any(|member| has(member, call)),
        None => word == call,
    }
}

/// What one list says of a call, read from its last word to its first: none if nothing.
fn said(list: &CallList, call: &str) -> Option<Option<CallAction>> {
    let last = list.words.iter().rev().find(|word| has(&word.name, call))?;
    let of_its_kind = list.allow != last.inverted;
    (of_its_kind || last.action.is_some()).then_some(last.action)
}

fn filtered(seccomp: &Seccomp, call: &str, through: &str) -> u32 {
    let Some(list) = &seccomp.calls else {
        return answer::ALLOW;
    };
    let number = |action| match action {
        CallAction::Kill => answer::KILL_PROCESS,
        CallAction::Errno(number) => answer::ERRNO | u32::from(number),
    };
    let said_of = |call| {
        if call == "write" {
            list.allow.then_some(None)
        } else {
            said(list, call)
        }
    };
    let denied = number(seccomp.denied);
    match said_of(call).or_else(|| said_of(through)) {
        Some(Some(action)) => number(action),
        Some(None) if list.allow => answer::ALLOW,
        Some(None) => denied,
        None if list.allow => denied,
        None => answer::ALLOW,
    }
}

fn logged(seccomp: &Seccomp, call: &str, through: &str) -> u32 {
    let Some(list) = &seccomp.log else {
        return answer::ALLOW;
    };
    let plain = CallList {
        words: list
            .words
            .iter()
            .cloned()
            .map(|word| CallWord {
                action: None,
                ..word
            })
            .collect(),
        ..*list
    };
    let listed = said(&plain, call)
        .or_else(|| said(&plain, through))
        .is_some();
    if listed == list.allow {
        answer::LOG
    } else {
        answer::ALLOW
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_list_is_what_its_words_say(
        calls in prop::option::of(any_list()),
        log in prop::option::of(any_list()),
        denied in prop_oneof![Just(CallAction::Kill), Just(CallAction::Errno(7))],
    ) {
        let log = log.map(|mut list| {
            list.words.iter_mut().for_each(|word| word.action = None);
            list
        });
        let seccomp = Seccomp { calls, log, denied, ..Seccomp::default() };
        for (token, abi, machine) in [
            (X86_64, abi::Abi::X86_64, Machine::X86_64),
            (X86_64, abi::Abi::X32, Machine::X86_64),
            (X86, abi::Abi::X86, Machine::X86_64),
            (AARCH64, abi::Abi::Aarch64, Machine::Aarch64),
            (ARM, abi::Abi::Arm, Machine::Aarch64),
        ] {
            let program = compile(&seccomp, machine, 0).unwrap();
            let answer = |number, arguments: &[u64]| match program.is_empty() {
                true => answer::ALLOW,
                false => interpreter::run(&program, token, number, arguments),
            };
            let expected = |call: &str, through: &str| {
                let both = [filtered(&seccomp, call, through), logged(&seccomp, call, through)];
                both.into_iter().min_by_key(|one| (*one & 0xffff_0000) as i32).unwrap()
            };
            abi::for_each_call(abi, |number, call| {
                let Some((parts, _)) = abi.multiplexed(call) else {
                    assert_eq!(answer(number, &[]), expected(call, call), "{call}");
                    return;
                };
                for (part, name) in (1..).zip(parts).filter(|(_, name)| !name.is_empty()) {
                    assert_eq!(answer(number, &[part]), expected(name, call), "{name}");
                }
                assert_eq!(answer(number, &[99]), expected(call, call), "{call}");
            });
            let range = abi.numbers();
            assert_eq!(answer(*range.start() + 5000, &[]), expected("", ""));
        }
    }
}

#[test]
fn the_worst_list_fits_the_kernels_limit() {
    let known: BTreeSet<&str> = names::group("@known").into_iter().collect();
    let word = |(place, call): (usize, &&str)| CallWord {
        name: (*call).into(),
        inverted: true,
        action: Some(CallAction::Errno(1 + place as u16)),
    };
    let everything = Seccomp {
        calls: Some(CallList {
            allow: true,
            words: known.iter().enumerate().map(word).collect(),
        }),
        log: Some(words(false, &["~read"])),
        address_families: Some(AddressFamilies {
            allow: false,
            families: (0..64).collect(),
        }),
        namespaces: Some(vec![Namespace::User]),
        lock_personality: true,
        realtime: true,
        suid_sgid: true,
        ..Seccomp::default()
    };
    for machine in [Machine::X86_64, Machine::Aarch64] {
        let program = compile(&everything, machine, 0).unwrap();
        assert!(program.len() > 1000, "{}", program.len());
        assert!(
            program.len() < MAX_INSTRUCTIONS * 7 / 8,
            "{}",
            program.len()
        );
    }
}

#[test]
fn a_long_list_is_little_work() {
    let list = words(true, &["@known", "~@system-service", "@ipc"].repeat(1365));
    let seccomp = Seccomp {
        calls: Some(list),
        ..Seccomp::default()
    };
    let start = std::time::Instant::now();
    compile(&seccomp, Machine::X86_64, 0).unwrap();
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    assert_eq!(everywhere(&seccomp, "msgget", &[]), all(answer::ALLOW));
    assert_eq!(everywhere(&seccomp, "read", &[]), all(answer::KILL_PROCESS));
}
