//! Golden filters: a unit's text, and what its command's plan says of system calls.

use super::*;
use crate::directive::tests::{plan, read};
use crate::plan::{Architecture, FilterPrivilege};

fn filter(service: &str) -> Seccomp {
    plan(&format!("ExecStart=/bin/true\n{service}")).seccomp
}

fn names(list: &CallList) -> Vec<String> {
    let mark = |word: &CallWord| if word.inverted { "~" } else { "" };
    list.words
        .iter()
        .map(|word| format!("{}{}", mark(word), word.name))
        .collect()
}

#[test]
fn the_first_list_decides_and_later_ones_merge() {
    let allowed = filter("SystemCallFilter=@system-service\nSystemCallFilter=~@privileged mount\n");
    let list = allowed.calls.unwrap();
    assert!(list.allow);
    assert_eq!(
        names(&list),
        ["@default", "@system-service", "~@privileged", "~mount"]
    );
    let denied = filter("SystemCallFilter=~mount:EACCES @clock:kill\nSystemCallFilter=mount\n");
    let list = denied.calls.unwrap();
    assert!(!list.allow);
    assert_eq!(names(&list), ["~mount", "~@clock", "mount"]);
    let actions: Vec<_> = list.words.iter().map(|word| word.action).collect();
    let errno = Some(CallAction::Errno(13));
    assert_eq!(actions, [errno, Some(CallAction::Kill), None]);
    assert_eq!(
        filter("SystemCallFilter=read\nSystemCallFilter=\n").calls,
        None
    );
}

#[test]
fn what_is_denied_fails_as_said() {
    let denied = |text: &str| filter(text).denied;
    assert_eq!(denied(""), CallAction::Kill);
    let errno = "SystemCallErrorNumber=EPERM\n";
    assert_eq!(denied(errno), CallAction::Errno(1));
    assert_eq!(
        denied("SystemCallErrorNumber=5\nSystemCallErrorNumber=kill\n"),
        CallAction::Kill
    );
    assert!(filter(errno).is_empty(), "alone it filters nothing");
}

#[test]
fn unknown_names_are_warned_of_and_the_rest_holds() {
    let text = "SystemCallFilter=read fly @wings\nRestrictAddressFamilies=AF_UNIX AF_FLY\nSystemCallLog=swim\n";
    let (unit, findings) = read(&format!("[Service]\nExecStart=/bin/true\n{text}"));
    let said: Vec<&str> = findings.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "SystemCallFilter=: there is no system call or group \"fly\", there is no system call or group \"@wings\"; ignored",
            "RestrictAddressFamilies=: there is no address family \"AF_FLY\"; ignored",
            "SystemCallLog=: there is no system call or group \"swim\"; ignored",
        ]
    );
    assert!(unit.refusals.is_empty());
    let list = unit.service.seccomp.filter.calls.unwrap();
    assert_eq!(names(&list), ["@default", "read"]);
}

#[test]
fn what_makes_no_sense_refuses_the_unit() {
    for bad in [
        "SystemCallFilter=read:EPERM",
        "SystemCallFilter=~read:EFLY",
        "SystemCallFilter=\"read",
        "SystemCallErrorNumber=0",
        "SystemCallErrorNumber=4096",
        "SystemCallArchitectures=z80",
        "SystemCallLog=~read:EPERM",
        "RestrictNamespaces=net moon",
        "MemoryDenyWriteExecute=perhaps",
        "LockPersonality=2",
    ] {
        let (unit, _) = read(&format!("[Service]\n{bad}\n"));
        assert_eq!(unit.refusals.len(), 1, "{bad}");
    }
}

#[test]
fn architectures_add_up() {
    let listed = filter("SystemCallArchitectures=native x86\nSystemCallArchitectures=x86 s390x\n");
    let expected = [
        Architecture::Native,
        Architecture::X86,
        Architecture::Foreign,
    ];
    assert_eq!(listed.architectures.as_deref(), Some(&expected[..]));
}

#[test]
fn address_families_merge() {
    let families = |text: &str| filter(text).address_families.unwrap();
    let only = families(
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nRestrictAddressFamilies=~AF_INET\n",
    );
    assert_eq!((only.allow, only.families), (true, vec![1, 10]));
    let but = families("RestrictAddressFamilies=~AF_PACKET AF_NETLINK\n");
    assert_eq!((but.allow, but.families), (false, vec![17, 16]));
    let none = families("RestrictAddressFamilies=none\n");
    assert_eq!((none.allow, none.families), (true, vec![]));
    assert_eq!((family("AF_MCTP"), family("AF_LOCAL")), (Some(45), Some(1)));
}

#[test]
fn namespaces_merge() {
    let kept = |text: &str| filter(text).namespaces;
    assert_eq!(kept("RestrictNamespaces=yes\n"), Some(vec![]));
    assert_eq!(kept("RestrictNamespaces=no\n"), None);
    assert_eq!(kept("RestrictNamespaces=yes\nRestrictNamespaces=\n"), None);
    let both = kept("RestrictNamespaces=cgroup ipc\nRestrictNamespaces=~cgroup net\n");
    assert_eq!(both, Some(vec![Namespace::Ipc]));
    let but = kept("RestrictNamespaces=~user\n").unwrap();
    assert!(but.len() == 7 && !but.contains(&Namespace::User));
    assert_eq!(
        kept("RestrictNamespaces=no\nRestrictNamespaces=net\n"),
        None
    );
}

fn real_time_limit(plan: &ExecPlan) -> Option<u64> {
    let limit = plan
        .rlimits
        .iter()
        .find(|limit| limit.resource == Resource::Rtprio);
    limit.map(|limit| limit.hard)
}

#[test]
fn real_time_takes_the_limit_along() {
    let limit = |text: &str| real_time_limit(&plan(&format!("ExecStart=/bin/true\n{text}")));
    assert_eq!(limit(""), None);
    assert_eq!(limit("RestrictRealtime=yes\n"), Some(0));
    assert_eq!(limit("RestrictRealtime=yes\nLimitRTPRIO=5\n"), Some(5));
}

#[test]
fn personalities_are_the_machines() {
    let domain = |text: &str| plan(&format!("ExecStart=/bin/true\n{text}")).personality;
    // The test's node has not said what it is.
    assert_eq!(domain("Personality=x86\n"), Some(8));
    assert_eq!(domain("Personality=x86-64\n"), Some(0));
    assert_eq!(domain("Personality=x86\nPersonality=\n"), None);
    let (unit, findings) = read("[Service]\nPersonality=s390x\n");
    assert_eq!((findings.len(), unit.refusals.len()), (1, 0));
}

#[test]
fn a_privileged_command_is_not_filtered() {
    let walls =
        "SystemCallFilter=read\nRestrictRealtime=yes\nLockPersonality=yes\nPersonality=x86\n";
    let plan = plan(&format!("ExecStart=+/bin/true\n{walls}"));
    assert!(plan.seccomp.is_empty());
    assert_eq!(real_time_limit(&plan), None);
    assert_eq!(plan.personality, Some(8), "as systemd");
}

#[test]
fn privileges_are_kept_for_loading_where_the_filter_lets_them_go() {
    let privilege = |text: &str| plan(&format!("ExecStart=/bin/true\n{text}")).filter_privilege();
    let cases = [
        ("SystemCallFilter=read\n", FilterPrivilege::AsItIs),
        ("User=etcd\n", FilterPrivilege::AsItIs),
        (
            "User=etcd\nSystemCallFilter=read\nNoNewPrivileges=yes\n",
            FilterPrivilege::AsItIs,
        ),
        (
            "User=etcd\nLockPersonality=yes\n",
            FilterPrivilege::KeepSysAdmin,
        ),
        (
            "User=etcd\nSystemCallFilter=@system-service\n",
            FilterPrivilege::KeepSysAdmin,
        ),
        (
            "User=etcd\nSystemCallFilter=read\n",
            FilterPrivilege::NoNewPrivileges,
        ),
        (
            "User=etcd\nSystemCallFilter=~capset\n",
            FilterPrivilege::NoNewPrivileges,
        ),
        (
            "User=etcd\nSystemCallFilter=~mount\n",
            FilterPrivilege::KeepSysAdmin,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(privilege(text), expected, "{text}");
    }
}
