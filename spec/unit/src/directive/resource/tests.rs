//! Golden plans of resources.

use super::oom::OomPolicy;
use super::*;
use crate::directive::tests::{plan, read};

#[test]
fn slices_nest_by_their_dashes() {
    assert_eq!(slice_path("system.slice").as_deref(), Ok("system.slice"));
    assert_eq!(
        slice_path("a-b-c.slice").as_deref(),
        Ok("a.slice/a-b.slice/a-b-c.slice")
    );
    assert_eq!(slice_path("-.slice").as_deref(), Ok(""));
    assert!(slice_path("a--b.slice").is_err() && slice_path("a.service").is_err());
}

fn of(text: &str) -> crate::plan::Cgroup {
    plan(&format!("ExecStart=/bin/true\n{text}")).cgroup
}

#[test]
fn a_new_name_goes_before_an_old_one_wherever_they_stand() {
    let group = of("MemoryLimit=100\nCPUShares=2048\nBlockIOWeight=250\n");
    assert_eq!(group.settings["memory.max"], "100");
    assert_eq!(group.hints["cpu.weight"], "200");
    assert_eq!(group.hints["io.weight"], "50");
    let group = of(
        "MemoryMax=7\nMemoryLimit=100\nCPUWeight=9\nCPUShares=2048\nIOWeight=3\nBlockIOWeight=250\n",
    );
    assert_eq!(group.settings["memory.max"], "7");
    assert_eq!(
        (
            group.hints["cpu.weight"].as_str(),
            group.hints["io.weight"].as_str()
        ),
        ("9", "3")
    );
    let group = of("CPUWeight=9\nCPUWeight=idle\nCPUShares=2048\n");
    assert!(!group.hints.contains_key("cpu.weight") && group.hints["cpu.idle"] == "1");
}

#[test]
fn a_quota_has_its_period_and_a_period_alone_is_nothing() {
    assert_eq!(
        of("CPUQuotaPeriodSec=10ms\nCPUQuota=50%\n").settings["cpu.max"],
        "5000 10000"
    );
    assert!(
        !of("CPUQuotaPeriodSec=10ms\n")
            .settings
            .contains_key("cpu.max")
    );
    assert!(
        !of("CPUQuota=50%\nCPUQuota=\n")
            .settings
            .contains_key("cpu.max")
    );
}

#[test]
fn disks_are_named_by_their_nodes() {
    let group = of(
        "IOReadBandwidthMax=/dev/vda 5M\nIOReadBandwidthMax=/dev/vda 6M\n\
         IOWriteIOPSMax=/dev/vda 1K\nBlockIOWriteBandwidth=/dev/vdb infinity\n\
         IODeviceWeight=/dev/disk/by-id/x 200\nIODeviceLatencyTargetSec=/dev/vda 25ms\n",
    );
    let lines: Vec<_> = group
        .devices
        .iter()
        .map(|setting| {
            format!(
                "{} {} {} {}",
                setting.file, setting.path, setting.value, setting.hint
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "io.max /dev/vda rbps=6000000 false",
            "io.max /dev/vda wiops=1000 false",
            "io.max /dev/vdb wbps=max false",
            "io.weight /dev/disk/by-id/x 200 true",
            "io.latency /dev/vda target=25000 true",
        ]
    );
    let reset =
        "IOReadBandwidthMax=/dev/vda 5M\nIOWriteBandwidthMax=/dev/vda 5M\nIOReadBandwidthMax=\n";
    assert_eq!(of(reset).devices.len(), 1);
    let (unit, findings) = read("[Service]\nIOReadBandwidthMax=/var 5M\nIODeviceWeight=/var 5\n");
    assert!(
        unit.refusals["IOReadBandwidthMax"]
            .message
            .contains("device node")
    );
    assert!(findings.len() == 1 && findings[0].message.contains("IODeviceWeight"));
}

#[test]
fn delegation_takes_a_list_and_a_subgroup() {
    let group = of("Delegate=cpu memory\nDelegateSubgroup=main\n");
    assert!(group.delegate && group.subgroup.as_deref() == Some("main"));
    assert_eq!(
        of("DelegateSubgroup=main\n").subgroup,
        None,
        "not delegated"
    );
    assert!(of("Delegate=\n").delegate && !of("Delegate=no\n").delegate);
    let (_, findings) = read("[Service]\nDelegate=cpu magic\nDelegateSubgroup=memory.max\n");
    assert_eq!(findings.len(), 2);
}

#[test]
fn a_service_stops_when_memory_ran_out_unless_it_says_otherwise() {
    let policy = |text: &str| {
        read(&format!("[Service]\n{text}"))
            .0
            .service
            .resources
            .oom_policy()
    };
    assert_eq!(policy(""), OomPolicy::Stop);
    assert_eq!(policy("Delegate=yes\n"), OomPolicy::Continue);
    assert_eq!(policy("Delegate=yes\nOOMPolicy=kill\n"), OomPolicy::Kill);
    assert_eq!(of("OOMPolicy=kill\n").hints["memory.oom.group"], "1");
    assert!(
        !of("OOMPolicy=kill\nOOMPolicy=stop\n")
            .hints
            .contains_key("memory.oom.group")
    );
}

#[test]
fn a_service_is_told_where_to_watch_its_memory() {
    let told =
        plan("ExecStart=/bin/true\nMemoryPressureWatch=yes\nMemoryPressureThresholdSec=100ms\n");
    let file = format!("/sys/fs/cgroup/{}/memory.pressure", told.cgroup.path);
    assert_eq!(told.environment["MEMORY_PRESSURE_WATCH"], file);
    // "some 100000 2000000" and a NUL.
    assert_eq!(
        told.environment["MEMORY_PRESSURE_WRITE"],
        "c29tZSAxMDAwMDAgMjAwMDAwMAA="
    );
    assert!(told.cgroup.pressure);
    let off = plan("ExecStart=/bin/true\nMemoryPressureWatch=no\n");
    assert_eq!(off.environment["MEMORY_PRESSURE_WATCH"], "/dev/null");
    let skipped = plan("ExecStart=/bin/true\nMemoryPressureWatch=skip\n");
    assert!(!skipped.environment.contains_key("MEMORY_PRESSURE_WATCH"));
}

#[test]
fn a_startup_value_knows_what_comes_after_it() {
    let group = of(
        "StartupCPUWeight=300\nCPUWeight=50\nStartupMemoryMax=50%\nStartupIOWeight=7\n\
         StartupAllowedCPUs=0 2-3\nMemoryLow=9\nStartupMemoryLow=20\n",
    );
    let of_file = |file: &str| {
        let startup = &group.startup[file];
        (startup.starting.as_str(), startup.running.as_str())
    };
    assert_eq!(of_file("cpu.weight"), ("300", "50"));
    assert_eq!(of_file("memory.max"), ("500", "max"));
    assert_eq!(of_file("io.weight"), ("7", "100"));
    assert_eq!(of_file("cpuset.cpus"), ("0,2-3", ""));
    assert_eq!(of_file("memory.low"), ("20", "9"));
    let idle = of("CPUWeight=idle\nStartupCPUWeight=300\n").startup;
    assert_eq!(
        (
            idle["cpu.idle"].starting.as_str(),
            idle["cpu.weight"].running.as_str()
        ),
        ("0", "100")
    );
}
