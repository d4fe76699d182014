//! Builds an image without the command line: `build RECIPE OUT INIT SERVICES CLUSTER [--no-cache] [--lock FILE]`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use image::{BuildRequest, Programs, Progress};

/// Prints each step with the time since the start.
struct Lines(Instant);

impl Progress for Lines {
    fn begin(&self, _step: &str, _total: Option<u64>) {}
    fn advance(&self, _step: &str, _done: u64) {}
    fn end(&self, step: &str, note: &str) {
        println!("{:6.2} s  {step}: {note}", self.0.elapsed().as_secs_f64());
    }
    fn warn(&self, message: &str) {
        println!("warning: {message}");
    }
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let no_cache = words
        .iter()
        .position(|word| word == "--no-cache")
        .map(|at| words.remove(at))
        .is_some();
    let lock = words
        .iter()
        .position(|word| word == "--lock")
        .map(|at| PathBuf::from(words.drain(at..at + 2).nth(1).unwrap_or_default()));
    let [recipe, out, init, services, cluster] = &words[..] else {
        eprintln!("usage: build RECIPE OUT INIT SERVICES CLUSTER [--no-cache] [--lock FILE]");
        return ExitCode::from(2);
    };
    let request = BuildRequest {
        recipe: recipe.into(),
        lock,
        out: out.into(),
        formats: Vec::new(),
        programs: Programs {
            init: init.into(),
            services: services.into(),
            cluster: cluster.into(),
        },
        no_cache,
        offline: false,
    };
    match image::build(&request, &Lines(Instant::now())) {
        Ok(build) => {
            println!(
                "{} {} root hash {} unchanged {}",
                build.id, build.version, build.root_hash, build.unchanged
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
