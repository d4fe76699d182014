//! Which links a group's packets may go over: a program on `struct __sk_buff` of linux/bpf.h.

use std::fs;

use spec_unit::plan::socket::Links;

use super::instruction::{EXIT, Instruction, Register, block, load, set};

const RESULT: Register = Register(0);
const CONTEXT: Register = Register(1);
const LINK: Register = Register(2);
/// Offset of `ifindex`.
const LINK_AT: i16 = 40;

/// A program that lets a packet pass or drops it, the same for both ways. Names are looked up now, among the links of
/// PID 1's network.
pub(super) fn program(links: &Links) -> Vec<Instruction> {
    of_numbers(
        links.names.iter().filter_map(|name| number(name)),
        links.deny,
    )
}

fn of_numbers(numbers: impl Iterator<Item = u32>, deny: bool) -> Vec<Instruction> {
    let (listed, other) = if deny { (0, 1) } else { (1, 0) };
    let mut program = vec![load(LINK, CONTEXT, LINK_AT)];
    for number in numbers {
        let check = (Vec::new(), LINK, number);
        program.extend(block(&[check], &[set(RESULT, listed), EXIT]));
    }
    program.extend([set(RESULT, other), EXIT]);
    program
}

/// The number of a link; none, if there is no link of that name.
fn number(name: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_not_there_is_passed_over() {
        assert_eq!(number("lo"), Some(1));
        assert_eq!(number("no-such-link"), None);
        let none = Links {
            deny: false,
            names: vec!["no-such-link".into()],
        };
        assert_eq!(program(&none), of_numbers([].into_iter(), false));
    }
}
