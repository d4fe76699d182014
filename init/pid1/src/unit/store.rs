//! Descriptors that services leave with PID 1 over their restarts: FDSTORE=1 of sd_notify(3),
//! systemd.service(5) FileDescriptorStoreMax=.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
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

    /// Stores a descriptor, unless the unit has it already or has `most` others. It is given back then, with what to
    /// say about it.
    pub(crate) fn add(
        &mut self,
        events: &Events,
        id: UnitId,
        most: u32,
        fd: OwnedFd,
        name: Option<String>,
        watched: bool,
    ) -> Result<(), (OwnedFd, Option<String>)> {
        let kept = self.of(id);
        if kept
            .iter()
            .any(|stored| is_same(stored.fd.as_fd(), fd.as_fd()))
        {
            return Err((fd, None));
        }
        if kept.len() >= most as usize {
            let why = format!(
                "FDSTORE=1: {most} descriptors are stored already (FileDescriptorStoreMax=)"
            );
            return Err((fd, Some(why)));
        }
        if self.count >= MOST {
            let why = format!("FDSTORE=1: {MOST} descriptors are stored for all units already");
            return Err((fd, Some(why)));
        }
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        if watched
            && may_end(fd.as_fd())
            && let Err(cause) = events.add_end(&fd, Source::Stored(number))
        {
            return Err((fd, Some(format!("FDSTORE=1: {cause}"))));
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

    /// Takes out what a unit has stored by this name.
    pub(crate) fn remove(&mut self, events: &Events, id: UnitId, name: &str) -> Vec<OwnedFd> {
        let taken = self.take(events, id, |stored| stored.name == name);
        taken.into_iter().map(|stored| stored.fd).collect()
    }

    /// Takes out all that a unit has stored.
    pub(crate) fn release(&mut self, events: &Events, id: UnitId) -> Vec<OwnedFd> {
        let taken = self.take(events, id, |_| true);
        taken.into_iter().map(|stored| stored.fd).collect()
    }

    /// A stored descriptor is hung up or broken: taken out. Whose it was.
    pub(crate) fn ended(&mut self, events: &Events, number: u32) -> Option<(UnitId, Stored)> {
        let is_it = |stored: &Stored| stored.number == number;
        let mut all = self.units.iter();
        let (id, _) = all.find(|(_, stored)| stored.iter().any(is_it))?;
        let id = *id;
        let taken = self.take(events, id, is_it);
        Some((id, taken.into_iter().next()?))
    }

    fn take(
        &mut self,
        events: &Events,
        id: UnitId,
        is_it: impl Fn(&Stored) -> bool,
    ) -> Vec<Stored> {
        let Some(stored) = self.units.get_mut(&id) else {
            return Vec::new();
        };
        let (taken, kept): (Vec<Stored>, Vec<Stored>) =
            stored.drain(..).partition(|one| is_it(one));
        *stored = kept;
        for one in taken.iter().filter(|one| one.watched) {
            // Its open file may live on elsewhere, and would be told of for ever.
            events.remove(&one.fd);
        }
        self.count = self.count.saturating_sub(taken.len());
        if stored.is_empty() {
            self.units.remove(&id);
        }
        taken
    }
}

/// Whether its end is worth waiting for. A plain file has none, and that of a FUSE server would be asked about it.
fn may_end(fd: BorrowedFd<'_>) -> bool {
    !matches!(kind(fd), Some(FileType::RegularFile | FileType::Directory))
}

/// What kind of file it is, without a question to whoever serves it.
pub(super) fn kind(fd: BorrowedFd<'_>) -> Option<FileType> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let status = statx(fd, c"", flags, StatxFlags::TYPE).ok()?;
    Some(FileType::from_raw_mode(status.stx_mode.into()))
}

/// Whether both are of one open file; where the kernel cannot tell, of the same file opened the same way.
fn is_same(left: BorrowedFd<'_>, right: BorrowedFd<'_>) -> bool {
    if let Ok(same) = sys::descriptor::is_same(left, right) {
        return same;
    }
    let told = [left, right].map(|fd| {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let told = statx(fd, c"", flags, StatxFlags::INO).ok()?;
        let device = (told.stx_dev_major, told.stx_dev_minor);
        Some((device, told.stx_ino, rustix::fs::fcntl_getfl(fd).ok()?))
    });
    let [one, other] = told;
    one.is_some() && one == other
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// Whether it was stored, and else what is to be said.
    fn add(
        stores: &mut Stores,
        events: &Events,
        fd: OwnedFd,
        name: &str,
    ) -> Result<(), Option<String>> {
        let added = stores.add(events, 0, 2, fd, Some(name.into()), true);
        added.map_err(|(_, why)| why)
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
        assert_eq!(add(&mut stores, &events, again.into(), "again"), Err(None));
        add(&mut stores, &events, other.into(), "b").unwrap();
        assert_eq!(names(&stores), ["a", "b"]);
        let refused = add(
            &mut stores,
            &events,
            tempfile::tempfile().unwrap().into(),
            "c",
        );
        assert!(
            refused
                .unwrap_err()
                .unwrap()
                .contains("FileDescriptorStoreMax")
        );
        stores.remove(&events, 0, "a");
        add(
            &mut stores,
            &events,
            tempfile::tempfile().unwrap().into(),
            "c",
        )
        .unwrap();
        assert_eq!(names(&stores), ["b", "c"]);
        assert_eq!(stores.release(&events, 0).len(), 2);
        assert!(stores.release(&events, 0).is_empty());
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
        let (id, ended) = stores.ended(&events, number.unwrap()).unwrap();
        assert_eq!((id, ended.name.as_str()), (0, "a"));
        let ready = events.wait(Duration::ZERO).unwrap();
        assert!(
            !ready
                .iter()
                .any(|source| matches!(source, Source::Stored(_)))
        );
        drop(elsewhere);
    }
}
