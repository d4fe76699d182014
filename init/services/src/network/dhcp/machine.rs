//! The client's states (RFC 2131, figure 5) over time and messages alone; sockets are [`super::task`]'s.
//!
//! Time is CLOCK_BOOTTIME since boot, so that a suspended machine sees its lease end.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::network::dhcp::lease::Lease;
use crate::network::dhcp::packet::{FromServer, Kind, ToServer};

/// Waits between messages, doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_secs(64);
/// Requests for an offer before looking for servers again.
const REQUESTS_MAX: u32 = 4;
/// Requests for the address of before before looking for servers again.
const REBOOTS_MAX: u32 = 2;
/// Shortest wait between requests for more time.
const RENEW_WAIT_MIN: Duration = Duration::from_secs(60);
/// Wait after a refusal, so that a server that always refuses is not flooded.
const NAK_WAIT: Duration = Duration::from_secs(5);

/// Where the client stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// About to look for servers.
    Init,
    /// Waits for offers.
    Selecting,
    /// Asks for an offer.
    Requesting(Lease),
    /// Asks whether the lease from before still holds.
    Rebooting(Lease),
    /// Has a lease.
    Bound(Lease),
    /// Asks its server for more time.
    Renewing(Lease),
    /// Asks any server for more time.
    Rebinding(Lease),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send to everybody on the link.
    Broadcast(ToServer),
    /// Send from our address to this server.
    Unicast(ToServer, Ipv4Addr),
    /// The lease is granted, or granted longer.
    Bound(Lease),
    /// The lease is over; says why.
    Lost(String),
}

/// One client on one link.
#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    mac: [u8; 6],
    hostname: Option<String>,
    xid: u32,
    began: Duration,
    deadline: Duration,
    attempt: u32,
}

impl Client {
    /// A client that begins now, with the lease from before if there is one. `seed` makes its first transaction id.
    pub(crate) fn new(
        mac: [u8; 6],
        hostname: Option<String>,
        lease: Option<Lease>,
        seed: u32,
        now: Duration,
    ) -> Self {
        let state = lease.map_or(State::Init, State::Rebooting);
        Self {
            state,
            mac,
            hostname,
            xid: seed,
            began: now,
            deadline: now,
            attempt: 0,
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// When [`Client::on_time`] is to be called next.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether answers come to the link and not yet to our address.
    pub(crate) fn listens_on_link(&self) -> bool {
        !matches!(self.state, State::Bound(_) | State::Renewing(_))
    }

    /// The deadline is reached.
    pub(crate) fn on_time(&mut self, now: Duration) -> Vec<Action> {
        if now < self.deadline {
            return Vec::new();
        }
        match self.state.clone() {
            State::Init | State::Selecting => vec![self.discover(now)],
            State::Requesting(_) if self.attempt >= REQUESTS_MAX => self.start_over(now),
            State::Requesting(lease) => {
                self.wait_longer(now);
                vec![Action::Broadcast(self.request(
                    None,
                    Some(&lease),
                    Some(lease.server),
                    now,
                ))]
            }
            State::Rebooting(lease) if self.attempt >= REBOOTS_MAX => {
                let mut actions = vec![Action::Lost(format!(
                    "no server confirms {}",
                    lease.address
                ))];
                actions.extend(self.start_over(now));
                actions
            }
            State::Rebooting(lease) => {
                self.wait_longer(now);
                vec![Action::Broadcast(self.request(
                    None,
                    Some(&lease),
                    None,
                    now,
                ))]
            }
            State::Bound(lease) => {
                self.new_transaction(now);
                self.state = State::Renewing(lease);
                self.ask_for_time(now)
            }
            State::Renewing(_) | State::Rebinding(_) => self.ask_for_time(now),
        }
    }

    /// A message came in on the link or to our address.
    pub(crate) fn on_message(&mut self, message: &FromServer, now: Duration) -> Vec<Action> {
        if message.xid != self.xid || message.mac != self.mac {
            return Vec::new();
        }
        match (self.state.clone(), message.kind) {
            (State::Selecting, Kind::Offer) => match Lease::from_message(message, now) {
                Ok(offer) => {
                    self.state = State::Requesting(offer);
                    self.attempt = 0;
                    self.deadline = now;
                    self.on_time(now)
                }
                Err(why) => {
                    log::debug!("an offer is passed over: {why}");
                    Vec::new()
                }
            },
            (State::Requesting(offer), Kind::Ack) if Some(offer.server) == message.server => {
                self.bind(message, now)
            }
            (State::Rebooting(_) | State::Renewing(_) | State::Rebinding(_), Kind::Ack) => {
                self.bind(message, now)
            }
            (State::Requesting(offer), Kind::Nak) if Some(offer.server) == message.server => {
                self.refused(message, now)
            }
            (State::Rebooting(_) | State::Renewing(_) | State::Rebinding(_), Kind::Nak) => {
                let why = message
                    .message
                    .clone()
                    .unwrap_or_else(|| "no reason given".into());
                let mut actions = vec![Action::Lost(format!("the server refused: {why}"))];
                actions.extend(self.refused(message, now));
                actions
            }
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, message: &FromServer, now: Duration) -> Vec<Action> {
        match Lease::from_message(message, now) {
            Ok(lease) => {
                self.deadline = lease.renew_at;
                self.attempt = 0;
                self.state = State::Bound(lease.clone());
                vec![Action::Bound(lease)]
            }
            Err(why) => {
                log::warn!("an ack is passed over: {why}");
                Vec::new()
            }
        }
    }

    fn refused(&mut self, _message: &FromServer, now: Duration) -> Vec<Action> {
        self.state = State::Init;
        self.attempt = 0;
        self.deadline = now + NAK_WAIT;
        Vec::new()
    }

    fn start_over(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Init;
        self.attempt = 0;
        self.deadline = now;
        self.on_time(now)
    }

    fn discover(&mut self, now: Duration) -> Action {
        if self.state == State::Init {
            self.new_transaction(now);
            self.state = State::Selecting;
        }
        self.wait_longer(now);
        Action::Broadcast(ToServer {
            kind: Kind::Discover,
            ..self.request(None, None, None, now)
        })
    }

    /// Renewing and rebinding: half of what is left until the next state, at least a minute (RFC 2131, 4.4.5).
    fn ask_for_time(&mut self, now: Duration) -> Vec<Action> {
        let (State::Renewing(lease) | State::Rebinding(lease)) = self.state.clone() else {
            return Vec::new();
        };
        if now >= lease.expires_at {
            let mut actions = vec![Action::Lost(format!(
                "the lease of {} ended unanswered",
                lease.address
            ))];
            actions.extend(self.start_over(now));
            return actions;
        }
        let request = self.request(Some(lease.address), None, None, now);
        let (next, action) = if now < lease.rebind_at {
            (lease.rebind_at, Action::Unicast(request, lease.server))
        } else {
            (lease.expires_at, Action::Broadcast(request))
        };
        self.state = if now < lease.rebind_at {
            State::Renewing(lease)
        } else {
            State::Rebinding(lease)
        };
        let wait = ((next - now) / 2).max(RENEW_WAIT_MIN);
        self.deadline = (now + wait).min(next);
        vec![action]
    }

    fn request(
        &self,
        client_address: Option<Ipv4Addr>,
        requested: Option<&Lease>,
        server: Option<Ipv4Addr>,
        now: Duration,
    ) -> ToServer {
        ToServer {
            kind: Kind::Request,
            xid: self.xid,
            seconds: (now.saturating_sub(self.began))
                .as_secs()
                .min(u64::from(u16::MAX)) as u16,
            mac: self.mac,
            client_address: client_address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            requested: requested.map(|lease| lease.address),
            server,
            hostname: self.hostname.clone(),
            max_size: 1472,
        }
    }

    fn new_transaction(&mut self, now: Duration) {
        // Only has to differ from those shortly before.
        self.xid = self.xid.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        self.began = now;
        self.attempt = 0;
    }

    fn wait_longer(&mut self, now: Duration) {
        let wait = RETRY_FIRST
            .saturating_mul(1 << self.attempt.min(5))
            .min(RETRY_LAST);
        // Up to an eighth more, so that a rack that comes up at once does not ask at once.
        let jitter = wait / 8 * (self.xid.wrapping_add(self.attempt) % 256) / 256;
        self.attempt += 1;
        self.deadline = now + wait + jitter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::dhcp::lease::tests::hour;
    use crate::network::dhcp::packet::tests::{MAC, reply};
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(1000);
    const OPTIONS: [(u8, &[u8]); 3] = [
        (54, &[10, 0, 2, 2]),
        (51, &[0, 0, 14, 16]),
        (1, &[255, 255, 255, 0]),
    ];

    fn message(kind: u8, client: &Client) -> FromServer {
        FromServer::parse(&reply(kind, client.xid, [10, 0, 2, 15], &OPTIONS)).unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn client() -> Client {
        Client::new(MAC, None, None, 42, START)
    }

    fn bound() -> Client {
        let mut client = client();
        client.on_time(START);
        client.on_message(&message(2, &client), START);
        client.on_message(&message(5, &client), START);
        client
    }

    fn sent(actions: &[Action]) -> &ToServer {
        match actions {
            [Action::Broadcast(message)]
            | [Action::Unicast(message, _)]
            | [_, Action::Broadcast(message)] => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn discover_offer_request_ack() {
        let mut client = client();
        assert_eq!(sent(&client.on_time(START)).kind, Kind::Discover);
        let request = client.on_message(&message(2, &client), START);
        assert_eq!(sent(&request).kind, Kind::Request);
        assert_eq!(sent(&request).requested, Some(Ipv4Addr::new(10, 0, 2, 15)));
        assert_eq!(sent(&request).server, Some(Ipv4Addr::new(10, 0, 2, 2)));
        let granted = client.on_message(&message(5, &client), START);
        assert!(matches!(&granted[..], [Action::Bound(lease)] if lease.prefix == 24));
        assert_eq!(client.deadline(), START + seconds(1800));
        assert!(!client.listens_on_link());
    }

    #[test]
    fn nobody_answers_and_the_waits_grow_to_a_bound() {
        let mut client = client();
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(sent(&client.on_time(now)).kind, Kind::Discover);
            waits.push(client.deadline() - now);
            now = client.deadline();
        }
        assert!(waits[0] >= RETRY_FIRST && waits[0] < RETRY_FIRST * 2);
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= RETRY_LAST + RETRY_LAST / 8)
        );
        assert!(waits[9] >= RETRY_LAST);
    }

    #[test]
    fn an_offer_that_is_never_acknowledged_is_given_up() {
        let mut client = client();
        client.on_time(START);
        client.on_message(&message(2, &client), START);
        for _ in 1..REQUESTS_MAX {
            let now = client.deadline();
            assert_eq!(sent(&client.on_time(now)).kind, Kind::Request);
        }
        let now = client.deadline();
        assert_eq!(sent(&client.on_time(now)).kind, Kind::Discover);
    }

    #[test]
    fn messages_for_others_and_from_others_change_nothing() {
        let mut client = client();
        client.on_time(START);
        let offer = message(2, &client);
        assert!(
            client
                .on_message(
                    &FromServer {
                        xid: 1,
                        ..offer.clone()
                    },
                    START
                )
                .is_empty()
        );
        assert!(
            client
                .on_message(
                    &FromServer {
                        mac: [9; 6],
                        ..offer.clone()
                    },
                    START
                )
                .is_empty()
        );
        assert!(
            client
                .on_message(
                    &FromServer {
                        kind: Kind::Ack,
                        ..offer.clone()
                    },
                    START
                )
                .is_empty()
        );
        client.on_message(&offer, START);
        let foreign = FromServer {
            server: Some(Ipv4Addr::new(6, 6, 6, 6)),
            ..message(5, &client)
        };
        assert!(client.on_message(&foreign, START).is_empty());
    }

    #[test]
    fn half_way_it_asks_its_server_then_any_then_begins_anew() {
        let mut client = bound();
        let lease = hour();
        let renew = client.on_time(lease.renew_at);
        assert!(matches!(&renew[..], [Action::Unicast(request, server)]
            if *server == lease.server && request.client_address == lease.address && request.requested.is_none()));
        while client.deadline() < lease.rebind_at {
            let now = client.deadline();
            assert!(matches!(client.on_time(now)[..], [Action::Unicast(..)]));
        }
        assert!(matches!(
            client.on_time(lease.rebind_at)[..],
            [Action::Broadcast(_)]
        ));
        assert!(client.listens_on_link());
        while client.deadline() < lease.expires_at {
            let now = client.deadline();
            client.on_time(now);
        }
        let over = client.on_time(lease.expires_at);
        assert!(
            matches!(&over[..], [Action::Lost(why), Action::Broadcast(discover)]
            if why.contains("ended unanswered") && discover.kind == Kind::Discover)
        );
    }

    #[test]
    fn more_time_is_granted() {
        let mut client = bound();
        let now = hour().renew_at;
        client.on_time(now);
        let granted = client.on_message(&message(5, &client), now);
        assert!(
            matches!(&granted[..], [Action::Bound(lease)] if lease.expires_at == now + seconds(3600))
        );
    }

    #[test]
    fn a_refusal_loses_the_lease_and_is_not_answered_at_once() {
        let mut client = bound();
        let now = hour().renew_at;
        client.on_time(now);
        let refused = client.on_message(&message(6, &client), now);
        assert!(matches!(&refused[..], [Action::Lost(_)]));
        assert_eq!(client.deadline(), now + NAK_WAIT);
        assert_eq!(sent(&client.on_time(now + NAK_WAIT)).kind, Kind::Discover);
    }

    #[test]
    fn the_lease_from_before_is_confirmed() {
        let mut client = Client::new(MAC, None, Some(hour()), 42, START);
        let request = client.on_time(START);
        assert_eq!(sent(&request).requested, Some(hour().address));
        assert_eq!(sent(&request).server, None);
        assert!(matches!(
            client.on_message(&message(5, &client), START)[..],
            [Action::Bound(_)]
        ));
    }

    #[test]
    fn the_lease_from_before_is_given_up_when_nobody_knows_it() {
        let mut client = Client::new(MAC, None, Some(hour()), 42, START);
        for _ in 0..REBOOTS_MAX {
            let now = client.deadline();
            client.on_time(now);
        }
        let now = client.deadline();
        assert!(matches!(
            &client.on_time(now)[..],
            [Action::Lost(_), Action::Broadcast(_)]
        ));
    }

    #[test]
    fn an_endless_lease_is_never_renewed() {
        let mut client = client();
        client.on_time(START);
        let endless = [(54, &[10, 0, 2, 2][..]), (51, &[0xff; 4])];
        let message =
            |kind, xid| FromServer::parse(&reply(kind, xid, [10, 0, 2, 15], &endless)).unwrap();
        client.on_message(&message(2, client.xid), START);
        client.on_message(&message(5, client.xid), START);
        assert_eq!(client.deadline(), Duration::MAX);
    }

    proptest! {
        #[test]
        fn whatever_comes_it_never_stands_still_nor_panics(steps in proptest::collection::vec((0u8..8, 0u64..5000), 0..60)) {
            let mut client = client();
            let mut now = START;
            for (kind, wait) in steps {
                now += seconds(wait);
                client.on_time(now);
                if let Ok(message) = FromServer::parse(&reply(kind, client.xid, [10, 0, 2, 15], &OPTIONS)) {
                    client.on_message(&message, now);
                }
                client.on_time(now);
                prop_assert!(client.deadline() > now, "{:?}", client.state());
            }
        }
    }
}
