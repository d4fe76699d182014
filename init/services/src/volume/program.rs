//! Running a program of the image to its end, with a deadline.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Most bytes of a program's words that are repeated.
const WORDS_MAX: u64 = 4096;

/// Why a program did not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its exit status, if it ended by itself.
    pub(super) status: Option<i32>,
    message: String,
}

impl From<Failure> for String {
    fn from(failure: Failure) -> String {
        failure.message
    }
}

/// Runs it; statuses made only of the bits of `fine` are success.
pub(super) fn run(
    path: &str,
    arguments: &[&str],
    deadline: Duration,
    fine: i32,
) -> Result<(), Failure> {
    let shown = format!("{path} {}", arguments.join(" "));
    let failed = |message: String| Failure {
        status: None,
        message,
    };
    let spawned = Command::new(path)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned
        .map_err(|cause| failed(format!("{path}: {cause}: is its package in the image?")))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!(
                    "{shown} was not done after {} s and was killed",
                    deadline.as_secs()
                )));
            }
            Err(cause) => return Err(failed(format!("{shown}: {cause}"))),
        }
    };
    let code = status.code();
    if code.is_some_and(|code| code & !fine == 0) {
        return Ok(());
    }
    let mut words = String::new();
    if let Some(stderr) = child.stderr.take() {
        // Words that are not text are not repeated.
        let _ = stderr.take(WORDS_MAX).read_to_string(&mut words);
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Failure {
        status: code,
        message: format!("{shown} failed, {status}: {words}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_status_is_fine_only_by_its_bits() {
        assert!(run("/bin/sh", &["-c", "exit 3"], SOON, 3).is_ok());
        let failure =
            run("/bin/sh", &["-c", "echo no such luck >&2; exit 5"], SOON, 1).unwrap_err();
        assert_eq!(failure.status, Some(5));
        assert!(String::from(failure).ends_with("no such luck"));
    }

    #[test]
    fn what_hangs_is_killed_and_what_is_missing_is_named() {
        let failure = run(
            "/bin/sh",
            &["-c", "exec sleep 60"],
            Duration::from_millis(50),
            0,
        )
        .unwrap_err();
        assert!(String::from(failure).contains("was killed"));
        let failure = run("/no/such/program", &[], SOON, 0).unwrap_err();
        assert!(String::from(failure).contains("is its package in the image?"));
    }
}
