//! Upstreams that are slow, broken or hostile.

use std::time::{Duration, Instant};

use super::*;
use crate::resolver::forward::TOTAL;
use crate::resolver::wire::rcode;
use crate::resolver::wire::tests::soa;

#[tokio::test]
async fn a_name_is_asked_for_once_and_then_known() {
    let fake = Fake::good().await;
    let world = World::new(&config(&[&fake])).await;
    for _ in 0..3 {
        assert!(is_good(&world.ask("www.example").await));
    }
    assert!(is_good(&world.ask("WWW.Example").await));
    assert!(is_good(&world.ask_over_tcp("www.example").await.unwrap()));
    assert_eq!((fake.asked(), fake.asked_over_tcp()), (1, 0));
    assert_eq!(world.resolver.counters.kept.get(), 4);
}

#[tokio::test]
async fn that_there_is_no_such_name_is_known_too() {
    let fake = Fake::start(
        |asked| vec![answered(asked, 3, [&[], &[record(6, 300, &soa(60))], &[]])],
        |_| None,
    )
    .await;
    let world = World::new(&config(&[&fake])).await;
    for _ in 0..3 {
        let reply = world.ask("gone.example").await;
        assert_eq!(code(&reply), u16::from(rcode::NXDOMAIN));
    }
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn answers_to_other_questions_are_passed_over() {
    let fake = Fake::start(
        |asked| {
            let mut other_id = poison(asked);
            other_id[0] ^= 1;
            let mut other_name = poison(asked);
            other_name[13] = b'x';
            let mut other_type = poison(asked);
            let kind = asked.len() - 11 - 3;
            other_type[kind] = 28;
            let mut a_question = poison(asked);
            a_question[2] = 1;
            vec![
                other_id,
                other_name,
                other_type,
                a_question,
                vec![0; 5],
                Vec::new(),
                good(asked),
            ]
        },
        |_| None,
    )
    .await;
    let world = World::new(&config(&[&fake])).await;
    assert!(is_good(&world.ask("www.example").await));
    assert_eq!((fake.asked(), fake.asked_over_tcp()), (1, 0));
}

#[tokio::test]
async fn an_answer_from_elsewhere_is_not_heard() {
    let fake = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = fake.local_addr().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        let (length, from) = fake.recv_from(&mut buffer).await.unwrap();
        let asked = &buffer[..length];
        stranger.send_to(&poison(asked), from).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        fake.send_to(&good(asked), from).await.unwrap();
    });
    let upstream = Upstream {
        port: Some(at.port()),
        ..Upstream::plain(at.ip())
    };
    let world = World::new(&spec_config::Resolver {
        upstreams: vec![upstream],
        ..spec_config::Resolver::default()
    })
    .await;
    assert!(is_good(&world.ask("www.example").await));
}

#[tokio::test]
async fn what_is_truncated_garbled_guessed_or_flooded_is_asked_for_over_tcp() {
    let truncated: OnUdp = |asked| vec![answered(asked, flag::TRUNCATED, [&[], &[], &[]])];
    let lower_case: OnUdp = |asked| {
        let mut reply = poison(asked);
        let name = reply[12..asked.len() - 15].to_ascii_lowercase();
        reply[12..12 + name.len()].copy_from_slice(&name);
        vec![reply]
    };
    let circle: OnUdp = |asked| {
        let data = (0xc000 | (asked.len() as u16 - 11 + 12)).to_be_bytes();
        vec![answered(asked, 0, [&[record(5, 60, &data)], &[], &[]])]
    };
    let cut: OnUdp = |asked| {
        let mut reply = poison(asked);
        reply.pop();
        vec![reply]
    };
    let flood: OnUdp = |asked| {
        let guess = |id: u16| {
            let mut reply = poison(asked);
            reply[..2].copy_from_slice(&id.to_be_bytes());
            reply
        };
        let right = u16_at(asked, 0).unwrap();
        (0..64).filter(|id| *id != right).map(guess).collect()
    };
    let names = ["truncated", "lower-case", "circle", "cut", "flood"];
    for (name, on_udp) in names
        .into_iter()
        .zip([truncated, lower_case, circle, cut, flood])
    {
        let fake = Fake::start(on_udp, |asked| Some(good(asked))).await;
        let world = World::new(&config(&[&fake])).await;
        let reply = world
            .ask("www.a-rather-long-name-with-letters.example")
            .await;
        assert!(is_good(&reply), "{name}: {reply:?}");
        assert_eq!((fake.asked(), fake.asked_over_tcp()), (1, 1), "{name}");
    }
}

#[tokio::test]
async fn a_large_answer_comes_over_tcp_and_goes_on_as_truncated() {
    let fake = Fake::start(
        |asked| vec![answered(asked, flag::TRUNCATED, [&[], &[], &[]])],
        |asked| {
            let many: Vec<Vec<u8>> = (0..2000).map(|_| record(1, 60, &[10, 0, 0, 1])).collect();
            Some(answered(asked, 0, [&many, &[], &[]]))
        },
    )
    .await;
    let world = World::new(&config(&[&fake])).await;
    let reply = world.ask("large.example").await;
    assert!(u16_at(&reply, 2).unwrap() & flag::TRUNCATED != 0 && reply.len() < 512);
    let whole = world.ask_over_tcp("large.example").await.unwrap();
    assert_eq!(u16_at(&whole, 6), Some(2000));
    assert_eq!(fake.asked_over_tcp(), 1);
}

#[tokio::test]
async fn hostile_answers_over_tcp_end_in_a_failure() {
    let truncated: OnUdp = |asked| vec![answered(asked, flag::TRUNCATED, [&[], &[], &[]])];
    let other_id: OnTcp = |asked| {
        let mut reply = poison(asked);
        reply[1] ^= 1;
        Some(reply)
    };
    let too_many: OnTcp = |asked| {
        let many: Vec<Vec<u8>> = (0..2100).map(|_| record(1, 60, &[6, 6, 6, 6])).collect();
        Some(answered(asked, 0, [&many, &[], &[]]))
    };
    let garbage: OnTcp = |_| Some(vec![0xff; 65535]);
    let empty: OnTcp = |_| Some(Vec::new());
    for (name, on_tcp) in [
        ("other id", other_id),
        ("too many", too_many),
        ("garbage", garbage),
        ("empty", empty),
    ] {
        let fake = Fake::start(truncated, on_tcp).await;
        let world = World::new(&config(&[&fake])).await;
        let reply = world.ask("www.example").await;
        assert_eq!(code(&reply), u16::from(rcode::SERVFAIL), "{name}");
        assert_eq!(reason(&reply), Some(22), "{name}");
    }
}

#[tokio::test]
async fn who_does_not_answer_is_asked_after_the_others() {
    let (silent, fake) = (Fake::silent().await, Fake::good().await);
    let world = World::new(&config(&[&silent, &fake])).await;
    let began = Instant::now();
    assert!(is_good(&world.ask("a.example").await));
    assert!(began.elapsed() >= Duration::from_millis(900));
    let began = Instant::now();
    assert!(is_good(&world.ask("b.example").await));
    assert!(began.elapsed() < Duration::from_millis(500));
    assert_eq!((silent.asked(), fake.asked()), (1, 2));
}

#[tokio::test]
async fn who_says_that_it_cannot_is_not_believed_while_others_can() {
    let fails: OnUdp = |asked| vec![answered(asked, u16::from(rcode::SERVFAIL), [&[], &[], &[]])];
    let refuses: OnUdp = |asked| vec![answered(asked, u16::from(rcode::REFUSED), [&[], &[], &[]])];
    let (failing, refusing) = (
        Fake::start(fails, |_| None).await,
        Fake::start(refuses, |_| None).await,
    );
    let fake = Fake::good().await;
    let world = World::new(&config(&[&failing, &refusing, &fake])).await;
    assert!(is_good(&world.ask("www.example").await));
    let world = World::new(&config(&[&failing, &refusing])).await;
    let reply = world.ask("www.example").await;
    assert_eq!(code(&reply), u16::from(rcode::SERVFAIL));
    assert_eq!(
        (failing.asked(), refusing.asked()),
        (2, 2),
        "once each time"
    );
    let again = world.ask("www.example").await;
    assert_eq!(reason(&again), Some(13), "it is known to fail");
    assert_eq!((failing.asked(), refusing.asked()), (2, 2));
}

#[tokio::test]
async fn a_failure_takes_no_longer_than_a_client_waits() {
    let silent = Fake::silent().await;
    let world = World::new(&config(&[&silent])).await;
    let began = Instant::now();
    let reply = world.ask("www.example").await;
    assert_eq!((code(&reply), reason(&reply)), (2, Some(22)));
    assert!(began.elapsed() <= TOTAL + Duration::from_millis(400));
    assert_eq!(silent.asked(), 3);
}

#[tokio::test]
async fn an_old_answer_is_better_than_none_and_only_than_none() {
    static GONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let fake = Fake::start(
        |asked| match GONE.load(Ordering::SeqCst) {
            true => vec![answered(asked, 2, [&[], &[], &[]])],
            false => vec![address(asked, 1)],
        },
        |_| None,
    )
    .await;
    let world = World::new(&config(&[&fake])).await;
    let past = Duration::from_millis(1100);
    assert!(is_good(&world.ask("www.example").await));
    tokio::time::sleep(past).await;
    assert!(is_good(&world.ask("www.example").await));
    assert_eq!((fake.asked(), world.resolver.counters.stale.get()), (2, 0));
    GONE.store(true, Ordering::SeqCst);
    tokio::time::sleep(past).await;
    for _ in 0..2 {
        let stale = world.ask("www.example").await;
        assert!(is_good(&stale));
        assert_eq!(reason(&stale), Some(3));
    }
    assert_eq!((fake.asked(), world.resolver.counters.stale.get()), (3, 2));
}

#[tokio::test]
async fn nobody_to_ask_is_a_failure_at_once() {
    let world = World::new(&config(&[])).await;
    let reply = world.ask("www.example").await;
    assert_eq!((code(&reply), reason(&reply)), (2, Some(14)));
    let began = Instant::now();
    assert_eq!(code(&world.ask("localhost").await), 0);
    assert!(began.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn domains_have_upstreams_of_their_own() {
    let (others, corp, lab) = (Fake::good().await, Fake::good().await, Fake::good().await);
    let config = spec_config::Resolver {
        domains: vec![
            domain("corp.example", &corp),
            domain("lab.corp.example", &lab),
        ],
        ..config(&[&others])
    };
    let world = World::new(&config).await;
    for name in [
        "www.example",
        "a.corp.example",
        "b.lab.corp.example",
        "lab.corp.example",
        "notcorp.example",
    ] {
        assert!(is_good(&world.ask(name).await), "{name}");
    }
    assert_eq!((others.asked(), corp.asked(), lab.asked()), (2, 1, 2));
}
