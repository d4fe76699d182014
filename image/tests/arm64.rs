//! An image for another architecture is resolved, unpacked and packed on this machine: no program of it ever runs.
//!
//! Needs a mirror (about 60 MB, then from the cache); without one the test is skipped.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use image::mirror::Mirrors;
use image::{BuildRequest, Format, LockRequest, Programs, Quiet};

/// A recipe of its own on top of this project's base.
fn recipe(folder: &Path) -> std::path::PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::os::unix::fs::symlink(
        fs::canonicalize(project).expect("the project"),
        folder.join("project"),
    )
    .expect("a link");
    let text = "extends = \"project/recipes/base.toml\"\nid = \"arm64\"\narchitecture = \"arm64\"\n\
                [kernel]\npackage = \"linux-image-cloud-arm64\"\n";
    let path = folder.join("arm64.toml");
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn an_arm64_image_is_built_here_and_twice_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = recipe(folder.path());
    let read = spec_recipe::Recipe::load(&recipe, &mut |path| fs::read_to_string(path))
        .expect("a good recipe");
    if let Err(error) = Mirrors::of(&read).and_then(|mirrors| mirrors.for_suite("trixie")) {
        qemu_tests::runner::skip(&format!("no mirror can be reached: {error}"));
        return;
    }
    image::lock(
        &LockRequest {
            recipe: recipe.clone(),
            output: None,
            offline: false,
        },
        &Quiet,
    )
    .expect("a lock");

    let program = folder.path().join("program");
    fs::write(&program, "a program").expect("written");
    let build = |out: &str, no_cache: bool| {
        let request = BuildRequest {
            recipe: recipe.clone(),
            lock: None,
            out: folder.path().join(out),
            formats: vec![Format::Raw, Format::Uki],
            programs: Programs {
                init: program.clone(),
                services: program.clone(),
                cluster: program.clone(),
            },
            no_cache,
            offline: false,
        };
        image::build(&request, &Quiet).expect("an image")
    };
    let first = build("a", true);
    let sums =
        |out: &str| fs::read_to_string(folder.path().join(out).join("SHA256SUMS")).expect("sums");
    build("b", false);
    assert_eq!(sums("a"), sums("b"));
    assert!(build("b", false).unchanged);

    let uki = fs::read(&first.artifacts[1].path).expect("a UKI");
    let command_line = image::uki::section(&uki, ".cmdline").expect("a command line");
    assert!(command_line.starts_with(format!("roothash={}", first.root_hash).as_bytes()));
    assert_eq!(image::uki::machine(&uki), Some(0xaa64));
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(first.manifest).expect("a manifest")).expect("JSON");
    let packages = manifest["inputs"]["packages"].as_array().expect("packages");
    let architectures: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["architecture"].as_str())
        .collect();
    assert_eq!(architectures, BTreeSet::from(["all", "arm64"]));
}
