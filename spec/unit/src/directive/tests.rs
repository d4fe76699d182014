//! Golden plans: a unit's text, and what its command becomes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::control::ExitStatus;
use crate::finding::Severity;
use crate::name::{UnitName, UnitType};
use crate::parse::parse;
use crate::plan::{Credentials, Input, Output};

/// A node with a few users and files.
pub(crate) struct FixedHost {
    accounts: Accounts,
    facts: Facts,
    files: BTreeMap<String, String>,
}

impl Default for FixedHost {
    fn default() -> Self {
        let passwd = "root:x:0:0::/root:/bin/sh\netcd:x:100:101::/var/lib/etcd:/usr/sbin/nologin\n";
        let group = "root:x:0:\netcd:x:101:\nssl-cert:x:102:etcd\nadm:x:4:\n";
        Self {
            accounts: Accounts::parse(passwd, group),
            facts: Facts {
                hostname: "dev-1".into(),
                memory_bytes: 1000,
                tasks: 1000,
                ..Facts::default()
            },
            files: BTreeMap::from([(
                "/etc/default/etcd".into(),
                "ARGS=\"--a --b\"\nNAME=file\n".into(),
            )]),
        }
    }
}

impl PlanHost for FixedHost {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn environment_file(&self, path: &str) -> Result<Option<String>, String> {
        Ok(self.files.get(path).cloned())
    }
    fn is_program(&self, path: &str) -> bool {
        path == "/usr/bin/sleep"
    }
    fn stored_credentials(&self) -> Vec<(String, String)> {
        let stored = |name: &str| (name.into(), format!("/etc/credstore/{name}"));
        vec![stored("etcd.key"), stored("etcd.crt"), stored("other")]
    }
}

pub(crate) fn read(text: &str) -> (Unit, Vec<Finding>) {
    let facts = FixedHost::default().facts;
    let name = UnitName::parse("etcd@a.service").unwrap();
    let specifiers = Specifiers {
        name: &name,
        fragment: "/x",
        facts: &facts,
    };
    let mut unit = Unit::new("etcd@a.service", UnitType::Service);
    let parsed = parse("/x", text.as_bytes());
    let found = parsed
        .assignments
        .iter()
        .filter_map(|assignment| apply(&mut unit, assignment, &specifiers));
    let findings = parsed
        .findings
        .clone()
        .into_iter()
        .chain(found.collect::<Vec<_>>())
        .collect();
    (unit, findings)
}

pub(crate) fn plan(service: &str) -> ExecPlan {
    let (unit, findings) = read(&format!("[Service]\n{service}"));
    assert_eq!((findings, unit.refusals.len()), (vec![], 0));
    let host = FixedHost::default();
    let planning = Planning {
        unit: &unit,
        command: &unit.service.exec.start[0],
        host: &host,
        variables: &[],
    };
    ExecPlan::of(&planning).unwrap()
}

#[test]
fn every_row_is_documented_once() {
    let mut seen = BTreeSet::new();
    for row in table() {
        assert!(seen.insert((row.section, row.name)), "{} twice", row.name);
        assert!(
            row.documentation.ends_with('.') && !row.value.is_empty(),
            "{}",
            row.name
        );
        assert!(["Unit", "Service", "Slice", "Mount", "Install"].contains(&row.section));
    }
    assert!(markdown().contains(
        "| Service, Slice | MemoryMax | BYTES\\|PERCENT\\|infinity | honoured, confines |"
    ));
}

#[test]
fn a_limit_of_swap_is_a_setting_as_any_other() {
    let plan = plan("ExecStart=/bin/true\nMemorySwapMax=0\n");
    assert_eq!(plan.cgroup.settings["memory.swap.max"], "0");
    assert!(!plan.cgroup.hints.contains_key("memory.swap.max"));
}

#[test]
fn a_bare_service_becomes_a_bare_plan() {
    let plan = plan("ExecStart=/bin/true\n");
    assert_eq!(
        (plan.program.as_str(), plan.argv),
        ("/bin/true", vec!["/bin/true".to_string()])
    );
    let variables: Vec<&str> = plan.environment.keys().map(String::as_str).collect();
    assert_eq!(variables, ["PATH", "USER"]);
    assert_eq!(plan.credentials, None);
    assert_eq!(
        plan.cgroup.path,
        "system.slice/system-etcd.slice/etcd@a.service"
    );
    assert_eq!(plan.cgroup.hints["pids.max"], "150");
    assert_eq!(
        (plan.stdio.input, plan.stdio.output),
        (Input::Null, Output::Journal)
    );
    assert_eq!(
        (plan.stdio.identifier.as_str(), plan.stdio.priority),
        ("true", 30)
    );
    assert!(plan.ignore_sigpipe && !plan.no_new_privileges);
    assert_eq!((plan.umask, plan.oom_score_adjust), (0o022, Some(0)));
}

#[test]
fn a_daemon_gets_its_user_folders_and_walls() {
    let plan = plan(
        "ExecStart=@/usr/bin/etcd etcd-%i $ARGS ${NAME}\nUser=etcd\nSupplementaryGroups=adm\n\
         Environment=NAME=unit \"X=a b\"\nEnvironmentFile=-/missing\nEnvironmentFile=/etc/default/etcd\n\
         StateDirectory=etcd\nStateDirectoryMode=0700\nRuntimeDirectory=etcd/%i\nWorkingDirectory=~\n\
         CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_KILL\nAmbientCapabilities=CAP_NET_BIND_SERVICE CAP_CHOWN\n\
         NoNewPrivileges=yes\nLimitNOFILE=65536\nMemoryMax=50%\nMemoryHigh=1K\nCPUWeight=200\nCPUQuota=150%\nTasksMax=33\n\
         Slice=cluster.slice\nUMask=0077\nOOMScoreAdjust=-500\nSyslogIdentifier=db\nIgnoreSIGPIPE=no\nNice=-5\n",
    );
    assert_eq!(plan.argv, ["etcd-a", "--a", "--b", "file"]);
    assert_eq!(
        plan.credentials,
        Some(Credentials {
            uid: 100,
            gid: 101,
            groups: vec![4, 101, 102]
        })
    );
    let variable = |name: &str| plan.environment.get(name).map(String::as_str);
    assert_eq!(
        (variable("HOME"), variable("USER"), variable("X")),
        (Some("/var/lib/etcd"), Some("etcd"), Some("a b"))
    );
    assert_eq!(variable("STATE_DIRECTORY"), Some("/var/lib/etcd"));
    let folders: Vec<_> = plan
        .directories
        .iter()
        .map(|f| (f.path.as_str(), f.mode, f.uid, f.remove))
        .collect();
    assert_eq!(
        folders,
        [
            ("/run/etcd/a", 0o755, 100, true),
            ("/var/lib/etcd", 0o700, 100, false)
        ]
    );
    assert_eq!(plan.working_directory.unwrap().path, "/var/lib/etcd");
    assert_eq!(
        plan.capabilities.bounding,
        Some(crate::capability::CapabilitySet(1 << 10 | 1 << 5))
    );
    assert_eq!(
        plan.capabilities.ambient.0,
        1 << 10,
        "what is outside the bounding set cannot be ambient"
    );
    assert!(plan.no_new_privileges && !plan.ignore_sigpipe);
    assert_eq!((plan.rlimits[0].soft, plan.rlimits[0].hard), (65536, 65536));
    let settings: Vec<_> = plan
        .cgroup
        .settings
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("cpu.max", "150000 100000"),
        ("memory.high", "1024"),
        ("memory.max", "500"),
        ("pids.max", "33"),
    ];
    assert_eq!(settings, expected);
    assert_eq!(
        plan.cgroup.hints,
        [("cpu.weight".to_string(), "200".to_string())].into()
    );
    assert_eq!(plan.cgroup.path, "cluster.slice/etcd@a.service");
    assert_eq!(
        (plan.umask, plan.oom_score_adjust, plan.nice),
        (0o077, Some(-500), Some(-5))
    );
    assert_eq!(plan.stdio.identifier, "db");
}

#[test]
fn a_privileged_command_keeps_pid_1s_rights_and_the_users_variables() {
    let plan =
        plan("ExecStart=+/bin/true\nUser=etcd\nNoNewPrivileges=yes\nCapabilityBoundingSet=\n");
    assert_eq!(
        (
            plan.credentials,
            plan.no_new_privileges,
            plan.capabilities.bounding
        ),
        (None, false, None)
    );
    assert_eq!(plan.environment["USER"], "etcd");
    let limited = super::tests::plan("ExecStart=+/bin/true\nSecureBits=noroot\nLimitCORE=0\n");
    assert_eq!(
        (limited.rlimits.len(), limited.capabilities.secure_bits),
        (1, 0)
    );
}

#[test]
fn a_command_that_stays_root_is_confined_all_the_same() {
    let rights = |prefix: &str| {
        let plan = plan(&format!(
            "ExecStart={prefix}/bin/true\nUser=etcd\nNoNewPrivileges=yes\nSecureBits=noroot keep-caps-locked\n\
             CapabilityBoundingSet=CAP_KILL\nLimitCORE=0\n"
        ));
        let user = plan.credentials.map(|credentials| credentials.uid);
        let bounding = plan.capabilities.bounding.map(|bounding| bounding.0);
        assert_eq!(plan.environment["USER"], "etcd");
        assert_eq!(plan.program, "/bin/true");
        let walls = (plan.no_new_privileges, plan.capabilities.secure_bits);
        (user, bounding, walls)
    };
    let walls = (true, 0x21);
    assert_eq!(rights(""), (Some(100), Some(1 << 5), walls));
    assert_eq!(rights("!"), (None, Some(1 << 5), walls));
    assert_eq!(rights("!!"), (Some(100), Some(1 << 5), walls));
    assert_eq!(rights("+"), (None, None, (false, 0)));
    assert_eq!(rights("-!:"), rights("!"));
    for bad in ["+!", "!+", "!!!", "+!!", "++"] {
        let (unit, _) = read(&format!("[Service]\nExecStart={bad}/bin/true\n"));
        assert_eq!(unit.refusals.len(), 1, "{bad}");
    }
}

#[test]
fn commands_split_at_semicolons_and_find_their_program() {
    let (unit, _) =
        read("[Service]\nExecStart=-sleep 1 ; /bin/echo ';' \\;\nExecStart=:/bin/echo $A\n");
    let starts = &unit.service.exec.start;
    assert_eq!(starts.len(), 3);
    assert!(starts[0].ignore_failure && starts[2].literal);
    assert_eq!(starts[1].arguments, ["/bin/echo", ";", ";"]);
    assert_eq!(plan("ExecStart=sleep 1").program, "/usr/bin/sleep");
}

#[test]
fn an_empty_assignment_resets_a_list() {
    let text = "[Unit]\nConditionPathExists=/a\nConditionPathExists=\n[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n\
                Environment=A=1\nEnvironment=\nEnvironment=B=2\n";
    let (unit, findings) = read(text);
    assert_eq!(findings, []);
    assert_eq!(unit.conditions, []);
    assert_eq!(unit.service.exec.start[0].program, "/bin/b");
    assert_eq!(
        unit.service.environment.variables,
        [("B".to_string(), "2".to_string())]
    );
}

#[test]
fn unknown_is_a_warning_with_its_line() {
    let (unit, findings) =
        read("[Unit]\nFoo=1\nX-Mine=1\n[Bar]\nA=1\n[X-Ours]\nB=1\n[Service]\nNice=fast\n");
    let said: Vec<_> = findings.iter().map(|f| (f.at.line, f.severity)).collect();
    assert_eq!(
        said,
        [
            (2, Severity::Warning),
            (5, Severity::Warning),
            (9, Severity::Warning)
        ]
    );
    assert!(findings[0].message.contains("Foo=") && findings[1].message.contains("[Bar]"));
    assert!(unit.refusals.is_empty());
}

#[test]
fn a_template_among_dependencies_means_the_instance_of_this_unit() {
    let (unit, findings) = read("[Unit]\nBefore=x@.service x@b.service ? y.service\n");
    let before: Vec<&str> = unit
        .dependencies
        .of(dependency::Relation::Before)
        .map(|dependency| dependency.on.as_str())
        .collect();
    assert_eq!(before, ["x@a.service", "x@b.service", "y.service"]);
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn dependencies_by_their_old_names_are_the_same() {
    let (unit, findings) = read(
        "[Unit]\nBindTo=a.service\nRequiresOverridable=b.service\nRequisiteOverridable=c.service\n\
         PropagateReloadTo=d.service\nPropagateReloadFrom=e.service\n",
    );
    use dependency::Relation::{
        BindsTo, PropagatesReloadTo, ReloadPropagatedFrom, Requires, Requisite,
    };
    for (relation, on) in [
        (BindsTo, "a.service"),
        (Requires, "b.service"),
        (Requisite, "c.service"),
        (PropagatesReloadTo, "d.service"),
        (ReloadPropagatedFrom, "e.service"),
    ] {
        assert!(unit.dependencies.has(relation, on), "{relation:?}");
    }
    assert_eq!(findings, []);
}

#[test]
fn isolation_that_is_not_there_refuses_until_a_drop_in_switches_it_off() {
    let (unit, _) = read(
        "[Service]\nExtensionImages=/a\nBPFProgram=egress:/b\nIPIngressFilterPath=\nRootEphemeral=no\n",
    );
    assert_eq!(
        unit.refusals.keys().collect::<Vec<_>>(),
        ["BPFProgram", "ExtensionImages"]
    );
    assert!(
        unit.refusals
            .values()
            .all(|finding| finding.severity == Severity::Isolation)
    );
    let (unit, _) = read("[Service]\nExtensionImages=/a\nExtensionImages=\n");
    assert!(unit.refusals.is_empty());
}

#[test]
fn what_must_make_sense_refuses_the_unit() {
    for bad in [
        "User=a b",
        "Type=dbus",
        "PIDFile=/run/../etc/a.pid",
        "ExecStart=\"/bin/a",
        "MemoryMax=lots",
        "LimitNOFILE=9:1",
        "Slice=a.service",
    ] {
        let (unit, _) = read(&format!("[Service]\n{bad}\n"));
        assert_eq!(unit.refusals.len(), 1, "{bad}");
    }
    let (unit, _) = read("[Service]\nType=dbus\nType=notify\n");
    assert!(unit.refusals.is_empty(), "a drop-in puts it right");
}

#[test]
fn a_pid_file_is_below_run_however_it_is_written() {
    for written in ["a.pid", "/run/a.pid", "/var/run/a.pid", "//var/run//a.pid"] {
        let (unit, _) = read(&format!("[Service]\nPIDFile={written}\n"));
        assert_eq!(unit.service.kind.pid_file.as_deref(), Some("/run/a.pid"));
    }
    let (unit, _) = read("[Service]\nPIDFile=a.pid\nPIDFile=\n");
    assert_eq!(unit.service.kind.pid_file, None);
}

#[test]
fn a_plan_says_what_is_missing() {
    let host = FixedHost::default();
    for (text, what) in [
        ("User=ghost", "ghost"),
        ("Group=ghosts", "ghosts"),
        ("EnvironmentFile=/missing", "/missing"),
    ] {
        let (unit, _) = read(&format!("[Service]\nExecStart=/bin/a\n{text}\n"));
        let planning = Planning {
            unit: &unit,
            command: &unit.service.exec.start[0],
            host: &host,
            variables: &[],
        };
        assert!(ExecPlan::of(&planning).unwrap_err().contains(what));
    }
}

#[test]
fn an_account_that_is_not_there_has_systemds_exit_code() {
    let host = FixedHost::default();
    let status = |text: &str| {
        let (unit, _) = read(&format!("[Service]\nExecStart=/bin/a\n{text}\n"));
        identity::unknown(&unit, host.accounts()).map(|unknown| unknown.status)
    };
    assert_eq!(status("User=ghost\nGroup=ghosts"), Some(217));
    assert_eq!(status("Group=ghosts"), Some(216));
    assert_eq!(status("SupplementaryGroups=60999 ghosts"), Some(216));
    assert_eq!(status("User=60999\nGroup=60998"), None);
    assert_eq!(status(""), None);
}

#[test]
fn settings_of_a_services_life_are_read() {
    let text = "[Unit]\nStartLimitIntervalSec=1min\nStartLimitBurst=3\nConditionPathExists=|!/a\nAssertPathExists=/b\n\
                [Service]\nType=notify\nRestart=on-failure\nRestartSec=2\nTimeoutSec=5\nTimeoutStopSec=infinity\n\
                WatchdogSec=20s\nKillMode=mixed\nKillSignal=SIGINT\nSuccessExitStatus=3 SIGUSR1 TEMPFAIL\n\
                RestartPreventExitStatus=255\n";
    let (unit, findings) = read(text);
    assert_eq!(findings, []);
    assert_eq!(
        (unit.start_limit.interval_us, unit.start_limit.burst),
        (60_000_000, 3)
    );
    assert!(unit.conditions[0].trigger && unit.conditions[0].negated && unit.conditions[1].assert);
    let service = unit.service;
    assert_eq!(
        (service.timeout.start(false), service.timeout.stop()),
        (5_000_000, u64::MAX)
    );
    assert_eq!(service.notify.access(true), notify::NotifyAccess::Main);
    assert_eq!(
        (service.kill.mode, service.kill.signal),
        (kill::KillMode::Mixed, 2)
    );
    for clean in [
        ExitStatus::Exited(0),
        ExitStatus::Exited(3),
        ExitStatus::Exited(75),
        ExitStatus::Signaled(10),
    ] {
        assert!(service.exit_status.is_clean(clean, true), "{clean:?}");
    }
    assert!(service.exit_status.is_clean(ExitStatus::Signaled(15), true));
    assert!(!service.exit_status.is_clean(ExitStatus::Dumped(15), true));
    assert!(
        !service
            .exit_status
            .is_clean(ExitStatus::Signaled(15), false)
    );
    assert!(!service.exit_status.is_clean(ExitStatus::Exited(255), true));
    assert!(
        service
            .exit_status
            .prevent_restart
            .has(ExitStatus::Exited(255))
    );
}

#[test]
fn permissions_start_only_leaves_the_other_commands_root() {
    let (unit, _) = read(
        "[Service]\nUser=etcd\nPermissionsStartOnly=yes\nExecStartPre=/bin/a\nExecStart=/bin/b\nNoNewPrivileges=yes\n",
    );
    let host = FixedHost::default();
    let plan = |command| {
        ExecPlan::of(&Planning {
            unit: &unit,
            command,
            host: &host,
            variables: &[],
        })
        .unwrap()
    };
    let before = plan(&unit.service.exec.start_pre[0]);
    assert_eq!(
        (before.credentials, before.no_new_privileges),
        (None, false)
    );
    assert_eq!(
        plan(&unit.service.exec.start[0])
            .credentials
            .map(|credentials| credentials.uid),
        Some(100)
    );
}
