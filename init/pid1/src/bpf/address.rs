//! Which addresses a group may talk to: programs on `struct __sk_buff` of linux/bpf.h, whose data begins at the header
//! of IPv4 (RFC 791) or IPv6 (RFC 8200).

use std::net::IpAddr;

use spec_unit::plan::filter::{Filters, Prefix};

use super::instruction::{
    EXIT, Instruction, Register, add, and, block, call, copy, jump, jump_unless, load, set,
};

const RESULT: Register = Register(0);
const CONTEXT: Register = Register(6);
const PROTOCOL: Register = Register(7);
const WORD: Register = Register(8);
const STACK: Register = Register(10);

/// Offset of `protocol`, which holds the EtherType as it is on the wire.
const PROTOCOL_AT: i16 = 16;
const IPV4: u32 = 0x0800u16.to_be() as u32;
const IPV6: u32 = 0x86ddu16.to_be() as u32;
/// bpf_skb_load_bytes.
const LOAD_BYTES: i32 = 26;
/// Where the address is on the stack.
const PLACE: i16 = -16;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the group: who sent them counts.
    In,
    /// From the group: where they go counts.
    Out,
}

/// A program that lets a packet pass or drops it. What is neither IPv4 nor IPv6 passes.
pub(super) fn program(filters: &Filters, way: Way) -> Vec<Instruction> {
    let mut program = vec![
        copy(CONTEXT, Register(1)),
        load(PROTOCOL, CONTEXT, PROTOCOL_AT),
    ];
    let (four, six) = match way {
        Way::In => (12, 8),
        Way::Out => (16, 24),
    };
    for (protocol, offset, size) in [(IPV4, four, 4), (IPV6, six, 16)] {
        let part = packet(filters, offset, size);
        let steps = i16::try_from(part.len()).unwrap_or(i16::MAX);
        program.push(jump_unless(PROTOCOL, protocol, steps));
        program.extend(part);
    }
    program.extend([set(RESULT, 1), EXIT]);
    program
}

/// Judges a packet whose address of `size` bytes is at `offset`; one that is too short is dropped.
fn packet(filters: &Filters, offset: i32, size: i32) -> Vec<Instruction> {
    let mut part = vec![
        copy(Register(1), CONTEXT),
        set(Register(2), offset),
        copy(Register(3), STACK),
        add(Register(3), i32::from(PLACE)),
        set(Register(4), size),
        call(LOAD_BYTES),
        // An answer other than 0 is a failure.
        jump_unless(RESULT, 0, 1),
        // Goes on over the two that drop the packet.
        jump(2),
        set(RESULT, 0),
        EXIT,
    ];
    let kind = |prefix: &&Prefix| i32::from(prefix.width()) == size * 8;
    let rules = [
        (&filters.allowed_addresses, 1),
        (&filters.denied_addresses, 0),
    ];
    for (list, result) in rules {
        for prefix in list.iter().filter(kind) {
            let checks = checks(*prefix);
            part.extend(block(&checks, &[set(RESULT, result), EXIT]));
            if checks.is_empty() {
                // It is every address: the kernel refuses what is never reached.
                return part;
            }
        }
    }
    part.extend([set(RESULT, 1), EXIT]);
    part
}

/// Compares the words of an address as they are in memory, as far as the prefix goes.
fn checks(prefix: Prefix) -> Vec<(Vec<Instruction>, Register, u32)> {
    let octets = match prefix.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).enumerate();
    let check = |(number, word): (usize, &[u8])| {
        let bits = u32::from(prefix.bits)
            .saturating_sub(number as u32 * 32)
            .min(32);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0).to_be();
        let word: [u8; 4] = word.try_into().ok()?;
        let place = PLACE + i16::try_from(number * 4).ok()?;
        let before = vec![load(WORD, STACK, place), and(WORD, mask)];
        (bits > 0).then_some((before, WORD, u32::from_ne_bytes(word) & mask))
    };
    words.filter_map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(address: &str, bits: u8) -> Prefix {
        Prefix {
            address: address.parse().unwrap(),
            bits,
        }
    }

    #[test]
    fn only_the_words_that_a_prefix_reaches_are_compared() {
        let values = |address: &str, bits| {
            let checks = checks(prefix(address, bits));
            checks
                .iter()
                .map(|(_, _, value)| value.to_ne_bytes())
                .collect::<Vec<_>>()
        };
        assert_eq!(values("10.1.2.3", 8), [[10, 0, 0, 0]]);
        assert_eq!(values("10.1.2.3", 32), [[10, 1, 2, 3]]);
        assert_eq!(values("10.1.2.3", 0), Vec::<[u8; 4]>::new());
        assert_eq!(values("fe80::1", 64).len(), 2);
        assert_eq!(values("fe80::1", 128).len(), 4);
        assert_eq!(values("fe80::1", 10), [[0xfe, 0x80, 0, 0]]);
    }

    #[test]
    fn a_long_list_stays_within_what_a_jump_reaches() {
        let many = vec![prefix("2001:db8::1", 128); spec_unit::plan::filter::MAX_RULES];
        let filters = Filters {
            allowed_addresses: many.clone(),
            denied_addresses: many,
            ..Filters::default()
        };
        assert!(program(&filters, Way::In).len() < i16::MAX as usize);
    }
}
