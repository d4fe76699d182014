//! Instructions of classic BPF: a binary search over numbers, tests of arguments, a choice by architecture.

use std::collections::BTreeMap;

use super::rule::{Case, Is, Verdict};
use super::{Instruction, MAX_INSTRUCTIONS};

// linux/bpf_common.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_NOT_BELOW: u16 = 0x35;
const RETURN: u16 = 0x06;

// struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

type Code = Vec<Instruction>;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// The lower half of an argument: both architectures are little-endian.
fn argument(number: u8) -> u32 {
    16 + 8 * u32::from(number)
}

/// The code that answers a call of one architecture; keys are where a range of numbers begins.
pub(super) fn search(verdicts: &BTreeMap<u32, Verdict>) -> Result<Code, String> {
    let mut ranges: Vec<(u32, Code)> = Vec::new();
    let mut last = None;
    for (start, verdict) in verdicts {
        if last.replace(verdict) != Some(verdict) {
            ranges.push((*start, leaf(verdict)?));
        }
    }
    let mut code = vec![plain(LOAD, NUMBER)];
    code.extend(tree(&ranges)?);
    Ok(code)
}

fn tree(ranges: &[(u32, Code)]) -> Result<Code, String> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((pivot, code)) = high.first() else {
        return Err("a search over nothing".into());
    };
    if low.is_empty() {
        return Ok(code.clone());
    }
    let (low, high) = (tree(low)?, tree(high)?);
    let mut code = Vec::with_capacity(low.len() + high.len() + 2);
    match u8::try_from(low.len()) {
        Ok(over) => code.push(Instruction {
            jt: over,
            ..plain(JUMP_NOT_BELOW, *pivot)
        }),
        // Too far for a conditional jump: over a plain one.
        Err(_) => {
            code.push(Instruction {
                jf: 1,
                ..plain(JUMP_NOT_BELOW, *pivot)
            });
            code.push(plain(JUMP, low.len() as u32));
        }
    }
    code.extend(low);
    code.extend(high);
    Ok(code)
}

/// The cases of a call, one after the other.
fn leaf(verdict: &Verdict) -> Result<Code, String> {
    let mut code = Code::new();
    for case in &verdict.cases {
        code.extend(case_code(case)?);
    }
    code.push(plain(RETURN, verdict.otherwise));
    Ok(code)
}

/// One case; what comes after it is where a test that fails goes.
fn case_code(case: &Case) -> Result<Code, String> {
    let far = |distance: usize| {
        u8::try_from(distance).map_err(|_| "a system call filter with too many cases".to_string())
    };
    let mut code = vec![plain(RETURN, case.answer)];
    // From the last test to the first: then all that a jump goes over is there.
    for test in case.tests.iter().rev() {
        let mut tested = vec![plain(LOAD, argument(test.argument))];
        if test.mask != u32::MAX {
            tested.push(plain(AND, test.mask));
        }
        match &test.is {
            Is::Equal(value) => tested.push(Instruction {
                jf: far(code.len())?,
                ..plain(JUMP_EQUAL, *value)
            }),
            Is::NoneOf(values) => {
                for (number, value) in values.iter().enumerate() {
                    tested.push(Instruction {
                        jt: far(values.len() - 1 - number + code.len())?,
                        ..plain(JUMP_EQUAL, *value)
                    });
                }
            }
        }
        tested.append(&mut code);
        code = tested;
    }
    Ok(code)
}

/// The whole: a section for each architecture by its AUDIT_ARCH_*, and the answer to all others.
pub(super) fn program(sections: Vec<(u32, Code)>, others: u32) -> Result<Code, String> {
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    for (token, section) in sections {
        code.push(Instruction {
            jt: 1,
            ..plain(JUMP_EQUAL, token)
        });
        code.push(plain(JUMP, section.len() as u32));
        code.extend(section);
    }
    code.push(plain(RETURN, others));
    if code.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "the system call filter has {} instructions; the kernel takes {MAX_INSTRUCTIONS}",
            code.len()
        ));
    }
    Ok(code)
}
