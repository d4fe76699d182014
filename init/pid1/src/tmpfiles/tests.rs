use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use spec_layout::tmpfiles::{Compiled, Names, Source, compile};

use super::*;

/// A folder that stands for `/`.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// Executes tmpfiles.d lines; gives what failed.
    fn run(&self, text: &str) -> Vec<String> {
        let names = Names {
            user: &|_| None,
            group: &|_| None,
            os_release: &|_| None,
        };
        let source = Source {
            path: "/usr/lib/tmpfiles.d/test.conf",
            text,
        };
        let Compiled { plan, .. } = compile(&[source], &names).unwrap();
        let root = Root::open(self.folder.path()).unwrap();
        let specifier = |letter| (letter == 'b').then(|| "boot".to_owned());
        let credentials = self.path("credentials");
        let outcomes = plan
            .lines
            .iter()
            .map(|line| execute(&root, line, &specifier, &credentials));
        outcomes.filter_map(std::result::Result::err).collect()
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.path(path)).unwrap().mode() & 0o7777
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }
}

const NOTHING: [String; 0] = [];

#[test]
fn folders_files_and_links_are_made_with_their_modes() {
    let world = World::new();
    let text = "d /run/lock 1777\nf /run/%b/motd 0640 - - - hello\\n\nL /etc/mtab - - - - ../proc/self/mounts\np /run/pipe 0600\n";
    assert_eq!(world.run(text), NOTHING);
    assert_eq!(world.mode("run/lock"), 0o1777);
    assert_eq!(
        (
            world.text("run/boot/motd").as_str(),
            world.mode("run/boot/motd")
        ),
        ("hello\n", 0o640)
    );
    assert_eq!(
        fs::read_link(world.path("etc/mtab")).unwrap(),
        Path::new("../proc/self/mounts")
    );
    assert_eq!(world.mode("run/pipe"), 0o600);
    assert_eq!(world.mode("run"), 0o755, "a folder on the way");
}

#[test]
fn a_second_boot_changes_nothing_that_is_there() {
    let world = World::new();
    let text = "f /etc/file - - - - one\nf+ /etc/fresh - - - - one\nd /etc/folder\n";
    assert_eq!(world.run(text), NOTHING);
    fs::write(world.path("etc/file"), "two").unwrap();
    fs::write(world.path("etc/fresh"), "longer than one").unwrap();
    fs::set_permissions(world.path("etc/folder"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.run(text), NOTHING);
    assert_eq!(
        (
            world.text("etc/file").as_str(),
            world.text("etc/fresh").as_str()
        ),
        ("two", "one")
    );
    assert_eq!(
        world.mode("etc/folder"),
        0o700,
        "a line without a mode leaves the mode alone"
    );
}

#[test]
fn a_link_on_the_way_is_never_followed() {
    let world = World::new();
    fs::create_dir_all(world.path("run/user")).unwrap();
    fs::create_dir(world.path("secret")).unwrap();
    fs::write(world.path("secret/file"), "kept").unwrap();
    symlink("../../secret", world.path("run/user/trap")).unwrap();
    symlink("../../secret/file", world.path("run/user/file")).unwrap();
    let failed = world.run("f+ /run/user/trap/file - - - - lost\nf+ /run/user/file - - - - lost\nR /run/user/trap/file\n");
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(
        failed
            .iter()
            .any(|why| why.contains("\"trap\" on the way is a link")),
        "{failed:?}"
    );
    assert_eq!(world.run("Z /run/user 0700\n"), NOTHING);
    assert_eq!(world.text("secret/file"), "kept");
    assert_ne!(world.mode("secret/file"), 0o700);
}

#[test]
fn a_file_with_a_second_name_keeps_its_mode() {
    let world = World::new();
    fs::create_dir(world.path("run")).unwrap();
    fs::write(world.path("shadow"), "x").unwrap();
    fs::hard_link(world.path("shadow"), world.path("run/mine")).unwrap();
    let before = world.mode("shadow");
    assert!(world.run("z /run/mine 0777\n")[0].contains("second name"));
    assert!(world.run("w /run/mine - - - - y\n")[0].contains("one name"));
    assert_eq!(
        (world.mode("shadow"), world.text("shadow").as_str()),
        (before, "x")
    );
}

#[test]
fn patterns_find_what_is_there_and_removal_comes_first() {
    let world = World::new();
    fs::create_dir_all(world.path("run/a/deep/er")).unwrap();
    fs::create_dir_all(world.path("run/.hidden")).unwrap();
    fs::write(world.path("run/b"), "").unwrap();
    assert_eq!(
        world.run("z /run/* 0711\nR /run/a/d*\nr /run/nothing\n"),
        NOTHING
    );
    assert!(!world.path("run/a/deep").exists());
    assert_eq!((world.mode("run/a"), world.mode("run/b")), (0o711, 0o711));
    assert_ne!(world.mode("run/.hidden"), 0o711);
}

#[test]
fn what_is_in_the_way_is_an_error_or_replaced_as_the_line_says() {
    let world = World::new();
    fs::create_dir(world.path("run")).unwrap();
    fs::write(world.path("run/x"), "").unwrap();
    assert!(world.run("d /run/x\n")[0].contains("in the way"));
    assert_eq!(world.run("d= /run/x\n"), NOTHING);
    assert!(world.path("run/x").is_dir());
    assert_eq!(world.run("L /run/x - - - - /y\n"), NOTHING);
    assert!(world.path("run/x").is_dir());
    assert_eq!(world.run("L+ /run/x - - - - /y\n"), NOTHING);
    assert_eq!(world.run("L+ /run/x - - - - /z\n"), NOTHING);
    assert_eq!(fs::read_link(world.path("run/x")).unwrap(), Path::new("/z"));
}

#[test]
fn a_tree_is_copied_once() {
    let world = World::new();
    fs::create_dir_all(world.path("usr/share/factory/etc/pam.d")).unwrap();
    fs::write(world.path("usr/share/factory/etc/pam.d/other"), "deny").unwrap();
    let source = world.path("usr/share/factory/etc/pam.d");
    let text = format!(
        "C /etc/pam.d - - - - {}\nC /etc/nothing - - - - /nowhere\n",
        source.display()
    );
    assert_eq!(world.run(&text), NOTHING);
    assert_eq!(world.text("etc/pam.d/other"), "deny");
    fs::write(world.path("etc/pam.d/other"), "allow").unwrap();
    assert_eq!(world.run(&text), NOTHING);
    assert_eq!(world.text("etc/pam.d/other"), "allow");
}

#[test]
fn a_credential_becomes_a_file_only_where_it_was_handed_in() {
    let world = World::new();
    fs::create_dir(world.path("credentials")).unwrap();
    fs::write(world.path("credentials/login.motd"), "welcome").unwrap();
    assert_eq!(
        world.run("f^ /etc/motd - - - - login.motd\nf^ /etc/other - - - - absent\n"),
        NOTHING
    );
    assert_eq!(world.text("etc/motd"), "welcome");
    assert!(!world.path("etc/other").exists());
}

#[test]
fn a_masked_mode_gives_no_new_rights() {
    let world = World::new();
    fs::create_dir(world.path("run")).unwrap();
    fs::write(world.path("run/text"), "").unwrap();
    fs::set_permissions(world.path("run/text"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.run("Z /run ~2775\n"), NOTHING);
    assert_eq!((world.mode("run"), world.mode("run/text")), (0o2775, 0o664));
}

#[test]
fn var_is_a_pass_of_its_own() {
    let line = |path: &str| {
        let text = format!("bedplate tmpfiles 1\nd\t.\t{path}\t-\t-\t-\t-\n");
        Plan::parse(&text).unwrap().lines.remove(0)
    };
    assert!(in_pass(&line("/var/lib"), Pass::Var) && !in_pass(&line("/var/lib"), Pass::Volatile));
    assert!(in_pass(&line("/variable"), Pass::Volatile));
}
