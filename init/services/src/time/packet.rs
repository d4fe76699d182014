//! NTP packets (RFC 5905, section 7.3), those of a client: a request that tells nothing about this node, and what of an
//! answer may be believed.

use std::time::Duration;

/// Bytes of a packet without extensions.
pub(crate) const LENGTH: usize = 48;
/// Seconds from 1900, where NTP's first era begins, to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;
/// Most that a server's clock may be away from its own source (RFC 5905: MAXDISP).
const MAX_DISTANCE: Duration = Duration::from_secs(16);
/// Seconds after the earliest time that may be: a server that lives in 1970 would otherwise be in the next era.
const LATEST: u64 = 1 << 31;
/// A stratum that means "not synchronised".
const MAX_STRATUM: u8 = 16;

/// What is believed of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// When the server got the request, nanoseconds since the epoch of UNIX.
    pub(crate) received_ns: i128,
    /// When it sent the answer.
    pub(crate) sent_ns: i128,
    /// Half of the way to its source and back, and what its clock may be wrong by.
    pub(crate) distance: Duration,
    /// Steps to a reference clock, 1 to 15.
    pub(crate) stratum: u8,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not a packet of a server to this request: silently passed over.
    #[error("no answer to what was asked")]
    NotOurs,
    /// It asks to be left alone (RFC 5905, section 7.4).
    #[error("the server says {0}")]
    Kiss(String),
    /// It does not know the time.
    #[error("the server is not synchronised")]
    NotSynchronised,
    /// What it says cannot be.
    #[error("the server's times make no sense")]
    Nonsense,
}

/// A request. `nonce` stands where the time of sending would: the answer brings it back, and nobody on the way learns
/// this node's clock or makes an answer up.
pub(crate) fn request(nonce: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    // No warning, version 4, client.
    packet[0] = (4 << 3) | 3;
    if let Some(transmitted) = packet.last_chunk_mut() {
        *transmitted = nonce.to_be_bytes();
    }
    packet
}

/// Reads an answer to the request with `nonce`. Times are of the era in which they are not before `earliest_s`, seconds
/// since the epoch of UNIX.
pub(crate) fn reply(packet: &[u8], nonce: u64, earliest_s: u64) -> Result<Reply, Refusal> {
    let Some((head, _)) = packet.split_first_chunk::<LENGTH>() else {
        return Err(Refusal::NotOurs);
    };
    let (leap, version, mode) = (head[0] >> 6, (head[0] >> 3) & 7, head[0] & 7);
    if mode != 4 || !(3..=4).contains(&version) || field(head, 24) != nonce {
        return Err(Refusal::NotOurs);
    }
    let stratum = head[1];
    if stratum == 0 {
        let code = head.iter().skip(12).take(4).map(|byte| char::from(*byte));
        let code = code.filter(char::is_ascii_alphanumeric).collect();
        return Err(Refusal::Kiss(code));
    }
    if leap == 3 || stratum >= MAX_STRATUM {
        return Err(Refusal::NotSynchronised);
    }
    let distance = short(head, 4) / 2 + short(head, 8);
    let (received, sent) = (field(head, 32), field(head, 40));
    if received == 0 || sent == 0 || distance > MAX_DISTANCE {
        return Err(Refusal::Nonsense);
    }
    let (received_ns, sent_ns) = (unix_ns(received, earliest_s), unix_ns(sent, earliest_s));
    let latest_ns = i128::from(earliest_s + LATEST) * 1_000_000_000;
    if sent_ns < received_ns || sent_ns > latest_ns {
        return Err(Refusal::Nonsense);
    }
    Ok(Reply {
        received_ns,
        sent_ns,
        distance,
        stratum,
    })
}

/// The eight bytes at an offset that is in the packet.
fn field(packet: &[u8; LENGTH], offset: usize) -> u64 {
    let bytes = packet.iter().skip(offset).take(8);
    bytes.fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// A duration of 16 bits of seconds and 16 of fraction.
fn short(packet: &[u8; LENGTH], offset: usize) -> Duration {
    let value = field(packet, offset) >> 32;
    Duration::from_nanos((value * 1_000_000_000) >> 16)
}

fn unix_ns(timestamp: u64, earliest_s: u64) -> i128 {
    let seconds = timestamp >> 32;
    let fraction = ((timestamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    let earliest = earliest_s + UNIX_EPOCH;
    let era = (earliest >> 32) << 32;
    let mut since_1900 = era + seconds;
    if since_1900 < earliest {
        since_1900 += 1 << 32;
    }
    i128::from(since_1900 - UNIX_EPOCH) * 1_000_000_000 + i128::from(fraction)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;
    /// 2026-01-01.
    const BUILT: u64 = 1_767_225_600;

    fn timestamp(unix_ns: i128) -> u64 {
        let seconds = (unix_ns / 1_000_000_000) as u64 + UNIX_EPOCH;
        let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
        (seconds << 32) | fraction as u64
    }

    /// What a server of stratum 2 answers.
    pub(crate) fn answer(nonce: u64, received_ns: i128, sent_ns: i128) -> [u8; LENGTH] {
        let mut packet = [0; LENGTH];
        packet[0] = (4 << 3) | 4;
        packet[1] = 2;
        packet[4..8].copy_from_slice(&(1u32 << 10).to_be_bytes());
        packet[8..12].copy_from_slice(&(1u32 << 9).to_be_bytes());
        packet[24..32].copy_from_slice(&nonce.to_be_bytes());
        packet[32..40].copy_from_slice(&timestamp(received_ns).to_be_bytes());
        packet[40..48].copy_from_slice(&timestamp(sent_ns).to_be_bytes());
        packet
    }

    fn now() -> i128 {
        i128::from(BUILT + 1000) * 1_000_000_000
    }

    #[test]
    fn a_request_tells_nothing_but_its_nonce() {
        let packet = request(NONCE);
        assert_eq!(packet[0], 0x23);
        assert!(packet[1..40].iter().all(|byte| *byte == 0));
        assert_eq!(packet[40..], NONCE.to_be_bytes());
    }

    #[test]
    fn an_answer_is_read() {
        let read = reply(&answer(NONCE, now(), now() + 5_000), NONCE, BUILT).unwrap();
        assert!((read.received_ns - now()).abs() < 2);
        assert!((read.sent_ns - read.received_ns - 5_000).abs() < 2);
        assert_eq!(read.stratum, 2);
        assert_eq!(read.distance, Duration::from_nanos(7_812_500 + 7_812_500));
    }

    #[test]
    fn the_next_era_begins_in_2036() {
        let later = i128::from(2_300_000_000u64) * 1_000_000_000;
        let read = reply(&answer(NONCE, later, later), NONCE, BUILT).unwrap();
        assert!((read.received_ns - later).abs() < 2);
    }

    #[test]
    fn what_is_no_answer_to_the_request_is_passed_over() {
        let good = answer(NONCE, now(), now());
        let edits: [(usize, u8); 4] = [
            (0, (4 << 3) | 3),
            (0, (4 << 3) | 5),
            (0, (1 << 3) | 4),
            (24, 9),
        ];
        for (offset, byte) in edits {
            let mut packet = good;
            packet[offset] = byte;
            assert_eq!(reply(&packet, NONCE, BUILT), Err(Refusal::NotOurs));
        }
        assert_eq!(reply(&good[..47], NONCE, BUILT), Err(Refusal::NotOurs));
    }

    #[test]
    fn a_server_without_time_or_sense_is_not_believed() {
        let refused = |offset: usize, bytes: &[u8]| {
            let mut packet = answer(NONCE, now(), now());
            packet[offset..offset + bytes.len()].copy_from_slice(bytes);
            reply(&packet, NONCE, BUILT).unwrap_err()
        };
        assert_eq!(
            refused(0, &[(3 << 6) | (4 << 3) | 4]),
            Refusal::NotSynchronised
        );
        assert_eq!(refused(1, &[16]), Refusal::NotSynchronised);
        assert_eq!(refused(8, &[0xff; 4]), Refusal::Nonsense);
        assert_eq!(refused(40, &[0; 8]), Refusal::Nonsense);
        let in_1970 = timestamp(1_000_000_000).to_be_bytes();
        assert_eq!(refused(40, &in_1970), Refusal::Nonsense);
        let mut kiss = answer(NONCE, now(), now());
        kiss[1] = 0;
        kiss[12..16].copy_from_slice(b"RATE");
        assert_eq!(
            reply(&kiss, NONCE, BUILT),
            Err(Refusal::Kiss("RATE".into()))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(packet in proptest::collection::vec(any::<u8>(), 0..100), nonce: u64) {
            let _ = reply(&packet, nonce, BUILT);
        }

        #[test]
        fn what_is_believed_is_in_order(mut packet in proptest::array::uniform32(any::<u8>()), rest in proptest::array::uniform16(any::<u8>())) {
            packet[0] = (4 << 3) | 4;
            packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
            let whole = [&packet[..], &rest[..]].concat();
            if let Ok(read) = reply(&whole, NONCE, BUILT) {
                prop_assert!(read.sent_ns >= read.received_ns);
                prop_assert!(read.received_ns >= i128::from(BUILT) * 1_000_000_000);
                prop_assert!((1..16).contains(&read.stratum));
            }
        }
    }
}
