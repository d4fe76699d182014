//! Golden environments: which source wins.

use super::super::tests::{FixedHost, plan, read};
use super::*;

const ID: &str = "000102030405060708090a0b0c0d0e0f";

/// The environment, with these variables from PID 1.
fn environment(text: &str, variables: &[(&str, &str)]) -> environment::Environment {
    let (unit, findings) = read(&format!("[Service]\nExecStart=/bin/a\n{text}"));
    assert_eq!((findings.len(), unit.refusals.len()), (0, 0));
    let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    let planning = Planning {
        unit: &unit,
        command: &unit.service.exec.start[0],
        host: &FixedHost::default(),
        variables: &variables.iter().map(own).collect::<Vec<_>>(),
    };
    ExecPlan::of(&planning).unwrap().environment
}

#[test]
fn a_file_wins_over_the_unit_and_the_unit_over_pid_1() {
    let text = "Environment=NAME=unit MAINPID=1 PATH=/unit STATE_DIRECTORY=/unit LANG=unit\n\
                EnvironmentFile=/etc/default/etcd\nStateDirectory=a\nExecSearchPath=/search\n";
    let variables = environment(text, &[("MAINPID", "7"), ("INVOCATION_ID", ID)]);
    let expected = [
        ("NAME", "file"),
        ("MAINPID", "1"),
        ("PATH", "/unit"),
        ("STATE_DIRECTORY", "/unit"),
        ("INVOCATION_ID", ID),
    ];
    for (name, value) in expected {
        assert_eq!(variables[name], value, "{name}");
    }
}

#[test]
fn what_is_unset_is_gone_from_whatever_source() {
    let text = "Environment=A=1 B=2 C=3\nEnvironmentFile=/etc/default/etcd\nUser=etcd\n\
                UnsetEnvironment=A \"B=2\" C=4 NAME HOME INVOCATION_ID MISSING\n";
    let variables = environment(text, &[("INVOCATION_ID", ID)]);
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    assert_eq!(names, ["ARGS", "C", "LOGNAME", "PATH", "USER"]);
}

#[test]
fn lists_are_reset_by_an_empty_value() {
    let text = "Environment=A=1\nEnvironmentFile=/missing\nEnvironmentFile=\nUnsetEnvironment=A\n\
                UnsetEnvironment=\nExecSearchPath=/a\nExecSearchPath=\n";
    let variables = environment(text, &[]);
    assert_eq!(variables["A"], "1");
    assert_eq!(variables["PATH"], DEFAULT_PATH);
}

#[test]
fn a_search_path_finds_the_program_and_is_its_path() {
    let plan = |search: &str| plan(&format!("ExecStart=sleep 1\n{search}"));
    let found = plan("ExecSearchPath=/opt/bin:/usr/bin\nExecSearchPath=/x/\n");
    assert_eq!(found.program, "/usr/bin/sleep");
    assert_eq!(found.environment["PATH"], "/opt/bin:/usr/bin:/x");
    let (unit, findings) =
        read("[Service]\nExecStart=sleep\nExecSearchPath=/opt\nExecSearchPath=a\n");
    assert_eq!(findings.len(), 1, "not an absolute path");
    let planning = Planning {
        unit: &unit,
        command: &unit.service.exec.start[0],
        host: &FixedHost::default(),
        variables: &[],
    };
    assert!(ExecPlan::of(&planning).unwrap_err().contains("sleep"));
}

#[test]
fn the_user_is_told_always_and_his_home_if_he_logs_in() {
    let names = |text: &str| {
        let variables = environment(text, &[]);
        let told = ["USER", "LOGNAME", "HOME", "SHELL"];
        told.map(|name| variables.get(name).cloned().unwrap_or_default())
    };
    assert_eq!(names(""), ["root", "", "", ""]);
    let login = names("SetLoginEnvironment=yes\n");
    assert_eq!(login, ["root", "root", "/root", "/bin/sh"]);
    let etcd = names("User=etcd\n");
    assert_eq!(
        etcd,
        ["etcd", "etcd", "/var/lib/etcd", ""],
        "nologin is no shell"
    );
    assert_eq!(
        names("User=etcd\nSetLoginEnvironment=no\n"),
        ["etcd", "", "", ""]
    );
    assert_eq!(names("User=77\n"), ["77", "77", "", ""], "/ is no home");
}
