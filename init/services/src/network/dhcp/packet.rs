//! DHCP messages: RFC 2131 (layout), RFC 2132 (options), RFC 3396 (long options), RFC 3442 (classless routes).
//!
//! What comes in is hostile: each length is checked, each list is bounded, and a value that makes no sense is left
//! out rather than used.

use std::net::Ipv4Addr;

/// Largest message that is read; more than any link's MTU carries in one frame.
pub(crate) const MESSAGE_MAX: usize = 9000;
/// Most routers, name servers and classless routes that are taken from one message.
const LIST_MAX: usize = 16;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// BOOTP fields before the cookie.
const FIXED_BYTES: usize = 236;
/// Some relays drop messages below BOOTP's size.
const SEND_MIN: usize = 300;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

mod option {
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVER: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN_NAME: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const MESSAGE: u8 = 56;
    pub(super) const MAX_SIZE: u8 = 57;
    pub(super) const RENEWAL_TIME: u8 = 58;
    pub(super) const REBINDING_TIME: u8 = 59;
    pub(super) const CLIENT_ID: u8 = 61;
    pub(super) const CLASSLESS_ROUTES: u8 = 121;
}

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Client looks for servers.
    Discover,
    /// Server offers.
    Offer,
    /// Client asks for what was offered, or for more time.
    Request,
    /// Server agrees.
    Ack,
    /// Server refuses.
    Nak,
}

impl Kind {
    const ALL: [(Self, u8); 5] = [
        (Self::Discover, 1),
        (Self::Offer, 2),
        (Self::Request, 3),
        (Self::Ack, 5),
        (Self::Nak, 6),
    ];

    fn byte(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, byte)| *byte)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == byte)
            .map(|(kind, _)| *kind)
    }
}

/// What the client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToServer {
    /// Discover or request.
    pub kind: Kind,
    /// Transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// Hardware address.
    pub mac: [u8; 6],
    /// The address the client has and can be reached at, else 0.0.0.0.
    pub client_address: Ipv4Addr,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 12.
    pub hostname: Option<String>,
    /// Largest message the client takes.
    pub max_size: u16,
}

impl ToServer {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![1, 1, 6, 0];
        out.extend_from_slice(&self.xid.to_be_bytes());
        out.extend_from_slice(&self.seconds.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.client_address.octets());
        out.resize(28, 0);
        out.extend_from_slice(&self.mac);
        out.resize(FIXED_BYTES, 0);
        out.extend_from_slice(&COOKIE);
        put(&mut out, option::MESSAGE_TYPE, &[self.kind.byte()]);
        let mut client_id = vec![1];
        client_id.extend_from_slice(&self.mac);
        put(&mut out, option::CLIENT_ID, &client_id);
        if let Some(address) = self.requested {
            put(&mut out, option::REQUESTED_ADDRESS, &address.octets());
        }
        if let Some(server) = self.server {
            put(&mut out, option::SERVER, &server.octets());
        }
        put(&mut out, option::MAX_SIZE, &self.max_size.to_be_bytes());
        if let Some(name) = self
            .hostname
            .as_ref()
            .filter(|name| (1..=255).contains(&name.len()))
        {
            put(&mut out, option::HOST_NAME, name.as_bytes());
        }
        let wanted = [
            option::SUBNET_MASK,
            option::CLASSLESS_ROUTES,
            option::ROUTER,
            option::NAME_SERVER,
            option::DOMAIN_NAME,
            option::MTU,
            option::LEASE_TIME,
            option::RENEWAL_TIME,
            option::REBINDING_TIME,
        ];
        put(&mut out, option::PARAMETERS, &wanted);
        out.push(255);
        out.resize(out.len().max(SEND_MIN), 0);
        out
    }
}

fn put(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    out.push(code);
    out.push(value.len() as u8);
    out.extend_from_slice(value);
}

/// What a server says, checked as far as one message alone can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FromServer {
    /// Offer, ack or nak.
    pub kind: Kind,
    /// Transaction.
    pub xid: u32,
    /// Whom it is for.
    pub mac: [u8; 6],
    /// The client's address.
    pub address: Ipv4Addr,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Length of the contiguous mask of option 1.
    pub prefix: Option<u8>,
    /// Option 3.
    pub routers: Vec<Ipv4Addr>,
    /// Option 121: destination, prefix length, router (0.0.0.0: on the link).
    pub classless_routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Option 6.
    pub name_servers: Vec<Ipv4Addr>,
    /// Option 15, if it is a domain name.
    pub domain: Option<String>,
    /// Option 26.
    pub mtu: Option<u16>,
    /// Option 51 in seconds.
    pub lease_time: Option<u32>,
    /// Option 58 in seconds.
    pub renewal_time: Option<u32>,
    /// Option 59 in seconds.
    pub rebinding_time: Option<u32>,
    /// Option 56, printable part.
    pub message: Option<String>,
}

impl FromServer {
    /// Reads a message; the error says what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes = bytes.get(..MESSAGE_MAX).unwrap_or(bytes);
        let [2, 1, 6, ..] = bytes else {
            return Err("no BOOTP reply for Ethernet");
        };
        let tail = bytes.get(FIXED_BYTES..).ok_or("shorter than BOOTP")?;
        let mut options = Options::default();
        options.read(tail.strip_prefix(&COOKIE).ok_or("no DHCP cookie")?)?;
        match options.get(option::OVERLOAD) {
            Some([1]) => options.read(field(bytes, FILE))?,
            Some([2]) => options.read(field(bytes, SNAME))?,
            Some([3]) => {
                options.read(field(bytes, FILE))?;
                options.read(field(bytes, SNAME))?;
            }
            _ => {}
        }
        let kind = match options.get(option::MESSAGE_TYPE) {
            Some([byte]) => Kind::from_byte(*byte).ok_or("of a kind that no server sends")?,
            _ => return Err("no message type"),
        };
        Ok(Self {
            kind,
            xid: u32::from_be_bytes(array(field(bytes, 4..8)).ok_or("short")?),
            mac: array(field(bytes, 28..34)).ok_or("short")?,
            address: Ipv4Addr::from(array::<4>(field(bytes, 16..20)).ok_or("short")?),
            server: options.addresses(option::SERVER).first().copied(),
            prefix: options.get(option::SUBNET_MASK).and_then(mask_prefix),
            routers: options.addresses(option::ROUTER),
            classless_routes: options
                .get(option::CLASSLESS_ROUTES)
                .map(classless_routes)
                .unwrap_or_default(),
            name_servers: options.addresses(option::NAME_SERVER),
            domain: options.get(option::DOMAIN_NAME).and_then(domain_name),
            mtu: options
                .get(option::MTU)
                .and_then(array)
                .map(u16::from_be_bytes),
            lease_time: options.seconds(option::LEASE_TIME),
            renewal_time: options.seconds(option::RENEWAL_TIME),
            rebinding_time: options.seconds(option::REBINDING_TIME),
            message: options.get(option::MESSAGE).map(printable),
        })
    }
}

/// The options of a message, the parts of a split one joined (RFC 3396).
#[derive(Default)]
struct Options {
    values: Vec<(u8, Vec<u8>)>,
}

impl Options {
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while let Some((code, rest)) = bytes.split_first() {
            match code {
                0 => bytes = rest,
                255 => return Ok(()),
                code => {
                    let (length, rest) = rest.split_first().ok_or("an option without length")?;
                    let (value, rest) = rest
                        .split_at_checked(usize::from(*length))
                        .ok_or("an option beyond the end")?;
                    match self.values.iter_mut().find(|(known, _)| known == code) {
                        Some((_, joined)) => joined.extend_from_slice(value),
                        None => self.values.push((*code, value.to_vec())),
                    }
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.values
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, value)| value.as_slice())
    }

    fn seconds(&self, code: u8) -> Option<u32> {
        self.get(code).and_then(array).map(u32::from_be_bytes)
    }

    /// The host addresses of a list.
    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let chunks = self.get(code).unwrap_or_default().chunks_exact(4);
        chunks
            .filter_map(array::<4>)
            .map(Ipv4Addr::from)
            .filter(|address| is_host(*address))
            .take(LIST_MAX)
            .collect()
    }
}

/// Whether one host can have this address.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    !address.is_unspecified() && !address.is_loopback() && first != 0 && first < 224
}

fn field(bytes: &[u8], range: std::ops::Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn mask_prefix(mask: &[u8]) -> Option<u8> {
    let mask = u32::from_be_bytes(array(mask)?);
    let prefix = mask.leading_ones();
    (mask.count_ones() == prefix && prefix > 0).then_some(prefix as u8)
}

fn classless_routes(mut bytes: &[u8]) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    let mut routes = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first()
        && *prefix <= 32
        && routes.len() < LIST_MAX
    {
        let significant = usize::from(*prefix).div_ceil(8);
        let Some((destination, rest)) = rest.split_at_checked(significant) else {
            break;
        };
        let Some((router, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        bytes = rest;
        let mut octets = [0; 4];
        octets
            .iter_mut()
            .zip(destination)
            .for_each(|(octet, byte)| *octet = *byte);
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        let destination = Ipv4Addr::from(u32::from_be_bytes(octets) & mask);
        let router = Ipv4Addr::from(*router);
        if router.is_unspecified() || is_host(router) {
            routes.push((destination, *prefix, router));
        }
    }
    routes
}

/// Only what may stand in resolv.conf.
fn domain_name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes)
        .ok()?
        .trim_end_matches(['\0', '.']);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(128)
        .map(|byte| {
            if matches!(byte, 0x20..=0x7e) {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

    /// A server's message with these options, for tests of other files too.
    pub(crate) fn reply(kind: u8, xid: u32, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0];
        bytes.extend_from_slice(&xid.to_be_bytes());
        bytes.resize(16, 0);
        bytes.extend_from_slice(&address);
        bytes.resize(28, 0);
        bytes.extend_from_slice(&MAC);
        bytes.resize(FIXED_BYTES, 0);
        bytes.extend_from_slice(&COOKIE);
        put(&mut bytes, option::MESSAGE_TYPE, &[kind]);
        options
            .iter()
            .for_each(|(code, value)| put(&mut bytes, *code, value));
        bytes.push(255);
        bytes
    }

    #[test]
    fn an_offer_is_read() {
        let bytes = reply(
            2,
            7,
            [10, 0, 2, 15],
            &[
                (54, &[10, 0, 2, 2]),
                (1, &[255, 255, 255, 0]),
                (3, &[10, 0, 2, 2]),
                (6, &[10, 0, 2, 3, 1, 1, 1, 1]),
                (15, b"Example.org."),
                (26, &[5, 220]),
                (51, &[0, 1, 81, 128]),
            ],
        );
        let offer = FromServer::parse(&bytes).unwrap();
        assert_eq!((offer.kind, offer.xid, offer.mac), (Kind::Offer, 7, MAC));
        assert_eq!(offer.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(
            (offer.prefix, offer.mtu, offer.lease_time),
            (Some(24), Some(1500), Some(86400))
        );
        assert_eq!(offer.name_servers.len(), 2);
        assert_eq!(offer.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn classless_routes_are_read_and_bounded() {
        let value = [
            24, 192, 168, 7, 10, 0, 0, 1, 0, 10, 0, 0, 254, 12, 172, 31, 10, 0, 0, 1, 33, 1,
        ];
        assert_eq!(
            classless_routes(&value),
            [
                (
                    Ipv4Addr::new(192, 168, 7, 0),
                    24,
                    Ipv4Addr::new(10, 0, 0, 1)
                ),
                (Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 0, 254)),
                (Ipv4Addr::new(172, 16, 0, 0), 12, Ipv4Addr::new(10, 0, 0, 1)),
            ]
        );
    }

    #[test]
    fn a_split_option_is_joined() {
        let bytes = reply(5, 1, [10, 0, 0, 9], &[(15, b"exam"), (15, b"ple.org")]);
        assert_eq!(
            FromServer::parse(&bytes).unwrap().domain.as_deref(),
            Some("example.org")
        );
    }

    #[test]
    fn options_in_the_file_field_are_read_when_the_message_says_so() {
        let mut bytes = reply(5, 1, [10, 0, 0, 9], &[(52, &[1])]);
        bytes[FILE.start..FILE.start + 7].copy_from_slice(&[54, 4, 10, 0, 0, 1, 255]);
        assert_eq!(
            FromServer::parse(&bytes).unwrap().server,
            Some(Ipv4Addr::new(10, 0, 0, 1))
        );
    }

    #[test]
    fn what_could_harm_resolv_conf_or_routing_is_left_out() {
        let bytes = reply(
            5,
            1,
            [10, 0, 0, 9],
            &[
                (15, b"a\nnameserver 6.6.6.6"),
                (6, &[0, 0, 0, 0, 224, 0, 0, 1, 127, 0, 0, 1]),
                (1, &[255, 0, 255, 0]),
            ],
        );
        let ack = FromServer::parse(&bytes).unwrap();
        assert_eq!((ack.domain, ack.prefix), (None, None));
        assert!(ack.name_servers.is_empty());
    }

    #[test]
    fn malformed_messages_are_refused() {
        let good = reply(2, 1, [10, 0, 0, 9], &[]);
        assert_eq!(FromServer::parse(&good[..100]), Err("shorter than BOOTP"));
        assert_eq!(
            FromServer::parse(&good[..good.len() - 2]),
            Err("an option beyond the end")
        );
        let mut request = good.clone();
        request[0] = 1;
        assert!(FromServer::parse(&request).is_err());
    }

    #[test]
    fn what_the_client_sends_is_what_a_server_expects() {
        let request = ToServer {
            kind: Kind::Request,
            xid: 0x0102_0304,
            seconds: 3,
            mac: MAC,
            client_address: Ipv4Addr::UNSPECIFIED,
            requested: Some(Ipv4Addr::new(10, 0, 2, 15)),
            server: Some(Ipv4Addr::new(10, 0, 2, 2)),
            hostname: Some("dev-1".into()),
            max_size: 1472,
        };
        let bytes = request.encode();
        assert!(bytes.len() >= SEND_MIN);
        assert_eq!(bytes[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 3, 0, 0]);
        assert_eq!(bytes[28..34], MAC);
        assert_eq!(bytes[240..243], [53, 1, 3]);
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(&[50, 4, 10, 0, 2, 15]) && has(&[54, 4, 10, 0, 2, 2]) && has(b"\x0c\x05dev-1"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = FromServer::parse(&bytes);
        }

        #[test]
        fn no_options_make_it_panic(options in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut bytes = reply(2, 1, [10, 0, 0, 9], &[]);
            bytes.pop();
            bytes.extend_from_slice(&options);
            let _ = FromServer::parse(&bytes);
        }
    }
}
