//! Classic BPF, as much of it as the programs use; it checks what the kernel checks before it loads one.

use super::super::{Instruction, MAX_INSTRUCTIONS};

/// What the program answers to a call.
pub(super) fn run(program: &[Instruction], token: u32, number: u32, arguments: &[u64]) -> u32 {
    assert!((1..=MAX_INSTRUCTIONS).contains(&program.len()));
    assert_eq!(program.last().map(|last| last.code), Some(0x06));
    let argument = |place: usize| arguments.get(place).copied().unwrap_or(0);
    let data = |offset: u32| match offset {
        0 => number,
        4 => token,
        low if low >= 16 && low % 8 == 0 && low < 64 => argument(((low - 16) / 8) as usize) as u32,
        other => panic!("loads at {other}"),
    };
    let (mut place, mut value) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[place];
        place += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => value = data(k),
            0x54 => value &= k,
            0x05 => place += k as usize,
            0x15 => place += jump(value == k),
            0x35 => place += jump(value >= k),
            0x06 => return k,
            other => panic!("instruction {other:x}"),
        }
    }
}
