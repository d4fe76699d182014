//! Secrets of a service.

use super::super::tests::plan;
use super::*;

fn list(directives: &str) -> Vec<(String, CredentialSource)> {
    let plan = plan(&format!("ExecStart=/bin/a\n{directives}"));
    let folder = plan.mounts.credentials.unwrap();
    assert_eq!(folder.path, "/run/credentials/etcd@a.service");
    assert_eq!(plan.environment["CREDENTIALS_DIRECTORY"], folder.path);
    let list = folder.list.into_iter();
    list.map(|credential| (credential.name, credential.source))
        .collect()
}

fn files(paths: &[&str], missing_ok: bool) -> CredentialSource {
    CredentialSource::Files {
        paths: paths.iter().map(|path| path.to_string()).collect(),
        missing_ok,
    }
}

#[test]
fn a_file_is_loaded_by_path_or_out_of_the_stores() {
    let found = list("LoadCredential=key:/etc/key\nLoadCredential=stored\n");
    assert_eq!(found[0], ("key".into(), files(&["/etc/key"], false)));
    let CredentialSource::Files { paths, missing_ok } = &found[1].1 else {
        panic!("{found:?}")
    };
    assert_eq!((paths.len(), *missing_ok), (STORES.len(), true));
    assert_eq!(paths[1], "/etc/credstore/stored");
}

#[test]
fn text_stands_in_for_a_file_that_is_missing() {
    let found = list("SetCredential=key:a\\nb %i\nLoadCredential=key:/etc/key\n");
    let text = CredentialSource::Text(b"a\nb a".into());
    let expected = [
        ("key".into(), files(&["/etc/key"], true)),
        ("key".into(), text),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_matches_is_imported_under_its_name_or_another() {
    let found = list("ImportCredential=etcd.*\n");
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["etcd.key", "etcd.crt"]);
    let renamed = list("ImportCredential=etcd.*:tls.\n");
    assert_eq!(renamed[0].0, "tls.key");
}

#[test]
fn the_folder_is_the_users() {
    let plan = plan("ExecStart=/bin/a\nUser=etcd\nSetCredential=a:b\n");
    assert_eq!(plan.mounts.credentials.unwrap().uid, 100);
}

#[test]
fn a_name_that_leaves_the_folder_is_refused() {
    for name in ["../a", "", ".", "a/b", "a:b", ".hidden"] {
        assert!(!is_name(name), "{name}");
    }
}
