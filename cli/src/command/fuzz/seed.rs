//! Seeds from real files: unit files of Debian's server packages, as the mirror has them today, and those of this
//! checkout; command lines and specifiers out of them, and the plans that they become as requests.

use std::collections::BTreeSet;
use std::path::Path;

use image::unit_files;
use spec_unit::account::Accounts;
use spec_unit::control::{Envelope, Request, ShutdownAction, VERSION};
use spec_unit::device::{Device, Telling};
use spec_unit::directive::{PlanHost, Planning, identity::dynamic_name};
use spec_unit::load::{EntryKind, FOLDERS, Loader, UnitSource};
use spec_unit::name::UnitName;
use spec_unit::parse::parse;
use spec_unit::plan::ExecPlan;
use spec_unit::specifier::Facts;
use spec_unit::unit::Unit;

use super::Room;
use crate::command::unit::source::Units;
use crate::exit::{Context, Error};
use crate::output::Output;
use crate::workspace::Workspace;

/// Names of packages, one a line; the tests of area `packages` read the same.
const PACKAGES: &str = "qemu-tests/tests/packages.txt";
/// What stands between the parts of an input of `unit_file`; the same is in `fuzz/inputs/unit_file.rs`.
const DIVIDER: &[u8] = b"\n#---\n";
/// Messages of daemons: what sd_notify(3) shows, and what those in Debian send.
const MESSAGES: [&str; 7] = [
    "READY=1",
    "READY=1\nSTATUS=Processing requests...\nMAINPID=4711",
    "RELOADING=1\nMONOTONIC_USEC=112233445566\nSTATUS=Reloading configuration",
    "STATUS=Failed to start up: No such file or directory\nERRNO=2",
    "FDSTORE=1\nFDNAME=foobar\nFDPOLL=0",
    "WATCHDOG=1\nWATCHDOG_USEC=20000000\nEXTEND_TIMEOUT_USEC=30000000",
    "STOPPING=1\nSTATUS=Shutting down\nFDSTOREREMOVE=1\nFDNAME=foobar",
];

/// Writes the seeds of every target anew.
pub(super) fn write(workspace: &Workspace, room: &Room, output: &Output) -> Result<(), Error> {
    let mut seeds = Seeds::default();
    for (number, message) in MESSAGES.iter().enumerate() {
        seeds.add("notify", format!("{number}"), message.as_bytes());
    }
    seeds.add_requests();
    for overlay in ["base", "check", "debug", "node"] {
        let root = workspace.root().join("overlays").join(overlay);
        if let Ok(Units { source, names }) = Units::at(&root) {
            names.iter().for_each(|name| seeds.add_unit(&source, name));
        }
    }
    let recipe = workspace.recipe("base")?;
    let text = std::fs::read_to_string(workspace.root().join(PACKAGES))
        .context(format!("cannot read {PACKAGES}"))?;
    let names: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    match unit_files::of_packages(&recipe, &names, &image::Quiet) {
        Ok(packages) => packages.iter().for_each(|package| {
            for unit in units(package) {
                seeds.add_unit(package, &unit);
            }
        }),
        Err(error) => output.warn(&format!("no seeds from Debian's packages: {error}")),
    }
    output.note(&format!("{} seeds", seeds.0.len()));
    seeds.write(room)
}

/// The unit files of a package; links are others' names for them.
fn units(source: &dyn UnitSource) -> BTreeSet<String> {
    let listed = FOLDERS
        .iter()
        .flat_map(|folder| source.list(folder).unwrap_or_default());
    let files = listed.filter(|(_, kind)| *kind == EntryKind::File);
    files
        .map(|(name, _)| name)
        .filter(|name| UnitName::parse(name).is_ok())
        .collect()
}

/// Target, name and bytes of each.
#[derive(Default)]
struct Seeds(BTreeSet<(&'static str, String, Vec<u8>)>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: String, bytes: &[u8]) {
        self.0.insert((target, name, bytes.to_vec()));
    }

    /// A unit file with its drop-ins, its values, and the plans of its commands.
    fn add_unit(&mut self, source: &dyn UnitSource, unit: &str) {
        let facts = Facts::default();
        let Ok(mut name) = UnitName::parse(unit) else {
            return;
        };
        if name.is_template() {
            name = name.with_instance("instance");
        }
        let loader = Loader::new(source, &facts);
        let Ok(loaded) = loader.and_then(|loader| loader.load(&name.to_string())) else {
            return;
        };
        let unit = loaded.unit;
        let files = unit.fragment.iter().chain(&unit.drop_ins);
        let texts: Vec<(&String, Vec<u8>)> = files
            .filter_map(|path| Some((path, source.read(path).ok()??)))
            .collect();
        let whole: Vec<&[u8]> = texts.iter().map(|(_, text)| text.as_slice()).collect();
        self.add("unit_file", unit.name.clone(), &whole.join(DIVIDER));
        for (path, text) in &texts {
            self.add_values(&unit.name, path, text);
        }
        self.add_plans(&unit, facts.clone());
    }

    fn add_values(&mut self, unit: &str, path: &str, text: &[u8]) {
        for said in parse(path, text).assignments {
            let name = format!("{unit}-{}", said.at.line);
            if said.name.starts_with("Exec") || said.name.starts_with("Environment") {
                let input = format!("{}\nOPTIONS=\"-a b\"\nMAINPID=7\n", said.value);
                self.add("command_line", name.clone(), input.as_bytes());
            }
            if said.value.contains('%') {
                let input = format!("{unit}\n{path}\n{}", said.value);
                self.add("specifier", name, input.as_bytes());
            }
        }
    }

    fn add_plans(&mut self, unit: &Unit, facts: Facts) {
        let host = Host::of(unit, facts);
        let exec = &unit.service.exec;
        let commands = [&exec.start_pre, &exec.start, &exec.reload, &exec.stop];
        for (number, command) in commands.into_iter().flatten().enumerate() {
            let planning = Planning {
                unit,
                command,
                host: &host,
                variables: &[],
            };
            if let Ok(plan) = ExecPlan::of(&planning) {
                let request = Request::Run {
                    unit: unit.name.clone(),
                    plan: Box::new(plan),
                };
                self.add_request(format!("{}-{number}", unit.name), request);
            }
        }
    }

    fn add_requests(&mut self) {
        let unit = || "etcd.service".to_string();
        let requests = [
            Request::List { offset: 3 },
            Request::Show { unit: unit() },
            Request::Start { unit: unit() },
            Request::Stop { unit: unit() },
            Request::Restart { unit: unit() },
            Request::Reload { unit: unit() },
            Request::ResetFailed { unit: unit() },
            Request::Kill {
                unit: unit(),
                signal: 15,
            },
            Request::Watch,
            Request::Shutdown {
                action: ShutdownAction::Poweroff,
            },
            Request::Collect { unit: unit() },
            Request::Devices {
                telling: Telling::Begin,
                devices: devices(),
                gone: Vec::new(),
            },
            Request::Devices {
                telling: Telling::Changes,
                devices: Vec::new(),
                gone: devices().into_iter().map(|device| device.path).collect(),
            },
            Request::Reexecute,
            Request::Crash,
        ];
        for (number, request) in requests.into_iter().enumerate() {
            self.add_request(format!("{number}"), request);
        }
    }

    fn add_request(&mut self, name: String, request: Request) {
        let envelope = Envelope {
            version: VERSION,
            id: 7,
            request,
        };
        if let Ok(bytes) = serde_json::to_vec(&envelope) {
            self.add("control", name, &bytes);
        }
    }

    fn write(&self, room: &Room) -> Result<(), Error> {
        let all = room.folder("seeds", "")?;
        std::fs::remove_dir_all(&all).context(format!("cannot remove {}", all.display()))?;
        for (number, (target, name, bytes)) in self.0.iter().enumerate() {
            let file = room
                .folder("seeds", target)?
                .join(format!("{name}-{number}"));
            write_file(&file, bytes)?;
        }
        Ok(())
    }
}

/// A disk and a network card, as the device service tells of them.
fn devices() -> Vec<Device> {
    let device = |path: &str, names: &[&str]| Device {
        path: path.into(),
        names: names.iter().map(|name| name.to_string()).collect(),
    };
    let disk = ["/dev/vda", "/dev/disk/by-id/virtio-state"];
    let card = ["/sys/subsystem/net/devices/eth0"];
    vec![
        device("/devices/pci0000:00/0000:00:02.0/virtio1/block/vda", &disk),
        device("/devices/pci0000:00/0000:00:03.0/virtio2/net/eth0", &card),
    ]
}

fn write_file(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(file, bytes).context(format!("cannot write {}", file.display()))
}

/// A node that has the users that a unit names.
struct Host {
    accounts: Accounts,
    facts: Facts,
}

impl Host {
    fn of(unit: &Unit, facts: Facts) -> Self {
        let identity = &unit.service.identity;
        let mut accounts = Accounts::parse("root:x:0:0::/root:/bin/sh\n", "root:x:0:\n");
        let users = dynamic_name(unit).into_iter().chain(identity.user.clone());
        let names = users
            .chain(identity.group.clone())
            .chain(identity.groups.clone());
        for (number, name) in (900..).zip(names) {
            accounts.add(&name, number);
        }
        Self { accounts, facts }
    }
}

impl PlanHost for Host {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn environment_file(&self, _: &str) -> Result<Option<String>, String> {
        Ok(Some(String::new()))
    }

    fn is_program(&self, _: &str) -> bool {
        true
    }

    fn stored_credentials(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_seeds_every_target_that_reads_something_of_it() {
        let folder = tempfile::tempdir().expect("tempdir");
        let text = "[Unit]\nDescription=%i\n[Service]\nUser=www\nExecStart=/bin/a %i $OPTIONS\n";
        std::fs::write(folder.path().join("a@.service"), text).expect("write");
        let Ok(Units { source, names }) = Units::at(folder.path()) else {
            panic!("a folder of units");
        };
        let mut seeds = Seeds::default();
        names.iter().for_each(|name| seeds.add_unit(&source, name));
        let of = |target: &str| seeds.0.iter().filter(|seed| seed.0 == target).count();
        let counts = ["unit_file", "command_line", "specifier", "control"].map(of);
        assert_eq!(counts, [1, 1, 2, 1]);
        let (_, _, packet) = seeds
            .0
            .iter()
            .find(|seed| seed.0 == "control")
            .expect("one");
        let envelope: Envelope = serde_json::from_slice(packet).expect("a request");
        assert!(matches!(envelope.request, Request::Run { .. }));
    }

    #[test]
    fn devices_that_seed_the_control_protocol_are_ones_that_it_takes() {
        assert!(devices().iter().all(|device| device.check() == Ok(())));
    }

    #[test]
    fn the_divider_is_the_one_that_the_fuzzer_looks_for() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text =
            std::fs::read_to_string(root.join("fuzz/inputs/unit_file.rs")).expect("readable");
        let divider = format!("b\"{}\"", DIVIDER.escape_ascii());
        assert!(text.contains(&divider), "{divider}");
    }
}
