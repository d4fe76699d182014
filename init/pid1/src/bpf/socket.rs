//! Which ports a group's sockets may be bound to: programs on `struct bpf_sock_addr` of linux/bpf.h.

use spec_unit::plan::filter::Filters;
use spec_unit::plan::socket::{BindRule, Family, Transport};

use super::instruction::{
    EXIT, Instruction, Outside, Register, block, from_network, jump, jump_outside, jump_unless,
    load, set,
};

const RESULT: Register = Register(0);
const CONTEXT: Register = Register(1);
const FAMILY: Register = Register(2);
const PROTOCOL: Register = Register(3);
const PORT: Register = Register(4);

/// Offsets of `user_family`, `user_port`, `family` and `protocol`.
const USER_FAMILY_AT: i16 = 0;
const PORT_AT: i16 = 24;
const FAMILY_AT: i16 = 28;
const PROTOCOL_AT: i16 = 36;

/// A program that lets a socket of one family be bound, or does not. What is not of it, it does not judge.
pub(super) fn program(filters: &Filters, family: Family) -> Vec<Instruction> {
    let number = match family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    let other = [set(RESULT, 1), EXIT];
    let mut program = Vec::new();
    for at in [USER_FAMILY_AT, FAMILY_AT] {
        program.extend([
            load(FAMILY, CONTEXT, at),
            jump_unless(FAMILY, number.cast_unsigned(), 1),
            // Goes on over the two that end it.
            jump(2),
        ]);
        program.extend(other);
    }
    program.extend([
        load(PROTOCOL, CONTEXT, PROTOCOL_AT),
        load(PORT, CONTEXT, PORT_AT),
        from_network(PORT),
    ]);
    for (list, result) in [(&filters.allowed_binds, 1), (&filters.denied_binds, 0)] {
        let of_family = |rule: &&BindRule| rule.family.is_none_or(|of| of == family);
        for rule in list.iter().filter(of_family) {
            program.extend(judge(rule, result));
            if rule.transport.is_none() && rule.ports.is_none() {
                // It is every socket: the kernel refuses what is never reached.
                return program;
            }
        }
    }
    program.extend(other);
    program
}

/// Ends with the result for a socket that the rule is about.
fn judge(rule: &BindRule, result: i32) -> Vec<Instruction> {
    let end = [set(RESULT, result), EXIT];
    let mut ports = Vec::new();
    if let Some((first, last)) = rule.ports {
        ports.extend([
            jump_outside(PORT, Outside::Below, first.into(), 3),
            jump_outside(PORT, Outside::Above, last.into(), 2),
        ]);
    }
    ports.extend(end);
    let transport = rule.transport.map(|transport| match transport {
        Transport::Tcp => libc::IPPROTO_TCP,
        Transport::Udp => libc::IPPROTO_UDP,
    });
    let checks: Vec<_> = transport
        .map(|number| (Vec::new(), PROTOCOL, number.cast_unsigned()))
        .into_iter()
        .collect();
    block(&checks, &ports)
}
