//! Progress of long work: bars on a terminal, one line per finished step otherwise. Always on stderr.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shows what `image` and we are doing.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    steps: Mutex<BTreeMap<String, Step>>,
}

#[derive(Debug)]
struct Step {
    since: Instant,
    bar: Option<ProgressBar>,
}

/// A step that took less than this and has nothing to say leaves no line.
const WORTH_A_LINE: Duration = Duration::from_millis(200);

impl Progress {
    /// Bars if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            bars: terminal.then(MultiProgress::new),
            steps: Mutex::new(BTreeMap::new()),
        }
    }

    /// Something else (cargo, apt) may write to the terminal while `work` runs.
    pub(crate) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(work),
            None => work(),
        }
    }

    /// Bars are drawn.
    pub(crate) fn is_live(&self) -> bool {
        self.bars.is_some()
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<String, Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => {
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }
}

impl image::Progress for Progress {
    fn begin(&self, step: &str, total: Option<u64>) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total.unwrap_or(0)));
            bar.set_style(style(total));
            bar.set_message(step.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        self.steps().insert(
            step.to_owned(),
            Step {
                since: Instant::now(),
                bar,
            },
        );
    }

    fn advance(&self, step: &str, done: u64) {
        if let Some(Step { bar: Some(bar), .. }) = self.steps().get(step) {
            bar.set_position(done);
        }
    }

    fn end(&self, step: &str, note: &str) {
        let Some(Step { since, bar }) = self.steps().remove(step) else {
            return;
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let took = since.elapsed();
        if note.is_empty() && took < WORTH_A_LINE {
            return;
        }
        let colon = if note.is_empty() { "" } else { ": " };
        self.line(&format!(
            "  {step}{colon}{note} ({:.1} s)",
            took.as_secs_f64()
        ));
    }

    fn warn(&self, message: &str) {
        self.line(&format!("warning: {message}"));
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    // Byte counts are what the long steps count in; a step without a total spins.
    let template = match total {
        Some(_) => "  {msg:28!} {wide_bar} {bytes}/{total_bytes} {eta}",
        None => "  {spinner} {msg} {elapsed}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
