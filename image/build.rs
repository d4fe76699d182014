//! Tells the builder who it is: a digest of all sources that decide what it makes of its inputs. It is part of the
//! keys of the builder's cache, so that one that was changed takes over nothing that another has worked out.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// This room and those it may depend on, beside it; other people's crates are in the lock.
const SOURCES: [&str; 9] = [
    "image/src",
    "image/keys",
    "image/Cargo.toml",
    "image/build.rs",
    "archive",
    "spec",
    "kernel-config",
    "Cargo.toml",
    "Cargo.lock",
];

fn main() -> io::Result<()> {
    let workspace = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let mut files = Vec::new();
    for source in SOURCES {
        let path = workspace.join(source);
        println!("cargo::rerun-if-changed={}", path.display());
        collect(&path, &mut files)?;
    }
    files.sort();
    let mut digest = DefaultHasher::new();
    for file in files {
        file.strip_prefix(&workspace)
            .unwrap_or(&file)
            .hash(&mut digest);
        fs::read(&file)?.hash(&mut digest);
    }
    println!("cargo::rustc-env=BEDPLATE_BUILDER={:016x}", digest.finish());
    Ok(())
}

/// Every file below a path but hidden ones: editors keep locks in them, which may even be links to nothing.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
