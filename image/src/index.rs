//! Packages: what a suite has, by name. Its bytes are checked against the hash that the signed Release names.

use std::collections::BTreeMap;

use archive::compress::{self, Compression};
use spec_recipe::lock::pool_path;
use spec_recipe::{Architecture, LockedPackage};

use crate::deb822;

/// Bytes that an index may have, packed and unpacked.
pub(crate) const PACKED_BYTES_MAX: u64 = 64 << 20;
const BYTES_MAX: u64 = 512 << 20;

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) suite: String,
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// Pre-Depends and Depends.
    pub(crate) needs: String,
    /// Conflicts and Breaks.
    pub(crate) conflicts: String,
    pub(crate) provides: String,
}

impl Candidate {
    /// As the lock names it.
    pub(crate) fn locked(&self) -> LockedPackage {
        LockedPackage {
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            suite: self.suite.clone(),
            path: self.path.clone(),
            size: self.size,
            sha256: self.sha256.clone(),
        }
    }
}

/// Every package of some suites for one architecture.
#[derive(Debug, Default)]
pub(crate) struct Universe {
    /// Versions by name; of equal versions the one of the suite named first.
    pub(crate) packages: BTreeMap<String, Vec<Candidate>>,
    /// Names of packages that provide a name.
    pub(crate) providers: BTreeMap<String, Vec<String>>,
}

/// Paths of an index below `dists/SUITE/`, the smallest first.
pub(crate) fn paths(component: &str, architecture: Architecture) -> [String; 2] {
    ["xz", "gz"].map(|end| format!("{component}/binary-{architecture}/Packages.{end}"))
}

/// Unpacks an index that came from `path`.
pub(crate) fn unpack(path: &str, packed: &[u8]) -> Result<String, String> {
    let bytes = compress::unpack(Compression::of_name(path), packed, BYTES_MAX)
        .map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

impl Universe {
    /// Adds the packages of one index of `suite`.
    pub(crate) fn add(&mut self, suite: &str, index: &str) -> Result<(), String> {
        for paragraph in deb822::paragraphs(index) {
            let name = paragraph
                .get("Package")
                .ok_or("has a paragraph without Package")?;
            let field = |field: &str| {
                paragraph
                    .get(field)
                    .ok_or_else(|| format!("says no {field} for {}", name.escape_debug()))
            };
            let path = field("Filename")?
                .strip_prefix("./")
                .unwrap_or(field("Filename")?);
            pool_path(path).map_err(|message| format!("{}: {message}", name.escape_debug()))?;
            let joined = |fields: [&str; 2]| {
                let values: Vec<&str> = fields
                    .iter()
                    .filter_map(|field| paragraph.get(field))
                    .filter(|value| !value.is_empty())
                    .collect();
                values.join(", ")
            };
            let candidate = Candidate {
                name: name.to_owned(),
                version: field("Version")?.to_owned(),
                architecture: field("Architecture")?.to_owned(),
                suite: suite.to_owned(),
                path: path.to_owned(),
                size: field("Size")?
                    .parse()
                    .map_err(|_| format!("says no size for {}", name.escape_debug()))?,
                sha256: field("SHA256")?.to_ascii_lowercase(),
                needs: joined(["Pre-Depends", "Depends"]),
                conflicts: joined(["Conflicts", "Breaks"]),
                provides: paragraph.get("Provides").unwrap_or_default().to_owned(),
            };
            self.insert(candidate);
        }
        Ok(())
    }

    fn insert(&mut self, candidate: Candidate) {
        for provided in candidate.provides.split(',') {
            let provided = provided
                .split(['(', ' ', ':'])
                .find(|part| !part.is_empty())
                .unwrap_or_default()
                .trim();
            if provided.is_empty() {
                continue;
            }
            let providers = self.providers.entry(provided.to_owned()).or_default();
            if let Err(at) = providers.binary_search(&candidate.name) {
                providers.insert(at, candidate.name.clone());
            }
        }
        let versions = self.packages.entry(candidate.name.clone()).or_default();
        if !versions
            .iter()
            .any(|known| known.version == candidate.version)
        {
            versions.push(candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "Package: hello\nVersion: 1\nArchitecture: amd64\nProvides: greeter (= 1), salute\n\
                         Pre-Depends: a\nDepends: b | c\nFilename: pool/h/hello_1_amd64.deb\nSize: 5\nSHA256: AB\n";

    #[test]
    fn a_package_is_read_with_what_it_provides() {
        let mut universe = Universe::default();
        universe.add("trixie", INDEX).expect("good");
        universe.add("trixie-security", INDEX).expect("good");
        let versions = &universe.packages["hello"];
        assert_eq!(versions.len(), 1);
        assert_eq!(
            (
                versions[0].suite.as_str(),
                versions[0].needs.as_str(),
                versions[0].sha256.as_str()
            ),
            ("trixie", "a, b | c", "ab")
        );
        assert_eq!(universe.providers["greeter"], ["hello"]);
        assert_eq!(universe.providers["salute"], ["hello"]);
    }

    #[test]
    fn a_wrong_index_is_refused() {
        let refused = |from: &str, to: &str| {
            Universe::default()
                .add("trixie", &INDEX.replace(from, to))
                .expect_err("refused")
        };
        assert!(refused("Filename: pool", "Filename: ../../pool").contains("no path on a mirror"));
        assert_eq!(refused("Size: 5", "Size: five"), "says no size for hello");
        assert_eq!(refused("Version: 1\n", ""), "says no Version for hello");
        assert!(unpack("Packages.xz", b"garbage").is_err());
    }
}
