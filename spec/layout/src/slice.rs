//! The trunk of the control group tree: what every process of the node is below.
//!
//! ```text
//! init.scope      PID 1, before all others
//! system.slice    the node's own services: first served when memory or CPU is short
//! cluster.slice   the datacenter components
//! task.slice      what people run, in what is left after the node's reservation
//! ```
//!
//! Each is a slice unit too; a unit file may say more of it ([`Slice::settled`] tells what does not get weaker).

/// Where PID 1 is.
pub const INIT: &str = "init.scope";
/// Files of its group: the turn of PID 1 comes whoever else wants the processor, and what it is made of is never read
/// from a disk again because others want the memory.
pub const INIT_SETTINGS: [(&str, &str); 2] = [("cpu.weight", "1000"), ("memory.min", "33554432")];
/// The slice of what people run.
pub const TASK: &str = "task.slice";

/// A slice of the trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Its name.
    pub name: &'static str,
    /// Files of its group, such as `cpu.weight`, with what they hold.
    pub settings: &'static [(&'static str, &'static str)],
    /// Its settings protect the node: a unit file may make them stronger only.
    pub guarded: bool,
}

/// The trunk.
pub const TRUNK: [Slice; 3] = [
    Slice {
        name: "system.slice",
        settings: &[
            ("cpu.weight", "400"),
            ("memory.low", "268435456"),
            // As much as the node's own services ask for together (MemoryMin=): a slice without it protects nothing in it.
            ("memory.min", "75497472"),
        ],
        guarded: true,
    },
    Slice {
        name: "cluster.slice",
        settings: &[("cpu.weight", "200"), ("memory.low", "134217728")],
        guarded: false,
    },
    Slice {
        name: TASK,
        settings: &[("cpu.weight", "100")],
        guarded: false,
    },
];

/// The slice of the trunk that has this name.
pub fn trunk(name: &str) -> Option<&'static Slice> {
    TRUNK.iter().find(|slice| slice.name == name)
}

impl Slice {
    /// What a file holds when a unit asks for `asked`: of a guarded slice the more of the two, where `max` is the most.
    pub fn settled<'a>(&self, file: &str, asked: &'a str) -> &'a str {
        let own = self.settings.iter().find(|(known, _)| *known == file);
        let amount = |text: &str| match text {
            "max" => Some(u64::MAX),
            text => text.parse().ok(),
        };
        match own {
            Some((_, own)) if self.guarded && amount(asked) < amount(own) => own,
            _ => asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_protection_does_not_get_weaker() {
        let settled = |slice, file, asked| trunk(slice).unwrap().settled(file, asked);
        assert_eq!(settled("system.slice", "memory.low", "0"), "268435456");
        assert_eq!(settled("system.slice", "memory.low", "max"), "max");
        assert_eq!(settled("system.slice", "cpu.weight", "100"), "400");
        assert_eq!(settled("system.slice", "cpu.weight", "idle?"), "400");
        assert_eq!(settled("system.slice", "memory.max", "1"), "1");
        assert_eq!(settled("cluster.slice", "memory.low", "0"), "0");
        assert_eq!(trunk("other.slice"), None);
    }
}
