//! QEMU's machine protocol: JSON lines over a Unix socket (QEMU, "docs/interop/qmp-spec").

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// Longest line taken from QEMU.
const MAX_LINE: usize = 4 << 20;
/// How long QEMU may take to answer a command.
const ANSWER: Duration = Duration::from_secs(20);
/// Events kept until somebody asks.
const MAX_EVENTS: usize = 1024;

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    buffer: Vec<u8>,
    events: VecDeque<Value>,
    /// Commands so far: the number of the last.
    commands: u64,
}

impl Qmp {
    /// Greets QEMU on a connected socket.
    pub fn greet(stream: UnixStream) -> Result<Qmp> {
        let mut qmp = Qmp {
            stream,
            buffer: Vec::new(),
            events: VecDeque::new(),
            commands: 0,
        };
        qmp.line(Instant::now() + ANSWER)?
            .filter(|greeting| greeting.get("QMP").is_some())
            .ok_or_else(|| Error::Failed("QEMU did not greet on its control socket".into()))?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns what it answers. Events that come meanwhile are kept.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.commands += 1;
        let id = json!(self.commands);
        let text = json!({ "execute": command, "arguments": arguments, "id": id });
        let text = format!("{text}\n");
        self.stream
            .write_all(text.as_bytes())
            .map_err(Error::doing(format!("send '{command}' to QEMU")))?;
        let deadline = Instant::now() + ANSWER;
        while let Some(mut message) = self.line(deadline)? {
            // A late answer to a command that nobody waits for any more.
            if message.get("id").is_some_and(|other| *other != id) {
                continue;
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                let why = error
                    .get("desc")
                    .and_then(Value::as_str)
                    .unwrap_or("no reason given");
                return Err(Error::Failed(format!("QEMU refused '{command}': {why}")));
            }
            self.keep(message);
        }
        Err(Error::timeout(
            format!("QEMU's answer to '{command}'"),
            ANSWER,
        ))
    }

    /// How QEMU says the machine is: `running`, `paused`, `internal-error` and so on.
    pub fn run_state(&mut self) -> Result<String> {
        let answer = self.execute("query-status", json!({}))?;
        let status = answer.get("status").and_then(Value::as_str);
        status
            .map(str::to_owned)
            .ok_or_else(|| Error::Failed(format!("QEMU answered {answer} to 'query-status'")))
    }

    /// Waits for an event of this name and returns it.
    pub fn wait_event(&mut self, name: &str, timeout: Duration) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        loop {
            let found = self.events.iter().position(|event| event["event"] == name);
            if let Some(event) = found.and_then(|index| self.events.remove(index)) {
                return Ok(event);
            }
            match self.line(deadline)? {
                Some(message) => self.keep(message),
                None => return Err(Error::timeout(format!("QEMU's event {name}"), timeout)),
            }
        }
    }

    /// Forgets the events seen so far.
    pub fn forget_events(&mut self) {
        while let Ok(Some(_)) = self.line(Instant::now()) {}
        self.events.clear();
    }

    fn keep(&mut self, message: Value) {
        if message.get("event").is_some() {
            if self.events.len() == MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(message);
        }
    }

    /// One message; `None` when the deadline passes first.
    fn line(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let value = serde_json::from_slice(&line)
                    .map_err(|error| Error::Failed(format!("QEMU's control socket: {error}")))?;
                return Ok(Some(value));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Error::Failed(
                    "QEMU's control socket: a line without end".into(),
                ));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(wait))
                .map_err(Error::doing("set a timeout on QEMU's control socket"))?;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(Error::Failed(
                        "QEMU closed its control socket: it has ended".into(),
                    ));
                }
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if left.is_zero() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(Error::doing("read QEMU's control socket")(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::BufRead, io::BufReader, thread};

    #[test]
    fn events_before_an_answer_are_kept_and_late_answers_are_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut lines = BufReader::new(theirs).lines();
            writer.write_all(b"{\"QMP\": {}}\n").unwrap();
            assert!(lines.next().unwrap().unwrap().contains("qmp_capabilities"));
            writer.write_all(b"{\"return\": {}}\n").unwrap();
            assert!(lines.next().unwrap().unwrap().contains("system_reset"));
            writer
                .write_all(b"{\"event\": \"RESET\"}\n{\"return\": {}}\n")
                .unwrap();
            assert!(lines.next().unwrap().unwrap().contains("query-status"));
            writer.write_all(b"{\"return\": {}, \"id\": 1}\n").unwrap();
            writer
                .write_all(b"{\"return\": {\"status\": \"internal-error\", \"running\": false}}\n")
                .unwrap();
            assert!(lines.next().unwrap().unwrap().contains("no_such"));
            writer
                .write_all(b"{\"error\": {\"desc\": \"unknown\"}}\n")
                .unwrap();
        });
        let mut qmp = Qmp::greet(ours).unwrap();
        qmp.execute("system_reset", json!({})).unwrap();
        qmp.wait_event("RESET", Duration::from_secs(1)).unwrap();
        assert_eq!(qmp.run_state().unwrap(), "internal-error");
        let refused = qmp.execute("no_such", json!({})).unwrap_err().to_string();
        assert_eq!(refused, "QEMU refused 'no_such': unknown");
        qemu.join().unwrap();
        let ended = qmp
            .wait_event("RESET", Duration::from_secs(1))
            .unwrap_err()
            .to_string();
        assert!(ended.contains("ended"), "{ended}");
    }
}
