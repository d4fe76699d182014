//! Readings and choices.

use proptest::prelude::*;

use super::reading::{Averages, Memory, averages, field, scanned_for_node};
use super::*;

const PRESSURE: &str = "some avg10=12.34 avg60=5.00 avg300=0.70 total=123456\n\
                        full avg10=99.99 avg60=4.00 avg300=0.05 total=23456\n";

#[test]
fn a_pressure_file_is_read_by_its_lines() {
    let averages = |word| averages(PRESSURE, word);
    let full = Averages {
        avg10: 9_999,
        avg60: 400,
        avg300: 5,
    };
    assert_eq!(averages("full"), Some(full));
    assert_eq!(averages("some").map(|some| some.avg10), Some(1_234));
    assert_eq!(averages("ful"), None);
}

#[test]
fn odd_pressure_is_none() {
    for text in [
        "",
        "full",
        "full avg10=1.00 avg60=1.00\n",
        "full avg10=1 avg60=1.00 avg300=1.00\n",
        "full avg10=-1.00 avg60=1.00 avg300=1.00\n",
        "full avg10=+1.00 avg60=1.00 avg300=1.00\n",
        "full avg10=1.000 avg60=1.00 avg300=1.00\n",
        "full avg10=99999999999.00 avg60=1.00 avg300=1.00\n",
    ] {
        assert_eq!(averages(text, "full"), None, "{text:?}");
    }
    let most = averages("full avg10=300.00 avg60=1.00 avg300=1.00\n", "full");
    assert_eq!(most.map(|most| most.avg10), Some(10_000));
}

#[test]
fn counts_are_found_by_their_whole_name() {
    let stat = "anon 7\npgscan_direct 5\npgscan 12\npgscan_kswapd 2\nodd\nfile x\n";
    assert_eq!(field(stat, "pgscan"), Some(12));
    assert_eq!(field(stat, "pg"), None);
    assert_eq!(field(stat, "file"), None);
    assert_eq!(scanned_for_node(stat), Some(7));
    assert_eq!(scanned_for_node("pgscan 12\n"), None);
}

#[test]
fn swap_is_short_only_where_memory_is_too_and_there_is_some() {
    let memory = |available, swap, free| {
        let text = format!(
            "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n\
             SwapTotal: {swap} kB\nSwapFree: {free} kB\n"
        );
        Memory::of(&text).unwrap()
    };
    assert_eq!(memory(5, 10, 1).total, 1_024_000);
    assert!(memory(99, 100, 9).is_short());
    assert!(!memory(100, 100, 9).is_short(), "a tenth of memory is left");
    assert!(!memory(99, 100, 10).is_short(), "a tenth of swap is left");
    assert!(!memory(0, 0, 0).is_short(), "there is no swap");
    assert_eq!(Memory::of("MemTotal: 5 kB\n"), None);
}

#[test]
fn the_node_and_its_tasks_are_watched_until_a_unit_says_otherwise() {
    let silent = ManagedOom::default();
    let auto = ManagedOom {
        pressure: Some(false),
        ..ManagedOom::default()
    };
    for name in OF_NODE {
        assert!(Rule::of(name, &silent).is_some());
        assert_eq!(Rule::of(name, &auto), None);
    }
    assert_eq!(Rule::of("a.slice", &silent), None);
    let kill = ManagedOom {
        pressure: Some(true),
        limit: Some(1_000),
        ..ManagedOom::default()
    };
    let rule = Rule::of("a.slice", &kill).unwrap();
    assert_eq!(
        (rule.limit, rule.duration_us, rule.evidence),
        (1_000, 30_000_000, Evidence::Reclaim)
    );
    assert_eq!(rule.trigger(), "full 100000 2000000");
    assert_eq!(Rule::of("-.slice", &kill).unwrap().evidence, Evidence::Node);
}

fn rule() -> Rule {
    Rule {
        limit: 5_000,
        duration_us: 3_000_000,
        evidence: Evidence::Reclaim,
    }
}

#[test]
fn pressure_must_last_and_memory_must_be_reclaimed() {
    let (rule, mut seen) = (rule(), Seen::default());
    let mut look =
        |second: u64, pressure, count| seen.look(&rule, second * 1_000_000, pressure, Some(count));
    assert_eq!(look(0, 2_500, 0), Verdict::Calm);
    assert_eq!(look(1, 5_000, 0), Verdict::Wait, "at the limit, not above");
    assert_eq!(look(2, 5_001, 0), Verdict::Wait);
    assert_eq!(look(3, 9_000, 0), Verdict::Near);
    assert_eq!(look(4, 4_000, 0), Verdict::Wait, "the time begins anew");
    assert_eq!(look(5, 9_000, 0), Verdict::Wait);
    assert_eq!(look(8, 9_000, 0), Verdict::Near, "nothing was reclaimed");
    assert_eq!(look(9, 9_000, 1), Verdict::Due);
    assert_eq!(look(39, 9_000, 1), Verdict::Due);
    assert_eq!(look(40, 9_000, 1), Verdict::Near, "not for 30 s");
}

#[test]
fn a_count_that_began_anew_or_is_gone_is_no_evidence() {
    let (rule, mut seen) = (rule(), Seen::default());
    for (second, count) in [(0, Some(9)), (1, Some(2)), (2, None), (3, Some(2))] {
        let verdict = seen.look(&rule, second * 1_000_000, 9_000, count);
        assert_ne!(verdict, Verdict::Due);
    }
    assert_eq!(
        seen.look(&rule, 4_000_000, 9_000, Some(3)),
        Verdict::Due,
        "it has lasted, and something was reclaimed"
    );
}

fn one(group: &str, preference: Preference, scanned: u64, memory: u64) -> Candidate {
    Candidate {
        group: group.into(),
        preference,
        scanned,
        memory,
        ..Candidate::default()
    }
}

#[test]
fn most_reclaimed_goes_first_avoided_last_and_omitted_never() {
    let mut groups = vec![
        one("node", Preference::Omit, 900, 900),
        one("etcd", Preference::Avoid, 500, 500),
        one("big", Preference::None, 10, 800),
        one("thrashes", Preference::None, 20, 100),
        one("thrashes-too", Preference::None, 20, 99),
    ];
    let mut order = Vec::new();
    while let Some(chosen) = by_reclaim(&groups).map(|chosen| chosen.group.clone()) {
        groups.retain(|other| other.group != chosen);
        order.push(chosen);
    }
    assert_eq!(order, ["thrashes", "thrashes-too", "big", "etcd"]);
    let idle = [one("idle", Preference::None, 0, 0)];
    assert_eq!(by_reclaim(&idle), None, "its end would not help");
}

#[test]
fn most_swap_goes_first_and_little_swap_does_not() {
    let swap = |group: &str, preference, swap| Candidate {
        swap,
        ..one(group, preference, 0, 0)
    };
    let groups = [
        swap("node", Preference::Omit, 90),
        swap("etcd", Preference::Avoid, 80),
        swap("a", Preference::None, 6),
        swap("b", Preference::None, 7),
    ];
    assert_eq!(by_swap(&groups, 100).unwrap().group, "b");
    assert_eq!(by_swap(&groups, 140).unwrap().group, "etcd");
    assert_eq!(by_swap(&groups, 1_600), None);
}

fn preferences() -> impl Strategy<Value = Preference> {
    prop_oneof![
        Just(Preference::None),
        Just(Preference::Avoid),
        Just(Preference::Omit)
    ]
}

proptest! {
    #[test]
    fn no_text_of_the_kernel_panics(text in ".{0,200}", word in "(some|full|.{0,4})") {
        if let Some(found) = averages(&text, &word) {
            prop_assert!(found.avg10.max(found.avg60).max(found.avg300) <= 10_000);
        }
        field(&text, &word);
        scanned_for_node(&text);
        Memory::of(&text);
    }

    #[test]
    fn averages_come_back_as_they_were_written(avg10 in 0u32..=10_000, avg60 in 0u32..=10_000, avg300 in 0u32..=10_000) {
        let written = |value: u32| format!("{}.{:02}", value / 100, value % 100);
        let text = format!(
            "full avg10={} avg60={} avg300={} total=1\n",
            written(avg10), written(avg60), written(avg300)
        );
        prop_assert_eq!(averages(&text, "full"), Some(Averages { avg10, avg60, avg300 }));
    }

    #[test]
    fn nobody_is_killed_before_one_that_is_worse(
        groups in proptest::collection::vec((preferences(), 0u64..5, 0u64..5), 0..12)
    ) {
        let groups: Vec<Candidate> = groups
            .into_iter()
            .enumerate()
            .map(|(number, (preference, scanned, memory))| one(&format!("g{number:02}"), preference, scanned, memory))
            .collect();
        let helps = |one: &&Candidate| one.preference != Preference::Omit && one.scanned + one.memory > 0;
        let Some(chosen) = by_reclaim(&groups) else {
            prop_assert_eq!(groups.iter().filter(helps).count(), 0);
            return Ok(());
        };
        prop_assert!(helps(&chosen));
        for other in groups.iter().filter(helps) {
            prop_assert!(chosen.preference <= other.preference);
            if chosen.preference == other.preference {
                prop_assert!((chosen.scanned, chosen.memory) >= (other.scanned, other.memory));
            }
        }
    }

    #[test]
    fn a_trigger_is_one_that_the_kernel_takes(limit in 1u32..=10_000) {
        let trigger = Rule { limit, ..rule() }.trigger();
        let words: Vec<&str> = trigger.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        prop_assert!(words[0] == "full" && number(1) > 0 && number(1) <= number(2));
    }
}
