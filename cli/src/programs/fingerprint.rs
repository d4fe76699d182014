//! What programs are compiled from and by what, as digests: what changed is compiled again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::C_COMPILER;
use crate::exit::{Context, Error};

/// What a program's bytes come from.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "spec",
    "init",
    "client",
    "cluster",
];

/// How they are made: our own sources that say so.
const RECIPE: [&[u8]; 3] = [
    include_bytes!("../programs.rs"),
    include_bytes!("fingerprint.rs"),
    include_bytes!("places.rs"),
];

/// What the programs were compiled from, and by what, as digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inputs {
    /// Of the files that are compiled, and of how.
    pub(super) sources: String,
    /// Of cargo's config files, and of what C is compiled by and with.
    pub(super) host: String,
}

impl Inputs {
    /// As they are now.
    pub(super) fn read(root: &Path) -> Result<Self, Error> {
        let mut files = config_files(root, cargo_home().as_deref());
        for part in c_parts(&said(C_COMPILER, &["-v", "-E", "-x", "c", "/dev/null"])) {
            let before = files.len();
            collect(Path::new(&part), &mut files)?;
            files[before..].sort();
        }
        let tools = [C_COMPILER, "as", "ar"].map(|tool| said(tool, &["--version"]));
        Ok(Self {
            sources: sources(root)?,
            host: host(&files, &tools.concat())?,
        })
    }
}

/// Hash over names and contents of everything the programs are made from, and over how they are made.
fn sources(root: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    RECIPE.iter().for_each(|part| hash.update(part));
    for file in files {
        let content = std::fs::read(&file).context(format!("cannot read {}", file.display()))?;
        hash.update(
            file.strip_prefix(root)
                .unwrap_or(&file)
                .as_os_str()
                .as_encoded_bytes(),
        );
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(hex::encode(hash.finalize()))
}

/// Hash over files of the host, cargo's config and musl's headers, and over what the C tools say of themselves.
fn host(files: &[PathBuf], c_tools: &str) -> Result<String, Error> {
    let mut hash = Sha256::new();
    hash.update((c_tools.len() as u64).to_le_bytes());
    hash.update(c_tools);
    for file in files {
        let content = match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.context(format!("cannot read {}", file.display()))?,
        };
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(hex::encode(hash.finalize()))
}

/// Where cargo looks for its config when it is called in the workspace.
fn config_files(root: &Path, cargo_home: Option<&Path>) -> Vec<PathBuf> {
    root.ancestors()
        .map(|folder| folder.join(".cargo"))
        .chain(cargo_home.map(Path::to_path_buf))
        .flat_map(|folder| [folder.join("config"), folder.join("config.toml")])
        .collect()
}

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

/// What a tool of the host prints; nothing where it is missing.
fn said(tool: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool);
    command.args(arguments).env("LC_ALL", "C");
    // Cargo does not get it either: musl-gcc would call another compiler.
    let asked = command.env_remove("REALGCC").output();
    let both = asked.map(|output| [output.stdout, output.stderr].concat());
    String::from_utf8_lossy(&both.unwrap_or_default()).into_owned()
}

/// The specs file that makes the C compiler one for musl, and its folders of headers, out of what it says with `-v`.
fn c_parts(said: &str) -> Vec<&str> {
    let specs = said
        .lines()
        .filter_map(|line| line.strip_prefix("Reading specs from "));
    let headers = said
        .lines()
        .skip_while(|line| !line.starts_with("#include <...> search starts here"))
        .skip(1)
        .map_while(|line| line.strip_prefix(' '));
    specs.chain(headers).collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let what = || format!("cannot read {}", path.display());
    if path.is_dir() {
        for entry in std::fs::read_dir(path).context(what())? {
            let name: OsString = entry
                .as_ref()
                .map(std::fs::DirEntry::file_name)
                .unwrap_or_default();
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                collect(&path.join(name), files)?;
            }
        }
    } else {
        files.push(path.to_path_buf());
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub(in super::super) fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
            write(&folder.path().join(file), file);
        }
        for file in [
            "spec/unit/src/lib.rs",
            "init/pid1/src/main.rs",
            "client/src/lib.rs",
            "cluster/src/main.rs",
        ] {
            write(&folder.path().join(file), file);
        }
        folder
    }

    #[test]
    fn two_checkouts_with_the_same_sources_have_the_same_fingerprint() {
        let (one, two) = (tree(), tree());
        assert_eq!(
            sources(one.path()).expect("one"),
            sources(two.path()).expect("two")
        );
    }

    #[test]
    fn a_changed_moved_or_added_source_is_seen() {
        let folder = tree();
        let before = sources(folder.path()).expect("before");
        write(&folder.path().join("init/pid1/src/main.rs"), "fn main() {}");
        let changed = sources(folder.path()).expect("changed");
        assert_ne!(before, changed);
        write(&folder.path().join("init/pid1/src/reap.rs"), "");
        assert_ne!(changed, sources(folder.path()).expect("added"));
    }

    #[test]
    fn a_c_compiler_says_what_it_reads() {
        let said = "Using built-in specs.\n\
                    Reading specs from /usr/lib/musl/musl-gcc.specs\n\
                    #include \"...\" search starts here:\n\
                    #include <...> search starts here:\n \
                    /usr/include/musl\n \
                    /usr/lib/gcc/12/include\n\
                    End of search list.\n # 1 \"/dev/null\"\n";
        let found = [
            "/usr/lib/musl/musl-gcc.specs",
            "/usr/include/musl",
            "/usr/lib/gcc/12/include",
        ];
        assert_eq!(c_parts(said), found);
        assert!(c_parts("").is_empty());
    }

    #[test]
    fn cargos_config_and_the_c_compiler_are_seen() {
        let folder = tree();
        let (root, home) = (folder.path().join("a/checkout"), folder.path().join("home"));
        let seen = |compiler: &str| {
            let files = config_files(&root, Some(&home));
            host(&files, compiler).expect("read")
        };
        let mut all = vec![seen("gcc 12"), seen("gcc 13")];
        write(
            &folder.path().join("a/.cargo/config.toml"),
            "[env]\nA = \"1\"\n",
        );
        all.push(seen("gcc 12"));
        write(&home.join("config.toml"), "[profile.node]\nlto = false\n");
        all.push(seen("gcc 12"));
        write(&root.join(".cargo/config.toml"), "[build]\n");
        all.push(seen("gcc 12"));
        let different: BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
