//! The client's side of the control socket.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::protocol::{Description, MAX_LINE, Reply, Request};
use crate::cluster_folder::ClusterFolder;
use crate::exit::{Context, Error};

/// How long a daemon may take to answer a question that needs no node.
const ANSWER: Duration = Duration::from_secs(20);

/// A connection to a cluster's daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    cluster: String,
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// The daemon, if we started it.
    child: Option<Child>,
}

impl Connection {
    /// To a running daemon; `None` if none runs.
    pub(crate) fn open(folder: &ClusterFolder) -> Result<Option<Self>, Error> {
        use qemu_tests::Error::Io;
        match qemu_tests::socket::connect(&folder.socket()) {
            Ok(stream) => Self::new(folder, stream, None).map(Some),
            // A socket that nobody listens on is what a killed daemon leaves.
            Err(Io { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            // Of anything else nobody knows whether a daemon runs.
            Err(error) => Err(Error::failed(error)),
        }
    }

    /// To a daemon that must run.
    pub(crate) fn require(folder: &ClusterFolder) -> Result<Self, Error> {
        let name = folder.name();
        Self::open(folder)?.ok_or_else(|| {
            let state = if folder.exists() {
                "is not running"
            } else {
                "does not exist"
            };
            Error::NotRunning(format!(
                "cluster {name} {state}; `cargo bedplate up --name {name}` starts it"
            ))
        })
    }

    /// Starts a daemon whose first connection is this one: if it closes before [`Request::Release`], the
    /// daemon takes everything down.
    pub(crate) fn spawn(folder: &ClusterFolder, arguments: &[String]) -> Result<Self, Error> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(folder.log())
            .context(format!("cannot open {}", folder.log().display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let child = Command::new(program)
            .arg("daemon")
            .args(["--name", folder.name()])
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(log.try_clone().context("cannot open the daemon's log")?)
            .stderr(log)
            .spawn()
            .context("cannot start the daemon")?;
        Self::new(folder, ours, Some(child))
    }

    fn new(
        folder: &ClusterFolder,
        stream: UnixStream,
        child: Option<Child>,
    ) -> Result<Self, Error> {
        let what = "cannot use the daemon's socket";
        stream.set_read_timeout(Some(ANSWER)).context(what)?;
        stream.set_write_timeout(Some(ANSWER)).context(what)?;
        let reader = BufReader::new(stream.try_clone().context(what)?);
        Ok(Self {
            cluster: folder.name().to_owned(),
            reader,
            writer: stream,
            child,
        })
    }

    /// Sends without waiting for the answer.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_string(request).map_err(Error::failed)?;
        line.push('\n');
        self.writer
            .write_all(line.as_bytes())
            .map_err(|error| self.lost(&error.to_string()))
    }

    /// The next reply; `None` if it takes longer than `timeout`.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Result<Reply, Error> {
        self.writer
            .set_read_timeout(Some(timeout))
            .context("cannot use the daemon's socket")?;
        let mut line = String::new();
        match (&mut self.reader).take(MAX_LINE).read_line(&mut line) {
            Ok(0) => Err(self.lost("it has ended")),
            Ok(_) => serde_json::from_str(&line).map_err(|error| self.lost(&error.to_string())),
            Err(error) => Err(self.lost(&error.to_string())),
        }
    }

    /// Asks and waits.
    pub(crate) fn ask(&mut self, request: &Request, timeout: Duration) -> Result<Reply, Error> {
        let sent = self.send(request);
        match self.receive(timeout) {
            // A daemon that cannot go on says why and ends, without waiting to be asked.
            Ok(Reply::Error(message)) => Err(Error::Failed(message)),
            reply => sent.and(reply),
        }
    }

    /// Who is in the cluster.
    pub(crate) fn describe(&mut self) -> Result<Description, Error> {
        match self.ask(&Request::Describe, ANSWER)? {
            Reply::Description(description) => Ok(description),
            other => Err(self.lost(&format!("unexpected answer {other:?}"))),
        }
    }

    /// Waits until the daemon has closed the connection, which it does last of all.
    pub(crate) fn wait_closed(mut self) {
        let mut rest = [0; 256];
        while matches!(self.reader.read(&mut rest), Ok(count) if count > 0) {}
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    fn lost(&self, why: &str) -> Error {
        Error::Failed(format!(
            "the daemon of cluster {name} does not answer: {why}; `bedplate logs --daemon --name {name}` shows its log",
            name = self.cluster
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_is_missing_or_dead_means_no_daemon() {
        let data = tempfile::tempdir().expect("tempdir");
        let folder = ClusterFolder::below(data.path(), "t").expect("a name");
        assert!(Connection::open(&folder).expect("no folder").is_none());
        folder.make().expect("mkdir");
        assert!(Connection::open(&folder).expect("no socket").is_none());
        let listener = qemu_tests::socket::bind(&folder.socket()).expect("bind");
        assert!(Connection::open(&folder).expect("alive").is_some());
        drop(listener);
        assert!(Connection::open(&folder).expect("dead").is_none());

        std::fs::remove_file(folder.socket()).expect("remove");
        std::os::unix::fs::symlink("daemon.sock", folder.socket()).expect("symlink");
        let error = Connection::open(&folder).expect_err("a circle").to_string();
        assert!(error.contains("daemon.sock"), "{error}");
    }
}
