//! Users of DynamicUser=: made up for one run of a unit, systemd.exec(5).
//!
//! A name gets the same number whenever that is free, so that what the unit keeps on disk is still its own at the next
//! start. Nothing is written to /etc/passwd.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use spec_unit::account::{Accounts, hash};
use spec_unit::directive::identity::dynamic_name;
use spec_unit::graph::UnitId;
use spec_unit::unit::Unit;

/// Numbers of such users, as systemd keeps them.
const NUMBERS: RangeInclusive<u32> = 61_184..=65_519;

/// The users that are lent now.
#[derive(Debug, Default)]
pub(super) struct DynamicUsers {
    lent: BTreeMap<UnitId, (String, u32)>,
    /// Numbers whose users are gone, and not all that was theirs: nobody else gets them yet.
    parting: BTreeMap<u32, String>,
}

impl DynamicUsers {
    /// Adds the user of a unit to the accounts, if it is to have one. A user of that name in /etc/passwd is taken.
    pub(super) fn lend(
        &mut self,
        id: UnitId,
        unit: &Unit,
        accounts: &mut Rc<Accounts>,
    ) -> Result<(), String> {
        let Some(name) = dynamic_name(unit).filter(|name| !accounts.has_user(name)) else {
            return Ok(());
        };
        let number = match self.known(id, &name) {
            Some(number) => number,
            None => self
                .free(&name, accounts)
                .ok_or("DynamicUser=: all numbers from 61184 to 65519 are in use")?,
        };
        Rc::make_mut(accounts).add(&name, number);
        self.lent.insert(id, (name, number));
        Ok(())
    }

    /// The user that a unit has now.
    pub(super) fn of(&self, id: UnitId) -> Option<(String, u32)> {
        self.lent.get(&id).cloned()
    }

    /// A unit that runs has this user.
    pub(super) fn resume(&mut self, id: UnitId, name: String, number: u32) {
        self.lent.insert(id, (name, number));
    }

    /// The unit has stopped; the user that it had.
    pub(super) fn take_back(&mut self, id: UnitId) -> Option<(String, u32)> {
        self.lent.remove(&id)
    }

    /// Something of a user is still there.
    pub(super) fn keep(&mut self, name: String, number: u32) {
        self.parting.insert(number, name);
    }

    /// Nothing of this user is left.
    pub(super) fn release(&mut self, number: u32) {
        self.parting.remove(&number);
    }

    /// The number that a unit, or another of the same user, has now, or had until now.
    fn known(&self, id: UnitId, name: &str) -> Option<u32> {
        let own = self.lent.get(&id).filter(|(known, _)| known == name);
        let named = self.lent.values().find(|(known, _)| known == name);
        let mut parting = self.parting.iter();
        let parting = parting.find(|(_, known)| *known == name);
        let lent = own.or(named).map(|(_, number)| *number);
        lent.or(parting.map(|(number, _)| *number))
    }

    fn free(&self, name: &str, accounts: &Accounts) -> Option<u32> {
        let (first, last) = (*NUMBERS.start(), *NUMBERS.end());
        let count = last - first + 1;
        let start = (hash(name) % u64::from(count)) as u32;
        let numbers = (0..count).map(|step| first + (start + step) % count);
        let is_lent = |number: u32| {
            self.parting.contains_key(&number)
                || self.lent.values().any(|(_, lent)| *lent == number)
        };
        let mut free = numbers.filter(|number| !is_lent(*number) && !accounts.has_number(*number));
        free.next()
    }
}

#[cfg(test)]
mod tests {
    use spec_unit::name::UnitType;

    use super::*;

    fn unit(name: &str) -> Unit {
        let mut unit = Unit::new(name, UnitType::Service);
        unit.service.identity.dynamic = true;
        unit
    }

    #[test]
    fn a_unit_has_one_number_and_no_other_has_it() {
        let mut users = DynamicUsers::default();
        let [a, b]: [UnitId; 2] = [0, 1];
        let number = |users: &mut DynamicUsers, id, name: &str| {
            let mut accounts = Rc::new(Accounts::default());
            users.lend(id, &unit(name), &mut accounts).unwrap();
            accounts
                .user(name.trim_end_matches(".service"))
                .unwrap()
                .uid
        };
        let first = number(&mut users, a, "a.service");
        assert!(NUMBERS.contains(&first));
        assert_eq!(number(&mut users, a, "a.service"), first);
        assert_ne!(number(&mut users, b, "b.service"), first);
        users.take_back(a);
        assert_eq!(
            number(&mut users, a, "a.service"),
            first,
            "after a restart too"
        );
    }

    #[test]
    fn a_number_with_something_left_of_it_is_only_its_own_users() {
        let mut users = DynamicUsers::default();
        let [a, b]: [UnitId; 2] = [0, 1];
        let mut accounts = Rc::new(Accounts::default());
        users.lend(a, &unit("a.service"), &mut accounts).unwrap();
        let (name, number) = users.take_back(a).unwrap();
        users.keep(name, number);
        assert_ne!(users.free("a", &Accounts::default()), Some(number));
        assert_eq!(users.known(b, "a"), Some(number));
        users.release(number);
        assert_eq!(users.free("a", &Accounts::default()), Some(number));
        assert_eq!(users.known(b, "a"), None);
    }

    #[test]
    fn a_number_in_use_is_passed_over() {
        let mut users = DynamicUsers::default();
        let a: UnitId = 0;
        let taken = users.free("a", &Accounts::default()).unwrap();
        let mut accounts = Rc::new(Accounts::parse(&format!("x:x:{taken}:1::/:/bin/sh"), ""));
        users.lend(a, &unit("a.service"), &mut accounts).unwrap();
        assert_ne!(accounts.user("a").unwrap().uid, taken);
    }

    #[test]
    fn a_user_of_the_node_is_taken_as_it_is() {
        let mut users = DynamicUsers::default();
        let a: UnitId = 0;
        let mut accounts = Rc::new(Accounts::parse("a:x:7:7::/:/bin/sh", ""));
        users.lend(a, &unit("a.service"), &mut accounts).unwrap();
        assert_eq!(accounts.user("a").unwrap().uid, 7);
        assert!(users.lent.is_empty());
    }
}
