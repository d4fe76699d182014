//! The sockets and the clock of the time service.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use spec_config::{Time, TimeServer};
use spec_layout::path::{CLOCK_EPOCH, TIME_CONFIG, TIME_SYNCHRONISED};
use tokio::net::{UdpSocket, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::choice::{Choice, choose};
use super::config;
use super::discipline::{Action, Discipline};
use super::packet::{self, Refusal};
use super::source::{Sample, Source};
use crate::notify;
use crate::sys::clock;

/// UDP port of NTP.
const PORT: u16 = 123;
/// Between an answer and the look at the other clock a process may have to wait; a clock that is set jumps further.
const CLOCK_WAS_SET_NS: u128 = 100_000_000;
/// How long an answer may take, and the name of a server to be found.
const ANSWER: Duration = Duration::from_secs(3);

/// Keeps the clock until SIGTERM.
pub(crate) async fn run() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut keeper = Keeper::new(config::read(Path::new(TIME_CONFIG))?);
    notify::ready(&keeper.status());
    let period = notify::watchdog_period().unwrap_or(Duration::from_secs(3600));
    let mut alive = tokio::time::interval(period);
    let mut exchanges: JoinSet<(usize, Result<Sample, Failure>)> = JoinSet::new();
    loop {
        let next = keeper.next();
        tokio::select! {
            _ = terminated.recv() => {
                notify::stopping();
                return Ok(());
            }
            _ = hangup.recv() => {
                notify::reloading();
                // What the old servers still say is nothing that the new ones said.
                exchanges = JoinSet::new();
                keeper.reload();
                notify::ready(&keeper.status());
            }
            _ = alive.tick() => notify::watchdog(),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                for (index, server) in keeper.due() {
                    exchanges.spawn(async move { (index, exchange(&server).await) });
                }
            }
            Some(joined) = exchanges.join_next() => {
                if let Ok((index, result)) = joined {
                    keeper.hear(index, result);
                    keeper.discipline();
                    notify::status(&keeper.status());
                }
            }
        }
    }
}

/// Why an exchange brought no sample.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Refused(Refusal),
    Silent,
    /// Our own clock was set meanwhile, or the answer is out of range.
    Useless,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Silent => f.write_str("no answer"),
            Self::Useless => f.write_str("its answer says nothing"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn now(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn boottime() -> Duration {
    Duration::from_nanos(u64::try_from(now(ClockId::Boottime)).unwrap_or(0))
}

/// When the image was made, seconds since the epoch: the clock is never before it.
fn earliest() -> u64 {
    let made = std::fs::metadata(CLOCK_EPOCH).and_then(|file| file.modified());
    let since = made
        .ok()
        .and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// Asks a server once, from a port that nobody can know.
async fn exchange(server: &TimeServer) -> Result<Sample, Failure> {
    let address = timeout(ANSWER, resolve(server)).await;
    exchange_with(address.map_err(|_| Failure::Silent)??).await
}

async fn resolve(server: &TimeServer) -> io::Result<SocketAddr> {
    let mut found = lookup_host((server.as_str(), PORT)).await?;
    found
        .next()
        .ok_or_else(|| io::Error::other("its name has no address"))
}

async fn exchange_with(address: SocketAddr) -> Result<Sample, Failure> {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(io::Error::from)?;
    let nonce = u64::from_be_bytes(bytes);
    let (sent_ns, began) = (now(ClockId::Realtime), now(ClockId::Monotonic));
    socket.send(&packet::request(nonce)).await?;
    let heard = timeout(ANSWER, answer(&socket, nonce)).await;
    let (reply, received_ns) = heard.map_err(|_| Failure::Silent)??;
    // A clock that was set meanwhile makes a way of an hour out of one of a millisecond.
    let passed = now(ClockId::Monotonic) - began;
    if (received_ns - sent_ns - passed).unsigned_abs() > CLOCK_WAS_SET_NS {
        return Err(Failure::Useless);
    }
    Sample::of(sent_ns, received_ns, &reply, boottime()).ok_or(Failure::Useless)
}

/// The first datagram that answers the request; others are passed over.
async fn answer(socket: &UdpSocket, nonce: u64) -> Result<(packet::Reply, i128), Failure> {
    let mut buffer = [0; 512];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let received_ns = now(ClockId::Realtime);
        let bytes = buffer.get(..length).unwrap_or_default();
        match packet::reply(bytes, nonce, earliest()) {
            Ok(reply) => return Ok((reply, received_ns)),
            Err(Refusal::NotOurs) => {}
            Err(refusal) => return Err(Failure::Refused(refusal)),
        }
    }
}

struct Server {
    address: TimeServer,
    source: Source,
    next: Instant,
    /// What it said last, so that it is told once.
    said: String,
}

struct Keeper {
    servers: Vec<Server>,
    discipline: Discipline,
    choice: Option<Choice>,
    /// When the sample was taken by which the clock was set last.
    acted_on: Option<Duration>,
    /// It has been told that the clock cannot be right.
    is_too_far: bool,
}

impl Keeper {
    fn new(time: Time) -> Self {
        let discipline = if Path::new(TIME_SYNCHRONISED).exists() {
            Discipline::resumed()
        } else {
            Discipline::default()
        };
        let servers = time.servers.into_iter().map(|address| Server {
            address,
            source: Source::default(),
            next: Instant::now(),
            said: String::new(),
        });
        Self {
            servers: servers.collect(),
            discipline,
            choice: None,
            acted_on: None,
            is_too_far: false,
        }
    }

    fn reload(&mut self) {
        match config::read(Path::new(TIME_CONFIG)) {
            Ok(time) => *self = Self::new(time),
            Err(error) => log::error!("{TIME_CONFIG}: {error}; the servers stay"),
        }
    }

    /// When the next server is due.
    fn next(&self) -> Option<Instant> {
        self.servers.iter().map(|server| server.next).min()
    }

    /// Servers to ask now.
    fn due(&mut self) -> Vec<(usize, TimeServer)> {
        let mut due = Vec::new();
        let now = Instant::now();
        for (index, server) in self.servers.iter_mut().enumerate() {
            if server.next <= now {
                server.source.ask();
                server.next = now + server.source.pause();
                due.push((index, server.address.clone()));
            }
        }
        due
    }

    fn hear(&mut self, index: usize, result: Result<Sample, Failure>) {
        let Some(server) = self.servers.get_mut(index) else {
            return;
        };
        let said = match result {
            Ok(sample) => {
                server.source.hear(sample);
                String::new()
            }
            Err(failure) => {
                if matches!(failure, Failure::Refused(Refusal::Kiss(_))) {
                    server.source.slow_down();
                }
                failure.to_string()
            }
        };
        if said != server.said && !said.is_empty() {
            log::warn!("{}: {said}", server.address);
        }
        server.said = said;
    }

    /// Does to the clock what the servers agree on.
    fn discipline(&mut self) {
        let now = boottime();
        let samples: Vec<Sample> = self
            .servers
            .iter()
            .filter_map(|server| server.source.best(now))
            .collect();
        // One answer is enough where no other server is left that could contradict it.
        let silent = self.servers.iter().filter(|s| s.source.is_unreachable());
        let expected = self.servers.len() - silent.count();
        self.choice = (samples.len() * 2 > expected)
            .then(|| choose(&samples, now))
            .flatten();
        let Some(choice) = self.choice else { return };
        // What was acted on before says nothing new, and was measured before the clock was made faster or slower.
        if self.acted_on.is_some_and(|at| choice.at <= at) {
            return;
        }
        self.acted_on = Some(choice.at);
        let was = self.discipline.is_synchronised();
        if let Err(error) = self.act(&choice) {
            log::error!("the clock cannot be set: {error}");
            self.acted_on = None;
            return;
        }
        self.discipline.done();
        if !was {
            log::info!("{}", self.status());
            if let Err(error) = std::fs::write(TIME_SYNCHRONISED, b"") {
                log::error!("{TIME_SYNCHRONISED}: {error}");
            }
        }
    }

    fn act(&mut self, choice: &Choice) -> io::Result<()> {
        let is_too_far = std::mem::take(&mut self.is_too_far);
        match self.discipline.decide(choice) {
            Action::Step(offset) => {
                log::warn!("the clock is set by {}", seconds(offset));
                clock::step(offset)?;
                self.servers.iter_mut().for_each(|s| s.source.forget());
                Ok(())
            }
            Action::Slew(offset) => clock::slew(offset, choice.error, self.poll_exponent()),
            Action::TooFar(offset) => {
                if !is_too_far {
                    log::error!(
                        "the clock is off by {}: a running node's is not set by so much; reboot the node, or mend its time servers",
                        seconds(offset)
                    );
                }
                self.is_too_far = true;
                Ok(())
            }
        }
    }

    /// That of the server that is asked most often: its samples are what the clock is kept by.
    fn poll_exponent(&self) -> u32 {
        let exponents = self.servers.iter().map(|s| s.source.poll_exponent());
        exponents.min().unwrap_or(0)
    }

    fn status(&self) -> String {
        if self.servers.is_empty() {
            return "no time servers: the clock is the machine's own".to_owned();
        }
        match &self.choice {
            Some(choice) => format!(
                "off by {}, {} of {} servers agree within {:.1} ms",
                seconds(choice.offset_ns),
                choice.agreed,
                self.servers.len(),
                choice.error.as_secs_f64() * 1000.0
            ),
            None => {
                let said = self.servers.iter().map(|server| {
                    let said = if server.said.is_empty() {
                        "asked"
                    } else {
                        &server.said
                    };
                    format!("{}: {said}", server.address)
                });
                format!("not synchronised; {}", said.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

fn seconds(ns: i64) -> String {
    format!("{:+.6} s", ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::packet::tests::answer as answering;

    /// A server on the loopback whose clock is ahead by so much; `lies` are sent first.
    async fn server(ahead_ns: i128, lies: Vec<Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
            for lie in lies {
                socket.send_to(&lie, from).await.unwrap();
            }
            let nonce = u64::from_be_bytes(buffer[40..48].try_into().unwrap());
            let time = now(ClockId::Realtime) + ahead_ns;
            let packet = answering(nonce, time, time);
            socket.send_to(&packet, from).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn an_hour_ahead_is_an_hour_ahead() {
        let hour = 3_600_000_000_000;
        let sample = exchange_with(server(hour, Vec::new()).await).await.unwrap();
        let off = i128::from(sample.offset_ns) - hour;
        assert!(
            off.unsigned_abs() <= sample.delay.as_nanos() + 1000,
            "{sample:?}"
        );
    }

    #[tokio::test]
    async fn what_was_not_asked_for_is_passed_over() {
        let time = now(ClockId::Realtime);
        let wrong = answering(0, time, time).to_vec();
        let lies = vec![b"garbage".to_vec(), Vec::new(), vec![0xff; 500], wrong];
        let sample = exchange_with(server(0, lies).await).await.unwrap();
        assert!(sample.offset_ns.unsigned_abs() < 1_000_000_000);
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure_and_no_wait_for_ever() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = exchange_with(socket.local_addr().unwrap()).await;
        assert!(matches!(silent, Err(Failure::Silent)), "{silent:?}");
    }
}
