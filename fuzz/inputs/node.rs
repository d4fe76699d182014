//! The node that inputs are read on: a few unit files in memory, a few users, and what it knows about itself.

use std::collections::BTreeMap;

use spec_unit::account::Accounts;
use spec_unit::directive::{PlanHost, Planning};
use spec_unit::load::{EntryKind, UnitSource};
use spec_unit::plan::ExecPlan;
use spec_unit::seccomp::{self, MAX_INSTRUCTIONS, Machine};
use spec_unit::specifier::Facts;
use spec_unit::unit::Unit;

/// Unit files by path; a value that begins with `->` is a symbolic link.
#[derive(Default)]
pub struct Files<'a>(pub BTreeMap<String, &'a [u8]>);

impl Files<'_> {
    fn target(&self, path: &str) -> Option<&str> {
        let bytes = self.0.get(path)?.strip_prefix(b"->")?;
        std::str::from_utf8(bytes).ok()
    }
}

impl UnitSource for Files<'_> {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let mut found = BTreeMap::new();
        for path in self.0.keys() {
            let Some(rest) = path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
            else {
                continue;
            };
            let (name, kind) = match rest.split_once('/') {
                Some((name, _)) => (name, EntryKind::Folder),
                None if self.target(path).is_some() => (rest, EntryKind::Link),
                None => (rest, EntryKind::File),
            };
            found.insert(name.to_string(), kind);
        }
        Ok(found.into_iter().collect())
    }

    fn link(&self, path: &str) -> Result<String, String> {
        let target = self.target(path).map(String::from);
        target.ok_or_else(|| format!("{path} is no link"))
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let path = match self.target(path) {
            Some(target) => target,
            None => path,
        };
        Ok(self.0.get(path).map(|bytes| bytes.to_vec()))
    }
}

/// What a node knows about itself.
pub fn facts() -> Facts {
    Facts {
        hostname: "dev-1.lan".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        boot_id: "fedcba9876543210fedcba9876543210".into(),
        kernel_release: "6.12.0-amd64".into(),
        architecture: "x86-64".into(),
        memory_bytes: 1 << 30,
        tasks: 4096,
        ..Facts::default()
    }
}

/// A node on which every program and every environment file exists.
pub struct Host {
    accounts: Accounts,
    facts: Facts,
    environment: String,
}

impl Host {
    /// With the text of its environment files.
    pub fn new(environment: &str) -> Self {
        let passwd = "root:x:0:0::/root:/bin/sh\netcd:x:900:900::/var/lib/etcd:/usr/sbin/nologin\n";
        let group = "root:x:0:\netcd:x:900:\nadm:x:4:etcd\n";
        Self {
            accounts: Accounts::parse(passwd, group),
            facts: facts(),
            environment: environment.into(),
        }
    }
}

impl PlanHost for Host {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn environment_file(&self, path: &str) -> Result<Option<String>, String> {
        match path.len() % 4 {
            0 => Err(format!("{path} cannot be read")),
            1 => Ok(None),
            _ => Ok(Some(self.environment.clone())),
        }
    }

    fn is_program(&self, path: &str) -> bool {
        !path.starts_with("/usr/local/")
    }

    fn stored_credentials(&self) -> Vec<(String, String)> {
        ["tls.key", "tls.cert", "token"]
            .map(|name| (name.into(), format!("/run/credentials/@system/{name}")))
            .into()
    }
}

/// Makes the plan of each command of a unit, and holds each plan to what PID 1 relies on.
pub fn plan(unit: &Unit, host: &Host) {
    let exec = &unit.service.exec;
    let lists = [
        &exec.condition,
        &exec.start_pre,
        &exec.start,
        &exec.start_post,
        &exec.reload,
        &exec.stop,
        &exec.stop_post,
    ];
    let variables = [(
        "NOTIFY_SOCKET".to_string(),
        "/run/systemd/notify".to_string(),
    )];
    for list in lists {
        // Those of one list differ in their words only.
        let ends = [list.first(), list.last().filter(|_| list.len() > 1)];
        for command in ends.into_iter().flatten() {
            let planning = Planning {
                unit,
                command,
                host,
                variables: &variables,
            };
            if let Ok(plan) = ExecPlan::of(&planning) {
                sound(&plan, 0);
            }
        }
    }
}

/// A plan that passes its own check survives a re-execution and compiles into a filter that the kernel takes.
pub fn sound(plan: &ExecPlan, fds: usize) {
    plan.check(fds)
        .expect("a plan that was made passes its own check");
    assert!(
        plan.slots().all(|slot| (slot.0 as usize) < fds),
        "a slot without a descriptor"
    );
    let _ = plan.check_confined();
    let text = serde_json::to_vec(plan).expect("a plan can be written");
    let again: ExecPlan =
        serde_json::from_slice(&text).expect("a plan that was written can be read");
    assert_eq!(&again, plan, "a plan comes back as it was");
    let personality = plan.personality.unwrap_or_default();
    if let Ok(program) = seccomp::compile(&plan.seccomp, Machine::NATIVE, personality) {
        assert!(
            program.len() <= MAX_INSTRUCTIONS,
            "{} instructions",
            program.len()
        );
    }
}
