//! One question to a list of upstreams: one after the other, the whole list again, until one answers or time is up.

use std::time::{Duration, Instant};

use super::health::{self, Health};
use super::upstream::{Upstream, Wish};
use super::wire::Answer;

/// How long all of it may take: shorter than the 5 s after which a client of libc's asks again.
pub(crate) const TOTAL: Duration = Duration::from_millis(4500);
/// How long one upstream is waited for, the first time and later.
const PATIENCE: [Duration; 3] = [
    Duration::from_millis(1000),
    Duration::from_millis(2000),
    Duration::from_millis(2000),
];
/// How long one that is asked over TLS is: it shakes hands first.
const PATIENCE_TLS: Duration = Duration::from_millis(2000);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody is there to be asked, or too much is asked already.
    NotReady,
    /// Nobody answered.
    Silence,
    /// Those who answered say that they cannot.
    Refused,
}

/// Asks until there is an answer that settles the question.
pub(crate) async fn ask(upstreams: &[Upstream], wish: &Wish) -> Result<Answer, Failure> {
    if upstreams.is_empty() {
        return Err(Failure::NotReady);
    }
    let began = Instant::now();
    let mut refused = vec![false; upstreams.len()];
    for patience in PATIENCE {
        let health: Vec<Health> = upstreams.iter().map(Upstream::health).collect();
        for index in health::order(&health, Instant::now()) {
            let (Some(upstream), Some(refused)) = (upstreams.get(index), refused.get_mut(index))
            else {
                continue;
            };
            let left = TOTAL.saturating_sub(began.elapsed());
            if *refused || left.is_zero() {
                continue;
            }
            let own = if upstream.is_tls() {
                PATIENCE_TLS
            } else {
                patience
            };
            match upstream.ask(wish, own.min(left)).await {
                Ok(answer) if answer.is_final() => return Ok(answer),
                // It would say the same again.
                Ok(_) => *refused = true,
                Err(_) => {}
            }
        }
    }
    if refused.contains(&true) {
        return Err(Failure::Refused);
    }
    Err(Failure::Silence)
}
