//! What the node API is told: one JSON document per connection to the socket, and nothing is read from it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spec_api::{ClusterView, EtcdMember};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::decide::{Member, Seat};
use super::etcd::Status;

/// It says nothing that is secret, and nothing can be asked of it.
const MODE: u32 = 0o666;
/// How long a reader may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The view, and its socket.
#[derive(Debug, Default)]
pub(super) struct View(Mutex<ClusterView>);

impl View {
    /// Begins to tell it at `socket`.
    pub(super) fn serve(socket: &Path, servers: &mut JoinSet<()>) -> io::Result<Arc<Self>> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(MODE))?;
        let view = Arc::new(Self::default());
        view.say("the master has just started", Vec::new());
        let told = view.clone();
        servers.spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let document = serde_json::to_vec(&*told.lock()).unwrap_or_default();
                tokio::spawn(async move {
                    let write = async {
                        stream.write_all(&document).await?;
                        stream.shutdown().await
                    };
                    // A reader that left is no news.
                    let _ = tokio::time::timeout(TIMEOUT, write).await;
                });
            }
        });
        Ok(view)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ClusterView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before etcd may start; whether that is news.
    pub(super) fn say(&self, state: &str, waiting: Vec<String>) -> bool {
        let new = ClusterView {
            state: state.to_owned(),
            waiting,
            ..ClusterView::default()
        };
        let mut view = self.lock();
        let news = *view != new;
        *view = new;
        news
    }

    /// etcd may start.
    pub(super) fn decided(&self, state: &str) {
        *self.lock() = ClusterView {
            state: state.to_owned(),
            decided: true,
            ..ClusterView::default()
        };
    }

    /// While etcd runs; `trouble` is that of this node's own.
    pub(super) fn members(
        &self,
        seats: &[Seat],
        members: Option<&[Member]>,
        statuses: &[(String, Option<Status>)],
        trouble: Option<String>,
    ) {
        let (told, mut waiting) = match members {
            Some(members) => (with_quorum(seats, members, statuses), Vec::new()),
            None => without_quorum(seats, statuses),
        };
        waiting.extend(trouble);
        let mut view = self.lock();
        view.decided = true;
        view.members = told;
        view.waiting = waiting;
    }
}

/// Whom most members take for the leader; 0 for none.
fn leader(statuses: &[(String, Option<Status>)]) -> u64 {
    let claims: Vec<u64> = statuses
        .iter()
        .filter_map(|(_, status)| Some(status.as_ref()?.leader))
        .collect();
    let count = |leader: u64| claims.iter().filter(|claim| **claim == leader).count();
    claims
        .iter()
        .copied()
        .filter(|claim| *claim != 0)
        .max_by_key(|claim| count(*claim))
        .unwrap_or(0)
}

fn with_quorum(
    seats: &[Seat],
    members: &[Member],
    statuses: &[(String, Option<Status>)],
) -> Vec<EtcdMember> {
    let leader = leader(statuses);
    let describe = |member: &Member| {
        let url = member.peer_urls.first().cloned().unwrap_or_default();
        let seat = seats.iter().find(|seat| seat.peer_url == url);
        let name = seat.map_or_else(|| member.name.clone(), |seat| seat.name.clone());
        let status = statuses
            .iter()
            .find_map(|(_, status)| status.as_ref().filter(|own| own.member_id == member.id));
        EtcdMember {
            healthy: status
                .is_some_and(|own| own.leader == leader && leader != 0 && own.errors.is_empty()),
            leader: member.id == leader,
            id: format!("{:x}", member.id),
            address: url.trim_start_matches("https://").to_owned(),
            learner: member.learner,
            name,
        }
    };
    members.iter().map(describe).collect()
}

/// Nobody is healthy without a quorum; say who does not answer.
fn without_quorum(
    seats: &[Seat],
    statuses: &[(String, Option<Status>)],
) -> (Vec<EtcdMember>, Vec<String>) {
    let describe = |seat: &Seat| EtcdMember {
        name: seat.name.clone(),
        address: seat.peer_url.trim_start_matches("https://").to_owned(),
        ..EtcdMember::default()
    };
    let silent = statuses.iter().filter(|(_, status)| status.is_none());
    let silent: Vec<&str> = silent.map(|(name, _)| name.as_str()).collect();
    let reason = match silent.as_slice() {
        [] => "etcd has no quorum yet; all members answer".to_owned(),
        silent => format!("etcd has no quorum; no answer from {}", silent.join(", ")),
    };
    (seats.iter().map(describe).collect(), vec![reason])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(member_id: u64, leader: u64) -> Option<Status> {
        Some(Status {
            member_id,
            leader,
            ..Status::default()
        })
    }

    fn seats() -> Vec<Seat> {
        (1..=3)
            .map(|n| Seat {
                name: format!("dev-{n}"),
                peer_url: format!("https://10.77.0.1{n}:2380"),
            })
            .collect()
    }

    fn members() -> Vec<Member> {
        let member = |n: u64| Member {
            id: n,
            name: format!("dev-{n}"),
            peer_urls: vec![format!("https://10.77.0.1{n}:2380")],
            client_urls: Vec::new(),
            learner: false,
        };
        (1..=3).map(member).collect()
    }

    #[test]
    fn a_member_is_healthy_when_it_agrees_about_the_leader() {
        let statuses = [
            ("dev-1".to_owned(), status(1, 2)),
            ("dev-2".to_owned(), status(2, 2)),
            ("dev-3".to_owned(), None),
        ];
        let told = with_quorum(&seats(), &members(), &statuses);
        let facts: Vec<_> = told
            .iter()
            .map(|m| (m.name.as_str(), m.healthy, m.leader))
            .collect();
        assert_eq!(
            facts,
            [
                ("dev-1", true, false),
                ("dev-2", true, true),
                ("dev-3", false, false)
            ]
        );
    }

    #[test]
    fn without_quorum_nobody_is_healthy_and_the_silent_are_named() {
        let statuses = [
            ("dev-1".to_owned(), status(1, 0)),
            ("dev-2".to_owned(), None),
            ("dev-3".to_owned(), None),
        ];
        let (told, waiting) = without_quorum(&seats(), &statuses);
        assert!(told.len() == 3 && told.iter().all(|member| !member.healthy && !member.leader));
        assert_eq!(waiting, ["etcd has no quorum; no answer from dev-2, dev-3"]);
    }

    #[test]
    fn the_next_look_leaves_nothing_of_the_one_before() {
        let view = View::default();
        let statuses = [("dev-1".to_owned(), status(1, 1))];
        let trouble = Some("etcd still runs as member 1".to_owned());
        view.members(&seats(), None, &statuses, trouble);
        assert_eq!(view.lock().waiting.len(), 2);
        view.members(&seats(), Some(&members()), &statuses, None);
        assert!(view.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn the_socket_tells_the_view_to_whoever_connects() {
        use tokio::io::AsyncReadExt;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("cluster.sock");
        std::fs::write(&socket, b"left over").unwrap();
        let mut servers = JoinSet::new();
        let view = View::serve(&socket, &mut servers).unwrap();
        assert!(view.say("waiting", vec!["dev-2".to_owned()]));
        assert!(!view.say("waiting", vec!["dev-2".to_owned()]));
        let mut text = String::new();
        tokio::net::UnixStream::connect(&socket)
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        let told: ClusterView = serde_json::from_str(&text).unwrap();
        assert!(!told.decided && told.waiting == ["dev-2"]);
    }
}
