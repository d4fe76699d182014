use super::*;
use crate::Quiet;
use crate::mirror::Mirrors;
use crate::test_archive::{TestArchive, now};

/// A recipe, a cache and an archive.
struct Place {
    archive: TestArchive,
    folder: tempfile::TempDir,
}

const RECIPE: &str = r#"
id = "x"
version = "1"
architecture = "ARCH"
packages = ["etcd"]
exclude = ["adduser"]
boot_packages = ["stub"]
tools = ["mkfs"]
overlays = ["overlay"]
[[suites]]
name = "trixie"
[kernel]
package = "linux-image-cloud"
"#;

impl Place {
    fn new() -> Self {
        let mut archive = TestArchive::start();
        for architecture in ["amd64", "arm64"] {
            archive.add(
                "etcd",
                "3.5-1",
                architecture,
                "Depends: adduser, libc (>= 2)\n",
                &[("usr/bin/etcd", architecture)],
            );
            archive.add(
                "libc",
                "2.41-1",
                architecture,
                "",
                &[("usr/lib/libc.so.6", architecture)],
            );
            archive.add(
                "stub",
                "257-1",
                architecture,
                "Depends: nothing-that-is-there\n",
                &[],
            );
            archive.add(
                "mkfs",
                "1.8-1",
                architecture,
                "Depends: libc\n",
                &[("usr/bin/mkfs.erofs", architecture)],
            );
            archive.add(
                "linux-image-cloud",
                "6.12-1",
                architecture,
                "Depends: linux-image-6.12 (= 6.12-1)\n",
                &[],
            );
            archive.add(
                "linux-image-6.12",
                "6.12-1",
                architecture,
                "",
                &[("boot/vmlinuz-6.12", "kernel")],
            );
        }
        archive.add(
            "daemon",
            "1",
            "all",
            "",
            &[(
                "usr/lib/sysusers.d/daemon.conf",
                "u daemon-user - \"A daemon\"\n",
            )],
        );
        archive.publish(60, "");
        let place = Place {
            archive,
            folder: tempfile::tempdir().expect("a folder"),
        };
        place.write("x.toml", &RECIPE.replace("ARCH", "amd64"));
        place.write(
            "packages/etcd.toml",
            "reason = \"Makes its user.\"\n[[users]]\nname = \"etcd\"\n",
        );
        place.write(
            "overlay/usr/lib/sysusers.d/ours.conf",
            "u bedplate-node -\n",
        );
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn recipe(&self) -> Recipe {
        read_recipe(&self.folder.path().join("x.toml")).expect("a recipe")
    }

    fn fetcher(&self, offline: bool) -> Fetcher {
        let mirrors = Mirrors::fixed(&[self.archive.server.address()], None);
        Fetcher::for_tests(&self.folder.path().join("cache"), mirrors, offline)
    }

    fn lock(&self, old: Option<&Lock>) -> Result<Lock, Error> {
        self.lock_with(old, false)
    }

    fn lock_with(&self, old: Option<&Lock>, offline: bool) -> Result<Lock, Error> {
        let keyring = |_: &str| Ok(self.archive.key.keyring());
        let fetcher = self.fetcher(offline);
        Locking {
            recipe: &self.recipe(),
            fetcher: &fetcher,
            keyring: &keyring,
            now: now(),
            progress: &Quiet,
        }
        .lock(old)
    }

    fn refused(&self) -> String {
        self.lock(None).expect_err("must be refused").to_string()
    }
}

fn names(packages: &[LockedPackage]) -> Vec<&str> {
    packages
        .iter()
        .map(|package| package.name.as_str())
        .collect()
}

#[test]
fn a_recipe_is_locked_with_all_that_it_pulls_in() {
    let place = Place::new();
    let lock = place.lock(None).expect("locked");
    assert_eq!(
        names(&lock.packages),
        ["etcd", "libc", "linux-image-6.12", "linux-image-cloud"]
    );
    assert_eq!(names(&lock.boot_packages), ["stub"]);
    assert_eq!(names(&lock.tools.packages), ["libc", "mkfs"]);
    assert_eq!(lock.kernel, "linux-image-6.12");
    assert_eq!(lock.epoch, 1_795_176_000 - 3600);
    assert_eq!(lock.packages[0].path, "pool/main/etcd_3.5-1_amd64.deb");
    assert_eq!(
        (lock.users["bedplate-node"], lock.users["etcd"]),
        (999, 998)
    );
    assert_eq!(place.lock(Some(&lock)).expect("again"), lock);
    assert_eq!(lock.fits(&place.recipe()), Ok(()));
}

#[test]
fn locking_again_keeps_numbers_and_says_what_changed() {
    let mut place = Place::new();
    let first = place.lock(None).expect("locked");
    place.archive.add("libc", "2.41-2", "amd64", "", &[]);
    place.archive.publish(30, "");
    place.write(
        "x.toml",
        &RECIPE
            .replace("ARCH", "amd64")
            .replace("[\"etcd\"]", "[\"etcd\", \"daemon\"]"),
    );
    assert!(
        first
            .fits(&place.recipe())
            .expect_err("outdated")
            .contains("packages changed since it was locked (daemon)")
    );
    let second = place.lock(Some(&first)).expect("locked");
    assert_eq!(
        changes(Some(&first), &second),
        ["+ daemon 1", "libc 2.41-1 -> 2.41-2"]
    );
    assert_eq!(
        (second.users["bedplate-node"], second.users["daemon-user"]),
        (999, 997)
    );
    assert_eq!(
        changes(Some(&second), &first),
        ["libc 2.41-2 -> 2.41-1", "- daemon 1"]
    );
}

#[test]
fn arm64_is_resolved_unpacked_and_packed_on_this_machine() {
    let place = Place::new();
    place.write("x.toml", &RECIPE.replace("ARCH", "arm64"));
    let lock = place.lock(None).expect("locked");
    assert_eq!(lock.packages[0].path, "pool/main/etcd_3.5-1_arm64.deb");
    assert_eq!(
        lock.tools.architecture,
        build_machine().expect("this machine")
    );
    let local = place
        .fetcher(true)
        .packages(&lock.packages[..1], &Quiet)
        .expect("in the cache");
    let package =
        deb::read_named(&local[0].path, &local[0].file, &Limits::default()).expect("a package");
    let mut entries = package.entries().expect("data");
    let entry = entries.next().expect("good").expect("a file");
    let data = entries.data().expect("whole");
    assert_eq!(
        (entry.path.as_str(), data.as_slice()),
        ("usr/bin/etcd", &b"arm64"[..])
    );
    let mut writer = tar::Writer::new(Vec::new());
    writer.write(&entry, &data).expect("memory");
    let packed = writer.finish().expect("memory");
    assert_eq!(
        tar::Reader::new(&packed[..], "again", &Limits::default())
            .next()
            .expect("good"),
        Some(entry)
    );
}

#[test]
fn offline_locks_from_the_cache_and_says_so_where_it_cannot() {
    let place = Place::new();
    let message = place
        .lock_with(None, true)
        .expect_err("empty cache")
        .to_string();
    assert!(
        message.starts_with("suite trixie was never fetched and --offline"),
        "{message}"
    );
    let lock = place.lock(None).expect("locked");
    let asked = place.archive.server.requests().len();
    assert_eq!(place.lock_with(None, true).expect("from the cache"), lock);
    assert_eq!(place.archive.server.requests().len(), asked);
}

#[test]
fn a_changed_inrelease_is_refused() {
    let place = Place::new();
    place
        .archive
        .server
        .change("dists/trixie/InRelease", |bytes| {
            let at = bytes
                .windows(8)
                .position(|word| word == b"Codename")
                .expect("there");
            bytes[at + 1] = b'O';
        });
    let message = place.refused();
    assert!(
        message.contains("/dists/trixie/InRelease signature of key"),
        "{message}"
    );
    assert!(message.contains("changed after it was signed"), "{message}");
}

#[test]
fn a_changed_index_is_refused() {
    let place = Place::new();
    let paths: Vec<String> = place
        .archive
        .server
        .paths()
        .into_iter()
        .filter(|path| path.contains("binary-amd64"))
        .collect();
    assert_eq!(paths.len(), 2);
    for path in paths {
        place.archive.server.change(&path, |bytes| bytes[100] ^= 1);
    }
    let message = place.refused();
    assert!(
        message.contains("is not what the signed Release names"),
        "{message}"
    );
}

#[test]
fn a_changed_package_is_refused() {
    let place = Place::new();
    place
        .archive
        .server
        .change("pool/main/libc_2.41-1_amd64.deb", |bytes| bytes[90] ^= 1);
    let message = place.refused();
    assert!(
        message.starts_with("libc 2.41-1: ") && message.contains("is not the file that was locked"),
        "{message}"
    );
}

#[test]
fn an_expired_or_older_release_is_refused() {
    let place = Place::new();
    place
        .archive
        .publish(60, "Valid-Until: Fri, 20 Nov 2026 11:30:00 UTC\n");
    assert!(
        place
            .refused()
            .contains("InRelease expired on 2026-11-20 11:30 UTC")
    );
    place.archive.publish(60, "");
    let lock = place.lock(None).expect("locked");
    place.archive.publish(61, "");
    let message = place.lock(Some(&lock)).expect_err("older").to_string();
    assert!(
        message.contains("older than the one the lock has seen (2026-11-20 11:00 UTC)"),
        "{message}"
    );
}

#[test]
fn a_scratch_lock_hides_neither_the_dates_nor_the_numbers_of_the_recipe_s_own() {
    let place = Place::new();
    let (own, scratch) = (
        place.folder.path().join("x.lock"),
        place.folder.path().join("scratch.lock"),
    );
    assert_eq!(before(&scratch, &own).expect("no lock yet"), None);
    let mut lock = place.lock(None).expect("locked");
    let write = |path: &Path, lock: &Lock| fs::write(path, lock.to_text()).expect("written");
    let (etcd, newest) = (lock.users["etcd"], lock.suites[0].date);
    write(&own, &lock);
    lock.users.insert("etcd".into(), etcd - 100);
    lock.suites[0].date -= 3600;
    write(&scratch, &lock);
    let kept = before(&scratch, &own).expect("read").expect("two locks");
    assert_eq!((kept.users["etcd"], kept.suites[0].date), (etcd, newest));

    place.archive.publish(61, "");
    let message = place.lock(Some(&kept)).expect_err("a replay").to_string();
    assert!(
        message.contains("older than the one the lock has seen"),
        "{message}"
    );

    lock.suites[0].date = newest + 60;
    write(&scratch, &lock);
    let kept = before(&scratch, &own).expect("read").expect("two locks");
    assert_eq!(
        kept.suites[0].date,
        newest + 60,
        "the scratch lock saw more"
    );
    fs::remove_file(&own).expect("removed");
    assert_eq!(before(&scratch, &own).expect("read"), Some(lock));
}

#[test]
fn an_index_that_breaks_off_is_asked_for_again() {
    let place = Place::new();
    place.archive.server.cut(2);
    place.lock(None).expect("locked");
}

#[test]
fn a_suite_that_no_mirror_has_is_named() {
    let place = Place::new();
    place.archive.server.remove("dists/trixie/InRelease");
    let message = place.refused();
    assert!(
        message.starts_with("no mirror gives suite trixie: ")
            && message.contains("BEDPLATE_MIRROR"),
        "{message}"
    );
}

#[test]
fn an_unknown_package_and_one_that_cannot_be_are_explained() {
    let mut place = Place::new();
    let text = RECIPE.replace("ARCH", "amd64");
    place.write("x.toml", &text.replace("[\"etcd\"]", "[\"etdc\"]"));
    let message = place.refused();
    assert!(
        message.ends_with("x.toml: unknown package \"etdc\"; did you mean etcd?"),
        "{message}"
    );
    place
        .archive
        .add("needy", "1", "all", "Depends: libc (>= 3)\n", &[]);
    place.archive.publish(60, "");
    place.write("x.toml", &text.replace("[\"etcd\"]", "[\"needy\"]"));
    let message = place.refused();
    assert!(
        message.ends_with(
            "x.toml: needy depends on libc (>= 3), but there is only libc 2.41-1 in trixie"
        ),
        "{message}"
    );
}

#[test]
fn nothing_half_written_is_left() {
    let place = Place::new();
    let target = place.folder.path().join("no-such-folder/x.lock");
    assert!(suite::replace(&target, b"x").is_err());
    assert!(!target.exists());
}

#[test]
fn the_project_s_own_recipes_fit_their_locks_and_their_entries_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    let recipes = files_with_end(&folder, "toml").expect("recipes");
    assert!(recipes.len() >= 4);
    for path in recipes {
        let recipe = read_recipe(&path).expect("a good recipe");
        let lock = read_lock(&beside(&path)).expect("a good lock");
        assert_eq!(lock.fits(&recipe), Ok(()), "{}", path.display());
        let entries = Entries::read(&recipe).expect("good entries");
        assert!(entries.digests().len() >= 4);
    }
}
