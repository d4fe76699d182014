//! `node keep-config`: the keeper's socket and its clock.
//!
//! Only the node API's group may connect. A client that dawdles holds up nobody: questions are read by tasks of their
//! own, and answered one after the other.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use client::control::{Control, Error};
use nix::unistd::{Group, chown};
use spec_layout::path;
use spec_unit::control::Request;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ask::{Answer, Ask, MAX_ASK, Problem};
use super::keeper::{Keeper, Reload};
use super::ledger::Ledger;
use super::parts::Places;
use crate::notify;

/// Whose questions are answered.
const GROUP: &str = "bedplate-node";
/// Connections at once.
const MAX_CONNECTIONS: usize = 8;
/// How long a question or an answer may take on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(10);
/// How often a unit that reads its part anew is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs until SIGTERM.
pub(in crate::node) fn run() -> ExitCode {
    let Some(runtime) = super::super::runtime() else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A question, and where its answer goes.
type Asked = (Ask, UnixStream);

async fn serve() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let ledger = Ledger::at(Path::new(path::STATE_CONFIG));
    let mut keeper = Keeper::new(Places::of_this_machine(), ledger, Units);
    if let Err(error) = keeper.resume() {
        log::error!("what was begun before cannot be gone on with: {error}");
    }
    let listener = listen(Path::new(path::CONFIG_SOCKET))?;
    let (sender, mut asked) = mpsc::channel::<Asked>(MAX_CONNECTIONS);
    tokio::spawn(accept(listener, sender));
    notify::ready("keeps the machine config");
    tokio::spawn(feed_watchdog());
    loop {
        let next = keeper.next();
        tokio::select! {
            _ = terminated.recv() => {
                notify::stopping();
                return Ok(());
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => keeper.on_time().await,
            question = asked.recv() => {
                let Some((ask, stream)) = question else {
                    return Err(io::Error::other("the socket's task has ended"));
                };
                let answer = keeper.answer(ask).await;
                tokio::spawn(tell(stream, answer));
            }
        }
    }
}

/// A unit that takes its time over its part is no hang of the keeper's.
async fn feed_watchdog() {
    let Some(period) = notify::watchdog_period() else {
        return;
    };
    loop {
        notify::watchdog();
        sleep(period).await;
    }
}

/// Binds the socket anew, for its group only.
fn listen(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Some(group) = Group::from_name(GROUP)? {
        chown(path, None, Some(group.gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, sender: mpsc::Sender<Asked>) {
    let free = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let sender = sender.clone();
                tokio::spawn(async move {
                    hear(stream, sender).await;
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("accepting a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Reads a question and passes it on; what is none is answered at once.
async fn hear(stream: UnixStream, sender: mpsc::Sender<Asked>) {
    let mut reader = BufReader::new(stream).take(MAX_ASK as u64);
    let mut line = Vec::new();
    let read = timeout(ON_ITS_WAY, reader.read_until(b'\n', &mut line)).await;
    let stream = reader.into_inner().into_inner();
    let problem = match read {
        Ok(Ok(_)) if line.last() == Some(&b'\n') => match serde_json::from_slice(&line) {
            Ok(ask) => {
                // The receiver is gone only while the process ends.
                let _ = sender.send((ask, stream)).await;
                return;
            }
            Err(error) => error.to_string(),
        },
        Ok(Ok(_)) => format!("a question is one line of at most {MAX_ASK} bytes"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the question did not come in time".to_owned(),
    };
    tell(stream, Answer::Problem(Problem::Invalid(problem))).await;
}

async fn tell(mut stream: UnixStream, answer: Answer) {
    let line = match serde_json::to_vec(&answer) {
        Ok(line) => line,
        Err(error) => return log::error!("an answer cannot be written: {error}"),
    };
    // Whoever does not take its answer has none.
    let _ = timeout(ON_ITS_WAY, stream.write_all(&line)).await;
}

/// The units of this node, by PID 1's control socket.
struct Units;

impl Reload for Units {
    async fn reload(&mut self, unit: &str) -> Result<(), String> {
        reload(unit).await.map_err(|error| error.to_string())
    }
}

async fn reload(unit: &str) -> Result<(), Error> {
    let mut control = Control::connect(Path::new(path::CONTROL_SOCKET))?;
    // One that reads its part at this moment may have read the one before.
    loop {
        match control.show(unit).await?.active.as_str() {
            "active" => break,
            "reloading" | "activating" => sleep(LOOK_EVERY).await,
            other => {
                log::warn!("{unit} is {other}: it reads its part when it starts");
                return Ok(());
            }
        }
    }
    let request = Request::Reload {
        unit: unit.to_owned(),
    };
    control.order(request).await?;
    loop {
        let status = control.show(unit).await?;
        match status.active.as_str() {
            "reloading" => sleep(LOOK_EVERY).await,
            "active" if status.result == "success" => return Ok(()),
            other => {
                let reason = status.reason.unwrap_or(status.result);
                return Err(Error::Refused(format!("{other}: {reason}")));
            }
        }
    }
}
