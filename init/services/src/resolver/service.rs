//! The process: sockets, settings and their changes, what PID 1 is told.

use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spec_layout::address::RESOLVER;
use spec_layout::path::{NETWORK_RUN, RESOLVER_CONFIG};
use spec_layout::port::DNS;
use tokio::signal::unix::{SignalKind, signal};

use super::answering::Resolver;
use super::kernel::Kernel;
use super::serve::{tcp, udp};
use super::settings::{self, Settings};
use super::watch::Watch;

/// How often all is looked after: the watchdog, idle connections, the status.
const TICK: Duration = Duration::from_secs(10);

/// Answers until SIGTERM.
pub(crate) async fn run() -> io::Result<()> {
    let at = SocketAddrV4::new(RESOLVER, DNS);
    let resolver = Resolver::new(Box::new(Kernel));
    let (udp, tcp) = (udp::listen(at)?, tcp::listen(at)?);
    let watch = Watch::new(Path::new(NETWORK_RUN))
        .map_err(|error| io::Error::other(format!("{NETWORK_RUN}: {error}")))?;
    let mut config = Config::new(resolver.clone(), PathBuf::from(RESOLVER_CONFIG));
    config.read();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = tokio::time::interval(TICK);
    crate::notify::ready(&config.status());
    let mut told = String::new();
    let (udp, tcp) = (
        udp::serve(udp, resolver.clone()),
        tcp::serve(tcp, resolver.clone()),
    );
    tokio::pin!(udp, tcp);
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                crate::notify::stopping();
                return Ok(());
            }
            ended = &mut udp => return ended,
            ended = &mut tcp => return ended,
            changed = watch.changed() => {
                changed?;
                config.read();
            }
            _ = tick.tick() => {
                // A change that was not told is seen now.
                config.read();
                let now = Instant::now();
                resolver.settings().upstreams().for_each(|upstream| upstream.close_idle(now));
                crate::notify::watchdog();
            }
        }
        let status = config.status();
        if status != told {
            crate::notify::status(&status);
            told = status;
        }
    }
}

/// The settings' file, and what became of it.
pub(crate) struct Config {
    resolver: Arc<Resolver>,
    path: PathBuf,
    /// The file as it was read last.
    bytes: Vec<u8>,
    generation: u64,
    /// What is wrong with the file.
    problem: Option<String>,
}

impl Config {
    /// Nothing is read yet.
    pub(crate) fn new(resolver: Arc<Resolver>, path: PathBuf) -> Self {
        Self {
            resolver,
            path,
            bytes: Vec::new(),
            generation: 0,
            problem: None,
        }
    }

    /// Takes what has changed; what cannot be read leaves what was before, and is said once.
    pub(crate) fn read(&mut self) {
        let problem = self.try_read().err();
        if let Some(problem) = &problem
            && self.problem.as_ref() != Some(problem)
        {
            log::warn!("{problem}");
        }
        self.problem = problem;
    }

    fn try_read(&mut self) -> Result<(), String> {
        let path = self.path.display().to_string();
        let before = match self.generation {
            0 => "nobody is asked",
            _ => "the last one that could stays in force",
        };
        let refuse = |why: String| format!("{path} cannot be used: {why}; {before}");
        let read = settings::read(&self.path, &self.bytes).map_err(|error| {
            self.bytes.clear();
            match error.kind() {
                io::ErrorKind::NotFound if self.generation == 0 => {
                    format!("{path} is not there yet: nobody is asked")
                }
                _ => refuse(error.to_string()),
            }
        })?;
        let Some(bytes) = read else {
            // What is wrong with it still is.
            return self.problem.clone().map_or(Ok(()), Err);
        };
        let resolver: Result<spec_config::Resolver, _> = serde_json::from_slice(&bytes);
        self.bytes = bytes;
        let resolver = resolver.map_err(|error| refuse(error.to_string()))?;
        let settings = Settings::new(self.generation + 1, &resolver).map_err(refuse)?;
        self.generation += 1;
        log::info!("{}", describe(&settings));
        self.resolver.set(settings);
        Ok(())
    }

    /// What PID 1 is told.
    pub(crate) fn status(&self) -> String {
        let does = describe(&self.resolver.settings());
        let resolver = &self.resolver;
        let (kept, flights) = (resolver.kept(), resolver.flights());
        let status = format!(
            "{does}; {}; {kept} kept, {flights} under way",
            resolver.counters
        );
        match &self.problem {
            Some(problem) => format!("{problem}; {status}"),
            None => status,
        }
    }
}

/// Who is asked.
fn describe(settings: &Settings) -> String {
    let names: Vec<String> = settings.upstreams().map(ToString::to_string).collect();
    if names.is_empty() {
        return "no upstreams".into();
    }
    format!("upstreams {}", names.join(", "))
}
