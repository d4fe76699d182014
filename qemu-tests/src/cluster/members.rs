//! etcd's members as all masters together see them.
//!
//! Masters may see different things: one that is cut off sees nobody, one that has just looked knows more. A member
//! is healthy, or leads, when more than half of the masters that answer say so. Who says otherwise is told.

use super::status::MemberView;
use spec_api::EtcdMember;
use std::collections::BTreeSet;

/// The members, by name, of what each master that has something to tell says.
pub(super) fn agreed(told: &[&[EtcdMember]]) -> Vec<MemberView> {
    let names: BTreeSet<&str> = told
        .iter()
        .flat_map(|members| members.iter().map(|member| member.name.as_str()))
        .collect();
    let most_say = |name: &str, fact: fn(&EtcdMember) -> bool| {
        let says = |members: &&&[EtcdMember]| {
            let mut members = members.iter();
            members.any(|member| member.name == name && fact(member))
        };
        told.iter().filter(says).count() > told.len() / 2
    };
    let view = |name: &str| MemberView {
        name: name.to_owned(),
        healthy: most_say(name, |member| member.healthy),
        leader: most_say(name, |member| member.leader),
    };
    names.into_iter().map(view).collect()
}

/// How one master's words differ from what most say; nothing where they do not.
pub(super) fn dissent(own: &[EtcdMember], agreed: &[MemberView]) -> Option<String> {
    let differences: Vec<String> = agreed
        .iter()
        .filter_map(|most| {
            let said = own.iter().find(|member| member.name == most.name);
            let Some(said) = said else {
                return Some(format!("{} is no member", most.name));
            };
            match (said.healthy == most.healthy, said.leader == most.leader) {
                (true, true) => None,
                (false, _) if said.healthy => Some(format!("{} is healthy", most.name)),
                (false, _) => Some(format!("{} is not healthy", most.name)),
                (true, false) if said.leader => Some(format!("{} leads", most.name)),
                (true, false) => Some(format!("{} does not lead", most.name)),
            }
        })
        .collect();
    let said = differences.join(", ");
    (!said.is_empty()).then(|| format!("sees another etcd than most: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a master says of dev-1, dev-2 and dev-3, by a letter each: `L`eads, `h`ealthy, `-`.
    fn says(letters: &str) -> Vec<EtcdMember> {
        let member = |(number, letter)| EtcdMember {
            name: format!("dev-{number}"),
            healthy: letter != '-',
            leader: letter == 'L',
            ..EtcdMember::default()
        };
        (1..).zip(letters.chars()).map(member).collect()
    }

    fn together(told: &[&str]) -> String {
        let told: Vec<Vec<EtcdMember>> = told.iter().map(|letters| says(letters)).collect();
        let told: Vec<&[EtcdMember]> = told.iter().map(Vec::as_slice).collect();
        let letter = |member: &MemberView| match (member.leader, member.healthy) {
            (true, _) => 'L',
            (_, true) => 'h',
            _ => '-',
        };
        agreed(&told).iter().map(letter).collect()
    }

    #[test]
    fn what_most_masters_say_counts() {
        assert_eq!(together(&["hLh", "hLh", "hLh"]), "hLh");
        // dev-1 is cut off, and sees nobody.
        assert_eq!(together(&["---", "-Lh", "-Lh"]), "-Lh");
        // The most optimistic is alone with it.
        assert_eq!(together(&["Lhh", "---", "---"]), "---");
        // Each half says something else: nothing is sure.
        assert_eq!(together(&["Lhh", "hLh"]), "hhh");
        assert_eq!(together(&["Lhh", "---"]), "---");
        assert_eq!(together(&[]), "");
    }

    #[test]
    fn who_disagrees_is_told() {
        let most: Vec<EtcdMember> = says("-Lh");
        let most = agreed(&[&most]);
        assert_eq!(dissent(&says("-Lh"), &most), None);
        assert_eq!(
            dissent(&says("hL-"), &most).as_deref(),
            Some("sees another etcd than most: dev-1 is healthy, dev-3 is not healthy")
        );
        assert_eq!(
            dissent(&says("-h"), &most).as_deref(),
            Some("sees another etcd than most: dev-2 does not lead, dev-3 is no member")
        );
    }
}
