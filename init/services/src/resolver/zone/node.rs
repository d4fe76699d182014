//! The node's own hostname: its addresses, or the loopback's while it has none.

use std::net::IpAddr;

use super::{Node, localhost};
use crate::resolver::wire::{Local, Name, Question, Record};

pub(super) fn answer(question: &Question, node: &dyn Node) -> Option<Local> {
    // A hostname is one label; all other names cannot be it.
    if question.name.labels() != 1 {
        return None;
    }
    let hostname = node.hostname()?;
    if Name::of_text(&hostname)? != question.name {
        return None;
    }
    let records: Vec<Record> = node
        .addresses()
        .into_iter()
        .map(|address| match address {
            IpAddr::V4(ip) => Record::V4(ip),
            IpAddr::V6(ip) => Record::V6(ip),
        })
        .collect();
    if records.is_empty() {
        return Some(localhost::loopback());
    }
    Some(Local::Records(records))
}
