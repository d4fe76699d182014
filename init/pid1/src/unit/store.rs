//! Descriptors that services leave with PID 1 over their restarts: FDSTORE=1 of sd_notify(3),
//! systemd.service(5) FileDescriptorStoreMax=.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use spec_unit::directive::notify::STORED;
use spec_unit::graph::UnitId;

use crate::event::{Events, Source};
use crate::sys;

/// Most descriptors stored for all units together: each of them is one of PID 1's own.
const MOST: usize = 8192;

/// A stored descriptor.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its name in LISTEN_FDNAMES.
    pub(crate) name: String,
    /// It is dropped once it is hung up or broken.
    pub(crate) watched: bool,
    /// The descriptor.
    pub(crate) fd: OwnedFd,
    number: u32,
}

/// What all services have stored.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    units: BTreeMap<UnitId, Vec<Stored>>,
    count: usize,
    next: u32,
}

impl Stores {
    /// What a unit has stored, the first first.
    pub(crate) fn of(&self, id: UnitId) -> &[Stored] {
        self.units.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Stores a descriptor, unless the unit has it already or has `most` others. It is closed then.
    pub(crate) fn add(
        &mut self,
        events: &Events,
        id: UnitId,
        most: u32,
        fd: OwnedFd,
        name: Option<String>,
        watched: bool,
    ) -> Result<(), String> {
        let kept = self.of(id);
        if kept
            .iter()
            .any(|stored| is_same(stored.fd.as_fd(), fd.as_fd()))
        {
            return Ok(());
        }
        if kept.len() >= most as usize {
            return Err(format!(
                "FDSTORE=1: {most} descriptors are stored already (FileDescriptorStoreMax=)"
            ));
        }
        if self.count >= MOST {
            return Err(format!(
                "FDSTORE=1: {MOST} descriptors are stored for all units already"
            ));
        }
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        if watched {
            let added = events.add_end(&fd, Source::Stored(number));
            added.map_err(|cause| format!("FDSTORE=1: {cause}"))?;
        }
        let name = name.unwrap_or_else(|| STORED.into());
        self.count += 1;
        self.units.entry(id).or_default().push(Stored {
            name,
            watched,
            fd,
            number,
        });
        Ok(())
    }

    /// Drops what a unit has stored by this name.
    pub(crate) fn remove(&mut self, events: &Events, id: UnitId, name: &str) {
        self.retain(events, id, |stored| stored.name != name);
    }

    /// Drops all that a unit has stored; whether there was something.
    pub(crate) fn release(&mut self, events: &Events, id: UnitId) -> bool {
        let had = !self.of(id).is_empty();
        self.retain(events, id, |_| false);
        had
    }

    /// A stored descriptor is hung up or broken: dropped. Whose it was, and its name.
    pub(crate) fn ended(&mut self, events: &Events, number: u32) -> Option<(UnitId, String)> {
        let mut all = self.units.iter();
        let (id, name) = all.find_map(|(id, stored)| {
            let ended = stored.iter().find(|stored| stored.number == number)?;
            Some((*id, ended.name.clone()))
        })?;
        self.retain(events, id, |stored| stored.number != number);
        Some((id, name))
    }

    fn retain(&mut self, events: &Events, id: UnitId, keep: impl Fn(&Stored) -> bool) {
        let Some(stored) = self.units.get_mut(&id) else {
            return;
        };
        let before = stored.len();
        stored.retain(|stored| {
            let kept = keep(stored);
            if !kept && stored.watched {
                // Its open file may live on elsewhere, and would be told of for ever.
                events.remove(&stored.fd);
            }
            kept
        });
        self.count = self.count.saturating_sub(before - stored.len());
        if stored.is_empty() {
            self.units.remove(&id);
        }
    }
}

/// Whether both are of one open file; where the kernel cannot tell, of the same file opened the same way.
fn is_same(left: BorrowedFd<'_>, right: BorrowedFd<'_>) -> bool {
    if let Ok(same) = sys::descriptor::is_same(left, right) {
        return same;
    }
    let (Ok(one), Ok(other)) = (rustix::fs::fstat(left), rustix::fs::fstat(right)) else {
        return false;
    };
    let flags = [left, right].map(|fd| rustix::fs::fcntl_getfl(fd).ok());
    let [flags, others] = flags;
    (one.st_dev, one.st_ino, flags) == (other.st_dev, other.st_ino, others)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn add(stores: &mut Stores, events: &Events, fd: OwnedFd, name: &str) -> Result<(), String> {
        stores.add(events, 0, 2, fd, Some(name.into()), true)
    }

    fn names(stores: &Stores) -> Vec<&str> {
        let stored = stores.of(0).iter();
        stored.map(|stored| stored.name.as_str()).collect()
    }

    #[test]
    fn a_descriptor_is_stored_once_and_no_more_than_the_unit_may() {
        let (events, mut stores) = (Events::open().unwrap(), Stores::default());
        let (one, other) = UnixStream::pair().unwrap();
        let again = one.try_clone().unwrap();
        add(&mut stores, &events, one.into(), "a").unwrap();
        add(&mut stores, &events, again.into(), "again").unwrap();
        add(&mut stores, &events, other.into(), "b").unwrap();
        assert_eq!(names(&stores), ["a", "b"]);
        let refused = add(
            &mut stores,
            &events,
            tempfile::tempfile().unwrap().into(),
            "c",
        );
        assert!(refused.unwrap_err().contains("FileDescriptorStoreMax"));
        stores.remove(&events, 0, "a");
        add(
            &mut stores,
            &events,
            tempfile::tempfile().unwrap().into(),
            "c",
        )
        .unwrap();
        assert_eq!(names(&stores), ["b", "c"]);
        assert!(stores.release(&events, 0) && !stores.release(&events, 0));
        assert_eq!(stores.count, 0);
    }

    #[test]
    fn one_that_is_hung_up_is_dropped_though_another_process_has_it_too() {
        let (events, mut stores) = (Events::open().unwrap(), Stores::default());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let elsewhere = ours.try_clone().unwrap();
        add(&mut stores, &events, ours.into(), "a").unwrap();
        drop(theirs);
        let ready = events.wait(Duration::from_secs(10)).unwrap();
        let number = ready.into_iter().find_map(|source| match source {
            Source::Stored(number) => Some(number),
            _ => None,
        });
        let ended = stores.ended(&events, number.unwrap());
        assert_eq!(ended, Some((0, "a".into())));
        let ready = events.wait(Duration::ZERO).unwrap();
        assert!(
            !ready
                .iter()
                .any(|source| matches!(source, Source::Stored(_)))
        );
        drop(elsewhere);
    }
}
