//! A learning Ethernet switch in a thread, the LAN of a cluster.
//!
//! Each port is a Unix socket that QEMU connects to (`-netdev stream`), or a socket pair for a host of
//! ours. The switch outlives the machines: a machine that starts again connects to its port again.
//! What a bad network does is done here: loss, delay, duplicates, cuts in one direction or both.
//!
//! One thread, one poll loop; no port can block another: what a slow port does not take is dropped.

use crate::{
    error::{Error, Result},
    frame::{Frame, Input, Output},
    socket,
    worker::{Shared, Worker},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    fs::File,
    io::{self, BufWriter, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Hardware addresses remembered.
const MAX_LEARNED: usize = 4096;
/// Frames held back by a delay.
const MAX_DELAYED: usize = 16_384;
/// Start of the pseudo-random sequence that decides losses: the same in each run.
const SEED: u64 = 0x6265_6470_6c61_7465;

/// A port's number, in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortId(usize);

/// What a line does to frames; the default is a perfect one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Line {
    /// Nothing passes.
    pub cut: bool,
    /// Part of the frames that is lost, 0 to 1.
    pub loss: f64,
    /// Part of the frames that comes twice, 0 to 1.
    pub duplicate: f64,
    /// Each frame comes this much later.
    pub delay_ms: u32,
    /// And up to this much more, at random, so that frames overtake each other.
    pub jitter_ms: u32,
}

impl Line {
    /// A line that nothing passes.
    pub const CUT: Line = Line {
        cut: true,
        loss: 0.0,
        duplicate: 0.0,
        delay_ms: 0,
        jitter_ms: 0,
    };
}

/// What went through the switch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that came in.
    pub received: u64,
    /// Frames handed to ports.
    pub sent: u64,
    /// Frames lost by a fault.
    pub lost: u64,
    /// Frames dropped because a port was too slow.
    pub overrun: u64,
}

/// A switch; it ends with this handle.
#[derive(Debug)]
pub struct Switch {
    worker: Worker<Control>,
}

/// What the handle tells the thread.
#[derive(Debug, Default)]
struct Control {
    ports: usize,
    new_ports: Vec<Port>,
    lines: Lines,
    capture: Option<Capture>,
    counters: Counters,
}

#[derive(Debug, Clone, Default)]
struct Lines {
    ports: HashMap<PortId, Line>,
    ways: HashMap<(PortId, PortId), Line>,
}

#[derive(Debug)]
struct Port {
    id: PortId,
    listener: Option<UnixListener>,
    stream: Option<UnixStream>,
    input: Input,
    output: Output,
}

impl Switch {
    /// Starts a switch without ports.
    pub fn start() -> Result<Switch> {
        let worker = Worker::start("switch", |shared| Fabric::new(shared).run())?;
        Ok(Switch { worker })
    }

    /// A port that listens on a socket, for a machine.
    pub fn listen(&self, path: &Path) -> Result<PortId> {
        let listener = socket::bind(path)?;
        listener
            .set_nonblocking(true)
            .map_err(Error::io("set up", path))?;
        Ok(self.add(Some(listener), None))
    }

    /// A port with a host of ours on it; frames go over the stream as [`crate::frame`] says.
    pub fn attach(&self) -> Result<(PortId, UnixStream)> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::doing("make a socket pair"))?;
        ours.set_nonblocking(true)
            .map_err(Error::doing("set up a port"))?;
        Ok((self.add(None, Some(ours)), theirs))
    }

    fn add(&self, listener: Option<UnixListener>, stream: Option<UnixStream>) -> PortId {
        let mut control = self.worker.control();
        let id = PortId(control.ports);
        control.ports += 1;
        control.new_ports.push(Port {
            id,
            listener,
            stream,
            input: Input::default(),
            output: Output::default(),
        });
        drop(control);
        self.worker.wake();
        id
    }

    /// Sets the line of a port, for both directions.
    pub fn set_port(&self, port: PortId, line: Line) {
        self.worker.control().lines.ports.insert(port, line);
    }

    /// Sets what happens to frames from one port to another; the way back stays as it is.
    pub fn set_way(&self, from: PortId, to: PortId, line: Line) {
        self.worker.control().lines.ways.insert((from, to), line);
    }

    /// Sets what happens to frames between two ports, both ways.
    pub fn set_pair(&self, a: PortId, b: PortId, line: Line) {
        self.set_way(a, b, line);
        self.set_way(b, a, line);
    }

    /// Cuts every line between ports of different groups. Ports in no group keep all their lines.
    pub fn partition(&self, groups: &[&[PortId]]) {
        for (index, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(index + 1) {
                for a in *group {
                    for b in *other {
                        self.set_pair(*a, *b, Line::CUT);
                    }
                }
            }
        }
    }

    /// Makes all lines perfect again.
    pub fn heal(&self) {
        self.worker.control().lines = Lines::default();
    }

    /// Writes all frames that come in from now on to a pcap file; `None` ends it.
    pub fn capture(&self, path: Option<&Path>) -> Result<()> {
        let capture = path.map(Capture::create).transpose()?;
        let old = std::mem::replace(&mut self.worker.control().capture, capture);
        old.map_or(Ok(()), Capture::finish)
    }

    /// What went through so far.
    pub fn counters(&self) -> Counters {
        self.worker.control().counters
    }
}

/// A frame held back.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    number: u64,
    to: PortId,
    frame: Frame,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Delayed {}

/// The switch's thread.
struct Fabric {
    shared: Arc<Shared<Control>>,
    ports: Vec<Port>,
    learned: HashMap<[u8; 6], PortId>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    number: u64,
    random: u64,
}

impl Fabric {
    fn new(shared: Arc<Shared<Control>>) -> Fabric {
        Fabric {
            shared,
            ports: Vec::new(),
            learned: HashMap::new(),
            delayed: BinaryHeap::new(),
            number: 0,
            random: SEED,
        }
    }

    fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            {
                let mut control = shared.control();
                if shared.ends() {
                    if let Some(capture) = control.capture.take() {
                        let _ = capture.finish();
                    }
                    return;
                }
                self.ports.append(&mut control.new_ports);
            }
            let ready = self.wait();
            let mut frames = VecDeque::new();
            for index in ready {
                self.accept(index);
                self.receive(index, &mut frames);
            }
            let mut control = shared.control();
            for (from, frame) in frames {
                self.forward(&mut control, from, frame);
            }
            self.release(&mut control);
            drop(control);
            self.send();
        }
    }

    /// Waits for something to do and returns the ports that have it.
    fn wait(&self) -> Vec<usize> {
        let due = self.delayed.peek().map(|Reverse(next)| next.due);
        let timeout = due.map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut fds = vec![self.shared.woken()];
        let mut owners = vec![None];
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(listener) = &port.listener {
                fds.push(PollFd::new(listener, PollFlags::IN));
                owners.push(Some(index));
            }
            if let Some(stream) = &port.stream {
                let out = if port.output.is_empty() {
                    PollFlags::empty()
                } else {
                    PollFlags::OUT
                };
                fds.push(PollFd::from_borrowed_fd(
                    stream.as_fd(),
                    PollFlags::IN | out,
                ));
                owners.push(Some(index));
            }
        }
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        if !fds[0].revents().is_empty() {
            self.shared.rest();
        }
        let ready = fds
            .iter()
            .zip(owners)
            .filter(|(fd, _)| !fd.revents().is_empty());
        let mut ready: Vec<usize> = ready.filter_map(|(_, owner)| owner).collect();
        ready.dedup();
        ready
    }

    /// A machine that connects again takes its port over.
    fn accept(&mut self, index: usize) {
        let port = &mut self.ports[index];
        while let Some(Ok((stream, _))) = port.listener.as_ref().map(UnixListener::accept) {
            if stream.set_nonblocking(true).is_ok() {
                port.stream = Some(stream);
                port.input = Input::default();
                port.output = Output::default();
            }
        }
    }

    fn receive(&mut self, index: usize, frames: &mut VecDeque<(PortId, Frame)>) {
        let port = &mut self.ports[index];
        let Some(stream) = &mut port.stream else {
            return;
        };
        let mut new = VecDeque::new();
        if port.input.read(stream, &mut new).is_err() {
            port.stream = None;
        }
        frames.extend(new.into_iter().map(|frame| (port.id, frame)));
    }

    fn forward(&mut self, control: &mut Control, from: PortId, frame: Frame) {
        let (Some(source), Some(destination)) = (frame.source(), frame.destination()) else {
            return;
        };
        control.counters.received += 1;
        if let Some(capture) = &mut control.capture {
            capture.record(frame.data());
        }
        let is_group = |address: [u8; 6]| address[0] & 1 == 1;
        if !is_group(source)
            && (self.learned.len() < MAX_LEARNED || self.learned.contains_key(&source))
        {
            self.learned.insert(source, from);
        }
        match self.learned.get(&destination) {
            Some(to) if !is_group(destination) => {
                let to = *to;
                if to != from {
                    self.deliver(control, from, to, frame);
                }
            }
            _ => {
                let others: Vec<PortId> = self
                    .ports
                    .iter()
                    .map(|port| port.id)
                    .filter(|id| *id != from)
                    .collect();
                for to in others {
                    self.deliver(control, from, to, frame.clone());
                }
            }
        }
    }

    /// Hands one frame to one port, over what lies between.
    fn deliver(&mut self, control: &mut Control, from: PortId, to: PortId, frame: Frame) {
        let lines = &control.lines;
        let lines = [
            lines.ports.get(&from),
            lines.ports.get(&to),
            lines.ways.get(&(from, to)),
        ];
        let (mut lost, mut copies, mut delay) = (false, 1, Duration::ZERO);
        for line in lines.into_iter().flatten() {
            lost |= line.cut || self.chance(line.loss);
            copies += u32::from(self.chance(line.duplicate));
            let jitter = (self.random() * f64::from(line.jitter_ms)) as u64;
            delay += Duration::from_millis(u64::from(line.delay_ms) + jitter);
        }
        if lost {
            control.counters.lost += 1;
            return;
        }
        for _ in 0..copies {
            if delay.is_zero() {
                self.hand_over(control, to, frame.clone());
            } else if self.delayed.len() < MAX_DELAYED {
                self.number += 1;
                self.delayed.push(Reverse(Delayed {
                    due: Instant::now() + delay,
                    number: self.number,
                    to,
                    frame: frame.clone(),
                }));
            } else {
                control.counters.overrun += 1;
            }
        }
    }

    fn hand_over(&mut self, control: &mut Control, to: PortId, frame: Frame) {
        let Some(port) = self.ports.iter_mut().find(|port| port.id == to) else {
            return;
        };
        if port.stream.is_none() {
            return;
        }
        if port.output.push(frame) {
            control.counters.sent += 1;
        } else {
            control.counters.overrun += 1;
        }
    }

    /// Hands over what was held back long enough.
    fn release(&mut self, control: &mut Control) {
        let now = Instant::now();
        while self
            .delayed
            .peek()
            .is_some_and(|Reverse(next)| next.due <= now)
        {
            if let Some(Reverse(next)) = self.delayed.pop() {
                self.hand_over(control, next.to, next.frame);
            }
        }
    }

    fn send(&mut self) {
        for port in &mut self.ports {
            if let Some(stream) = &mut port.stream
                && port.output.write(stream).is_err()
            {
                port.stream = None;
            }
        }
    }

    fn chance(&mut self, part: f64) -> bool {
        part > 0.0 && self.random() < part
    }

    /// Uniform in 0..1 (splitmix64).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

/// A pcap file (pcap-savefile(5)), microseconds, Ethernet.
#[derive(Debug)]
struct Capture {
    file: BufWriter<File>,
    result: io::Result<()>,
}

impl Capture {
    fn create(path: &Path) -> Result<Capture> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut file = BufWriter::new(file);
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(&0xa1b2_c3d4u32.to_le_bytes());
        header.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend_from_slice(&0x4_0000u32.to_le_bytes());
        header.extend_from_slice(&1u32.to_le_bytes());
        file.write_all(&header).map_err(Error::io("write", path))?;
        Ok(Capture {
            file,
            result: Ok(()),
        })
    }

    /// The first error is kept and told at the end; the LAN goes on.
    fn record(&mut self, frame: &[u8]) {
        if self.result.is_err() {
            return;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let length = frame.len() as u32;
        let mut header = Vec::with_capacity(16);
        for field in [now.as_secs() as u32, now.subsec_micros(), length, length] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        self.result = self
            .file
            .write_all(&header)
            .and_then(|()| self.file.write_all(frame));
    }

    fn finish(mut self) -> Result<()> {
        let told = std::mem::replace(&mut self.result, Ok(()));
        told.and_then(|()| self.file.flush())
            .map_err(Error::doing("write the capture file"))
    }
}

#[cfg(test)]
mod tests;
