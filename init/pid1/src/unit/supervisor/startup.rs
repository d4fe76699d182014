//! The end of the boot: from then on, and until a shutdown, units have what they have for good (Startup…=).

use super::Supervisor;

impl Supervisor {
    /// The boot is over once nothing is left to do.
    pub(crate) fn watch_startup(&mut self) {
        let busy = self.jobs.iter().next().is_some();
        if self.host.cgroups.starting && !busy && self.shutdown.is_none() {
            crate::info!("the node has started");
            self.set_starting(false);
        }
    }

    /// Gives every unit what holds now.
    pub(super) fn set_starting(&mut self, starting: bool) {
        let cgroups = &mut self.host.cgroups;
        cgroups.starting = starting;
        for state in &self.states {
            let Some(group) = &state.cgroup else {
                continue;
            };
            if let Err(cause) = cgroups.adjust(group, &state.startup) {
                crate::warning!("{group}: {cause}");
            }
        }
    }
}
