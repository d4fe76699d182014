//! Settings that change while questions come.

use std::path::Path;

use super::*;
use crate::resolver::service::Config;

fn write(path: &Path, config: &spec_config::Resolver) {
    std::fs::write(path, serde_json::to_vec(config).unwrap()).unwrap();
}

#[tokio::test]
async fn a_change_is_taken_and_what_was_kept_is_forgotten() {
    let (one, two) = (Fake::good().await, Fake::good().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolver.json");
    let world = World::new(&config(&[])).await;
    let mut file = Config::new(world.resolver.clone(), path.clone());
    file.read();
    assert!(file.status().contains("is not there yet: nobody is asked"));
    write(&path, &config(&[&one]));
    file.read();
    assert!(is_good(&world.ask("www.example").await));
    file.read();
    assert!(is_good(&world.ask("www.example").await));
    assert_eq!(one.asked(), 1, "the same file again changes nothing");
    write(&path, &config(&[&two]));
    file.read();
    assert!(is_good(&world.ask("www.example").await));
    assert_eq!((one.asked(), two.asked()), (1, 1));
    assert!(
        file.status()
            .starts_with(&format!("upstreams {}; ", two.at))
    );
}

#[tokio::test]
async fn what_cannot_be_read_leaves_the_last_good_one_and_says_so() {
    let fake = Fake::good().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolver.json");
    let world = World::new(&config(&[])).await;
    let mut file = Config::new(world.resolver.clone(), path.clone());
    write(&path, &config(&[&fake]));
    file.read();
    let itself = r#"{"upstreams": [{"address": "127.0.0.53"}]}"#;
    let nobody = r#"{"upstreams": [{"address": "10.0.0.1", "tls": "dns.example"}]}"#;
    let huge = " ".repeat(2 << 20);
    for (number, (text, reason)) in [
        ("{", "EOF while parsing"),
        (r#"{"servers": []}"#, "unknown field"),
        (itself, "is this resolver itself"),
        (nobody, "no roots to trust it by"),
        (huge.as_str(), "at most 1048576 are read"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&path, text).unwrap();
        for _ in 0..2 {
            file.read();
            let status = file.status();
            assert!(status.contains(reason), "{status}");
            assert!(status.contains("the last one that could stays in force"));
        }
        assert!(is_good(&world.ask(&format!("{number}.example")).await));
    }
    std::fs::remove_file(&path).unwrap();
    file.read();
    assert!(file.status().contains("No such file"));
    write(&path, &config(&[&fake]));
    file.read();
    assert!(file.status().starts_with("upstreams "), "{}", file.status());
}
