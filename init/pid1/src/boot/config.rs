//! The machine config: found and checked by the node service, which leaves facts that PID 1 can read safely.

use std::time::Duration;

use spec_config::BootFacts;
use spec_layout::path::BOOT_FACTS;

use super::{Boot, helper};
use crate::error::{Error, Result, What};

/// Time to find a config disk that appears late.
const DEADLINE: Duration = Duration::from_secs(60);

/// Has the config found. A node without one, or with a broken one, boots all the same and says so.
pub(super) fn find(boot: &mut Boot) -> Result<()> {
    helper::run(&["node", "config"], DEADLINE, &mut boot.watchdog)
        .map_err(|why| Error::new(What::Config, why))?;
    let text = std::fs::read_to_string(BOOT_FACTS).map_err(Error::at(What::Config, BOOT_FACTS))?;
    let facts: BootFacts =
        serde_json::from_str(&text).map_err(Error::at(What::Config, BOOT_FACTS))?;
    match facts.config {
        spec_config::ConfigState::Ok => Ok(()),
        state => {
            let message = facts.message.unwrap_or_else(|| state.to_string());
            Err(Error::new(
                What::Config,
                format!("{message}; no cluster component will run"),
            ))
        }
    }
}
