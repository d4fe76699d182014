//! Slices: a branch of the cgroup tree, made when the first unit in it starts, and left when the last was told to stop.

use spec_unit::graph::UnitId;
use spec_unit::name::UnitType;

use super::super::state::{Outcome, Phase};
use super::super::supervise::Machine;
use super::Supervisor;

impl Supervisor {
    /// Makes a slice's group, so that all it says holds before anything is in it.
    pub(super) fn start_slice(&mut self, id: UnitId) {
        let Some(unit) = self.graph.unit(id) else {
            return;
        };
        let made = self.host.make_slice(unit);
        self.with_machine(id, |machine: &mut Machine<'_>| match made {
            Ok(group) => {
                machine.state.cgroup = Some(group.path).filter(|path| !path.is_empty());
                machine.state.startup = group.startup;
                machine.reach();
            }
            Err(message) => machine.refuse(Phase::Failed, Outcome::Resources, message),
        });
    }

    /// Gives a slice's group back when the slice stops; all that was in it has stopped before.
    pub(super) fn leave_slice(&mut self, id: UnitId) {
        let unit = self.graph.unit(id);
        let (Some(unit), Some(state)) = (unit, self.states.get_mut(id)) else {
            return;
        };
        if unit.kind != UnitType::Slice {
            return;
        }
        if let Some(group) = state.cgroup.take() {
            state.startup.clear();
            self.host.cgroups.remove_slice(&unit.name, &group);
            self.host.unhold(&group);
        }
    }
}
