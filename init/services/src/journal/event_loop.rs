//! The one thread that reads the sources: epoll over the sockets, /dev/kmsg, the streams and the signals.
//!
//! Level-triggered, and each ready source is read a bounded amount per turn, so a flood of one takes turns with the
//! others.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::{OFlags, SealFlags, fcntl_get_seals};
use rustix::net::sockopt;
use spec_layout::path::{JOURNAL_DEV_LOG, JOURNAL_SOCKET, JOURNAL_STDOUT, JOURNAL_VOLATILE};

use crate::journal::connection::{Connection, Connections};
use crate::journal::intake::Intake;
use crate::journal::stream::Header;
use crate::journal::{kept, kmsg, named};
use crate::sys::message::receive;

/// Where queries are answered; `spec_layout::path::JOURNAL_QUERY` links here, into the folder that is the journal's.
const QUERY_SOCKET: &str = "/run/systemd/journal/bedplate-query";
/// Number of the last kernel record taken, so that a restart takes none twice.
const KMSG_POSITION: &str = "kernel-seqnum";
/// Most bytes of one datagram, of one turn of a stream and of a memfd.
const BUFFER: usize = 256 * 1024;
/// Most bytes taken from a memfd.
const MEMFD_MAX: u64 = 1 << 20;
/// Datagrams, records or connections of one turn.
const TURN: usize = 64;

const SIGNALS: u64 = 0;
const NATIVE: u64 = 1;
const SYSLOG: u64 = 2;
const STDOUT: u64 = 3;
const KMSG: u64 = 4;
const FIRST_STREAM: u64 = 16;

/// The sources.
pub(crate) struct EventLoop {
    epoll: OwnedFd,
    signals: SignalFd,
    native: UnixDatagram,
    syslog: UnixDatagram,
    stdout: UnixListener,
    kmsg: Option<File>,
    kmsg_position: Option<File>,
    kmsg_last: Option<u64>,
    streams: Connections,
    next_stream: u64,
    buffer: Vec<u8>,
}

impl EventLoop {
    /// Binds the sockets and opens /dev/kmsg.
    pub(crate) fn bind(signals: SignalFd) -> io::Result<Self> {
        let native = bind_datagram(JOURNAL_SOCKET)?;
        let syslog = bind_datagram(JOURNAL_DEV_LOG)?;
        let stdout = bind_listener(JOURNAL_STDOUT, 0o666)?;
        stdout.set_nonblocking(true)?;
        // Set before accept: credentials of what is written before that are kept too.
        sockopt::set_socket_passcred(&stdout, true)?;
        let kmsg = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open("/dev/kmsg")
            .inspect_err(|error| log::warn!("/dev/kmsg: {error}; kernel messages are not kept"))
            .ok();
        let kmsg_position = open_position()
            .inspect_err(|error| log::warn!("{error}"))
            .ok();
        let kmsg_last = kmsg_position.as_ref().and_then(read_position);

        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let watch = |fd: &dyn AsFd, token| {
            epoll::add(
                &epoll,
                fd.as_fd(),
                epoll::EventData::new_u64(token),
                epoll::EventFlags::IN,
            )
        };
        watch(&signals, SIGNALS)?;
        watch(&native, NATIVE)?;
        watch(&syslog, SYSLOG)?;
        watch(&stdout, STDOUT)?;
        if let Some(kmsg) = &kmsg {
            watch(kmsg, KMSG)?;
        }
        Ok(Self {
            epoll,
            signals,
            native,
            syslog,
            stdout,
            kmsg,
            kmsg_position,
            kmsg_last,
            streams: Connections::default(),
            next_stream: FIRST_STREAM,
            buffer: vec![0; BUFFER],
        })
    }

    /// The socket for [`crate::journal::serve`].
    pub(crate) fn query_listener(&self) -> io::Result<UnixListener> {
        // Logs may hold anything: root and the group of the folder only.
        bind_listener(QUERY_SOCKET, 0o660)
    }

    /// Reads until a signal says to end.
    pub(crate) fn run(&mut self, intake: &mut Intake) -> io::Result<()> {
        let tick = crate::notify::watchdog_period()
            .unwrap_or(Duration::from_secs(10))
            .min(Duration::from_secs(10));
        let timeout = Timespec {
            tv_sec: tick.as_secs() as i64,
            tv_nsec: i64::from(tick.subsec_nanos()),
        };
        let mut ticked = Instant::now();
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    SIGNALS => {
                        if matches!(self.signals.read_signal(), Ok(Some(_))) {
                            self.drain(intake);
                            return Ok(());
                        }
                    }
                    NATIVE => self.read_datagrams(NATIVE, intake),
                    SYSLOG => self.read_datagrams(SYSLOG, intake),
                    STDOUT => self.accept(),
                    KMSG => self.read_kmsg(intake),
                    token => self.read_stream(token, intake),
                }
            }
            if ticked.elapsed() >= tick {
                ticked = Instant::now();
                crate::notify::watchdog();
                self.close_silent();
                intake.tick();
            }
        }
    }

    /// Takes what is there already before ending.
    fn drain(&mut self, intake: &mut Intake) {
        self.accept();
        for token in self.streams.numbers() {
            self.read_stream(token, intake);
        }
        self.read_datagrams(NATIVE, intake);
        self.read_datagrams(SYSLOG, intake);
        self.read_kmsg(intake);
    }

    fn read_datagrams(&mut self, which: u64, intake: &mut Intake) {
        let socket = if which == NATIVE {
            &self.native
        } else {
            &self.syslog
        };
        for _ in 0..TURN {
            let received = match receive(socket, &mut self.buffer) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return,
                Err(error) => {
                    log::warn!("reading datagrams failed: {error}");
                    return;
                }
            };
            let datagram = self.buffer.get(..received.bytes).unwrap_or_default();
            if which == SYSLOG {
                intake.syslog(datagram, received.sender);
            } else if let Some(memfd) = received.fds.first() {
                match read_memfd(memfd) {
                    Ok(content) => intake.native(&content, received.sender),
                    Err(why) => log::warn!("a datagram's memfd was refused: {why}"),
                }
            } else {
                intake.native(datagram, received.sender);
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..TURN {
            let socket = match self.stdout.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!("accepting a stream failed: {error}");
                    return;
                }
            };
            if let Err(why) = self.add_stream(socket) {
                log::warn!("a stream was refused: {why}");
            }
        }
    }

    fn add_stream(&mut self, socket: UnixStream) -> io::Result<()> {
        let uid = getsockopt(&socket, PeerCredentials)?.uid();
        self.streams.admit(uid).map_err(io::Error::other)?;
        socket.set_nonblocking(true)?;
        socket.shutdown(std::net::Shutdown::Write)?;
        sockopt::set_socket_passcred(&socket, true)?;
        let token = self.watch_stream(&socket)?;
        self.streams.insert(token, socket, uid, Instant::now());
        Ok(())
    }

    fn watch_stream(&mut self, socket: &UnixStream) -> io::Result<u64> {
        let token = self.next_stream;
        self.next_stream += 1;
        epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(token),
            epoll::EventFlags::IN,
        )?;
        Ok(token)
    }

    /// Goes on with the streams of an earlier run.
    pub(crate) fn resume(&mut self, kept: Vec<(String, Header, UnixStream)>) {
        for (name, header, socket) in kept {
            let unit = header.unit.clone();
            if let Err(why) = self.resume_stream(name.clone(), header, socket) {
                log::warn!("the stream of {unit} is lost: {why}");
                crate::notify::remove(&name);
            }
        }
    }

    fn resume_stream(
        &mut self,
        name: String,
        header: Header,
        socket: UnixStream,
    ) -> io::Result<()> {
        let uid = getsockopt(&socket, PeerCredentials)?.uid();
        self.streams.admit(uid).map_err(io::Error::other)?;
        let token = self.watch_stream(&socket)?;
        self.streams.resume(token, socket, uid, (name, header));
        Ok(())
    }

    /// Half-open streams would hold their places for good.
    fn close_silent(&mut self) {
        let count = self.streams.close_silent(Instant::now());
        if count > 0 {
            log::warn!("{count} streams were closed: their header did not come");
        }
    }

    fn read_stream(&mut self, token: u64, intake: &mut Intake) {
        let Some(connection) = self.streams.get_mut(token) else {
            return;
        };
        let received = match receive(&connection.socket, &mut self.buffer) {
            Ok(received) if received.bytes > 0 => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            other => {
                if let Err(error) = other {
                    log::debug!("a stream ended: {error}");
                }
                self.end_stream(token, intake);
                return;
            }
        };
        let bytes = self.buffer.get(..received.bytes).unwrap_or_default();
        let mut lines = Vec::new();
        let fed = connection.state.feed(bytes, |line| lines.push(line));
        let unit = connection.unit();
        for line in lines {
            intake.line(line, received.sender, unit);
        }
        if fed.is_err() {
            log::warn!("a stream was closed: its header is not seven lines as systemd has them");
            self.streams.remove(token);
        } else if connection.is_to_be_kept() {
            keep(connection);
        }
    }

    fn end_stream(&mut self, token: u64, intake: &mut Intake) {
        let Some(mut connection) = self.streams.remove(token) else {
            return;
        };
        let mut rest = Vec::new();
        connection.state.finish(|line| rest.push(line));
        for line in rest {
            intake.line(line, None, connection.unit());
        }
        if let Some(name) = connection.kept.filter(|name| !name.is_empty()) {
            crate::notify::remove(&name);
        }
    }

    fn read_kmsg(&mut self, intake: &mut Intake) {
        let Some(kmsg) = &mut self.kmsg else { return };
        let before = self.kmsg_last;
        for _ in 0..TURN {
            // One read is one record, of at most 8 KiB.
            match kmsg.read(&mut self.buffer) {
                Ok(length) => {
                    let Some(record) = self.buffer.get(..length).and_then(kmsg::parse) else {
                        continue;
                    };
                    if self.kmsg_last.is_some_and(|last| record.sequence <= last) {
                        continue;
                    }
                    self.kmsg_last = Some(record.sequence);
                    intake.kernel(record);
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    intake.notice(4, "kernel messages were overwritten before they were read");
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::warn!("/dev/kmsg: {error}");
                    break;
                }
            }
        }
        if let (Some(file), Some(last)) = (&self.kmsg_position, self.kmsg_last)
            && before != self.kmsg_last
        {
            let _ = file.write_all_at(&last.to_le_bytes(), 0);
        }
    }
}

/// Has PID 1 store a stream. One that cannot be stored ends with this run.
fn keep(connection: &mut Connection) {
    let name = connection.state.header();
    let name = name.and_then(|header| kept::name(&connection.socket, header));
    let name = name.unwrap_or_default();
    if !name.is_empty() {
        crate::notify::store(connection.socket.as_fd(), &name);
    }
    connection.kept = Some(name);
}

/// Reads a memfd that nobody can change any more.
fn read_memfd(memfd: &OwnedFd) -> Result<Vec<u8>, String> {
    let seals = fcntl_get_seals(memfd).map_err(|_| "it is no memfd".to_string())?;
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW) {
        return Err("it is not sealed".into());
    }
    let file = File::from(memfd.try_clone().map_err(|error| error.to_string())?);
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length > MEMFD_MAX {
        return Err(format!("it holds {length} bytes, {MEMFD_MAX} are allowed"));
    }
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, 0)
        .map_err(|error| error.to_string())?;
    Ok(content)
}

fn bind_datagram(path: &str) -> io::Result<UnixDatagram> {
    prepare(path)?;
    let socket = UnixDatagram::bind(path).map_err(|error| named(path, error))?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
    socket.set_nonblocking(true)?;
    sockopt::set_socket_passcred(&socket, true)?;
    Ok(socket)
}

fn bind_listener(path: &str, mode: u32) -> io::Result<UnixListener> {
    prepare(path)?;
    let listener = UnixListener::bind(path).map_err(|error| named(path, error))?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    Ok(listener)
}

/// Makes the folder and removes the socket of the run before this one.
fn prepare(path: &str) -> io::Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        std::fs::create_dir_all(folder).map_err(|error| named(path, error))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(path, error)),
        _ => Ok(()),
    }
}

fn open_position() -> io::Result<File> {
    let path = Path::new(JOURNAL_VOLATILE).join(KMSG_POSITION);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(path)
}

fn read_position(file: &File) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_kernel_names_the_sender_of_a_datagram() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = bind_datagram(path.to_str().unwrap()).unwrap();
        UnixDatagram::unbound()
            .unwrap()
            .send_to(b"MESSAGE=x", &path)
            .unwrap();
        let mut buffer = vec![0; 64];
        let received = receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..received.bytes], b"MESSAGE=x");
        assert_eq!(received.sender.unwrap().pid, std::process::id() as i32);
    }

    #[test]
    fn only_a_sealed_memfd_is_read() {
        let fd = rustix::fs::memfd_create("entry", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        let mut file = File::from(fd.try_clone().unwrap());
        file.write_all(b"MESSAGE=large").unwrap();
        assert!(read_memfd(&fd).unwrap_err().contains("not sealed"));
        rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)
            .unwrap();
        assert_eq!(read_memfd(&fd).unwrap(), b"MESSAGE=large");
    }

    #[test]
    fn a_plain_file_is_no_memfd() {
        let file = tempfile::tempfile().unwrap();
        assert!(read_memfd(&OwnedFd::from(file)).is_err());
    }
}
