//! [`Asked`]: what goes to an upstream, and what its answer is known by.

use super::{HEADER, Question, UDP_SIZE, flag, rtype};

/// Random bytes of one [`Asked`]: two for its id, and a bit for each letter of its name.
pub(crate) const RANDOM_BYTES: usize = 2 + 32;

/// A question as it goes to an upstream. An id and capitals that nobody can guess are in it: an answer that does not
/// repeat both is somebody else's.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Comes back with the answer.
    pub id: u16,
    /// The question as it is written in the message.
    pub written: Box<[u8]>,
    /// Record type.
    pub rtype: u16,
    /// The whole message.
    pub message: Vec<u8>,
}

impl Asked {
    /// Puts a question.
    pub(crate) fn new(
        question: &Question,
        dnssec_ok: bool,
        checking_disabled: bool,
        random: [u8; RANDOM_BYTES],
    ) -> Self {
        let [high, low, bits @ ..] = random;
        let id = u16::from_be_bytes([high, low]);
        let name = question.name.wire().len();
        let mut written = question.written.clone();
        let bit = |index: usize| bits.get(index / 8).copied().unwrap_or(0) >> (index % 8) & 1 == 1;
        for (index, byte) in written.iter_mut().take(name).enumerate() {
            if bit(index) {
                byte.make_ascii_uppercase();
            } else {
                byte.make_ascii_lowercase();
            }
        }
        let mut message = Vec::with_capacity(HEADER + written.len() + 11);
        // Who validates says so only to who wants to know (RFC 6840, sections 5.7 and 5.8).
        let curious = flag::RECURSION_DESIRED | flag::AUTHENTIC_DATA;
        let flags = match checking_disabled {
            true => curious | flag::CHECKING_DISABLED,
            false => curious,
        };
        for field in [id, flags, 1, 0, 0, 1] {
            message.extend_from_slice(&field.to_be_bytes());
        }
        message.extend_from_slice(&written);
        let dnssec_ok = if dnssec_ok { flag::DNSSEC_OK } else { 0 };
        message.push(0);
        for field in [rtype::OPT, UDP_SIZE, 0, dnssec_ok, 0] {
            message.extend_from_slice(&field.to_be_bytes());
        }
        Self {
            id,
            written,
            rtype: question.rtype,
            message,
        }
    }
}
