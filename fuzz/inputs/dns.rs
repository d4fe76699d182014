//! A DNS message, as a client may send it and as an upstream may. The first byte says how much of an answer goes back to
//! the client, the rest is the message.

use super::wire::{
    Asked, Question, RANDOM_BYTES, Reason, Refusal, answer, from_answer, of_code, query,
};

pub(crate) fn run(bytes: &[u8]) {
    let Some((first, message)) = bytes.split_first() else {
        return;
    };
    from_client(message);
    from_upstream(message, 512 + usize::from(*first) * 16);
}

/// What is answered repeats the question, and nothing answers an answer.
fn from_client(message: &[u8]) {
    match query(message) {
        Ok(query) => {
            let reply = of_code(&query, 2, Some(Reason::NotReady));
            assert!(reply[12..].starts_with(&query.question.written));
            let asked = Asked::new(
                &query.question,
                query.dnssec_ok(),
                false,
                [0x5a; RANDOM_BYTES],
            );
            assert!(asked.message[12..].starts_with(&asked.written));
            let again = self::query(&asked.message).expect("what goes upstream can be read");
            assert_eq!(again.question.name, query.question.name);
        }
        Err(Refusal::Silence) => {}
        Err(refusal) => {
            let reply = refusal.reply().expect("a refusal");
            assert_eq!(query(&reply), Err(Refusal::Silence));
            assert!(reply.len() <= message.len() + 20, "nothing is amplified");
        }
    }
}

/// What is taken of an answer goes back to a client within its bounds, and is an answer to whoever reads it at once.
fn from_upstream(message: &[u8], limit: usize) {
    let Some(question) = question(message) else {
        return;
    };
    let asked = of(&question, message);
    let Ok(kept) = answer(message, &asked, false) else {
        return;
    };
    assert!(kept.message.len() <= message.len());
    let client = Asked::new(&question, true, false, [0xa5; RANDOM_BYTES]);
    let Ok(client) = query(&client.message) else {
        return;
    };
    let reply = from_answer(&client, &kept, 0, false, limit);
    let read = answer(&reply, &of(&question, &reply), false);
    let whole = from_answer(&client, &kept, 0, false, usize::MAX);
    assert!(read.is_ok() || whole.len() > limit, "{read:?}");
    // A name may lead through a time to live, and is another one when that is: all that holds then is the bound.
    let kept = kept.clamped(5, 3600).unauthenticated();
    let within = |lifetime: u32| (5..=3600).contains(&lifetime);
    assert!(kept.lifetime.is_none_or(within));
    for stale in [false, true] {
        assert!(from_answer(&client, &kept, 7, stale, limit).len() <= limit);
    }
}

/// The question that a message answers.
fn question(message: &[u8]) -> Option<Question> {
    let mut asking = message.to_vec();
    asking
        .get_mut(2..12)?
        .copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    query(&asking).ok().map(|query| query.question)
}

/// What would have to be asked for this message to be its answer.
fn of(question: &Question, message: &[u8]) -> Asked {
    Asked {
        id: u16::from_be_bytes([message[0], message[1]]),
        written: question.written.clone(),
        rtype: question.rtype,
        message: Vec::new(),
    }
}
