//! `recipes/NAME.lock`: every input that comes from a mirror, by hash, and the numbers of users and groups.
//!
//! Written in one order only (packages by name, keys as in the types), so that a lock is a function of its inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Architecture, Error, Recipe, error, name};

/// Version of this file's format.
pub const SCHEMA: u32 = 1;
/// Bytes that a package may have.
pub const PACKAGE_BYTES_MAX: u64 = 4 << 30;

const HEADER: &str =
    "# Written by `bedplate lock`. Do not edit: change the recipe and lock again.\n";

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The recipe's id.
    pub recipe: String,
    /// Architecture of the image.
    pub architecture: Architecture,
    /// Seconds since 1970 of the newest Release: the time of everything in the image.
    pub epoch: i64,
    /// The package of `packages` that holds the kernel.
    pub kernel: String,
    /// What the recipe asked for when it was locked.
    pub asked: Asked,
    /// Numbers of users.
    #[serde(default)]
    pub users: BTreeMap<String, u32>,
    /// Numbers of groups.
    #[serde(default)]
    pub groups: BTreeMap<String, u32>,
    /// Suites as they were seen, by name.
    pub suites: Vec<LockedSuite>,
    /// Packages of the root, by name.
    pub packages: Vec<LockedPackage>,
    /// Packages that only the builder reads, by name.
    #[serde(default)]
    pub boot_packages: Vec<LockedPackage>,
    /// Packages whose programs write bytes of the image.
    pub tools: Tools,
}

/// What the recipe asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Packages, the kernel's included, sorted.
    pub packages: Vec<String>,
    /// Excluded packages, sorted.
    pub exclude: Vec<String>,
    /// Packages that only the builder reads, sorted.
    pub boot_packages: Vec<String>,
    /// Tools, sorted.
    pub tools: Vec<String>,
}

/// A suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSuite {
    /// Its name.
    pub name: String,
    /// Seconds since 1970 of its Release: no older one is taken when the lock is renewed.
    pub date: i64,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture: the image's or `all`.
    pub architecture: String,
    /// The suite it comes from.
    pub suite: String,
    /// Its path on the mirror, below the address that serves the suite.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// SHA-256 of the .deb, in hex.
    pub sha256: String,
}

/// `[tools]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// Architecture of the building machine.
    pub architecture: Architecture,
    /// Packages with what they depend on, by name.
    pub packages: Vec<LockedPackage>,
}

impl Lock {
    /// Reads a lock. `file` is only named in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let lock: Lock = error::read(file, text)?;
        lock.check().map_err(|message| {
            Error::whole(file, format!("{message}; `bedplate lock` writes it anew"))
        })?;
        Ok(lock)
    }

    /// The file's text. The lists are sorted first.
    pub fn to_text(&self) -> String {
        let mut lock = self.clone();
        lock.suites.sort_by(|a, b| a.name.cmp(&b.name));
        for packages in [
            &mut lock.packages,
            &mut lock.boot_packages,
            &mut lock.tools.packages,
        ] {
            packages.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let body = toml::to_string(&lock)
            .expect("string keys, no null, numbers within i64: TOML can say it");
        format!("{HEADER}{body}")
    }

    /// Whether this lock was made for what the recipe asks now; else what to do.
    pub fn fits(&self, recipe: &Recipe) -> Result<(), String> {
        let advice = "lock again: `bedplate lock RECIPE`";
        if self.recipe != recipe.id {
            return Err(format!(
                "the lock is of recipe \"{}\", not of \"{}\"; {advice}",
                self.recipe, recipe.id
            ));
        }
        if self.architecture != recipe.architecture {
            return Err(format!(
                "the lock is for {}, the recipe for {}; {advice}",
                self.architecture, recipe.architecture
            ));
        }
        let now = Asked::of(recipe);
        let pairs = [
            ("packages", &self.asked.packages, &now.packages),
            ("exclude", &self.asked.exclude, &now.exclude),
            (
                "boot_packages",
                &self.asked.boot_packages,
                &now.boot_packages,
            ),
            ("tools", &self.asked.tools, &now.tools),
        ];
        for (field, then, now) in pairs {
            let changed: Vec<&str> = then
                .iter()
                .filter(|name| !now.contains(name))
                .chain(now.iter().filter(|name| !then.contains(name)))
                .map(String::as_str)
                .collect();
            if !changed.is_empty() {
                return Err(format!(
                    "the recipe's {field} changed since it was locked ({}); {advice}",
                    changed.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "schema {} is not {SCHEMA}, which this bedplate reads",
                self.schema
            ));
        }
        name::identifier(&self.recipe)?;
        if !(0..=253_402_300_799).contains(&self.epoch) {
            return Err(format!("epoch {} is out of range", self.epoch));
        }
        for (user, number) in self.users.iter().chain(&self.groups) {
            name::user(user)?;
            if *number >= 1000 && *number != 65534 {
                return Err(format!("{user}: {number} is no system number"));
            }
        }
        for packages in [&self.packages, &self.boot_packages, &self.tools.packages] {
            packages.iter().try_for_each(LockedPackage::check)?;
            if let Some(twice) = packages
                .windows(2)
                .find(|pair| pair[0].name >= pair[1].name)
            {
                return Err(format!(
                    "package {} is there twice or out of order",
                    twice[1].name
                ));
            }
        }
        if !self
            .packages
            .iter()
            .any(|package| package.name == self.kernel)
        {
            return Err(format!(
                "kernel package {} is not among the packages",
                self.kernel
            ));
        }
        Ok(())
    }
}

impl Asked {
    /// What `recipe` asks for.
    pub fn of(recipe: &Recipe) -> Self {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names.dedup();
            names
        };
        let mut packages = recipe.packages.clone();
        packages.push(recipe.kernel.package.clone());
        Asked {
            packages: sorted(&packages),
            exclude: sorted(&recipe.exclude),
            boot_packages: sorted(&recipe.boot_packages),
            tools: sorted(&recipe.tools),
        }
    }
}

impl LockedPackage {
    fn check(&self) -> Result<(), String> {
        name::package(&self.name)?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err(format!(
                "{}: sha256 must be 64 lower-case hex digits",
                self.name
            ));
        }
        if self.size == 0 || self.size > PACKAGE_BYTES_MAX {
            return Err(format!("{}: size {} is out of range", self.name, self.size));
        }
        if self.architecture != "all"
            && !Architecture::ALL
                .iter()
                .any(|known| known.name() == self.architecture)
        {
            return Err(format!(
                "{}: unknown architecture {}",
                self.name, self.architecture
            ));
        }
        let version_ok = !self.version.is_empty()
            && self
                .version
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".+-~:".contains(&b));
        if !version_ok || self.version.len() > 128 {
            return Err(format!(
                "{}: \"{}\" is no Debian version",
                self.name, self.version
            ));
        }
        pool_path(&self.path).map_err(|message| format!("{}: {message}", self.name))?;
        name::identifier(&self.suite)
    }
}

/// A path that is appended to a mirror's address.
pub fn pool_path(path: &str) -> Result<(), String> {
    let ok = !path.is_empty()
        && path.len() <= 512
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/+-._~:".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(format!("\"{path}\" is no path on a mirror"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: "1:2.41-12+deb13u4".into(),
            architecture: "amd64".into(),
            suite: "trixie".into(),
            path: format!("pool/main/x/{name}_1_amd64.deb"),
            size: 10,
            sha256: "ab".repeat(32),
        }
    }

    fn lock() -> Lock {
        Lock {
            schema: SCHEMA,
            recipe: "node".into(),
            architecture: Architecture::Amd64,
            epoch: 1_795_040_000,
            kernel: "linux-image".into(),
            asked: Asked {
                packages: vec!["libc6".into()],
                exclude: vec![],
                boot_packages: vec![],
                tools: vec!["erofs-utils".into()],
            },
            users: BTreeMap::from([("root".into(), 0), ("etcd".into(), 999)]),
            groups: BTreeMap::from([("nogroup".into(), 65534)]),
            suites: vec![LockedSuite {
                name: "trixie".into(),
                date: 1_795_040_000,
            }],
            packages: vec![package("linux-image"), package("libc6")],
            boot_packages: vec![],
            tools: Tools {
                architecture: Architecture::Amd64,
                packages: vec![package("erofs-utils")],
            },
        }
    }

    #[test]
    fn a_lock_reads_back_and_is_written_in_one_order() {
        let text = lock().to_text();
        let read = Lock::parse("x.lock", &text).expect("what was written");
        assert_eq!(read.packages[0].name, "libc6");
        assert_eq!(read.to_text(), text);
        let mut turned = lock();
        turned.packages.reverse();
        assert_eq!(turned.to_text(), text);
    }

    #[test]
    fn a_lock_that_was_meddled_with_is_refused() {
        let text = lock().to_text();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} in {text}");
            Lock::parse("x.lock", &text.replacen(from, to, 1))
                .expect_err("must be refused")
                .to_string()
        };
        assert!(refused("schema = 1", "schema = 2").contains("schema 2 is not 1"));
        assert!(refused("pool/main", "../../etc").contains("is no path on a mirror"));
        assert!(refused("abab", "XXab").contains("64 lower-case hex digits"));
        assert!(refused("size = 10", "size = 0").contains("out of range"));
        assert!(refused("etcd = 999", "etcd = 61184").contains("no system number"));
        assert!(
            refused("kernel = \"linux-image\"", "kernel = \"gone\"")
                .contains("not among the packages")
        );
        assert!(refused("epoch", "epock").contains("unknown field `epock`"));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(cut in 0usize..1500, byte in 0u8..127) {
            let mut bytes = lock().to_text().into_bytes();
            let at = cut.min(bytes.len() - 1);
            bytes[at] = byte;
            let _ = Lock::parse("x.lock", &String::from_utf8_lossy(&bytes));
        }
    }
}
