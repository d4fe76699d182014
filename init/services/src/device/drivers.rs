//! Loading drivers beside the event loop, the ones that boot waits for first.
//!
//! A driver may search its bus for seconds. Its thread waits for that; the loop goes on with what has come.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::device::module::Loader;

/// Nothing was asked for so long: what can wait is loaded, and the index of modules, some MiB, is given back.
const REST_AFTER: Duration = Duration::from_secs(5);
/// Parts of the paths of drivers that other devices are behind.
const BUSES: [&str; 5] = [
    "kernel/drivers/virtio/",
    "kernel/drivers/hv/",
    "kernel/drivers/xen/",
    "kernel/drivers/pci/",
    "kernel/drivers/usb/host/",
];

/// In which order drivers are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// READY waits for these two: the network's service finds all links, under their names.
    Bus,
    Link,
    Other,
    /// Ciphers, KVM and frequency of a processor test themselves for seconds.
    Processor,
}

impl Turn {
    /// By the device and by the path of its driver.
    fn of(modalias: &str, path: &str) -> Turn {
        match path {
            _ if modalias.starts_with("cpu:") => Turn::Processor,
            path if path.starts_with("kernel/drivers/net/") => Turn::Link,
            path if BUSES.iter().any(|bus| path.starts_with(bus)) => Turn::Bus,
            _ => Turn::Other,
        }
    }
}

enum Request {
    Load(String),
    Settle(Sender<()>),
    Rest,
}

/// The thread that loads.
pub(crate) struct Drivers {
    requests: Sender<Request>,
    loads: Loads,
}

/// What is being loaded, since when.
type Loads = Arc<Mutex<Option<(String, Instant)>>>;

impl Drivers {
    /// Starts it. Until [`load_rest`](Self::load_rest) it loads drivers of links and of what they are behind only.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, receiver) = mpsc::channel();
        let loads = Loads::default();
        let work = Work {
            requests: receiver,
            loads: loads.clone(),
            loader: None,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
            settled: false,
        };
        std::thread::Builder::new()
            .name("drivers".into())
            .spawn(move || work.run())?;
        Ok(Self { requests, loads })
    }

    /// Has the drivers of a device loaded, some time.
    pub(crate) fn load(&self, modalias: &str) {
        self.ask(Request::Load(modalias.to_owned()));
    }

    /// Waits, but not longer than this, until the drivers of all links that were asked for are loaded; whether they are.
    pub(crate) fn settle(&self, longest: Duration) -> bool {
        let (done, wait) = mpsc::channel();
        self.ask(Request::Settle(done));
        wait.recv_timeout(longest).is_ok()
    }

    /// From now on all drivers are loaded.
    pub(crate) fn load_rest(&self) {
        self.ask(Request::Rest);
    }

    /// A driver that has taken longer than this until now, and how long.
    pub(crate) fn stuck(&self, longer: Duration) -> Option<(String, Duration)> {
        let loads = self.loads.lock().ok()?;
        let (module, since) = loads.as_ref()?;
        let taken = since.elapsed();
        (taken > longer).then(|| (module.clone(), taken))
    }

    fn ask(&self, request: Request) {
        if self.requests.send(request).is_err() {
            log::error!("no driver can be loaded: their thread has ended");
        }
    }
}

struct Work {
    requests: Receiver<Request>,
    loads: Loads,
    loader: Option<Loader>,
    /// Each of many like devices asks for the same.
    seen: BTreeSet<String>,
    waiting: BTreeMap<Turn, Vec<String>>,
    settled: bool,
}

impl Work {
    /// Until the service ends.
    fn run(mut self) {
        let mut settle = Vec::new();
        loop {
            let ready = self.next_turn();
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
                (Ok(Request::Rest), _) => self.settled = true,
                (Err(RecvTimeoutError::Disconnected), _) => return,
                (Err(RecvTimeoutError::Timeout), Some(turn)) => self.load_one(turn),
                (Err(RecvTimeoutError::Timeout), None) => self.rest(),
            }
            if !settle.is_empty() && !self.waiting.keys().any(|turn| *turn <= Turn::Link) {
                for done in settle.drain(..) {
                    // Who does not wait any more needs no answer.
                    let _ = done.send(());
                }
            }
        }
    }

    /// What may be loaded now, without waiting for a rest.
    fn next_turn(&self) -> Option<Turn> {
        let first = *self.waiting.keys().next()?;
        let now = first <= Turn::Link || (self.settled && first != Turn::Processor);
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
                let turn = Turn::of(&modalias, &path);
                self.waiting.entry(turn).or_default().push(module);
            }
        }
        self.seen.insert(modalias);
    }

    fn load_one(&mut self, turn: Turn) {
        let Some(modules) = self.waiting.get_mut(&turn) else {
            return;
        };
        let module = (!modules.is_empty()).then(|| modules.remove(0));
        if modules.is_empty() {
            self.waiting.remove(&turn);
        }
        let Some(module) = module else { return };
        self.note(Some((module.clone(), Instant::now())));
        if let Some(loader) = self.loader() {
            loader.load_driver(&module);
        }
        self.note(None);
    }

    fn note(&self, module: Option<(String, Instant)>) {
        if let Ok(mut loads) = self.loads.lock() {
            *loads = module;
        }
    }

    /// No device comes for now.
    fn rest(&mut self) {
        while self.waiting.contains_key(&Turn::Processor) {
            self.load_one(Turn::Processor);
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

    fn work(waiting: &[(Turn, &str)]) -> Work {
        let mut work = Work {
            requests: mpsc::channel().1,
            loads: Loads::default(),
            loader: None,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
            settled: false,
        };
        for (turn, module) in waiting {
            let modules = work.waiting.entry(*turn).or_default();
            modules.push((*module).to_owned());
        }
        work
    }

    #[test]
    fn until_it_is_settled_only_links_and_their_buses_get_drivers() {
        let mut all = work(&[
            (Turn::Processor, "kvm_amd"),
            (Turn::Other, "ahci"),
            (Turn::Link, "virtio_net"),
            (Turn::Bus, "hv_vmbus"),
        ]);
        for turn in [Turn::Bus, Turn::Link] {
            assert_eq!(all.next_turn(), Some(turn));
            all.waiting.remove(&turn);
        }
        assert_eq!(all.next_turn(), None);
        all.settled = true;
        assert_eq!(all.next_turn(), Some(Turn::Other));
        all.waiting.remove(&Turn::Other);
        assert_eq!(all.next_turn(), None);
    }

    #[test]
    fn a_driver_is_as_urgent_as_what_it_drives() {
        let virtio = "kernel/drivers/net/virtio_net.ko.xz";
        assert_eq!(Turn::of("virtio:d1v1", virtio), Turn::Link);
        let vmbus = "kernel/drivers/hv/hv_vmbus.ko.xz";
        assert_eq!(Turn::of("acpi:VMBUS:", vmbus), Turn::Bus);
        assert_eq!(
            Turn::of("pci:v1", "kernel/drivers/ata/ahci.ko.xz"),
            Turn::Other
        );
        assert_eq!(
            Turn::of("cpu:type:x86", "kernel/arch/x86/kvm/kvm.ko.xz"),
            Turn::Processor
        );
    }

    #[test]
    fn whoever_settles_gets_an_answer_although_nothing_was_asked() {
        let drivers = Drivers::start().unwrap();
        assert!(drivers.settle(Duration::from_secs(60)));
        assert!(drivers.stuck(Duration::ZERO).is_none());
    }

    #[test]
    fn a_driver_that_hangs_is_named_and_nobody_waits_for_it_for_ever() {
        let (requests, _nobody) = mpsc::channel();
        let drivers = Drivers {
            requests,
            loads: Arc::new(Mutex::new(Some(("mlx5_core".into(), Instant::now())))),
        };
        assert!(!drivers.settle(Duration::from_millis(1)));
        let stuck = drivers.stuck(Duration::ZERO).map(|(module, _)| module);
        assert_eq!(stuck.as_deref(), Some("mlx5_core"));
        assert!(drivers.stuck(Duration::from_secs(3600)).is_none());
    }
}
