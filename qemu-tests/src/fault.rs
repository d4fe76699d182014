//! Faults, as plain data, injected from outside the nodes.
//!
//! To add one: a variant here, its effect in [`Cluster::inject`], and a test that shows it bites.

use crate::{
    cluster::Cluster,
    disk,
    error::{Error, Result},
    switch::{Line, PortId},
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// SIGKILL.
const KILL: i32 = 9;

/// What goes wrong. Nodes are named by their hostnames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The power fails; the node stays off.
    PowerCut {
        /// Which node.
        node: String,
    },
    /// The power fails for all nodes at once.
    Blackout,
    /// The power is back: every node that is off starts.
    PowerBack,
    /// The reset button.
    Reset {
        /// Which node.
        node: String,
    },
    /// The node hangs: its processors stand still.
    Freeze {
        /// Which node.
        node: String,
    },
    /// It goes on, with its clock behind.
    Thaw {
        /// Which node.
        node: String,
    },
    /// A new disk with the image on it, and nothing else. The node is off.
    ReplaceDisk {
        /// Which node.
        node: String,
    },
    /// Bytes of the disk turn over, from the start of a partition. The node is off.
    Corrupt {
        /// Which node.
        node: String,
        /// Label of the partition.
        partition: String,
        /// Bytes in it.
        range: Range<u64>,
    },
    /// The line of a node gets bad, or good again.
    Line {
        /// Which node.
        node: String,
        /// Its line.
        line: Line,
    },
    /// Groups of nodes hear only themselves; the gateway hears all.
    Partition {
        /// The groups.
        groups: Vec<Vec<String>>,
    },
    /// All lines are good again.
    Heal,
    /// The hardware clock says this at the next start: `utc`, or a date such as `2001-01-01T00:00:00`.
    Clock {
        /// Which node.
        node: String,
        /// QEMU's `-rtc base=`.
        base: String,
    },
    /// The main process of a unit is killed, by the node API.
    Kill {
        /// Which node.
        node: String,
        /// Which unit.
        unit: String,
    },
}

impl Cluster {
    /// Makes it go wrong.
    pub fn inject(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::PowerCut { node } => self.named(node)?.vm().power_cut(),
            Fault::Blackout => {
                (0..self.nodes().len()).try_for_each(|index| self.node_mut(index)?.vm().power_cut())
            }
            Fault::PowerBack => self.start(),
            Fault::Reset { node } => self.named(node)?.vm().reset(),
            Fault::Freeze { node } => self.named(node)?.vm().freeze(),
            Fault::Thaw { node } => self.named(node)?.vm().thaw(),
            Fault::ReplaceDisk { node } => self.replace_disk(node),
            Fault::Corrupt {
                node,
                partition,
                range,
            } => {
                let path = self.switched_off(node)?.disk();
                let place = disk::partition(&path, partition)?;
                if place.start + range.end > place.end {
                    return Err(Error::Refused(format!(
                        "partition '{partition}' ends before byte {}",
                        range.end
                    )));
                }
                disk::flip(&path, place.start + range.start..place.start + range.end)
            }
            Fault::Line { node, line } => {
                let port = self.named(node)?.port();
                self.switch().set_port(port, *line);
                Ok(())
            }
            Fault::Partition { groups } => {
                let port = |name: &String| Ok(self.node(self.index(name)?)?.port());
                let groups: Result<Vec<Vec<PortId>>> = groups
                    .iter()
                    .map(|group| group.iter().map(port).collect())
                    .collect();
                let groups = groups?;
                let groups: Vec<&[PortId]> = groups.iter().map(Vec::as_slice).collect();
                self.switch().partition(&groups);
                Ok(())
            }
            Fault::Heal => {
                self.switch().heal();
                Ok(())
            }
            Fault::Clock { node, base } => {
                self.named(node)?.vm().spec_mut().clock.clone_from(base);
                Ok(())
            }
            Fault::Kill { node, unit } => {
                let api = self.named(node)?.api()?;
                api.kill(unit, KILL)
                    .map_err(|error| Error::Failed(error.to_string()))
            }
        }
    }

    fn named(&mut self, name: &str) -> Result<&mut crate::cluster::Node> {
        let index = self.index(name)?;
        self.node_mut(index)
    }

    fn switched_off(&mut self, name: &str) -> Result<&mut crate::cluster::Node> {
        let node = self.named(name)?;
        if node.vm().is_on() {
            return Err(Error::Refused(format!(
                "{name} is on: cut its power before touching its disk"
            )));
        }
        Ok(node)
    }

    fn replace_disk(&mut self, name: &str) -> Result<()> {
        let (image, bytes) = (self.spec().image.required("raw")?, self.spec().disk_bytes);
        let path = self.switched_off(name)?.disk();
        disk::copy(&image, &path, bytes)
    }
}
