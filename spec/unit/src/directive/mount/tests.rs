//! What several directives ask of the same paths.

use super::super::tests::plan;
use super::*;
use crate::plan::Mount;

const START: &str = "ExecStart=/bin/a\n";

fn mounts(directives: &str) -> Vec<Mount> {
    plan(&format!("{START}{directives}")).mounts.list
}

fn short(list: &[Mount]) -> Vec<String> {
    let word = |mount: &Mount| {
        let content = match &mount.content {
            Content::Same => "",
            Content::Inaccessible => " closed",
            Content::Bind { .. } => " bind",
            Content::Tmpfs { .. } => " tmpfs",
            _ => " other",
        };
        let read_only = if mount.read_only { " ro" } else { " rw" };
        let no_exec = if mount.no_exec { " noexec" } else { "" };
        let missing = if mount.missing_ok { " -" } else { "" };
        format!("{}{content}{read_only}{no_exec}{missing}", mount.target)
    };
    list.iter().map(word).collect()
}

#[test]
fn a_unit_without_walls_shares_the_nodes_file_systems() {
    assert!(!plan(START).mounts.is_own());
    assert!(!plan(&format!("{START}PrivateMounts=no\n")).mounts.is_own());
    assert!(plan(&format!("{START}PrivateMounts=yes\n")).mounts.is_own());
}

#[test]
fn a_path_that_can_be_written_lies_within_one_that_cannot() {
    let list = mounts("ReadOnlyPaths=/srv -/opt\nReadWritePaths=/srv/a\nReadOnlyPaths=/srv/a/b\n");
    let expected = ["/opt ro -", "/srv ro", "/srv/a rw", "/srv/a/b ro"];
    assert_eq!(short(&list), expected);
}

#[test]
fn the_names_of_old_fill_and_empty_the_same_lists() {
    let list = mounts(
        "ReadOnlyDirectories=/srv\nReadWriteDirectories=-/srv/a\nInaccessibleDirectories=/srv/b\n",
    );
    assert_eq!(short(&list), ["/srv ro", "/srv/a rw -", "/srv/b closed rw"]);
    let list = mounts("ReadOnlyPaths=/srv\nReadOnlyDirectories=\nReadOnlyDirectories=/opt\n");
    assert_eq!(short(&list), ["/opt ro"]);
}

#[test]
fn what_changes_nothing_and_what_lies_in_the_closed_is_left_out() {
    let list = mounts(
        "ReadWritePaths=-/a\nInaccessiblePaths=/b\nReadWritePaths=/b/c\nBindPaths=/x:/b/d\n",
    );
    assert_eq!(short(&list), ["/b closed rw"]);
    let looked_for = mounts("ReadWritePaths=/a /a/b\n");
    assert_eq!(short(&looked_for), ["/a rw"], "it has to be there");
}

#[test]
fn of_two_that_speak_of_one_path_the_narrower_counts() {
    let list = mounts(
        "ReadWritePaths=/a\nReadOnlyPaths=/a\nNoExecPaths=/a\nReadOnlyPaths=/c\nInaccessiblePaths=/c\n",
    );
    assert_eq!(short(&list), ["/a ro noexec", "/c closed ro"]);
}

#[test]
fn execution_is_opened_within_what_is_closed_to_it_and_binds_inherit() {
    let list = mounts(
        "NoExecPaths=/\nExecPaths=/usr\nBindPaths=/x:/srv\nTemporaryFileSystem=/y:ro,size=1M,mode=0700\n",
    );
    let expected = [
        "/ rw noexec",
        "/srv bind rw noexec",
        "/usr rw",
        "/y tmpfs ro noexec",
    ];
    assert_eq!(short(&list), expected);
    let tmpfs = list.iter().find(|mount| mount.target == "/y").unwrap();
    let options = "mode=0755,size=10%,nr_inodes=400k,size=1M,mode=0700".into();
    assert_eq!(tmpfs.content, Content::Tmpfs { options });
}

#[test]
fn siblings_that_sort_between_a_folder_and_its_content_do_not_part_them() {
    let list = mounts("ReadOnlyPaths=/a /a.b\nReadWritePaths=/a/c\n");
    assert_eq!(short(&list), ["/a ro", "/a/c rw", "/a.b ro"]);
}

#[test]
fn a_bind_has_its_parts() {
    let list = mounts("BindReadOnlyPaths=-/x:/y:norbind\nBindPaths=/z\n");
    let bind = |source: &str, recursive| Content::Bind {
        source: source.into(),
        recursive,
    };
    assert_eq!(short(&list), ["/y bind ro -", "/z bind rw"]);
    assert_eq!(list[0].content, bind("/x", false));
    assert_eq!(list[1].content, bind("/z", true));
}

#[test]
fn an_empty_assignment_forgets() {
    assert_eq!(mounts("ReadOnlyPaths=/a\nReadOnlyPaths=\n"), []);
}

#[test]
fn a_command_with_all_rights_has_no_walls_around_it() {
    let plan =
        plan("ExecStart=+/bin/a\nProtectSystem=strict\nPrivateTmp=yes\nPrivateNetwork=yes\n");
    assert!(plan.mounts.list.is_empty() && plan.directories.is_empty());
    assert!(plan.mounts.private, "but a table of mounts of its own");
    assert_eq!(plan.namespaces, crate::plan::Namespaces::default());
}

#[test]
fn a_command_with_all_rights_is_in_the_root_of_the_others_and_sees_their_folders() {
    let plan = plan(
        "ExecStart=+/bin/a\nRootDirectory=/srv/root\nBindPaths=/a:/b\nTemporaryFileSystem=/t\nReadOnlyPaths=+/c\n",
    );
    assert_eq!(plan.mounts.root.as_deref(), Some("/srv/root"));
    assert_eq!(short(&plan.mounts.list), ["/b bind rw", "/t tmpfs rw"]);
}

#[test]
fn paths_of_the_node_mean_nothing_in_another_root() {
    let plan = plan(&format!(
        "{START}RootDirectory=/srv/root\nReadOnlyPaths=/a +/b /srv/root/c /srv/rootless\nProtectHome=yes\nMountAPIVFS=no\n"
    ));
    assert_eq!(plan.mounts.root.as_deref(), Some("/srv/root"));
    let expected = [
        "/b ro",
        "/c ro",
        "/home closed rw -",
        "/root closed rw -",
        "/run/user closed rw -",
    ];
    assert_eq!(short(&plan.mounts.list), expected);
}

mod hostile {
    use proptest::prelude::*;

    use super::super::merge::merge;
    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let path = proptest::collection::vec("[ab.]{1,2}", 0..4);
        let path = path.prop_map(|parts| format!("/{}", parts.join("/")));
        let kinds = (path, 0..7u8, any::<bool>());
        kinds.prop_map(|(path, kind, missing_ok)| {
            let entry = match kind {
                0 => Entry::read_only(&path),
                1 => Entry::read_write(&path),
                2 => Entry::stays_read_write(&path),
                3 => Entry::exec(&path),
                4 => Entry::no_exec(&path),
                _ if path == "/" => Entry::read_only("/"),
                5 => Entry::inaccessible(&path),
                _ => Entry::bind("/s", &path, true),
            };
            entry.missing_ok(missing_ok)
        })
    }

    proptest! {
        #[test]
        fn any_list_is_one_that_can_be_carried_out(entries in proptest::collection::vec(entry(), 0..12)) {
            let entries: Vec<Entry> = entries
                .into_iter()
                .filter(|entry| crate::value::path(&entry.path).as_ref() == Ok(&entry.path))
                .collect();
            let mut plan = plan(START);
            plan.mounts.list = merge(entries.clone());
            prop_assert_eq!(plan.check(0), Ok(()));
            // Whoever asked for a wall has it, or one around it.
            for entry in entries.iter().filter(|entry| entry.read_only == Some(true)) {
                let inside = |mount: &&Mount| {
                    entry.path == mount.target
                        || mount.target == "/"
                        || entry.path.starts_with(&format!("{}/", mount.target))
                };
                let nearest = plan.mounts.list.iter().rfind(inside);
                let nearest = nearest.unwrap();
                prop_assert!(nearest.read_only || nearest.content == Content::Inaccessible);
            }
        }
    }
}
