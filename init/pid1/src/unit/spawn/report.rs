//! What became of a child's exec.

use std::fs::File;
use std::io::{self, Read as _};

/// Reads what became of exec.
#[derive(Debug)]
pub(crate) struct ExecReport {
    /// The pipe, non-blocking.
    pub(crate) pipe: File,
    pub(super) names: Vec<(&'static str, i32)>,
    pub(super) program: String,
}

/// What became of exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExecOutcome {
    /// The program runs.
    Runs,
    /// The child is not there yet.
    Pending,
    /// It does not, and why.
    Failed(String),
}

impl ExecReport {
    /// What is to be executed.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Looks, without waiting.
    pub(crate) fn outcome(&mut self) -> ExecOutcome {
        let mut report = [0; 8];
        match self.pipe.read(&mut report) {
            Ok(0) => ExecOutcome::Runs,
            Ok(8) => {
                let [a, b, c, d, e, f, g, h] = report;
                let step = u32::from_ne_bytes([a, b, c, d]) as usize;
                let cause = io::Error::from_raw_os_error(i32::from_ne_bytes([e, f, g, h]));
                let name = self.names.get(step).map_or("start", |(name, _)| name);
                ExecOutcome::Failed(format!("{}: {name}: {cause}", self.program))
            }
            Ok(_) => ExecOutcome::Failed(format!("{}: broken report", self.program)),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => ExecOutcome::Pending,
            Err(cause) => ExecOutcome::Failed(format!("{}: {cause}", self.program)),
        }
    }
}
