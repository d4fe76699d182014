//! From a command and directives, given as `KEY=VALUE`, to the plan of a transient unit.

use std::path::Path;

use spec_unit::account::Accounts;
use spec_unit::directive::exec::Command;
use spec_unit::directive::{PlanHost, Planning};
use spec_unit::load::{EntryKind, FOLDERS, Loader, UnitSource};
use spec_unit::plan::ExecPlan;
use spec_unit::specifier::Facts;
use spec_unit::unit::{LoadState, Unit};

/// Most properties.
const MAX_PROPERTIES: usize = 256;

/// The plan of a unit that runs this command, program first, confined by these directives of `[Service]`.
///
/// A directive that PID 1 does not honour, and one that says something about a unit which a plan cannot say, is refused.
pub(crate) fn plan(
    name: &str,
    properties: &[String],
    command: &[String],
    host: &ThisNode,
) -> Result<ExecPlan, String> {
    if properties.len() > MAX_PROPERTIES {
        return Err(format!("more than {MAX_PROPERTIES} properties"));
    }
    let plain = unit(name, &[], host)?;
    for property in properties {
        let with = unit(name, std::slice::from_ref(property), host)?;
        if beside_plan(&with) != beside_plan(&plain) {
            return Err(format!(
                "{property}: a transient unit runs one program once and is not more; leave it out"
            ));
        }
    }
    let unit = unit(name, properties, host)?;
    let (program, rest) = command.split_first().ok_or("no program")?;
    let command = Command {
        program: program.clone(),
        arguments: std::iter::once(program).chain(rest).cloned().collect(),
        literal: true,
        ..Command::default()
    };
    let planning = Planning {
        unit: &unit,
        command: &command,
        host,
        variables: &[],
    };
    let mut plan = ExecPlan::of(&planning)?;
    plan.cgroup.path = format!("task.slice/{name}");
    Ok(plan)
}

/// A name that no other unit has.
pub(crate) fn made_up_name() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let id: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    format!("run-r{id}.service")
}

/// What the settings of a unit say that its plan cannot carry.
fn beside_plan(unit: &Unit) -> Option<impl PartialEq + use<>> {
    let mut beside = unit.clone();
    let service = &unit.service;
    *beside.service = spec_unit::unit::Service {
        kind: service.kind.clone(),
        exec: service.exec.clone(),
        restart: service.restart.clone(),
        timeout: service.timeout.clone(),
        notify: service.notify.clone(),
        exit_status: service.exit_status.clone(),
        kill: service.kill.clone(),
        ..spec_unit::unit::Service::default()
    };
    // What walls imply of other units holds for units with a file.
    beside.dependencies = Default::default();
    Some(beside)
}

fn unit(name: &str, properties: &[String], host: &ThisNode) -> Result<Unit, String> {
    let mut text = String::from("[Service]\nExecStart=/bin/true\n");
    for property in properties {
        let key = property.split_once('=').map_or("", |(key, _)| key);
        let plain = |byte: u8| byte.is_ascii_alphanumeric();
        if key.is_empty() || !key.bytes().all(plain) || property.contains(['\n', '\r', '\0']) {
            return Err(format!("{property:?} is not KEY=VALUE on one line"));
        }
        if property.ends_with('\\') {
            return Err(format!("{property:?} ends with a backslash"));
        }
        text.push_str(property);
        text.push('\n');
    }
    let file = OneFile { name, text: &text };
    let loaded = Loader::new(&file, &host.facts)?.load(name)?;
    if let Some(finding) = loaded.findings.first() {
        return Err(finding.message.clone());
    }
    match loaded.unit.load {
        LoadState::Loaded => Ok(loaded.unit),
        _ => Err(loaded.unit.load_error().unwrap_or_default()),
    }
}

/// A folder with one unit file in it.
struct OneFile<'a> {
    name: &'a str,
    text: &'a str,
}

impl UnitSource for OneFile<'_> {
    fn list(&self, folder: &str) -> Result<Vec<(String, EntryKind)>, String> {
        let here = folder == FOLDERS[0];
        let file = here.then(|| (self.name.to_string(), EntryKind::File));
        Ok(file.into_iter().collect())
    }

    fn link(&self, path: &str) -> Result<String, String> {
        Err(format!("{path} is no link"))
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let own = path == format!("{}/{}", FOLDERS[0], self.name);
        Ok(own.then(|| self.text.as_bytes().to_vec()))
    }
}

/// The node as a plan sees it. Nothing of it is read on behalf of whoever asks: no file of variables, no stored secret.
#[derive(Debug, Default)]
pub(crate) struct ThisNode {
    accounts: Accounts,
    facts: Facts,
}

impl ThisNode {
    /// Its users, and its name.
    pub(crate) fn open() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            accounts: Accounts::parse(&text("/etc/passwd"), &text("/etc/group")),
            facts: Facts {
                hostname: rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned(),
                machine_id: text("/etc/machine-id").trim().into(),
                boot_id: text("/proc/sys/kernel/random/boot_id")
                    .trim()
                    .replace('-', ""),
                ..Facts::default()
            },
        }
    }
}

impl PlanHost for ThisNode {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn environment_file(&self, path: &str) -> Result<Option<String>, String> {
        Err(format!(
            "EnvironmentFile={path}: a transient unit has no file; give Environment="
        ))
    }

    fn is_program(&self, path: &str) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(Path::new(path))
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }

    fn stored_credentials(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(properties: &[&str], command: &[&str]) -> Result<ExecPlan, String> {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (properties, command) = (own(properties), own(command));
        plan("a.service", &properties, &command, &ThisNode::default())
    }

    #[test]
    fn a_command_is_run_as_it_stands() {
        let plan = planned(&[], &["/bin/echo", "$HOME", "%n", "two words"]).unwrap();
        assert_eq!(plan.argv, ["/bin/echo", "$HOME", "%n", "two words"]);
        assert_eq!(plan.cgroup.path, "task.slice/a.service");
        assert_eq!(plan.credentials, None);
        assert_eq!(plan.check_confined(), Ok(()));
        assert!(planned(&[], &["no-such-program"]).is_err());
    }

    #[test]
    fn directives_become_walls() {
        let properties = [
            "MemoryMax=64M",
            "PrivateNetwork=yes",
            "ProtectSystem=strict",
            "PrivateTmp=disconnected",
            "Delegate=yes",
            "Environment=A=b",
        ];
        let plan = planned(&properties, &["/bin/true"]).unwrap();
        assert_eq!(plan.cgroup.settings["memory.max"], "67108864");
        assert!(plan.cgroup.delegate && !plan.mounts.list.is_empty());
        assert_eq!(plan.environment["A"], "b");
        assert_eq!(plan.check_confined(), Ok(()));
    }

    #[test]
    fn what_is_no_wall_or_not_known_is_refused_by_name() {
        for (property, said) in [
            ("Restart=always", "Restart=always"),
            ("ExecStartPre=/bin/true", "ExecStartPre="),
            ("Type=notify", "Type=notify"),
            ("KillMode=process", "KillMode=process"),
            ("Colour=red", "Colour"),
            ("MemoryMax", "KEY=VALUE"),
            ("A=b\n[Install]", "KEY=VALUE"),
            ("[Install]", "KEY=VALUE"),
            ("Environment=A=b\\", "backslash"),
            ("EnvironmentFile=/etc/passwd", "EnvironmentFile="),
            ("RestrictFileSystems=ext4", "RestrictFileSystems"),
        ] {
            let message = planned(&[property], &["/bin/true"]).unwrap_err();
            assert!(message.contains(said), "{property}: {message}");
        }
    }
}
