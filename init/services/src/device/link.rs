//! Symbolic links below /dev that several devices may claim, such as two disks with the same label.
//!
//! The claim with the highest rank has the link; when it goes, the next one takes it over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// The links and who claims them.
pub(crate) struct Links {
    dev: PathBuf,
    /// Link below /dev -> node -> rank.
    claims: BTreeMap<String, BTreeMap<String, u32>>,
}

impl Links {
    /// Links below this folder.
    pub(crate) fn new(dev: &Path) -> Self {
        Self {
            dev: dev.to_path_buf(),
            claims: BTreeMap::new(),
        }
    }

    /// Makes `links` all that `node` claims, with this rank.
    pub(crate) fn set(&mut self, node: &str, links: &BTreeSet<String>, rank: u32) {
        let had: Vec<String> = self
            .claims
            .iter()
            .filter(|(_, nodes)| nodes.contains_key(node))
            .map(|(link, _)| link.clone())
            .collect();
        for link in had.into_iter().filter(|link| !links.contains(link)) {
            if let Some(nodes) = self.claims.get_mut(&link) {
                nodes.remove(node);
            }
            self.settle(&link);
        }
        for link in links {
            self.claims
                .entry(link.clone())
                .or_default()
                .insert(node.to_string(), rank);
            self.settle(link);
        }
    }

    /// Makes the link lead to the node that has it now.
    fn settle(&mut self, link: &str) {
        let winner = self.claims.get(link).and_then(|nodes| {
            // The first of equal rank: max_by_key would take the last.
            nodes
                .iter()
                .rev()
                .max_by_key(|(_, rank)| **rank)
                .map(|(node, _)| node.clone())
        });
        let result = match &winner {
            Some(node) => self.point(link, node),
            None => {
                self.claims.remove(link);
                match std::fs::remove_file(self.dev.join(link)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            log::warn!("{}: {error}", self.dev.join(link).display());
        }
    }

    fn point(&self, link: &str, node: &str) -> io::Result<()> {
        let path = self.dev.join(link);
        let up = "../".repeat(link.matches('/').count());
        let target = PathBuf::from(format!("{up}{node}"));
        if std::fs::read_link(&path).is_ok_and(|old| old == target) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        let _ = std::fs::remove_file(&draft);
        std::os::unix::fs::symlink(&target, &draft)?;
        std::fs::rename(&draft, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(links: &[&str]) -> BTreeSet<String> {
        links.iter().map(|link| link.to_string()).collect()
    }

    #[test]
    fn a_link_leads_to_its_node_and_goes_with_it() {
        let dev = tempfile::tempdir().unwrap();
        let mut links = Links::new(dev.path());
        links.set("vda1", &set(&["disk/by-label/esp"]), 0);
        let path = dev.path().join("disk/by-label/esp");
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../vda1"));
        links.set("vda1", &set(&[]), 0);
        assert!(std::fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn of_two_claims_the_first_has_it_and_the_other_inherits() {
        let dev = tempfile::tempdir().unwrap();
        let mut links = Links::new(dev.path());
        let path = dev.path().join("disk/by-uuid/1");
        links.set("vdb", &set(&["disk/by-uuid/1"]), 0);
        links.set("vda", &set(&["disk/by-uuid/1"]), 0);
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../vda"));
        links.set("dm-0", &set(&["disk/by-uuid/1"]), 10);
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../dm-0"));
        links.set("dm-0", &set(&[]), 10);
        links.set("vda", &set(&[]), 0);
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../vdb"));
    }
}
