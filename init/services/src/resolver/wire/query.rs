//! What clients send (RFC 1035, RFC 6891).

use domain::base::ParsedName;
use domain::base::name::ToLabelIter;
use domain::base::record::RecordHeader;
use domain::dep::octseq::Parser;

use super::{CLASS_IN, HEADER, Name, UDP_SIZE_PLAIN, flag, rcode, rtype, u16_at};

/// Most records that a query may bring: one OPT, and what signs it.
const RECORDS_MAX: u16 = 4;
/// Record types that are no types of data (RFC 6895, section 3.1), transfers and ANY among them.
const META: std::ops::RangeInclusive<u16> = 128..=255;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// About whom.
    pub name: Name,
    /// As it is written in the message: the name with its capitals, type and class.
    pub written: Box<[u8]>,
    /// Record type.
    pub rtype: u16,
}

/// EDNS(0) of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// Most bytes that whoever sent it takes over UDP.
    pub size: u16,
    /// DNSSEC's records are wanted.
    pub dnssec_ok: bool,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// Comes back with the answer.
    pub id: u16,
    /// Its flags, as they came.
    pub flags: u16,
    /// The question.
    pub question: Question,
    /// Its EDNS, if it has any.
    pub edns: Option<Edns>,
}

/// A message that asks nothing that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not to be answered at all: no header, or an answer itself.
    Silence,
    /// To be answered with a header alone.
    Header {
        /// Comes back with it.
        id: u16,
        /// Its flags, as they came.
        flags: u16,
        /// Why.
        rcode: u8,
    },
    /// A question that is understood and not answered.
    Question(Box<Query>, u8),
}

impl Query {
    /// Whether DNSSEC's records are wanted.
    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Most bytes that the client takes over UDP.
    pub(crate) fn udp_size(&self) -> u16 {
        self.edns.map_or(UDP_SIZE_PLAIN, |edns| edns.size)
    }
}

/// Reads what a client sent.
pub(crate) fn query(bytes: &[u8]) -> Result<Query, Refusal> {
    let (Some(id), Some(flags), Some(_)) =
        (u16_at(bytes, 0), u16_at(bytes, 2), bytes.get(..HEADER))
    else {
        return Err(Refusal::Silence);
    };
    if flags & flag::RESPONSE != 0 {
        return Err(Refusal::Silence);
    }
    let header = |rcode| Refusal::Header { id, flags, rcode };
    if flags & flag::OPCODE != 0 {
        return Err(header(rcode::NOTIMP));
    }
    let (question, class, end) = question(bytes).ok_or(header(rcode::FORMERR))?;
    let (edns, version) = edns(bytes, end).ok_or(header(rcode::FORMERR))?;
    let rtype = question.rtype;
    let query = Query {
        id,
        flags,
        question,
        edns,
    };
    let refused = if version != 0 {
        Some(rcode::BADVERS)
    } else if rtype == rtype::OPT || rtype == 0 {
        Some(rcode::FORMERR)
    } else if class != CLASS_IN || META.contains(&rtype) {
        Some(rcode::REFUSED)
    } else {
        None
    };
    match refused {
        Some(rcode) => Err(Refusal::Question(Box::new(query), rcode)),
        None => Ok(query),
    }
}

/// The only question of a message, its class, and where it ends.
pub(super) fn question(bytes: &[u8]) -> Option<(Question, u16, usize)> {
    if u16_at(bytes, 4)? != 1 {
        return None;
    }
    let mut parser = Parser::from_ref(bytes);
    parser.advance(HEADER).ok()?;
    let name = ParsedName::parse_ref(&mut parser).ok()?;
    let name_end = parser.pos();
    // Nothing stands before it that it could rightly point to.
    if usize::from(name.compose_len()) != name_end.checked_sub(HEADER)? {
        return None;
    }
    let rtype = u16_at(bytes, name_end)?;
    let class = u16_at(bytes, name_end + 2)?;
    let end = name_end + 4;
    let question = Question {
        name: Name::of_wire(bytes.get(HEADER..name_end)?),
        written: bytes.get(HEADER..end)?.into(),
        rtype,
    };
    Some((question, class, end))
}

/// EDNS and its version among the records of a query, which begin at the offset.
fn edns(bytes: &[u8], start: usize) -> Option<(Option<Edns>, u8)> {
    let counts = [u16_at(bytes, 6)?, u16_at(bytes, 8)?, u16_at(bytes, 10)?];
    let count = counts
        .into_iter()
        .try_fold(0u16, |sum, count| sum.checked_add(count))?;
    if count > RECORDS_MAX {
        return None;
    }
    let mut parser = Parser::from_ref(bytes);
    parser.advance(start).ok()?;
    let mut found = None;
    for _ in 0..count {
        let header = RecordHeader::parse_ref(&mut parser).ok()?;
        parser.advance(usize::from(header.rdlen())).ok()?;
        if header.rtype().to_int() == rtype::OPT {
            // A second one is a mistake (RFC 6891, section 6.1.1).
            if found.is_some() {
                return None;
            }
            let [_, version, high, low] = header.ttl().as_secs().to_be_bytes();
            let edns = Edns {
                size: header.class().to_int().max(UDP_SIZE_PLAIN),
                dnssec_ok: u16::from_be_bytes([high, low]) & flag::DNSSEC_OK != 0,
            };
            found = Some((edns, version));
        }
    }
    Some(match found {
        Some((edns, version)) => (Some(edns), version),
        None => (None, 0),
    })
}
