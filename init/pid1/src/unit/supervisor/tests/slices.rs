//! Slices over a folder that looks like a tree of control groups.

use super::*;

/// A node whose tree of control groups is there, with the files of the kernel's that a slice writes to.
fn node(files: &[(&str, &str)]) -> Node {
    let mut node = Node::with(&[]);
    let groups = node.folder.path().join("no-cgroups");
    std::fs::create_dir(&groups).unwrap();
    let folder = node.folder.path().join("etc/systemd/system");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    for name in files.iter().map(|(name, _)| name) {
        node.supervisor.load(name).unwrap();
    }
    node
}

fn group(node: &Node, path: &str) -> std::path::PathBuf {
    node.folder.path().join("no-cgroups").join(path)
}

const IN: (&str, &str) = (
    "in.target",
    "[Unit]\nDefaultDependencies=no\nRequires=a-b.slice\nAfter=a-b.slice\n",
);

#[test]
fn a_slice_and_its_parents_are_made_before_what_is_in_it_and_go_with_the_outermost() {
    let mut node = node(&[
        IN,
        ("a-b.slice", "[Slice]\nMemoryMax=5\n"),
        ("a.slice", "[Slice]\nTasksMax=7\n"),
    ]);
    for (path, file) in [("a.slice", "pids.max"), ("a.slice/a-b.slice", "memory.max")] {
        std::fs::create_dir_all(group(&node, path)).unwrap();
        std::fs::write(group(&node, path).join(file), "").unwrap();
    }
    node.start("in.target");
    assert_eq!(node.phase("in.target"), Phase::Active);
    let read = |path| std::fs::read_to_string(group(&node, path)).unwrap();
    assert_eq!(read("a.slice/pids.max"), "7");
    assert_eq!(read("a.slice/a-b.slice/memory.max"), "5");
    for path in ["a.slice/pids.max", "a.slice/a-b.slice/memory.max"] {
        std::fs::remove_file(group(&node, path)).unwrap();
    }
    node.stop("a.slice");
    assert_eq!(node.phase("in.target"), Phase::Dead, "it was in the slice");
    assert_eq!(node.phase("a-b.slice"), Phase::Dead);
    assert!(!group(&node, "a.slice").exists());
    assert_eq!(node.phase("-.slice"), Phase::Active);
    assert!(node.supervisor.request("in.target", JobKind::Start).is_ok());
}

#[test]
fn a_limit_that_cannot_be_set_fails_the_slice_and_what_is_in_it() {
    let mut node = node(&[IN, ("a-b.slice", "[Slice]\nMemoryMax=5\n")]);
    node.start("in.target");
    assert_eq!(node.phase("a-b.slice"), Phase::Failed);
    assert_eq!(node.phase("in.target"), Phase::Dead);
    let id = node.supervisor.graph.id("a-b.slice").unwrap();
    let reason = node.supervisor.states[id].reason.clone().unwrap();
    assert!(reason.contains("memory.max=5 cannot be set"), "{reason}");
}

#[test]
fn a_shutdown_leaves_what_is_always_there() {
    let mut node = node(&[IN]);
    node.start("in.target");
    node.supervisor.begin_shutdown(ShutdownAction::Reboot);
    node.supervisor.run_jobs();
    assert_eq!(node.phase("a-b.slice"), Phase::Dead);
    assert_eq!(node.phase("-.slice"), Phase::Active);
    assert_eq!(node.supervisor.is_over(), Some(ShutdownAction::Reboot));
}

#[test]
fn a_process_belongs_to_the_innermost_unit_of_its_group() {
    let mut node = node(&[IN]);
    node.start("in.target");
    let id = node.supervisor.graph.id("in.target").unwrap();
    node.supervisor.states[id].cgroup = Some("a.slice/a-b.slice/in".into());
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some(own) = own.filter(|own| !own.is_empty()) else {
        // This host has no unified tree, or the tests are in its root: of_process is told nothing.
        return;
    };
    let slice = node.supervisor.graph.id("a-b.slice").unwrap();
    node.supervisor.states[slice].cgroup = Some(String::new());
    node.supervisor.states[id].cgroup = Some(own.into());
    let pid = std::process::id() as i32;
    assert_eq!(node.supervisor.unit_of(pid), Some(id));
}
