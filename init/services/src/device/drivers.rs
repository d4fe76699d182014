//! Loading drivers beside the event loop, the ones that boot waits for first.
//!
//! A driver may search its bus for seconds. Its thread waits for that; the loop goes on with what has come.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use crate::device::module::Loader;

/// Nothing was asked for so long: what can wait is loaded, and the index of modules, some MiB, is given back.
const REST_AFTER: Duration = Duration::from_secs(5);
/// Of all programs these may use the processor last: nothing at boot waits for what they load.
const LAST: i32 = 19;

/// What is loaded first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// READY waits for it: the network's service finds all links, under their names.
    Link,
    Other,
    /// Ciphers, KVM and frequency of a processor test themselves for seconds.
    Processor,
}

impl Urgency {
    /// By the device and by the path of its driver.
    fn of(modalias: &str, path: &str) -> Urgency {
        match path {
            _ if modalias.starts_with("cpu:") => Urgency::Processor,
            path if path.starts_with("kernel/drivers/net/") => Urgency::Link,
            _ => Urgency::Other,
        }
    }
}

enum Request {
    Load(String),
    Settle(Sender<()>),
}

/// The thread that loads.
pub(crate) struct Drivers {
    requests: Sender<Request>,
}

impl Drivers {
    /// Starts it. Until [`settle`](Self::settle) it loads drivers of links only.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, receiver) = mpsc::channel();
        let work = Work {
            requests: receiver,
            loader: None,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
            settled: false,
        };
        std::thread::Builder::new()
            .name("drivers".into())
            .spawn(move || work.run())?;
        Ok(Self { requests })
    }

    /// Has the drivers of a device loaded, some time.
    pub(crate) fn load(&self, modalias: &str) {
        self.ask(Request::Load(modalias.to_owned()));
    }

    /// Waits, but not longer than this, until the drivers of all links that were asked for are loaded. The others
    /// follow from now on.
    pub(crate) fn settle(&self, longest: Duration) {
        let (done, wait) = mpsc::channel();
        self.ask(Request::Settle(done));
        if wait.recv_timeout(longest).is_err() {
            log::warn!("drivers of links still load after {} s", longest.as_secs());
        }
    }

    fn ask(&self, request: Request) {
        if self.requests.send(request).is_err() {
            log::error!("no driver can be loaded: their thread has ended");
        }
    }
}

struct Work {
    requests: Receiver<Request>,
    loader: Option<Loader>,
    /// Each of many like devices asks for the same.
    seen: BTreeSet<String>,
    waiting: BTreeMap<Urgency, Vec<String>>,
    settled: bool,
}

impl Work {
    /// Until the service ends.
    fn run(mut self) {
        let mut settle = Vec::new();
        loop {
            let ready = self.most_urgent();
            let request = match ready {
                Some(_) => self.requests.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                None => self.requests.recv_timeout(REST_AFTER),
            };
            match (request, ready) {
                (Ok(Request::Load(modalias)), _) => self.find(modalias),
                (Ok(Request::Settle(done)), _) => settle.push(done),
                (Err(RecvTimeoutError::Disconnected), _) => return,
                (Err(RecvTimeoutError::Timeout), Some(urgency)) => self.load_one(urgency),
                (Err(RecvTimeoutError::Timeout), None) => self.rest(),
            }
            if !settle.is_empty() && !self.waiting.contains_key(&Urgency::Link) {
                for done in settle.drain(..) {
                    // Who does not wait any more needs no answer.
                    let _ = done.send(());
                }
                self.settled = true;
                if let Err(error) = rustix::process::setpriority_process(None, LAST) {
                    log::debug!("drivers load with the priority of the service: {error}");
                }
            }
        }
    }

    /// What may be loaded now, without waiting for a rest.
    fn most_urgent(&self) -> Option<Urgency> {
        let first = *self.waiting.keys().next()?;
        let now = first == Urgency::Link || (self.settled && first != Urgency::Processor);
        now.then_some(first)
    }

    /// Finds the modules of a device.
    fn find(&mut self, modalias: String) {
        if self.seen.contains(&modalias) {
            return;
        }
        if let Some(loader) = self.loader() {
            let modules = loader.drivers(&modalias);
            for (module, path) in modules {
                let urgency = Urgency::of(&modalias, &path);
                self.waiting.entry(urgency).or_default().push(module);
            }
        }
        self.seen.insert(modalias);
    }

    fn load_one(&mut self, urgency: Urgency) {
        let Some(modules) = self.waiting.get_mut(&urgency) else {
            return;
        };
        let module = (!modules.is_empty()).then(|| modules.remove(0));
        if modules.is_empty() {
            self.waiting.remove(&urgency);
        }
        if let (Some(module), Some(loader)) = (module, self.loader()) {
            loader.load_driver(&module);
        }
    }

    /// No device comes for now.
    fn rest(&mut self) {
        while self.waiting.contains_key(&Urgency::Processor) {
            self.load_one(Urgency::Processor);
        }
        self.loader = None;
        self.seen.clear();
    }

    fn loader(&mut self) -> Option<&mut Loader> {
        if self.loader.is_none() {
            match Loader::open() {
                Ok(loader) => self.loader = Some(loader),
                Err(error) => log::error!("no module can be loaded: {error}"),
            }
        }
        self.loader.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(waiting: &[(Urgency, &str)]) -> Work {
        let mut work = Work {
            requests: mpsc::channel().1,
            loader: None,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
            settled: false,
        };
        for (urgency, module) in waiting {
            let modules = work.waiting.entry(*urgency).or_default();
            modules.push((*module).to_owned());
        }
        work
    }

    #[test]
    fn until_it_is_settled_only_links_get_their_drivers() {
        let mut all = work(&[
            (Urgency::Processor, "kvm_amd"),
            (Urgency::Other, "ahci"),
            (Urgency::Link, "virtio_net"),
        ]);
        assert_eq!(all.most_urgent(), Some(Urgency::Link));
        all.waiting.remove(&Urgency::Link);
        assert_eq!(all.most_urgent(), None);
        all.settled = true;
        assert_eq!(all.most_urgent(), Some(Urgency::Other));
        all.waiting.remove(&Urgency::Other);
        assert_eq!(all.most_urgent(), None);
    }

    #[test]
    fn a_driver_is_as_urgent_as_what_it_drives() {
        let virtio = "kernel/drivers/net/virtio_net.ko.xz";
        assert_eq!(Urgency::of("virtio:d1v1", virtio), Urgency::Link);
        assert_eq!(
            Urgency::of("pci:v1", "kernel/drivers/ata/ahci.ko.xz"),
            Urgency::Other
        );
        assert_eq!(
            Urgency::of("cpu:type:x86", "kernel/arch/x86/kvm/kvm.ko.xz"),
            Urgency::Processor
        );
    }

    #[test]
    fn whoever_settles_gets_an_answer_although_nothing_was_asked() {
        let drivers = Drivers::start().unwrap();
        let began = std::time::Instant::now();
        drivers.settle(Duration::from_secs(600));
        assert!(began.elapsed() < Duration::from_secs(600));
    }
}
