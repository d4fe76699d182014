//! `localhost` and all names in it (RFC 6761, section 6.3), and the names of the loopback's addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Node, is_in};
use crate::resolver::wire::{Local, Name, Question, Record, rtype};

/// The names of ::1, which end in it, and of 127.0.0.0/8.
const REVERSE_V4: &str = "127.in-addr.arpa";
const REVERSE_V6: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";

/// The addresses of the loopback.
pub(super) fn loopback() -> Local {
    Local::Records(vec![
        Record::V4(Ipv4Addr::LOCALHOST),
        Record::V6(Ipv6Addr::LOCALHOST),
    ])
}

pub(super) fn answer(question: &Question, _: &dyn Node) -> Option<Local> {
    if is_in(question, "localhost") {
        return Some(loopback());
    }
    if !is_in(question, REVERSE_V4) && !is_in(question, REVERSE_V6) {
        return None;
    }
    let name = Name::of_text("localhost").filter(|_| question.rtype == rtype::PTR);
    Some(Local::Records(
        name.map(Record::Pointer).into_iter().collect(),
    ))
}
