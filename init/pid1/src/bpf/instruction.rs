//! Instructions of eBPF, RFC 9669.

/// One instruction, as the kernel takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Operation.
    pub(crate) code: u8,
    /// Source register in the upper half, destination in the lower.
    pub(crate) registers: u8,
    /// Offset of a jump or an access.
    pub(crate) offset: i16,
    /// Immediate value.
    pub(crate) immediate: i32,
}

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Register(pub(super) u8);

const fn make(code: u8, to: Register, from: Register, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: from.0 << 4 | to.0,
        offset,
        immediate,
    }
}

const NONE: Register = Register(0);

/// `to = value`.
pub(super) const fn set(to: Register, value: i32) -> Instruction {
    make(0xb7, to, NONE, 0, value)
}

/// `to = from`.
pub(super) const fn copy(to: Register, from: Register) -> Instruction {
    make(0xbf, to, from, 0, 0)
}

/// `to = to + value`, 64 bits.
pub(super) const fn add(to: Register, value: i32) -> Instruction {
    make(0x07, to, NONE, 0, value)
}

/// `to = to & value`, 32 bits.
pub(super) const fn and(to: Register, value: u32) -> Instruction {
    make(0x54, to, NONE, 0, value.cast_signed())
}

/// `to = to >> bits`, 32 bits.
pub(super) const fn shift_right(to: Register, bits: i32) -> Instruction {
    make(0x74, to, NONE, 0, bits)
}

/// `to` = the 32 bits at `from + offset`.
pub(super) const fn load(to: Register, from: Register, offset: i16) -> Instruction {
    make(0x61, to, from, offset, 0)
}

/// Goes on `steps` later, always.
pub(super) const fn jump(steps: i16) -> Instruction {
    make(0x05, NONE, NONE, steps, 0)
}

/// Goes on `steps` later where the 32 bits of the register are not the value.
pub(super) const fn jump_unless(register: Register, value: u32, steps: i16) -> Instruction {
    make(0x56, register, NONE, steps, value.cast_signed())
}

/// Goes on `steps` later where the register is less than the value, or more.
pub(super) const fn jump_outside(
    register: Register,
    way: Outside,
    value: i32,
    steps: i16,
) -> Instruction {
    let code = match way {
        Outside::Below => 0xa5,
        Outside::Above => 0x25,
    };
    make(code, register, NONE, steps, value)
}

/// On which side of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// Less.
    Below,
    /// More.
    Above,
}

/// `to` = its lower 16 bits, from the order of the network.
pub(super) const fn from_network(to: Register) -> Instruction {
    make(0xdc, to, NONE, 0, 16)
}

/// Calls a function of the kernel; its arguments are in registers 1 to 5, its answer comes in register 0.
pub(super) const fn call(function: i32) -> Instruction {
    make(0x85, NONE, NONE, 0, function)
}

/// Ends with what is in register 0.
pub(super) const EXIT: Instruction = make(0x95, NONE, NONE, 0, 0);

/// Steps over a block whose checks fail: each check leaves for the end of the block.
pub(super) fn block(
    checks: &[(Vec<Instruction>, Register, u32)],
    then: &[Instruction],
) -> Vec<Instruction> {
    let mut after: Vec<Instruction> = then.to_vec();
    for (before, register, value) in checks.iter().rev() {
        let steps = i16::try_from(after.len()).unwrap_or(i16::MAX);
        let mut part = before.clone();
        part.push(jump_unless(*register, *value, steps));
        part.append(&mut after);
        after = part;
    }
    after
}
