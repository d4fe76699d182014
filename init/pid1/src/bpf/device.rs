//! Which devices a group may use: `struct bpf_cgroup_dev_ctx` of linux/bpf.h.

use std::fs;

use rustix::fs::FileType;
use spec_unit::plan::filter::{DeviceRule, Devices};

use super::instruction::{EXIT, Instruction, Register, and, block, copy, load, set, shift_right};

const CONTEXT: Register = Register(1);
const KIND: Register = Register(2);
const ACCESS: Register = Register(3);
const MAJOR: Register = Register(4);
const MINOR: Register = Register(5);
const SCRATCH: Register = Register(6);
const RESULT: Register = Register(0);

const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
/// BPF_DEVCG_ACC_*.
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// Devices by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    block: bool,
    major: u32,
    minor: Option<u32>,
}

/// A program that allows what a rule allows and nothing else. A node or driver that is not there allows nothing.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let drivers = fs::read_to_string("/proc/devices").unwrap_or_default();
    let mut program = vec![
        load(KIND, CONTEXT, 0),
        copy(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load(MAJOR, CONTEXT, 4),
        load(MINOR, CONTEXT, 8),
    ];
    for rule in rules {
        let bit = |on, bit| if on { bit } else { 0 };
        let access = bit(rule.read, READ) | bit(rule.write, WRITE) | bit(rule.make, MAKE);
        for numbers in numbers(&rule.devices, &drivers) {
            program.extend(allow(numbers, access));
        }
    }
    program.extend([set(RESULT, 0), EXIT]);
    program
}

fn allow(numbers: Numbers, access: u32) -> Vec<Instruction> {
    let kind = if numbers.block { BLOCK } else { CHARACTER };
    let more = vec![copy(SCRATCH, ACCESS), and(SCRATCH, !access)];
    let mut checks = vec![
        (Vec::new(), KIND, kind),
        (more, SCRATCH, 0),
        (Vec::new(), MAJOR, numbers.major),
    ];
    checks.extend(numbers.minor.map(|minor| (Vec::new(), MINOR, minor)));
    block(&checks, &[set(RESULT, 1), EXIT])
}

fn numbers(devices: &Devices, drivers: &str) -> Vec<Numbers> {
    match devices {
        Devices::Number {
            block,
            major,
            minor,
        } => vec![Numbers {
            block: *block,
            major: *major,
            minor: *minor,
        }],
        Devices::Node(path) => node(path).into_iter().collect(),
        Devices::Driver { block, pattern } => driver(drivers, *block, pattern),
    }
}

fn node(path: &str) -> Option<Numbers> {
    let (kind, device) = crate::cgroup::device::node(path).ok()?;
    let block = match kind {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        _ => return None,
    };
    Some(Numbers {
        block,
        major: rustix::fs::major(device),
        minor: Some(rustix::fs::minor(device)),
    })
}

/// The major numbers of the drivers that match, out of the text of `/proc/devices`.
fn driver(text: &str, block: bool, pattern: &str) -> Vec<Numbers> {
    let heading = if block {
        "Block devices:"
    } else {
        "Character devices:"
    };
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let matching = lines.filter_map(|line| {
        let (major, name) = line.trim().split_once(' ')?;
        spec_layout::glob::matches(pattern, name).then_some(major.parse().ok()?)
    });
    let numbers = matching.map(|major| Numbers {
        block,
        major,
        minor: None,
    });
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVERS: &str =
        "Character devices:\n  1 mem\n136 pts\n 10 misc\n\nBlock devices:\n  7 loop\n259 blkext\n";

    #[test]
    fn drivers_are_found_in_their_half_of_the_list() {
        let majors = |block, pattern: &str| {
            let found = driver(DRIVERS, block, pattern);
            found
                .iter()
                .map(|numbers| numbers.major)
                .collect::<Vec<_>>()
        };
        assert_eq!(majors(false, "pts"), [136]);
        assert_eq!(majors(true, "*"), [7, 259]);
        assert!(majors(true, "pts").is_empty());
        assert_eq!(majors(false, "m*"), [1, 10]);
    }

    #[test]
    fn a_node_that_is_not_there_allows_nothing() {
        assert_eq!(node("/dev/nowhere"), None);
        assert_eq!(node("/dev"), None);
        let null = node("/dev/null").unwrap();
        assert_eq!((null.block, null.major, null.minor), (false, 1, Some(3)));
    }

    #[test]
    fn each_check_that_fails_leaves_for_the_next_rule() {
        let rule = allow(
            Numbers {
                block: true,
                major: 7,
                minor: None,
            },
            READ,
        );
        let ends = rule
            .iter()
            .enumerate()
            .filter(|(_, step)| step.code == 0x56);
        for (at, jump) in ends {
            assert_eq!(at + 1 + jump.offset as usize, rule.len());
        }
    }
}
