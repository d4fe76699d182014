//! How long one node takes from the kernel's hand-over, and a whole cluster from a built image.

use spec_api::LogQuery;

use super::{Bench, Figure, first, note};
use crate::exit::{Context, Error};
use crate::measure;

impl Bench<'_> {
    /// One node by direct kernel boot, from the kernel's hand-over to etcd, on the node's own clock.
    pub(super) fn boots(&self) -> Result<Vec<Figure>, Error> {
        let mut boots = Vec::new();
        for run in 1..=self.args.runs {
            note(&format!("direct boot, run {run}"));
            let flags = ["--nodes=1", "--cpus=2", "--direct"];
            measure::run(&mut self.up(&self.args.recipe, &flags))?;
            boots.push(self.moments()?);
            self.down()?;
        }
        let how = "one node of two processors by direct kernel boot, its first, on its clock";
        let figure = |what: &str, moment: fn(&Moments) -> f64| {
            let after = |boot: &Moments| moment(boot) - boot.handoff;
            let seconds: Vec<f64> = boots.iter().map(after).collect();
            Figure::new(what, measure::median(&seconds), "s", how)
        };
        Ok(vec![
            figure("handoff to etcd started (its process is made)", |boot| {
                boot.started
            }),
            figure("handoff to etcd's first line", |boot| boot.etcd),
            figure("handoff to boot complete (its log is open)", |boot| {
                boot.complete
            }),
            figure(
                "handoff to etcd ready (a quorum, after its election)",
                |boot| boot.ready,
            ),
        ])
    }

    /// Reads the moments of a boot from the journal of the only node.
    fn moments(&self) -> Result<Moments, Error> {
        let running = self.running()?;
        let node = first(&running)?;
        let client = running.client(node)?;
        let units = client
            .units()
            .context(format!("{} does not tell its units", node.name))?;
        // Of an etcd that has ended in between, the first start is not known any more.
        let etcd = units
            .iter()
            .find(|unit| unit.name == "etcd.service" && unit.restarts == 0);
        let started = etcd.and_then(|unit| unit.main_started_us);
        let mut found = Moments {
            handoff: f64::NAN,
            started: started.map_or(f64::NAN, |us| us as f64 / 1e6),
            etcd: f64::NAN,
            complete: f64::NAN,
            ready: f64::NAN,
        };
        client
            .logs(&LogQuery::default(), |entry| {
                let seconds = entry.monotonic_us as f64 / 1e6;
                let from_init = entry.identifier == "bedplate-init";
                for (hit, moment) in [
                    (
                        entry.message == "Run /init as init process",
                        &mut found.handoff,
                    ),
                    (entry.identifier == "etcd", &mut found.etcd),
                    (
                        from_init && entry.message == "reached boot-complete.target",
                        &mut found.complete,
                    ),
                    (
                        from_init && entry.message == "etcd.service started",
                        &mut found.ready,
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
        if found.all().iter().any(|moment| moment.is_nan()) {
            return Err(Error::Failed(format!(
                "{} does not tell its boot: {found:?}",
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
    started: f64,
    etcd: f64,
    complete: f64,
    ready: f64,
}

impl Moments {
    fn all(&self) -> [f64; 5] {
        [
            self.handoff,
            self.started,
            self.etcd,
            self.complete,
            self.ready,
        ]
    }
}
