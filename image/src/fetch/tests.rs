use super::*;
use crate::Quiet;
use crate::test_server::TestServer;

fn package(name: &str, body: &[u8]) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: "1.0-1".into(),
        architecture: "amd64".into(),
        suite: "trixie".into(),
        path: format!("pool/{name}.deb"),
        size: body.len() as u64,
        sha256: hex::encode(Sha256::digest(body)),
    }
}

fn body(seed: u8) -> Vec<u8> {
    (0..200_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed)
        .collect()
}

struct Place {
    server: TestServer,
    cache: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place {
            server: TestServer::start(),
            cache: tempfile::tempdir().expect("a folder"),
        }
    }

    fn fetcher(&self, offline: bool) -> Fetcher {
        Fetcher::for_tests(
            self.cache.path(),
            Mirrors::fixed(&[self.server.address()], None),
            offline,
        )
    }

    fn fetch(&self, wanted: &[LockedPackage]) -> Result<Vec<LocalDeb>, Error> {
        self.fetcher(false).packages(wanted, &Quiet)
    }

    /// Files under the cache that have a final name.
    fn kept(&self) -> usize {
        fs::read_dir(self.cache.path().join("debs/sha256"))
            .map(|entries| {
                entries
                    .flatten()
                    .filter(|entry| !entry.path().to_string_lossy().ends_with(".part"))
                    .count()
            })
            .unwrap_or(0)
    }
}

#[test]
fn packages_come_once_and_then_from_the_cache_even_offline() {
    let place = Place::new();
    let wanted: Vec<_> = (0..9)
        .map(|i| package(&format!("p{i}"), &body(i)))
        .collect();
    for (i, package) in wanted.iter().enumerate() {
        place.server.put(&package.path, body(i as u8));
    }
    let local = place.fetch(&wanted).expect("fetched");
    assert_eq!(local.len(), 9);
    assert_eq!(local[3].file, "p3.deb");
    assert_eq!(fs::read(&local[3].path).expect("kept"), body(3));
    assert_eq!(place.server.requests().len(), 9);
    assert_eq!(
        place
            .fetcher(true)
            .packages(&wanted, &Quiet)
            .expect("offline"),
        local
    );
    assert_eq!(place.server.requests().len(), 9);
}

#[test]
fn offline_without_the_file_says_so() {
    let place = Place::new();
    let message = place
        .fetcher(true)
        .packages(&[package("x", b"x")], &Quiet)
        .expect_err("nothing there")
        .to_string();
    assert_eq!(
        message,
        "x 1.0-1 is not in the cache and --offline forbids the network: run once without --offline"
    );
}

#[test]
fn a_truncated_download_is_resumed_where_it_broke_off() {
    let place = Place::new();
    let wanted = package("x", &body(1));
    place.server.put(&wanted.path, body(1));
    place.server.cut(2);
    place.fetch(std::slice::from_ref(&wanted)).expect("resumed");
    assert_eq!(
        place.server.requests(),
        [
            "pool/x.deb",
            "pool/x.deb from 100000",
            "pool/x.deb from 150000"
        ]
    );
}

#[test]
fn a_busy_mirror_is_asked_again() {
    let place = Place::new();
    let wanted = package("x", &body(1));
    place.server.put(&wanted.path, body(1));
    place.server.busy(2);
    place
        .fetch(std::slice::from_ref(&wanted))
        .expect("third time");
    place.server.busy(99);
    fs::remove_dir_all(place.cache.path().join("debs")).expect("emptied");
    let message = place.fetch(&[wanted]).expect_err("never").to_string();
    assert!(message.contains("HTTP status 503"), "{message}");
    assert_eq!(place.kept(), 0);
}

#[test]
fn a_changed_package_is_refused_and_not_kept() {
    let place = Place::new();
    let wanted = package("x", &body(1));
    let mut changed = body(1);
    changed[777] ^= 1;
    place.server.put(&wanted.path, changed);
    let message = place
        .fetch(std::slice::from_ref(&wanted))
        .expect_err("changed")
        .to_string();
    assert!(
        message.starts_with("x 1.0-1: http://127.0.0.1"),
        "{message}"
    );
    assert!(
        message.contains("is not the file that was locked"),
        "{message}"
    );
    assert_eq!(place.kept(), 0);
    let mut longer = body(1);
    longer.push(0);
    place.server.put(&wanted.path, longer);
    assert!(place.fetch(&[wanted]).is_err());
    assert_eq!(place.kept(), 0);
}

#[test]
fn a_part_of_another_file_is_thrown_away() {
    let place = Place::new();
    let wanted = package("x", &body(1));
    place.server.put(&wanted.path, body(1));
    let folder = place.cache.path().join("debs/sha256");
    fs::create_dir_all(&folder).expect("made");
    fs::write(
        folder.join(format!("{}.part", wanted.sha256)),
        vec![9; 5000],
    )
    .expect("written");
    let local = place.fetch(&[wanted]).expect("fetched anew");
    assert_eq!(fs::read(&local[0].path).expect("kept"), body(1));
}

#[test]
fn a_damaged_cache_is_mended() {
    let place = Place::new();
    let wanted = package("x", &body(1));
    place.server.put(&wanted.path, body(1));
    let local = place.fetch(std::slice::from_ref(&wanted)).expect("fetched");
    fs::write(&local[0].path, b"damaged").expect("written");
    place.fetch(&[wanted]).expect("fetched again");
    assert_eq!(fs::read(&local[0].path).expect("kept"), body(1));
}

#[test]
fn what_the_mirror_has_dropped_comes_from_the_archive_or_is_named_with_the_command() {
    let place = Place::new();
    let wanted = [package("x", &body(1)), package("y", &body(2))];
    let error = place.fetch(&wanted).expect_err("dropped");
    let Error::Gone(message) = &error else {
        panic!("{error}")
    };
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].starts_with("x 1.0-1 (pool/x.deb) is no longer on the mirror: lock again with `bedplate lock x.toml`"), "{message}");
    let archive = TestServer::start();
    archive.put("old/pool/x.deb", body(1));
    archive.put("old/pool/y.deb", body(2));
    let mirrors = Mirrors::fixed(
        &[place.server.address()],
        Some(&format!("{}/old", archive.address())),
    );
    let fetcher = Fetcher::for_tests(place.cache.path(), mirrors, false);
    assert_eq!(
        fetcher
            .packages(&wanted, &Quiet)
            .expect("from the archive")
            .len(),
        2
    );
}

#[test]
fn no_server_is_a_network_error() {
    let cache = tempfile::tempdir().expect("a folder");
    let address = TestServer::start().address().to_owned();
    let fetcher = Fetcher::for_tests(cache.path(), Mirrors::fixed(&[&address], None), false);
    let error = fetcher
        .packages(&[package("x", b"x")], &Quiet)
        .expect_err("nobody listens");
    assert!(matches!(error, Error::Network(_)), "{error}");
}
