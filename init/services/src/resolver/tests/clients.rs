//! Clients that are many, slow or hostile.

use std::time::{Duration, Instant};

use super::*;
use crate::resolver::answering::FLIGHTS_MAX;
use crate::resolver::serve::tcp::CONNECTIONS_MAX;
use crate::resolver::wire::rcode;

#[tokio::test]
async fn what_many_ask_at_once_is_asked_once() {
    let fake = Fake::start(
        |asked| {
            std::thread::sleep(Duration::from_millis(50));
            vec![good(asked)]
        },
        |_| None,
    )
    .await;
    let world = World::new(&config(&[&fake])).await;
    let asked = (0..100).map(|_| world.ask("www.example"));
    let replies = futures_util::future::join_all(asked).await;
    assert!(replies.iter().all(|reply| is_good(reply)));
    assert_eq!((fake.asked(), world.resolver.flights()), (1, 0));
}

#[tokio::test]
async fn ten_thousand_questions_are_bounded_and_hold_nobody_up() {
    let silent = Fake::silent().await;
    let world = World::new(&config(&[&silent])).await;
    let flood = world.client().await;
    for number in 0..10_000 {
        let question = message(
            7,
            flag::RECURSION_DESIRED,
            &format!("{number}.example"),
            1,
            &[],
        );
        flood.send(&question).await.unwrap();
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(world.resolver.flights() <= FLIGHTS_MAX);
    }
    assert_eq!(world.resolver.flights(), FLIGHTS_MAX);
    let began = Instant::now();
    assert_eq!(code(&world.ask("localhost").await), 0);
    let refused = world.ask("one-more.example").await;
    assert_eq!((code(&refused), reason(&refused)), (2, Some(14)));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn garbage_is_refused_or_ignored_and_the_next_is_answered() {
    let fake = Fake::good().await;
    let world = World::new(&config(&[&fake])).await;
    let client = world.client().await;
    let answer = message(1, flag::RESPONSE, "a", 1, &[]);
    for silent in [&b""[..], &[0; 11], &answer] {
        client.send(silent).await.unwrap();
    }
    client.send(&[1; 600]).await.unwrap();
    assert_eq!(code(&receive(&client).await), u16::from(rcode::FORMERR));
    let any = message(2, flag::RECURSION_DESIRED, "a.example", 255, &[]);
    assert_eq!(code(&world.send(&any).await), u16::from(rcode::REFUSED));
    let transfer = message(2, flag::RECURSION_DESIRED, "a.example", 252, &[]);
    assert_eq!(
        code(&world.send(&transfer).await),
        u16::from(rcode::REFUSED)
    );
    let not_recursive = message(2, 0, "a.example", 1, &[]);
    assert_eq!(
        code(&world.send(&not_recursive).await),
        u16::from(rcode::REFUSED)
    );
    assert_eq!(fake.asked(), 0);
    assert!(is_good(&world.ask("a.example").await));
}

#[tokio::test]
async fn a_slow_client_over_tcp_holds_nobody_up_and_is_let_go() {
    let fake = Fake::good().await;
    let world = World::new(&config(&[&fake])).await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 20 {
        let mut stream = TcpStream::connect(world.tcp).await.unwrap();
        stream.write_all(&[0, 30, 1]).await.unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    assert!(is_good(&world.ask("a.example").await), "UDP goes on");
    assert!(began.elapsed() < Duration::from_millis(500));
    assert!(is_good(&world.ask_over_tcp("a.example").await.unwrap()));
    assert!(began.elapsed() < Duration::from_secs(8));
    let mut first = slow.swap_remove(0);
    assert_eq!(read_framed(&mut first).await, None, "it was let go");
}

#[tokio::test]
async fn a_connection_takes_one_question_after_the_other() {
    let fake = Fake::good().await;
    let world = World::new(&config(&[&fake])).await;
    let mut stream = TcpStream::connect(world.tcp).await.unwrap();
    let ask = |id, name| message(id, flag::RECURSION_DESIRED, name, 1, &[]);
    write_framed(&mut stream, &ask(1, "a.example")).await;
    write_framed(&mut stream, &ask(2, "b.example")).await;
    for id in [1, 2] {
        let reply = read_framed(&mut stream).await.unwrap();
        assert_eq!(u16_at(&reply, 0), Some(id));
        assert!(is_good(&reply));
    }
    stream.write_all(&[0xff, 0xff, 0, 0]).await.unwrap();
    assert_eq!(read_framed(&mut stream).await, None, "too long a question");
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_the_answer_to_the_next() {
    let fake = Fake::good().await;
    let world = World::new(&config(&[&fake])).await;
    let client = world.client().await;
    let question = message(7, flag::RECURSION_DESIRED, "www.example", 1, &[]);
    client.send(&question).await.unwrap();
    drop(client);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(is_good(&world.ask("www.example").await));
    assert_eq!(fake.asked(), 1);
}
