//! What upstreams send (RFC 1035, RFC 2308, RFC 6891).

use domain::base::ParsedName;
use domain::base::record::RecordHeader;
use domain::dep::octseq::Parser;

use super::{Asked, HEADER, flag, rcode, rtype, u16_at, u32_at};

/// Most records of an answer; who sends more is refused, since each costs time to read.
const RECORDS_MAX: usize = 2048;
/// Longest that a "there is none" is kept, in seconds (RFC 2308, section 5, has up to three hours).
const NEGATIVE_TTL_MAX: u32 = 900;

/// Why a message is no answer to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It answers another question, or has another id: somebody else's, or guessed.
    Another,
    /// All is right but the capitals: guessed, or from a server that does not repeat them.
    Capitals,
    /// Not all fits; ask over TCP.
    Truncated,
    /// It cannot be read.
    Malformed,
}

/// An answer: its header, question, answer and authority sections, as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The message without its additional section.
    pub message: Box<[u8]>,
    /// Where in it the times to live are, four bytes each.
    pub ttls: Box<[u16]>,
    /// Response code.
    pub rcode: u8,
    /// Seconds that it may be kept; none where it says nothing of that.
    pub lifetime: Option<u32>,
}

impl Answer {
    /// Whether it settles the question: the name is there or is not. Any other code is a failure of the upstream's.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.rcode, rcode::NOERROR | rcode::NXDOMAIN)
    }

    /// The same with every time to live within these seconds.
    pub(crate) fn clamped(mut self, min: u32, max: u32) -> Self {
        for offset in &self.ttls {
            let ttl = u32_at(&self.message, usize::from(*offset)).unwrap_or(0);
            set_ttl(&mut self.message, *offset, ttl.min(max).max(min));
        }
        self.lifetime = self.lifetime.map(|lifetime| lifetime.min(max).max(min));
        self
    }

    /// The same without the upstream's word that it has checked the signatures: anybody on the way could have given it.
    pub(crate) fn unauthenticated(mut self) -> Self {
        if let Some(byte) = self.message.get_mut(3) {
            let [_, low] = flag::AUTHENTIC_DATA.to_be_bytes();
            *byte &= !low;
        }
        self
    }

    /// Bytes that it takes to keep.
    pub(crate) fn bytes(&self) -> usize {
        self.message.len() + 2 * self.ttls.len()
    }
}

/// Writes a time to live.
pub(super) fn set_ttl(message: &mut [u8], offset: u16, ttl: u32) {
    let start = usize::from(offset);
    if let Some(field) = message.get_mut(start..start + 4) {
        field.copy_from_slice(&ttl.to_be_bytes());
    }
}

/// Reads what came for what was asked. Over a connection `capitals` need not be repeated: nobody else can speak there.
pub(crate) fn answer(bytes: &[u8], asked: &Asked, capitals: bool) -> Result<Answer, Wrong> {
    let field = |offset| u16_at(bytes, offset).ok_or(Wrong::Malformed);
    if u16_at(bytes, 0) != Some(asked.id) {
        return Err(Wrong::Another);
    }
    let (flags, questions) = (field(2)?, field(4)?);
    if flags & flag::RESPONSE == 0 {
        return Err(Wrong::Another);
    }
    if flags & flag::OPCODE != 0 || questions != 1 {
        return Err(Wrong::Malformed);
    }
    let end = HEADER + asked.written.len();
    let written = bytes.get(HEADER..end).ok_or(Wrong::Malformed)?;
    if !written.eq_ignore_ascii_case(&asked.written) {
        return Err(Wrong::Another);
    }
    if capitals && *written != *asked.written {
        return Err(Wrong::Capitals);
    }
    if flags & flag::TRUNCATED != 0 {
        return Err(Wrong::Truncated);
    }
    let counts = [field(6)?, field(8)?, field(10)?].map(usize::from);
    if counts.iter().sum::<usize>() > RECORDS_MAX {
        return Err(Wrong::Malformed);
    }
    let [_, low] = (flags & flag::RCODE).to_be_bytes();
    let read = || {
        // No name begins in the header, which is another in each reply: one that leads there leads to a pointer onwards,
        // which is refused.
        let mut body = bytes.to_vec();
        body.get_mut(..HEADER)?.fill(0xff);
        let mut reading = Reading::new(&body, end, asked.rtype)?;
        reading.sections(counts)?;
        // No name may need what is cut off: its labels can run on behind where it is used.
        let [answers, authorities, _] = counts;
        let kept = body.get(..reading.end)?;
        Reading::new(kept, end, asked.rtype)?.sections([answers, authorities, 0])?;
        let header = bytes.get(..10)?.try_into().ok()?;
        reading.answer(header, low)
    };
    read().ok_or(Wrong::Malformed)
}

/// A walk over the records of an answer.
struct Reading<'a> {
    bytes: &'a [u8],
    parser: Parser<'a, [u8]>,
    asked: u16,
    /// Where the times to live of the first two sections are.
    ttls: Vec<u16>,
    /// Where those two end.
    end: usize,
    /// The shortest time to live of the answer section.
    shortest: Option<u32>,
    /// Whether there is a record of the type that was asked for.
    answered: bool,
    /// How long "there is none" holds, by the zone's SOA.
    negative: Option<u32>,
    /// The upper bits of the response code.
    extended: u8,
}

impl<'a> Reading<'a> {
    fn new(bytes: &'a [u8], start: usize, asked: u16) -> Option<Self> {
        let mut parser = Parser::from_ref(bytes);
        parser.advance(start).ok()?;
        Some(Self {
            bytes,
            parser,
            asked,
            ttls: Vec::new(),
            end: start,
            shortest: None,
            answered: false,
            negative: None,
            extended: 0,
        })
    }

    fn sections(&mut self, [answers, authorities, additional]: [usize; 3]) -> Option<()> {
        for _ in 0..answers {
            let (rtype, ttl, _) = self.kept_record()?;
            self.shortest = Some(self.shortest.map_or(ttl, |shortest| shortest.min(ttl)));
            self.answered |= rtype == self.asked;
        }
        for _ in 0..authorities {
            let (rtype, ttl, data_end) = self.kept_record()?;
            if rtype == rtype::SOA {
                let minimum = ttl_of(u32_at(self.bytes, data_end.checked_sub(4)?)?);
                self.negative = Some(minimum.min(ttl).min(NEGATIVE_TTL_MAX));
            }
        }
        self.end = self.parser.pos();
        for _ in 0..additional {
            let (rtype, ttl, _) = self.record()?;
            if rtype == rtype::OPT {
                let [extended, ..] = ttl.to_be_bytes();
                self.extended = extended;
            }
        }
        Some(())
    }

    /// Reads a record that is kept: its type, its time to live, and where its data end.
    fn kept_record(&mut self) -> Option<(u16, u32, usize)> {
        let (rtype, ttl, start) = self.record()?;
        let end = self.parser.pos();
        check_names(self.bytes, rtype, start, end)?;
        self.ttls.push(u16::try_from(start.checked_sub(6)?).ok()?);
        Some((rtype, ttl_of(ttl), end))
    }

    /// Reads a record: its type, the number where its time to live is, and where its data begin.
    fn record(&mut self) -> Option<(u16, u32, usize)> {
        let header = RecordHeader::parse_ref(&mut self.parser).ok()?;
        let start = self.parser.pos();
        self.parser.advance(usize::from(header.rdlen())).ok()?;
        Some((header.rtype().to_int(), header.ttl().as_secs(), start))
    }

    /// What was read, under the beginning of its header; nothing is left of the additional section.
    fn answer(self, header: [u8; 10], rcode: u8) -> Option<Answer> {
        let mut message: Box<[u8]> = self.bytes.get(..self.end)?.into();
        message.get_mut(..10)?.copy_from_slice(&header);
        message.get_mut(10..HEADER)?.fill(0);
        let is_there = rcode == rcode::NOERROR && self.answered;
        let lifetime = match (is_there, self.negative, self.shortest) {
            (true, _, shortest) => shortest,
            (false, Some(negative), Some(shortest)) => Some(negative.min(shortest)),
            (false, negative, _) => negative,
        };
        Some(Answer {
            message,
            ttls: self.ttls.into_boxed_slice(),
            // All codes beyond four bits are failures, and no more is said of them.
            rcode: if self.extended == 0 {
                rcode
            } else {
                rcode::SERVFAIL
            },
            lifetime,
        })
    }
}

/// A number with its highest bit set is taken for no time at all (RFC 2181, section 8).
fn ttl_of(number: u32) -> u32 {
    if number > i32::MAX.unsigned_abs() {
        0
    } else {
        number
    }
}

/// Checks the names in a record's data that may be compressed (RFC 3597, section 4): whoever reads them later finds them
/// whole, and before the end of what is kept.
fn check_names(bytes: &[u8], rtype: u16, start: usize, end: usize) -> Option<()> {
    // Bytes before the names, how many names, bytes behind them.
    let (before, names, behind) = match rtype {
        2..=5 | 7..=9 | 12 | 39 => (0, 1, 0),
        6 => (0, 2, 20),
        14 | 17 => (0, 2, 0),
        15 | 18 | 21 => (2, 1, 0),
        26 => (2, 2, 0),
        33 => (6, 1, 0),
        _ => return Some(()),
    };
    let mut parser = Parser::from_ref(bytes);
    parser.advance(start).ok()?;
    parser.advance(before).ok()?;
    for _ in 0..names {
        ParsedName::parse_ref(&mut parser).ok()?;
    }
    (parser.pos() + behind == end).then_some(())
}
