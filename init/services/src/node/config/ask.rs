//! What the node API asks the keeper, and its answers: one line of JSON each way over a connection of its own.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec_api::{ConfigChange, ConfigEntry, ConfigMode, ConfigView};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Most bytes of a question: a document whose every byte JSON escapes, and a little.
pub(super) const MAX_ASK: usize = 6 * spec_config::MAX_DOCUMENT + 64 * 1024;
/// Most bytes of an answer: a document is shown, and one is told value by value.
const MAX_ANSWER: u64 = 16 << 20;
/// How long the keeper may take; a network that is taken up may take a while.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A question.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::node) enum Ask {
    /// What is in force.
    Show,
    /// What there was.
    History,
    /// A document is brought.
    Apply {
        /// Who brings it.
        by: String,
        /// TOML.
        document: String,
        /// When it comes into force.
        mode: ConfigMode,
    },
    /// The config on trial stays.
    Confirm {
        /// Its number.
        number: u64,
    },
    /// One from the history is brought again.
    Rollback {
        /// Who asks.
        by: String,
        /// Which; without one, the one before.
        number: Option<u64>,
        /// When it comes into force.
        mode: ConfigMode,
    },
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::node) enum Problem {
    /// The document, with every problem on a line.
    Invalid(String),
    /// Not now, or not in this way.
    Conflict(String),
    /// There is no such config.
    NotFound(String),
    /// The node could not.
    Failed(String),
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::node) enum Answer {
    /// To [`Ask::Show`].
    View(ConfigView),
    /// To [`Ask::History`].
    History(Vec<ConfigEntry>),
    /// To all others.
    Change(ConfigChange),
    /// To any.
    Problem(Problem),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Asks the keeper at `socket`.
pub(in crate::node) async fn ask(socket: &Path, ask: &Ask) -> Result<Answer, Problem> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok::<Answer, std::io::Error>(serde_json::from_slice(&answer)?)
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(Ok(Answer::Problem(problem))) => Err(problem),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Problem::Failed(format!(
            "the keeper of the machine config does not answer: {error}; see bedplate-config.service"
        ))),
        Err(_) => Err(Problem::Failed(
            "the keeper of the machine config does not answer in time".to_owned(),
        )),
    }
}
