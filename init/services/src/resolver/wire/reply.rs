//! What goes back to clients.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::answer::set_ttl;
use super::{Answer, CLASS_IN, HEADER, Name, Query, Refusal, flag, rcode, rtype, u16_at, u32_at};

/// Seconds that an answer of the node's own may be kept.
const LOCAL_TTL: u32 = 10;
/// Seconds that an answer beyond its end of life may be kept by who gets it (RFC 8767, section 4).
const STALE_TTL: u32 = 30;
/// The name of the question, which stands behind the header: a compression pointer to it.
const QUESTION_NAME: u16 = 0xc000 | HEADER as u16;
/// Most bytes of a UDP answer that clients of ours may count on.
const OWN_UDP_SIZE: u16 = 4096;
/// The EDNS option that tells more of an error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// Why an answer is as it is, beyond its code (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Beyond its end of life, since nobody answers.
    Stale,
    /// It failed a moment ago.
    CachedError,
    /// There are no upstreams, or more questions than can be asked at once.
    NotReady,
    /// No upstream answers.
    NoReachableAuthority,
    /// All upstreams say that they cannot.
    Upstream,
}

impl Reason {
    fn code(self) -> u16 {
        match self {
            Self::Upstream => 0,
            Self::Stale => 3,
            Self::CachedError => 13,
            Self::NotReady => 14,
            Self::NoReachableAuthority => 22,
        }
    }
}

/// What the node itself says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Local {
    /// There is no such name.
    NoName,
    /// The name has these, and none of other types.
    Records(Vec<Record>),
}

/// The data of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A.
    V4(Ipv4Addr),
    /// AAAA.
    V6(Ipv6Addr),
    /// PTR.
    Pointer(Name),
}

impl Record {
    fn rtype(&self) -> u16 {
        match self {
            Self::V4(_) => rtype::A,
            Self::V6(_) => rtype::AAAA,
            Self::Pointer(_) => rtype::PTR,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::V4(ip) => ip.octets().to_vec(),
            Self::V6(ip) => ip.octets().to_vec(),
            Self::Pointer(name) => name.wire().to_vec(),
        }
    }
}

/// An upstream's answer, so many seconds old, in at most `limit` bytes.
pub(crate) fn from_answer(
    query: &Query,
    answer: &Answer,
    age: u32,
    stale: bool,
    limit: usize,
) -> Vec<u8> {
    let mut message = answer.message.to_vec();
    for offset in &answer.ttls {
        let ttl = u32_at(&message, usize::from(*offset)).unwrap_or(0);
        let left = if stale {
            STALE_TTL
        } else {
            ttl.saturating_sub(age)
        };
        set_ttl(&mut message, *offset, left);
    }
    let mut flags = answered(query) | u16::from(answer.rcode) & flag::RCODE;
    // Only who asked for it is told (RFC 6840, section 5.7).
    let told = query.has(flag::AUTHENTIC_DATA) || query.dnssec_ok();
    if told && u16_at(&message, 2).unwrap_or(0) & flag::AUTHENTIC_DATA != 0 {
        flags |= flag::AUTHENTIC_DATA;
    }
    put_head(&mut message, query, flags);
    finished(message, query, 0, stale.then_some(Reason::Stale), limit)
}

/// An answer of the node's own.
pub(crate) fn of_local(query: &Query, local: &Local, limit: usize) -> Vec<u8> {
    let (code, records) = match local {
        Local::NoName => (rcode::NXDOMAIN, &[][..]),
        Local::Records(records) => (rcode::NOERROR, records.as_slice()),
    };
    let mut message = bare(
        query,
        answered(query) | flag::AUTHORITATIVE | u16::from(code),
    );
    let mut count = 0u16;
    for record in records {
        let data = record.data();
        if record.rtype() != query.question.rtype {
            continue;
        }
        for field in [QUESTION_NAME, record.rtype(), CLASS_IN] {
            message.extend_from_slice(&field.to_be_bytes());
        }
        message.extend_from_slice(&LOCAL_TTL.to_be_bytes());
        // No data of a record that is made here is longer than a name.
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(&data);
        count = count.saturating_add(1);
    }
    if let Some(field) = message.get_mut(6..8) {
        field.copy_from_slice(&count.to_be_bytes());
    }
    finished(message, query, 0, None, limit)
}

/// A code without records.
pub(crate) fn of_code(query: &Query, rcode: u8, reason: Option<Reason>) -> Vec<u8> {
    let flags = answered(query) | u16::from(rcode) & flag::RCODE;
    finished(bare(query, flags), query, rcode >> 4, reason, usize::MAX)
}

impl Refusal {
    /// What goes back; nothing where silence is the answer.
    pub(crate) fn reply(&self) -> Option<Vec<u8>> {
        match self {
            Self::Silence => None,
            Self::Question(query, rcode) => Some(of_code(query, *rcode, None)),
            Self::Header { id, flags, rcode } => {
                let kept = flag::OPCODE | flag::RECURSION_DESIRED;
                let flags = flag::RESPONSE | flags & kept | u16::from(*rcode);
                let fields = [*id, flags, 0, 0, 0, 0];
                Some(
                    fields
                        .iter()
                        .flat_map(|field| field.to_be_bytes())
                        .collect(),
                )
            }
        }
    }
}

/// The flags that every answer to a query has.
fn answered(query: &Query) -> u16 {
    let kept = flag::RECURSION_DESIRED | flag::CHECKING_DISABLED;
    flag::RESPONSE | flag::RECURSION_AVAILABLE | query.flags & kept
}

/// A message of a header and the question.
fn bare(query: &Query, flags: u16) -> Vec<u8> {
    let mut message = vec![0; HEADER + query.question.written.len()];
    put_head(&mut message, query, flags);
    if let Some(questions) = message.get_mut(4..6) {
        questions.copy_from_slice(&1u16.to_be_bytes());
    }
    message
}

/// Writes id, flags and the question with the client's capitals.
fn put_head(message: &mut [u8], query: &Query, flags: u16) {
    let head = query
        .id
        .to_be_bytes()
        .into_iter()
        .chain(flags.to_be_bytes());
    for (byte, value) in message.iter_mut().zip(head) {
        *byte = value;
    }
    let question = message.iter_mut().skip(HEADER);
    for (byte, value) in question.zip(query.question.written.iter()) {
        *byte = *value;
    }
}

/// Adds EDNS where the client has it, and takes all records out where that is more than fits.
fn finished(
    mut message: Vec<u8>,
    query: &Query,
    extended: u8,
    reason: Option<Reason>,
    limit: usize,
) -> Vec<u8> {
    let opt = query.edns.map(|edns| opt(edns.dnssec_ok, extended, reason));
    let opt = opt.unwrap_or_default();
    if message.len() + opt.len() > limit {
        message.truncate(HEADER + query.question.written.len());
        if let Some(counts) = message.get_mut(6..HEADER) {
            counts.fill(0);
        }
        let [high, _] = flag::TRUNCATED.to_be_bytes();
        if let Some(byte) = message.get_mut(2) {
            *byte |= high;
        }
    }
    if !opt.is_empty()
        && let Some(additional) = message.get_mut(10..HEADER)
    {
        additional.copy_from_slice(&1u16.to_be_bytes());
        message.extend_from_slice(&opt);
    }
    message
}

/// The record of EDNS(0) (RFC 6891, section 6.1).
fn opt(dnssec_ok: bool, extended: u8, reason: Option<Reason>) -> Vec<u8> {
    let mut record = vec![0];
    let flags = if dnssec_ok { flag::DNSSEC_OK } else { 0 };
    let extended = u16::from_be_bytes([extended, 0]);
    for field in [rtype::OPT, OWN_UDP_SIZE, extended, flags] {
        record.extend_from_slice(&field.to_be_bytes());
    }
    let options: &[u16] = match reason {
        Some(reason) => &[6, EXTENDED_ERROR, 2, reason.code()],
        None => &[0],
    };
    for field in options {
        record.extend_from_slice(&field.to_be_bytes());
    }
    record
}
