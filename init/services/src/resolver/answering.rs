//! [`Resolver`]: from a client's message to what goes back.
//!
//! What needs no upstream is answered at once ([`Resolver::take`]). All else is a flight: the same question asked by
//! many is one flight, which goes on when who asked has gone, and there are never more than [`FLIGHTS_MAX`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

use super::cache::{Cache, Found, Key};
use super::counters::Counters;
use super::forward::{self, Failure};
use super::lock;
use super::settings::Settings;
use super::upstream::Wish;
use super::wire::{self, Answer, Query, Reason, flag, rcode};
use super::zone::{self, Node};

/// Most questions that upstreams are asked at a time.
pub(crate) const FLIGHTS_MAX: usize = 512;
/// Most bytes of a UDP answer, whatever a client says it takes.
const UDP_BYTES_MAX: u16 = 4096;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// As a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Step {
    /// This goes back.
    Reply(Vec<u8>),
    /// Nothing does.
    Silence,
    /// Upstreams have to be asked ([`Resolver::ask`]).
    Ask(Box<Asking>),
}

/// A question for upstreams.
#[derive(Debug)]
pub(crate) struct Asking {
    query: Query,
    key: Key,
    limit: usize,
    /// What may be said instead if nobody answers.
    stale: Option<Arc<Answer>>,
}

/// The outcome of a flight, once it has landed.
type Landing = watch::Receiver<Option<Result<Arc<Answer>, Failure>>>;
/// A question by the settings it was asked under.
type Flight = (u64, Key);

/// All that clients and upstreams share.
pub(crate) struct Resolver {
    node: Box<dyn Node>,
    settings: Mutex<Arc<Settings>>,
    cache: Mutex<Cache>,
    flights: Mutex<HashMap<Flight, Landing>>,
    /// What became of the questions.
    pub counters: Counters,
}

impl Resolver {
    /// One that asks nobody yet.
    pub(crate) fn new(node: Box<dyn Node>) -> Arc<Self> {
        let settings = Settings::none();
        Arc::new(Self {
            node,
            cache: Mutex::new(Cache::new(settings.cache.entries as usize)),
            settings: Mutex::new(Arc::new(settings)),
            flights: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// What it works by now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        lock(&self.settings).clone()
    }

    /// Works by these from now on. Others may be asked now: nothing that was kept still holds.
    pub(crate) fn set(&self, settings: Settings) {
        *lock(&self.cache) = Cache::new(settings.cache.entries as usize);
        *lock(&self.settings) = Arc::new(settings);
    }

    /// How many answers and failures are kept.
    pub(crate) fn kept(&self) -> usize {
        lock(&self.cache).len()
    }

    /// How many questions upstreams are asked now.
    pub(crate) fn flights(&self) -> usize {
        lock(&self.flights).len()
    }

    /// Reads a message, and answers it if no upstream is needed.
    pub(crate) fn take(&self, message: &[u8], transport: Transport) -> Step {
        self.counters.questions.add();
        let query = match wire::query(message) {
            Ok(query) => query,
            Err(refusal) => {
                self.counters.refused.add();
                return refusal.reply().map_or(Step::Silence, Step::Reply);
            }
        };
        let limit = match transport {
            Transport::Udp => usize::from(query.udp_size().min(UDP_BYTES_MAX)),
            Transport::Tcp => usize::from(u16::MAX),
        };
        if let Some(local) = zone::answer(&query.question, &*self.node) {
            self.counters.own.add();
            return Step::Reply(wire::of_local(&query, &local, limit));
        }
        // Who does not want others to be asked wants a server, which this is not.
        if !query.has(flag::RECURSION_DESIRED) {
            self.counters.refused.add();
            return Step::Reply(wire::of_code(&query, rcode::REFUSED, None));
        }
        self.look_up(query, limit)
    }

    fn look_up(&self, query: Query, limit: usize) -> Step {
        let key = Key {
            name: query.question.name.clone(),
            rtype: query.question.rtype,
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.has(flag::CHECKING_DISABLED),
        };
        let found = lock(&self.cache).find(&key, Instant::now());
        let stale = match found {
            Found::Fresh(answer, age) => {
                self.counters.kept.add();
                return Step::Reply(wire::from_answer(&query, &answer, age, false, limit));
            }
            Found::Stale(answer, true) => {
                self.counters.stale.add();
                return Step::Reply(wire::from_answer(&query, &answer, 0, true, limit));
            }
            Found::Failed => {
                self.counters.failed.add();
                let reason = Some(Reason::CachedError);
                return Step::Reply(wire::of_code(&query, rcode::SERVFAIL, reason));
            }
            Found::Stale(answer, false) => Some(answer),
            Found::Nothing => None,
        };
        Step::Ask(Box::new(Asking {
            query,
            key,
            limit,
            stale,
        }))
    }

    /// Asks upstreams, or waits for who already does.
    pub(crate) async fn ask(self: &Arc<Self>, asking: &Asking) -> Vec<u8> {
        let outcome = match self.board(asking) {
            None => Err(Failure::NotReady),
            Some(mut landing) => match landing.wait_for(Option::is_some).await {
                Ok(landed) => landed.clone().unwrap_or(Err(Failure::NotReady)),
                Err(_) => Err(Failure::NotReady),
            },
        };
        match outcome {
            Ok(answer) => wire::from_answer(&asking.query, &answer, 0, false, asking.limit),
            Err(failure) => self.without(asking, failure),
        }
    }

    /// What is said where no upstream is asked any more.
    pub(crate) fn without(&self, asking: &Asking, failure: Failure) -> Vec<u8> {
        if let Some(answer) = &asking.stale {
            self.counters.stale.add();
            return wire::from_answer(&asking.query, answer, 0, true, asking.limit);
        }
        self.counters.failed.add();
        let reason = match failure {
            Failure::NotReady => Reason::NotReady,
            Failure::Silence => Reason::NoReachableAuthority,
            Failure::Refused => Reason::Upstream,
        };
        wire::of_code(&asking.query, rcode::SERVFAIL, Some(reason))
    }

    /// The flight of a question, begun if there is none; nothing where there are too many.
    fn board(self: &Arc<Self>, asking: &Asking) -> Option<Landing> {
        let settings = self.settings();
        let flight = (settings.generation, asking.key.clone());
        let mut flights = lock(&self.flights);
        if let Some(landing) = flights.get(&flight) {
            return Some(landing.clone());
        }
        if flights.len() >= FLIGHTS_MAX {
            return None;
        }
        let (sender, landing) = watch::channel(None);
        flights.insert(flight.clone(), landing.clone());
        self.counters.asked.add();
        let wish = Wish {
            question: asking.query.question.clone(),
            dnssec_ok: asking.key.dnssec_ok,
            checking_disabled: asking.key.checking_disabled,
        };
        let resolver = self.clone();
        tokio::spawn(async move {
            let outcome = resolver.fly(&settings, &flight.1, &wish).await;
            // Whoever comes now finds what was kept.
            lock(&resolver.flights).remove(&flight);
            sender.send_replace(Some(outcome));
        });
        Some(landing)
    }

    async fn fly(
        &self,
        settings: &Settings,
        key: &Key,
        wish: &Wish,
    ) -> Result<Arc<Answer>, Failure> {
        let outcome = forward::ask(settings.routes.of(&key.name), wish).await;
        let (min, max) = (settings.cache.min_ttl, settings.cache.max_ttl);
        let outcome = outcome.map(|answer| Arc::new(answer.clamped(min, max)));
        // Settings that came meanwhile may have it otherwise.
        if self.settings().generation == settings.generation {
            let mut cache = lock(&self.cache);
            match &outcome {
                Ok(answer) => cache.keep(key.clone(), answer.clone(), Instant::now()),
                Err(Failure::NotReady) => {}
                Err(_) => cache.fail(key.clone(), Instant::now()),
            }
        }
        outcome
    }
}
