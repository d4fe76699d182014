//! The \[Slice\] section: a branch of the cgroup tree, and what holds for all that is in it. systemd.slice(5).
//!
//! What services have as resources slices have too: the rows of \[Service\] stand for both ([`shared`]).

use super::{Directive, PlanHost, Planning, Support, Value};
use super::{address, device, exec::Command, isolation, other, resource, socket};
use crate::plan::{Cgroup, ExecPlan};
use crate::unit::Unit;

/// Families whose rows hold in \[Slice\] too.
const SHARED: [&[Directive]; 9] = [
    resource::memory::ROWS,
    resource::cpu::ROWS,
    resource::io::ROWS,
    resource::startup::ROWS,
    resource::oom::ROWS,
    resource::managed_oom::ROWS,
    device::ROWS,
    address::ROWS,
    socket::ROWS,
];
/// The same, of families that are not about resources alone.
const SHARED_ROWS: [&str; 6] = [
    "BPFProgram",
    "IPAccounting",
    "IPEgressFilterPath",
    "IPIngressFilterPath",
    "NFTSet",
    "DisableControllers",
];
/// Rows of the shared families that are about a service alone.
const OWN: [&str; 6] = [
    "OOMPolicy",
    "MemoryPressureWatch",
    "MemoryPressureThresholdSec",
    "DefaultMemoryMin",
    "DefaultMemoryLow",
    "DefaultStartupMemoryLow",
];

const fn refused(
    name: &'static str,
    value: &'static str,
    documentation: &'static str,
) -> Directive {
    Directive {
        section: "Slice",
        name,
        value,
        documentation,
        support: Support::Set(refuse),
    }
}

const fn later(name: &'static str, value: &'static str, documentation: &'static str) -> Directive {
    Directive {
        section: "Slice",
        name,
        value,
        documentation,
        support: Support::Later,
    }
}

const FOR_CHILDREN: &str = "The same for units below the slice that say nothing.";

/// The directives of this family.
pub const ROWS: &[Directive] = &[
    refused(
        "Slice",
        "UNIT.slice",
        "Ignored with a warning, as in systemd: the name of a slice says where it is.",
    ),
    refused(
        "Delegate",
        "BOOLEAN|CONTROLLER...",
        "Ignored with a warning, as in systemd: no process is in a slice itself.",
    ),
    refused(
        "DelegateSubgroup",
        "NAME",
        "Ignored with a warning, as in systemd: no process is in a slice itself.",
    ),
    later(
        "DisableControllers",
        "CONTROLLER...",
        "Controllers not used below the slice.",
    ),
    later("DefaultMemoryMin", "BYTES|PERCENT|infinity", FOR_CHILDREN),
    later("DefaultMemoryLow", "BYTES|PERCENT|infinity", FOR_CHILDREN),
    later(
        "DefaultStartupMemoryLow",
        "BYTES|PERCENT|infinity",
        FOR_CHILDREN,
    ),
];

fn refuse(_: &mut Unit, value: &Value<'_>) -> Result<(), String> {
    match value.name {
        "Slice" => Err("a slice is where its name says: a-b.slice is in a.slice".into()),
        _ => Err("no process is in a slice itself, so there is nothing to delegate".into()),
    }
}

/// The row of \[Service\] that holds in \[Slice\] too, by its name.
pub(super) fn shared(name: &str) -> Option<&'static Directive> {
    let families = SHARED.into_iter().flatten();
    let families = families.filter(|row| !OWN.contains(&row.name));
    let single = isolation::ROWS.iter().chain(other::ROWS);
    let single = single.filter(|row| row.section == "Service" && SHARED_ROWS.contains(&row.name));
    families.chain(single).find(|row| row.name == name)
}

/// What a slice's group holds, checked as a plan's.
pub fn group(unit: &Unit, host: &dyn PlanHost) -> Result<Cgroup, String> {
    let command = Command::default();
    let planning = &Planning {
        unit,
        command: &command,
        host,
        variables: &[],
    };
    let mut plan = ExecPlan::default();
    plan.cgroup.path = resource::slice_path(&unit.name)?;
    resource::plan_group(planning, &mut plan);
    device::plan(planning, &mut plan)?;
    address::plan(planning, &mut plan)?;
    socket::plan(planning, &mut plan)?;
    if !plan.cgroup.path.is_empty() {
        plan.cgroup.check()?;
    }
    Ok(plan.cgroup)
}

#[cfg(test)]
mod tests {
    use crate::directive::tests::FixedHost;
    use crate::load::{Loaded, Loader, tests::Tree};
    use crate::plan::Cgroup;
    use crate::specifier::Facts;

    fn load(name: &str, text: &str) -> Loaded {
        let (tree, facts) = (Tree::of(&[(name, text)]), Facts::default());
        Loader::new(&tree, &facts).unwrap().load(name).unwrap()
    }

    fn group(name: &str, text: &str) -> Cgroup {
        let loaded = load(name, text);
        assert_eq!(loaded.findings, []);
        super::group(&loaded.unit, &FixedHost::default()).unwrap()
    }

    #[test]
    fn a_slice_holds_what_its_file_says_and_nothing_by_itself() {
        let text = "[Slice]\nMemoryMax=50%\nCPUWeight=300\nTasksMax=10\nStartupCPUWeight=900\n\
                    IPAddressDeny=any\nSocketBindDeny=udp:53\nRestrictNetworkInterfaces=lo\n\
                    DeviceAllow=/dev/sda r\nMemoryAccounting=no\nNFTSet=\n";
        let loaded = load("a-b.slice", text);
        assert_eq!(loaded.findings.len(), 1, "NFTSet= is for later");
        let held = group("a-b.slice", &text.replace("NFTSet=\n", ""));
        assert_eq!(held.path, "a.slice/a-b.slice");
        assert_eq!(held.settings["memory.max"], "500");
        assert_eq!(held.settings["pids.max"], "10");
        assert_eq!(held.hints["cpu.weight"], "300");
        assert_eq!(held.startup["cpu.weight"].starting, "900");
        assert_eq!(held.filters.denied_addresses.len(), 2);
        assert!(held.filters.devices.is_some() && held.filters.links.is_some());
        assert_eq!(held.filters.denied_binds.len(), 1);
        let bare = group("a.slice", "[Unit]\nDescription=Bare\n");
        let expected = Cgroup {
            path: "a.slice".into(),
            ..Cgroup::default()
        };
        assert_eq!(bare, expected);
        assert_eq!(group("-.slice", "[Slice]\n").path, "");
    }

    #[test]
    fn what_a_slice_cannot_have_is_ignored_with_a_warning() {
        let text = "[Slice]\nSlice=b.slice\nDelegate=yes\nExecStart=/bin/a\nOOMPolicy=kill\n";
        let found = load("a.slice", text).findings;
        let said: Vec<String> = found.iter().map(|finding| finding.to_string()).collect();
        assert!(said[0].contains("a.slice:2: Slice=: a slice is where its name says"));
        assert!(said[1].contains("nothing to delegate; ignored"));
        assert!(said[2].contains("unknown directive ExecStart="));
        assert!(said[3].contains("unknown directive OOMPolicy="));
        let refused = load("a.slice", "[Slice]\nBPFProgram=device:/sys/fs/bpf/a\n").unit;
        assert_eq!(refused.load, crate::unit::LoadState::BadSetting);
    }
}
