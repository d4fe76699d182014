//! `bedplate run`: run a program on a node once, as a transient unit. `bedplate wait`: wait for one that was left there.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use client::node::blocking::NodeClient;
use nix::sys::signal::{SigSet, Signal};
use spec_api::{OutputStream, RunEnd, RunEvent, RunOutput, RunRequest};

use crate::exit::{Context, Error};
use crate::node::{Running, Which, unit_name};
use crate::output::Output;

/// How long a node may take to pass a signal on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Run a program on a node once, as a user of its own without privileges.
///
/// What it writes comes back, and so does its exit code: 128 and the signal's number if it was killed. Ctrl-C is sent to
/// the program. Should this command end before it, the program runs on; `bedplate wait` has its exit code.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node; the first of the cluster by default.
    #[arg(long)]
    node: Option<String>,
    /// Name of the unit; made up by default.
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// A directive of [Service] that confines or limits it, such as MemoryMax=64M.
    #[arg(short, long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// Only start it: what it writes goes to the journal.
    #[arg(long)]
    detach: bool,
    /// The program and its arguments, after "--".
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    which: Which,
}

/// Wait for the end of a program that `bedplate run` has left on a node, and end with its exit code.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// The node.
    node: String,
    /// Its unit.
    unit: String,
    #[command(flatten)]
    which: Which,
}

/// Runs it and ends as it does.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = match (&args.node, running.nodes().first()) {
        (Some(name), _) => running.node(name)?,
        (None, Some(first)) => first,
        (None, None) => return Err(Error::NotRunning("the cluster has no node".into())),
    };
    let request = RunRequest {
        unit: args.unit.as_deref().map(unit_name),
        command: args.command.clone(),
        properties: args.properties.clone(),
        detach: args.detach,
    };
    let started = if args.detach {
        None
    } else {
        Some(forward_signals(running.client(node)?)?)
    };
    let mut seen = Seen::new(output, args.detach, started);
    let ran = running
        .client(node)?
        .run(&request, |event| seen.event(event));
    ran.context(format!("{} does not run {}", node.name, args.command[0]))?;
    seen.outcome(&node.name)
}

/// Waits for it and ends as it did.
pub(crate) fn wait(args: &WaitArgs, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let node = running.node(&args.node)?;
    let unit = unit_name(&args.unit);
    let mut seen = Seen::new(output, false, None);
    let client = running.client(node)?;
    let waited = client.collect(&unit, |event| seen.event(event));
    waited.context(format!("{} does not wait for {unit}", node.name))?;
    seen.outcome(&node.name)
}

/// Sends the program each SIGINT and SIGTERM of this command, once its unit is known. From here on this process has no
/// other way of ending by them; so where they cannot be passed on, it ends itself.
fn forward_signals(client: NodeClient) -> Result<mpsc::Sender<String>, Error> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("cannot block signals")?;
    let (tell, told) = mpsc::channel::<String>();
    thread::spawn(move || {
        let mut unit = None;
        while let Ok(signal) = signals.wait() {
            let code = 128 + signal as i32;
            if unit.is_none() {
                unit = told.recv_timeout(PATIENCE).ok();
            }
            let sent = unit.as_ref().map(|unit| client.kill(unit, signal as i32));
            if !matches!(sent, Some(Ok(()))) {
                std::process::exit(code);
            }
        }
    });
    Ok(tell)
}

/// What was told of a program.
struct Seen<'a> {
    output: &'a Output,
    detach: bool,
    started: Option<mpsc::Sender<String>>,
    unit: String,
    end: Option<Result<RunEnd, String>>,
}

impl<'a> Seen<'a> {
    fn new(output: &'a Output, detach: bool, started: Option<mpsc::Sender<String>>) -> Self {
        Self {
            output,
            detach,
            started,
            unit: String::new(),
            end: None,
        }
    }

    /// Shows an event; whether more is wanted.
    fn event(&mut self, event: RunEvent) -> bool {
        let shown = !self.output.is_json() || self.output.json_line(&event).is_ok();
        match event {
            RunEvent::Started(started) => {
                if let Some(tell) = &self.started {
                    let _ = tell.send(started.unit.clone());
                }
                self.unit = started.unit;
            }
            RunEvent::Output(written) if !self.output.is_json() => return show(&written),
            RunEvent::Output(_) => {}
            RunEvent::Ended(end) => self.end = Some(Ok(end)),
            RunEvent::Failed(message) => self.end = Some(Err(message)),
        }
        shown
    }

    fn outcome(self, node: &str) -> Result<(), Error> {
        match self.end {
            None if self.detach && !self.unit.is_empty() => {
                self.output.line(format!("{} runs on {node}", self.unit));
                Ok(())
            }
            None => Err(Error::Failed(format!(
                "{node} says no more of {}; `bedplate wait {node} {}` asks again",
                self.unit, self.unit
            ))),
            Some(Err(message)) => Err(Error::Failed(message)),
            Some(Ok(end)) => ended(&end),
        }
    }
}

/// Writes what the program has written; whether somebody still reads.
fn show(written: &RunOutput) -> bool {
    let bytes = spec_unit::value::base64(&written.data).unwrap_or_default();
    let done = match written.stream {
        OutputStream::Output => {
            let mut to = std::io::stdout().lock();
            to.write_all(&bytes).and_then(|()| to.flush())
        }
        OutputStream::Error => std::io::stderr().lock().write_all(&bytes),
    };
    done.is_ok()
}

/// A program that was not well ends this command with its own code.
fn ended(end: &RunEnd) -> Result<(), Error> {
    let code = match (end.code, end.signal) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => {
            let reason = end.reason.as_deref().unwrap_or("no reason");
            return Err(Error::Failed(format!("{}: {reason}", end.unit)));
        }
    };
    let reason = end.reason.as_deref().unwrap_or(&end.result);
    Err(Error::Program {
        message: format!("{}: {reason}", end.unit),
        code: u8::try_from(code).unwrap_or(u8::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_the_command_with_its_own_code() {
        let end = |code, signal| RunEnd {
            unit: "a.service".into(),
            result: "exit-code".into(),
            code,
            signal,
            reason: Some("main process ended".into()),
        };
        assert!(ended(&end(Some(0), None)).is_ok());
        for (code, signal, expected) in [(Some(7), None, 7), (None, Some(9), 137), (None, None, 1)]
        {
            let error = ended(&end(code, signal)).unwrap_err();
            assert_eq!(error.code(), expected);
            assert_eq!(error.to_string(), "a.service: main process ended");
        }
    }
}
