//! Programs that an operator has a node run as transient units.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/run`: run a program once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Name of its unit, which must not be in use; one is made up where none is given.
    #[serde(default)]
    pub unit: Option<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Directives of `[Service]`, each `KEY=VALUE`, that confine and limit it.
    #[serde(default)]
    pub properties: Vec<String>,
    /// Nobody waits for it: what it writes goes to the journal.
    #[serde(default)]
    pub detach: bool,
}

/// What is told of a program, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// Its unit was taken; the first line.
    Started(RunStarted),
    /// It has written something.
    Output(RunOutput),
    /// It has ended, and its unit is forgotten; the last line.
    Ended(RunEnd),
    /// Why nothing more can be told; the last line.
    Failed(String),
}

/// Its unit was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStarted {
    /// Name of the unit.
    pub unit: String,
}

/// What a program has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunOutput {
    /// Where to.
    pub stream: OutputStream,
    /// The bytes in Base64, RFC 4648 section 4.
    pub data: String,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// How a transient unit has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunEnd {
    /// Name of the unit.
    pub unit: String,
    /// `success`, `exit-code`, `signal`, `oom-kill` and so on, as of every unit.
    pub result: String,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Why it failed, for people.
    pub reason: Option<String>,
}
