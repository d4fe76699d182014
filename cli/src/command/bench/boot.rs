//! How long one node takes from the kernel's hand-over, and a whole cluster from a built image.

use spec_api::LogQuery;

use super::{Bench, Figure, first, note};
use crate::exit::{Context, Error};
use crate::measure;

impl Bench<'_> {
    /// One node by direct kernel boot, from the kernel's hand-over to etcd started, on the node's own clock.
    pub(super) fn boots(&self) -> Result<Vec<Figure>, Error> {
        let (mut to_etcd, mut to_ready) = (Vec::new(), Vec::new());
        for run in 1..=self.args.runs {
            note(&format!("direct boot, run {run}"));
            measure::run(&mut self.up(&self.args.recipe, &["--nodes=1", "--direct"]))?;
            let moments = self.moments()?;
            to_etcd.push(moments.etcd - moments.handoff);
            to_ready.push(moments.complete - moments.handoff);
            self.down()?;
        }
        let how = "one node by direct kernel boot, on the node's clock";
        Ok(vec![
            Figure::new(
                "handoff to etcd started",
                measure::median(&to_etcd),
                "s",
                how,
            ),
            Figure::new(
                "handoff to boot complete",
                measure::median(&to_ready),
                "s",
                how,
            ),
        ])
    }

    /// Reads the moments of a boot from the journal of the only node.
    fn moments(&self) -> Result<Moments, Error> {
        let running = self.running()?;
        let node = first(&running)?;
        let mut found = Moments {
            handoff: f64::NAN,
            etcd: f64::NAN,
            complete: f64::NAN,
        };
        running
            .client(node)?
            .logs(&LogQuery::default(), |entry| {
                let seconds = entry.monotonic_us as f64 / 1e6;
                let from_init = entry.identifier == "bedplate-init";
                for (hit, moment) in [
                    (
                        entry.message == "Run /init as init process",
                        &mut found.handoff,
                    ),
                    (
                        from_init && entry.message == "etcd.service started",
                        &mut found.etcd,
                    ),
                    (
                        from_init && entry.message == "reached boot-complete.target",
                        &mut found.complete,
                    ),
                ] {
                    // The first of each counts.
                    if hit && moment.is_nan() {
                        *moment = seconds;
                    }
                }
                true
            })
            .context(format!("{} does not give its journal", node.name))?;
        if found.handoff.is_nan() || found.etcd.is_nan() || found.complete.is_nan() {
            return Err(Error::Failed(format!(
                "the journal of {} does not tell the boot: {found:?}",
                node.name
            )));
        }
        Ok(found)
    }

    /// Three nodes by UEFI, from a built image until all are ready.
    pub(super) fn clusters(&self) -> Result<Vec<Figure>, Error> {
        let recipe = &self.args.recipe;
        // The first of all builds the image; what is measured starts from a built one.
        note("up, to have the image");
        measure::run(&mut self.up(recipe, &[]))?;
        self.down()?;
        let mut walls = Vec::new();
        for run in 1..=self.args.runs {
            note(&format!("up, run {run}"));
            walls.push(measure::run(&mut self.up(recipe, &[]))?.wall_seconds);
            self.down()?;
        }
        Ok(vec![Figure::new(
            "`up`, three nodes ready by UEFI",
            measure::median(&walls),
            "s",
            "from a built image",
        )])
    }
}

/// When what happened, in seconds of the node's clock.
#[derive(Debug)]
struct Moments {
    handoff: f64,
    etcd: f64,
    complete: f64,
}
