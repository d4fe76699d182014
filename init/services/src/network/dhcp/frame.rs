//! IPv4 and UDP around a DHCP message, for the time when the link has no address and the kernel's own UDP is of no
//! use (RFC 791, RFC 768).

use std::net::Ipv4Addr;

/// UDP port of the server.
pub(crate) const SERVER_PORT: u16 = 67;
/// UDP port of the client.
pub(crate) const CLIENT_PORT: u16 = 68;
const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;

/// One IPv4 datagram from 0.0.0.0 to everybody on the link.
pub(crate) fn broadcast(payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let udp_length = (UDP_BYTES + payload.len()) as u16;
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend_from_slice(&CLIENT_PORT.to_be_bytes());
    udp.extend_from_slice(&SERVER_PORT.to_be_bytes());
    udp.extend_from_slice(&udp_length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    let mut pseudo = [source.octets(), destination.octets()].concat();
    pseudo.extend_from_slice(&[0, UDP]);
    pseudo.extend_from_slice(&udp_length.to_be_bytes());
    pseudo.extend_from_slice(&udp);
    // Zero would mean that there is no checksum.
    let sum = match checksum(&pseudo) {
        0 => 0xffff,
        sum => sum,
    };
    put(&mut udp, 6, sum);

    let mut packet = vec![0x45, 0xc0];
    packet.extend_from_slice(&((IP_BYTES + udp.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&packet);
    put(&mut packet, 10, sum);
    packet.extend_from_slice(&udp);
    packet
}

/// The DHCP message in an IPv4 datagram from a server, `None` for all else on the link.
///
/// UDP's checksum is not looked at: a packet from the same machine arrives with it still to be computed.
pub(crate) fn payload(packet: &[u8]) -> Option<&[u8]> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let (version, total) = (packet.first()? >> 4, usize::from(be16(packet, 2)?));
    let (fragment, protocol) = (be16(packet, 6)? & 0x3fff, *packet.get(9)?);
    if version != 4 || header_bytes < IP_BYTES || fragment != 0 || protocol != UDP {
        return None;
    }
    let (header, udp) = packet.get(..total)?.split_at_checked(header_bytes)?;
    if checksum(header) != 0 || be16(udp, 0)? != SERVER_PORT || be16(udp, 2)? != CLIENT_PORT {
        return None;
    }
    udp.get(UDP_BYTES..usize::from(be16(udp, 4)?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(slot) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *slot = value.to_be_bytes();
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A server's datagram around a message.
    pub(crate) fn from_server(message: &[u8]) -> Vec<u8> {
        let mut packet = broadcast(message);
        put(&mut packet, 20, SERVER_PORT);
        put(&mut packet, 22, CLIENT_PORT);
        packet
    }

    #[test]
    fn headers_are_those_of_a_known_capture() {
        // From a capture of a DISCOVER of 300 bytes.
        let packet = broadcast(&[0; 300]);
        assert_eq!(packet.len(), 328);
        assert_eq!(
            packet[..10],
            [0x45, 0xc0, 0x01, 0x48, 0, 0, 0x40, 0, 64, 17]
        );
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(packet[20..26], [0, 68, 0, 67, 1, 52]);
    }

    #[test]
    fn a_reply_is_unwrapped() {
        assert_eq!(
            payload(&from_server(b"message")),
            Some(b"message".as_slice())
        );
    }

    #[test]
    fn what_is_not_for_the_client_is_passed_over() {
        let reply = from_server(b"message");
        assert_eq!(payload(&broadcast(b"a client's own")), None);
        for (at, value) in [
            (0, 0x65),
            (0, 0x44),
            (2, 0xff),
            (6, 0x20),
            (9, 6),
            (10, 0),
            (24, 0xff),
        ] {
            let mut other = reply.clone();
            other[at] = value;
            assert_eq!(payload(&other), None, "byte {at} = {value:#x}");
        }
        for end in 0..reply.len() {
            assert_eq!(payload(&reply[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = payload(&bytes);
        }
    }
}
