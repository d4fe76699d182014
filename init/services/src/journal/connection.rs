//! The connections of the stdout streams: who may have one more, and which never said what they are.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::journal::stream::{Header, Stream};

/// Most connections.
const MAX: usize = 2048;
/// Most connections of one user other than root.
const MAX_OF_ONE_USER: usize = 128;
/// Places that only root can take: PID 1 opens the streams of services as root.
const RESERVED_FOR_ROOT: usize = 1024;
/// How long the seven lines of a header may take. Whoever connects has them ready.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Connection {
    /// Its socket.
    pub socket: UnixStream,
    /// What came so far.
    pub state: Stream,
    /// The name that PID 1 has stored its socket by; empty if it cannot, none if it was not asked yet.
    pub kept: Option<String>,
    uid: u32,
    since: Instant,
}

impl Connection {
    /// Whether PID 1 is to store it from now on: root has opened it for a unit, and its header is there.
    pub(crate) fn is_to_be_kept(&self) -> bool {
        self.kept.is_none() && self.unit().is_some()
    }

    /// The unit the header names, where root opened the stream.
    pub(crate) fn unit(&self) -> Option<&str> {
        let header = self
            .state
            .header()
            .filter(|header| self.uid == 0 && !header.unit.is_empty())?;
        Some(&header.unit)
    }
}

/// All connections, by their number in the loop.
#[derive(Default)]
pub(crate) struct Connections {
    open: HashMap<u64, Connection>,
}

impl Connections {
    /// Whether this user may have one more; else why not.
    pub(crate) fn admit(&self, uid: u32) -> Result<(), String> {
        let count = |counts: &dyn Fn(u32) -> bool| {
            let open = self.open.values();
            open.filter(|open| counts(open.uid)).count()
        };
        let own = count(&|other| other == uid);
        let not_roots = count(&|other| other != 0);
        is_place(uid, self.open.len(), own, not_roots)
    }

    /// Takes a connection in.
    pub(crate) fn insert(&mut self, number: u64, socket: UnixStream, uid: u32, now: Instant) {
        let connection = Connection {
            socket,
            state: Stream::default(),
            kept: None,
            uid,
            since: now,
        };
        self.open.insert(number, connection);
    }

    /// Takes one in that an earlier run had, and that PID 1 has stored by a name.
    pub(crate) fn resume(
        &mut self,
        number: u64,
        socket: UnixStream,
        uid: u32,
        (name, header): (String, Header),
    ) {
        let connection = Connection {
            socket,
            state: Stream::resumed(header),
            kept: Some(name),
            uid,
            since: Instant::now(),
        };
        self.open.insert(number, connection);
    }

    /// A connection by its number.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Connection> {
        self.open.get_mut(&number)
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Connection> {
        self.open.remove(&number)
    }

    /// The numbers of all.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    /// Closes those whose header has taken too long; how many there were.
    pub(crate) fn close_silent(&mut self, now: Instant) -> usize {
        let before = self.open.len();
        self.open.retain(|_, open| {
            open.state.header().is_some() || now.duration_since(open.since) < HEADER_TIME
        });
        before - self.open.len()
    }
}

/// Whether there is a place for a user, when so many connections are open: all, the user's, all but root's.
fn is_place(uid: u32, all: usize, own: usize, not_roots: usize) -> Result<(), String> {
    if all >= MAX {
        return Err(format!("{MAX} are open"));
    }
    if uid != 0 && own >= MAX_OF_ONE_USER {
        return Err(format!("user {uid} has {MAX_OF_ONE_USER} open"));
    }
    if uid != 0 && not_roots >= MAX - RESERVED_FOR_ROOT {
        return Err(format!(
            "only the {RESERVED_FOR_ROOT} places of root are free"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(connections: &mut Connections, uid: u32, count: usize) {
        let first = connections.open.len() as u64;
        let now = Instant::now();
        // One socket is enough for all of them.
        let (socket, _) = UnixStream::pair().unwrap();
        for number in first..first + count as u64 {
            let socket = socket.try_clone().unwrap();
            connections.insert(number, socket, uid, now);
        }
    }

    #[test]
    fn a_user_takes_no_more_than_its_share() {
        let mut connections = Connections::default();
        fill(&mut connections, 7, MAX_OF_ONE_USER - 1);
        assert_eq!(connections.admit(7), Ok(()));
        fill(&mut connections, 7, 1);
        assert!(connections.admit(7).unwrap_err().contains("user 7"));
        assert_eq!(connections.admit(8), Ok(()));
        assert_eq!(connections.admit(0), Ok(()));
    }

    #[test]
    fn however_many_users_there_are_root_finds_a_place() {
        let taken = MAX - RESERVED_FOR_ROOT;
        assert_eq!(is_place(7, taken - 1, 0, taken - 1), Ok(()));
        assert!(is_place(7, taken, 0, taken).unwrap_err().contains("root"));
        assert_eq!(is_place(0, taken, 0, taken), Ok(()));
        assert!(is_place(0, MAX, RESERVED_FOR_ROOT, taken).is_err());
    }

    #[test]
    fn a_header_that_does_not_come_gives_the_place_back() {
        let mut connections = Connections::default();
        fill(&mut connections, 7, 2);
        let header = b"a\na.service\n30\n1\n0\n0\n0\n";
        let spoke = connections.get_mut(0).unwrap();
        spoke.state.feed(header, |_| {}).unwrap();
        let silent = connections.get_mut(1).unwrap();
        silent.state.feed(b"a\na.service\n", |_| {}).unwrap();
        let now = Instant::now();
        assert_eq!(connections.close_silent(now), 0);
        assert_eq!(connections.close_silent(now + HEADER_TIME), 1);
        assert_eq!(connections.numbers(), [0]);
    }
}
