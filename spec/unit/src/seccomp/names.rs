//! Lists of system calls with their groups resolved; error numbers by name.

use std::collections::{BTreeMap, BTreeSet};

use super::{abi, groups};
use crate::plan::{CallAction, CallList, CallWord};

/// Groups within groups, at most.
const MAX_DEPTH: usize = 8;

/// The calls of a list, with what is said of each in particular.
pub(super) type Calls<'a> = BTreeMap<&'a str, Option<CallAction>>;

/// Whether a name is a system call of some architecture, or a group with its `@`.
pub fn is_known(name: &str) -> bool {
    if name.starts_with('@') {
        groups::members(name).is_some()
    } else {
        let known = || groups::members("@known").is_some_and(|mut all| all.any(|one| one == name));
        abi::has(name) || known()
    }
}

/// What a list comes to, word by word: a word of the list's own kind adds calls, one of the other kind takes them
/// away, unless it says what becomes of them.
pub(super) fn resolve(list: &CallList) -> Calls<'_> {
    // What is said again is said last: a list is no longer work than the names there are.
    let mut seen = BTreeSet::new();
    let last_first = list.words.iter().rev();
    let words: Vec<&CallWord> = last_first.filter(|word| seen.insert(&word.name)).collect();
    let mut calls = Calls::new();
    for word in words.into_iter().rev() {
        let adds = word.inverted != list.allow || (word.inverted && word.action.is_some());
        for_each(&word.name, MAX_DEPTH, &mut |call| {
            if adds {
                calls.insert(call, word.action);
            } else {
                calls.remove(call);
            }
        });
    }
    calls
}

/// Calls back with a call, or with each call of a group.
pub(super) fn for_each<'a>(name: &'a str, depth: usize, each: &mut impl FnMut(&'a str)) {
    if !name.starts_with('@') {
        each(name);
        return;
    }
    let members = groups::members(name).filter(|_| depth > 0);
    for member in members.into_iter().flatten() {
        for_each(member, depth - 1, each);
    }
}

/// The calls of a group of ours.
pub(super) fn group(name: &'static str) -> Vec<&'static str> {
    let mut calls = Vec::new();
    for_each(name, MAX_DEPTH, &mut |call| calls.push(call));
    calls
}

/// An error number by name or number, at most 4095, or `kill`.
pub fn action(text: &str) -> Result<CallAction, String> {
    if text == "kill" {
        return Ok(CallAction::Kill);
    }
    let name = match text {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        name => name,
    };
    let named = (1..=133).find(|number| syscalls::Errno::new(*number).name() == Some(name));
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = named.or_else(|| text.parse().ok().filter(|_| digits));
    number
        .and_then(|number: i32| u16::try_from(number).ok())
        .filter(|number| *number <= 4095)
        .map(CallAction::Errno)
        .ok_or_else(|| {
            format!("{text:?} is not an error number; write such as EPERM, 1 or \"kill\"")
        })
}
