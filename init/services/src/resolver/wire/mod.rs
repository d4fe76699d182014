//! DNS messages as bytes (RFC 1035, section 4): what comes from clients and from upstreams is hostile.
//!
//! Names, records and their bounds are read by the crate `domain`: a compression pointer only ever points backwards, a
//! name has at most 255 bytes. An [`Answer`] stays the bytes that came, cut after the authority section and with its
//! times to live where they were, so that keeping and repeating it is a copy. Pure: randomness comes in as an argument.

mod answer;
mod asked;
mod name;
mod query;
mod reply;

pub(crate) use answer::{Answer, Wrong, answer};
pub(crate) use asked::{Asked, RANDOM_BYTES};
pub(crate) use name::Name;
pub(crate) use query::{Query, Question, Refusal, query};
pub(crate) use reply::{Local, Reason, Record, from_answer, of_code, of_local};

/// Bytes of a header.
pub(crate) const HEADER: usize = 12;
/// Most bytes of a UDP answer that is asked for, so that it is not fragmented (RFC 6891; DNS flag day 2020).
pub(crate) const UDP_SIZE: u16 = 1232;
/// Most bytes of a UDP message without EDNS (RFC 1035, section 4.2.1).
pub(crate) const UDP_SIZE_PLAIN: u16 = 512;
/// The class of the Internet.
pub(crate) const CLASS_IN: u16 = 1;

/// Record types, by IANA's registry.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
}

/// Response codes, by IANA's registry.
pub(crate) mod rcode {
    pub(crate) const NOERROR: u8 = 0;
    pub(crate) const FORMERR: u8 = 1;
    pub(crate) const SERVFAIL: u8 = 2;
    pub(crate) const NXDOMAIN: u8 = 3;
    pub(crate) const NOTIMP: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    /// An extended one (RFC 6891): its upper bits are in OPT.
    pub(crate) const BADVERS: u8 = 16;
}

/// Flags of a header: the bytes 2 and 3 as one number.
pub(crate) mod flag {
    pub(crate) const RESPONSE: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const AUTHORITATIVE: u16 = 0x0400;
    pub(crate) const TRUNCATED: u16 = 0x0200;
    pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
    pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(crate) const AUTHENTIC_DATA: u16 = 0x0020;
    pub(crate) const CHECKING_DISABLED: u16 = 0x0010;
    pub(crate) const RCODE: u16 = 0x000f;
    /// Of OPT (RFC 3225): DNSSEC's records are wanted.
    pub(crate) const DNSSEC_OK: u16 = 0x8000;
}

/// The number at an offset.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let two = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

/// The number at an offset.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests;
