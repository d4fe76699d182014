//! Namespaces of a service.

use super::super::tests::plan;
use super::*;
use crate::plan::Namespaces;

fn namespaces(directives: &str) -> Namespaces {
    plan(&format!("ExecStart=/bin/a\n{directives}")).namespaces
}

#[test]
fn a_path_goes_before_one_of_its_own() {
    assert_eq!(namespaces("PrivateNetwork=yes\n").network, Sharing::Own);
    let at = namespaces("PrivateNetwork=yes\nNetworkNamespacePath=/run/netns/a\n").network;
    assert_eq!(at, Sharing::At("/run/netns/a".into()));
    assert_eq!(
        namespaces("PrivateIPC=yes\nPrivateIPC=no\n").ipc,
        Sharing::Shared
    );
}

#[test]
fn root_and_the_service_are_themselves() {
    let maps = namespaces("User=etcd\nPrivateUsers=yes\n").users.unwrap();
    assert_eq!(IdMaps::text(&maps.uid), "0 0 1\n100 100 1\n");
    assert_eq!(IdMaps::text(&maps.gid), "0 0 1\n101 101 1\n");
    let root = namespaces("PrivateUsers=self\n").users.unwrap();
    assert_eq!(IdMaps::text(&root.uid), "0 0 1\n");
    let all = namespaces("PrivateUsers=identity\n").users.unwrap();
    assert_eq!(IdMaps::text(&all.gid), "0 0 65536\n");
}

#[test]
fn a_process_with_numbers_of_its_own_has_a_proc_that_shows_them() {
    let plan = plan("ExecStart=/bin/a\nPrivatePIDs=yes\n");
    assert!(plan.namespaces.processes);
    assert_eq!(plan.mounts.list[0].target, "/proc");
}
