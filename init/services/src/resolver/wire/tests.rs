//! Messages in good and in bad shape.

use proptest::prelude::*;

use super::*;

/// A question as a client asks it.
pub(crate) fn question(name: &str, rtype: u16) -> Question {
    query(&message(7, flag::RECURSION_DESIRED, name, rtype, &[]))
        .unwrap()
        .question
}

/// A message of a client: id, flags, question, and what stands behind that (one record, if anything).
pub(crate) fn message(id: u16, flags: u16, name: &str, rtype: u16, record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [id, flags, 1, 0, 0, u16::from(!record.is_empty())] {
        bytes.extend(field.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(rtype.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(record);
    bytes
}

/// EDNS with so many bytes, a version, and whether DNSSEC's records are wanted.
pub(crate) fn opt(size: u16, version: u8, dnssec_ok: bool) -> Vec<u8> {
    let [high, low] = size.to_be_bytes();
    let dnssec_ok = if dnssec_ok { 0x80 } else { 0 };
    vec![0, 0, 41, high, low, 0, version, dnssec_ok, 0, 0, 0]
}

/// A record under the name of the question.
pub(crate) fn record(rtype: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 0x0c];
    bytes.extend(rtype.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The data of an SOA whose names are the question's.
pub(crate) fn soa(minimum: u32) -> Vec<u8> {
    let numbers = [1u32, 2, 3, 4, minimum];
    let names = [0xc0, 0x0c, 0xc0, 0x0c];
    names
        .into_iter()
        .chain(numbers.into_iter().flat_map(u32::to_be_bytes))
        .collect()
}

/// An upstream's answer to a message: flags beside those of every answer, and the records of the three sections.
pub(crate) fn answered(message: &[u8], flags: u16, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
    let (_, _, end) = super::query::question(message).unwrap();
    let mut bytes = message[..end].to_vec();
    let always = flag::RESPONSE | flag::RECURSION_DESIRED | flag::RECURSION_AVAILABLE;
    bytes[2..4].copy_from_slice(&(flags | always).to_be_bytes());
    for (index, section) in sections.iter().enumerate() {
        let count = (section.len() as u16).to_be_bytes();
        bytes[6 + 2 * index..8 + 2 * index].copy_from_slice(&count);
        bytes.extend(section.concat());
    }
    bytes
}

fn asked(name: &str, rtype: u16) -> Asked {
    Asked::new(&question(name, rtype), false, false, [0xa5; RANDOM_BYTES])
}

fn address(ttl: u32) -> Vec<u8> {
    record(rtype::A, ttl, &[10, 0, 0, 1])
}

fn flags_of(reply: &[u8]) -> u16 {
    u16_at(reply, 2).unwrap()
}

fn counts_of(reply: &[u8]) -> [u16; 4] {
    [4, 6, 8, 10].map(|offset| u16_at(reply, offset).unwrap())
}

#[test]
fn a_question_is_read_with_its_capitals_and_its_edns() {
    let bytes = message(
        9,
        flag::RECURSION_DESIRED,
        "Www.Example",
        28,
        &opt(4096, 0, true),
    );
    let query = query(&bytes).unwrap();
    assert_eq!(query.question.name, Name::of_text("www.example").unwrap());
    assert_eq!(query.question.name.to_string(), "www.example");
    assert_eq!(*query.question.written, bytes[12..12 + 17]);
    assert_eq!(
        (query.id, query.question.rtype, query.udp_size()),
        (9, 28, 4096)
    );
    assert!(query.dnssec_ok());
}

#[test]
fn a_client_without_edns_takes_512_bytes_and_no_less_with_it() {
    let plain = query(&message(9, 0, "a", 1, &[])).unwrap();
    let modest = query(&message(9, 0, "a", 1, &opt(100, 0, false))).unwrap();
    assert_eq!((plain.udp_size(), modest.udp_size()), (512, 512));
}

#[test]
fn what_cannot_be_answered_is_refused_by_its_code() {
    let with = |offset: usize, value: u16| {
        let mut bytes = message(9, flag::RECURSION_DESIRED, "a", 1, &[]);
        bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let two_opts = [opt(512, 0, false), opt(512, 0, false)].concat();
    let mut doubled = message(9, 0, "a", 1, &two_opts);
    doubled[11] = 2;
    for (bytes, code) in [
        (with(2, 0x2000), rcode::NOTIMP),
        (with(2, 0x2800), rcode::NOTIMP),
        (with(4, 0), rcode::FORMERR),
        (with(4, 2), rcode::FORMERR),
        (with(6, 5), rcode::FORMERR),
        (with(10, 1), rcode::FORMERR),
        (with(12, 0xc000), rcode::FORMERR),
        (with(12, 0x4161), rcode::FORMERR),
        (doubled, rcode::FORMERR),
        (message(9, 0, "a", 41, &[]), rcode::FORMERR),
        (message(9, 0, "a", 0, &[]), rcode::FORMERR),
        (message(9, 0, "a", 255, &[]), rcode::REFUSED),
        (message(9, 0, "a", 252, &[]), rcode::REFUSED),
        (message(9, 0, "a", 251, &[]), rcode::REFUSED),
        (with(17, 3), rcode::REFUSED),
    ] {
        let reply = query(&bytes).unwrap_err().reply().unwrap();
        assert_eq!(flags_of(&reply) & flag::RCODE, u16::from(code), "{bytes:?}");
        assert_eq!(u16_at(&reply, 0), Some(9));
        assert!(flags_of(&reply) & flag::RESPONSE != 0);
    }
}

#[test]
fn an_unknown_version_of_edns_is_said_to_be() {
    let reply = query(&message(9, 0, "a", 1, &opt(512, 1, false)))
        .unwrap_err()
        .reply()
        .unwrap();
    assert_eq!(flags_of(&reply) & flag::RCODE, 0);
    assert_eq!(counts_of(&reply), [1, 0, 0, 1]);
    let (upper, version) = (reply[reply.len() - 6], reply[reply.len() - 5]);
    assert_eq!((upper, version), (1, 0), "BADVERS is 16");
}

#[test]
fn answers_and_what_has_no_header_are_met_with_silence() {
    let answer = message(9, flag::RESPONSE, "a", 1, &[]);
    for bytes in [&answer[..], &answer[..11], &[]] {
        assert_eq!(query(bytes), Err(Refusal::Silence));
        assert_eq!(query(bytes).unwrap_err().reply(), None);
    }
}

#[test]
fn what_goes_upstream_has_an_id_and_capitals_that_nobody_knows() {
    let question = question("www.example", 1);
    let mut random = [0; RANDOM_BYTES];
    random[..4].copy_from_slice(&[0x12, 0x34, 0b0000_0110, 0]);
    let asked = Asked::new(&question, true, true, random);
    assert_eq!(asked.id, 0x1234);
    assert_eq!(asked.written[..13], *b"\x03WWw\x07example\0");
    let read = query(&asked.message).unwrap();
    assert_eq!(read.question.name, question.name);
    assert_eq!(read.udp_size(), UDP_SIZE);
    assert!(read.dnssec_ok() && read.has(flag::CHECKING_DISABLED));
}

#[test]
fn an_answer_is_kept_without_its_additional_section() {
    let asked = asked("www.example", 1);
    let sections = [
        &[address(300), address(60)][..],
        &[record(2, 900, &[0xc0, 0x0c])],
        &[address(5), opt(1232, 0, false)],
    ];
    let bytes = answered(&asked.message, 0, sections);
    let answer = answer(&bytes, &asked, true).unwrap();
    assert_eq!((answer.rcode, answer.lifetime), (0, Some(60)));
    assert_eq!(answer.message.len(), bytes.len() - 16 - 11);
    assert_eq!(counts_of(&answer.message), [1, 2, 1, 0]);
    let ttls: Vec<u32> = answer
        .ttls
        .iter()
        .map(|offset| u32_at(&answer.message, usize::from(*offset)).unwrap())
        .collect();
    assert_eq!(ttls, [300, 60, 900]);
}

#[test]
fn only_what_answers_the_question_is_taken() {
    let asked = asked("www.example", 1);
    let good = answered(&asked.message, 0, [&[address(60)], &[], &[]]);
    let with = |offset: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[offset] = value;
        bytes
    };
    for (bytes, wrong) in [
        (with(1, !good[1]), Wrong::Another),
        (with(2, 0x01), Wrong::Another),
        (with(13, b'x'), Wrong::Another),
        (with(good.len() - 17, 28), Wrong::Another),
        (with(13, good[13] ^ 0x20), Wrong::Capitals),
        (with(2, good[2] | 0x02), Wrong::Truncated),
        (with(7, 2), Wrong::Malformed),
        (with(9, 1), Wrong::Malformed),
        (with(11, 1), Wrong::Malformed),
        (with(6, 0xff), Wrong::Malformed),
        (good[..good.len() - 1].to_vec(), Wrong::Malformed),
        (good[..20].to_vec(), Wrong::Malformed),
    ] {
        let said = answer(&bytes, &asked, true);
        assert_eq!(said, Err(wrong), "{bytes:?}");
    }
    let lower = with(13, good[13] ^ 0x20);
    assert!(answer(&lower, &asked, false).is_ok(), "over a connection");
}

#[test]
fn names_that_lead_nowhere_or_in_circles_are_refused() {
    let asked = asked("www.example", 5);
    let end = asked.message.len() as u16 - 11;
    let pointer = |to: u16| (0xc000 | to).to_be_bytes().to_vec();
    // The data of the first record begin behind its name and ten bytes more.
    let data = end + 12;
    for to in [data, data + 1, data + 2, 0x3fff, 0, 2, 11] {
        let bytes = answered(
            &asked.message,
            0,
            [&[record(5, 60, &pointer(to))], &[], &[]],
        );
        let said = answer(&bytes, &asked, true);
        assert_eq!(said, Err(Wrong::Malformed), "pointer to {to} from {data}");
    }
    let mut long = Vec::new();
    for _ in 0..5 {
        long.push(63);
        long.extend([b'a'; 63]);
    }
    long.push(0);
    for (rtype, data) in [
        (5, long),
        (5, vec![0xc0]),
        (5, vec![0xc0, 0x0c, 0]),
        (15, vec![0]),
        (6, soa(1)[..23].to_vec()),
        (33, vec![0, 0, 0, 0, 0]),
    ] {
        let bytes = answered(&asked.message, 0, [&[record(rtype, 60, &data)], &[], &[]]);
        assert_eq!(
            answer(&bytes, &asked, true),
            Err(Wrong::Malformed),
            "{rtype} {data:?}"
        );
    }
}

#[test]
fn that_there_is_none_holds_as_long_as_the_zone_says() {
    let asked = asked("www.example", 1);
    let of = |flags: u16, sections: [&[Vec<u8>]; 3]| {
        let bytes = answered(&asked.message, flags, sections);
        answer(&bytes, &asked, true).unwrap().lifetime
    };
    let soa = |ttl, minimum| [record(rtype::SOA, ttl, &soa(minimum))];
    let alias = |ttl| [record(5, ttl, &[0xc0, 0x0c])];
    assert_eq!(of(3, [&[], &soa(300, 60), &[]]), Some(60));
    assert_eq!(of(3, [&[], &soa(30, 60), &[]]), Some(30));
    assert_eq!(of(0, [&[], &soa(300, 60), &[]]), Some(60));
    assert_eq!(of(3, [&[], &soa(90_000, 90_000), &[]]), Some(900));
    assert_eq!(of(3, [&[], &[], &[]]), None, "nothing is said of it");
    assert_eq!(of(0, [&alias(20), &soa(300, 60), &[]]), Some(20));
    assert_eq!(of(0, [&alias(20), &[], &[]]), None);
    assert_eq!(of(0, [&[address(1 << 31)], &[], &[]]), Some(0));
}

#[test]
fn an_error_beyond_four_bits_is_a_failure() {
    let asked = asked("www.example", 1);
    let mut bad = opt(1232, 0, false);
    bad[5] = 1;
    let bytes = answered(&asked.message, 0, [&[], &[], &[bad]]);
    let answer = answer(&bytes, &asked, true).unwrap();
    assert!(!answer.is_final());
}

#[test]
fn a_kept_answer_goes_back_older_and_with_the_clients_capitals() {
    let asked = asked("www.example", 1);
    let bytes = answered(
        &asked.message,
        flag::AUTHENTIC_DATA,
        [&[address(300)], &[], &[]],
    );
    let answer = answer(&bytes, &asked, true).unwrap();
    let query = query(&message(77, flag::RECURSION_DESIRED, "wWw.example", 1, &[])).unwrap();
    let reply = from_answer(&query, &answer, 100, false, 512);
    assert_eq!(u16_at(&reply, 0), Some(77));
    assert_eq!(reply[12..29], *query.question.written);
    assert_eq!(u32_at(&reply, usize::from(answer.ttls[0])), Some(200));
    assert_eq!(
        flags_of(&reply),
        0x8180,
        "nobody asked whether it is authentic"
    );
    let old = from_answer(&query, &answer, 999, false, 512);
    assert_eq!(u32_at(&old, usize::from(answer.ttls[0])), Some(0));
    let stale = from_answer(&query, &answer, 999, true, 512);
    assert_eq!(u32_at(&stale, usize::from(answer.ttls[0])), Some(30));
    let clamped = answer.clone().clamped(400, 500);
    assert_eq!(clamped.lifetime, Some(400));
    assert_eq!(
        u32_at(&clamped.message, usize::from(answer.ttls[0])),
        Some(400)
    );
}

#[test]
fn that_it_is_authentic_is_passed_on_to_who_asks_and_only_from_who_can_say() {
    let asked = asked("a", 1);
    let bytes = answered(
        &asked.message,
        flag::AUTHENTIC_DATA,
        [&[address(300)], &[], &[]],
    );
    let answer = answer(&bytes, &asked, true).unwrap();
    let curious = query(&message(1, flag::AUTHENTIC_DATA, "a", 1, &[])).unwrap();
    let said = |answer: &Answer| flags_of(&from_answer(&curious, answer, 0, false, 512));
    assert!(said(&answer) & flag::AUTHENTIC_DATA != 0);
    assert!(said(&answer.unauthenticated()) & flag::AUTHENTIC_DATA == 0);
}

#[test]
fn what_does_not_fit_goes_back_as_truncated() {
    let asked = asked("www.example", 1);
    let many: Vec<Vec<u8>> = (0..100).map(address).collect();
    let answer = answer(
        &answered(&asked.message, 0, [&many, &[], &[]]),
        &asked,
        true,
    )
    .unwrap();
    let query = query(&message(1, 0, "www.example", 1, &opt(1232, 0, false))).unwrap();
    let reply = from_answer(&query, &answer, 0, false, 1232);
    assert_eq!(counts_of(&reply), [1, 0, 0, 1]);
    assert!(flags_of(&reply) & flag::TRUNCATED != 0);
    assert_eq!(reply.len(), 12 + 17 + 11);
    let whole = from_answer(&query, &answer, 0, false, 65535);
    assert_eq!(counts_of(&whole), [1, 100, 0, 1]);
}

#[test]
fn the_nodes_own_answers_can_be_read() {
    let local = Local::Records(vec![
        Record::V4([127, 0, 0, 1].into()),
        Record::V6(std::net::Ipv6Addr::LOCALHOST),
    ]);
    let question = message(1, flag::RECURSION_DESIRED, "localhost", 28, &[]);
    let reply = of_local(&query(&question).unwrap(), &local, 512);
    assert_eq!(flags_of(&reply), 0x8580);
    assert_eq!(counts_of(&reply), [1, 1, 0, 0]);
    assert_eq!(
        reply[reply.len() - 16..],
        std::net::Ipv6Addr::LOCALHOST.octets()
    );
    let none = of_local(&query(&question).unwrap(), &Local::NoName, 512);
    assert_eq!(flags_of(&none), 0x8583);
}

#[test]
fn the_reason_of_a_failure_is_said_to_who_knows_edns() {
    let knows = query(&message(1, 0, "a", 1, &opt(1232, 0, false))).unwrap();
    let reply = of_code(&knows, rcode::SERVFAIL, Some(Reason::NoReachableAuthority));
    assert_eq!(reply[reply.len() - 8..], [0, 6, 0, 15, 0, 2, 0, 22]);
    let plain = query(&message(1, 0, "a", 1, &[])).unwrap();
    let reply = of_code(&plain, rcode::SERVFAIL, Some(Reason::NoReachableAuthority));
    assert_eq!(reply.len(), 12 + 7);
}

#[test]
fn names_are_made_of_text_within_their_bounds() {
    let long = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    assert_eq!(Name::of_text(&long).unwrap().wire().len(), 255);
    for text in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        &format!("{long}e"),
        &"a".repeat(64),
    ] {
        assert_eq!(Name::of_text(text), None, "{text}");
    }
    let root = question("", 2).name;
    assert_eq!((root.labels(), root.to_string()), (0, ".".to_owned()));
    assert!(question("a.b", 1).name.is_within(&root));
}

proptest! {
    #[test]
    fn any_bytes_of_a_client_are_answered_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Err(refusal) = query(&bytes) {
            let reply = refusal.reply().unwrap_or_default();
            prop_assert!(reply.len() <= bytes.len() + 20);
        }
    }

    #[test]
    fn a_damaged_question_is_read_or_refused(at in 0usize..40, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = message(9, 0x0100, "www.example", 1, &opt(1232, 0, false));
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(query) = query(&bytes) {
            let reply = of_code(&query, 2, None);
            prop_assert_eq!(&reply[12..12 + query.question.written.len()], &*query.question.written);
        }
    }

    #[test]
    fn a_damaged_answer_is_refused_or_stays_whole(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        age in any::<u32>(),
        limit in 512usize..65536,
    ) {
        let asked = asked("www.example", 1);
        let sections = [
            &[record(5, 60, &[0xc0, 0x0c]), address(300)][..],
            &[record(6, 900, &soa(60))],
            &[opt(1232, 0, false)],
        ];
        let mut bytes = answered(&asked.message, 0, sections);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(kept) = answer(&bytes, &asked, false) {
            let query = query(&message(1, 0, "www.example", 1, &opt(1232, 0, false))).unwrap();
            prop_assert!(from_answer(&query, &kept, age, false, limit).len() <= limit);
            let reply = from_answer(&query, &kept, 0, false, limit);
            let again = Asked { id: 1, written: query.question.written.clone(), ..asked };
            prop_assert!(answer(&reply, &again, true).is_ok());
        }
    }
}
