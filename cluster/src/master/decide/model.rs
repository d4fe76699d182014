//! Clusters of three to five masters, played through in any order: power cuts, wiped disks, partitions, writes.
//!
//! etcd is played by what raft says about logs: who leads has a majority of the voters behind it, none of which has
//! a newer log. A disk is lost only while the rest still is a majority, and the list of masters is edited only before
//! etcd's first start. Then:
//!
//! - No two clusters: never can both sides of a partition find a leader, and whoever can lead began with the same.
//! - No loss: whoever can lead has every write that was acknowledged.
//! - No person: once all is switched on and connected, every master becomes a voting member, by itself.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Entry {
    Members(Vec<Member>),
    Write(u32),
}

/// etcd's log, with the term of each entry.
#[derive(Debug, Clone)]
struct Log {
    member: u64,
    entries: Vec<(u32, Entry)>,
}

impl Log {
    fn members(&self) -> &[Member] {
        let members = self
            .entries
            .iter()
            .rev()
            .find_map(|(_, entry)| match entry {
                Entry::Members(members) => Some(members.as_slice()),
                Entry::Write(_) => None,
            });
        members.unwrap_or_default()
    }

    fn voters(&self) -> Vec<u64> {
        let voters = self.members().iter().filter(|member| !member.learner);
        voters.map(|member| member.id).collect()
    }

    /// What it began with.
    fn first(&self) -> Option<&[Member]> {
        self.entries.iter().find_map(|(_, entry)| match entry {
            Entry::Members(members) => Some(members.as_slice()),
            Entry::Write(_) => None,
        })
    }

    fn age(&self) -> (u32, usize) {
        let term = self.entries.last().map_or(0, |(term, _)| *term);
        (term, self.entries.len())
    }

    fn has(&self, number: u32) -> bool {
        let is_it = |(_, entry): &(u32, Entry)| matches!(entry, Entry::Write(it) if *it == number);
        self.entries.iter().any(is_it)
    }
}

/// A data folder, and what the guard keeps beside it.
#[derive(Debug, Clone, Default)]
struct Generation {
    started: bool,
    lost: bool,
    log: Option<Log>,
}

impl Generation {
    fn data(&self) -> Data {
        match (self.lost, self.started) {
            (true, _) => Data::Lost,
            (_, true) => Data::Started,
            _ => Data::Unused,
        }
    }
}

#[derive(Debug, Clone, Default)]
enum Etcd {
    #[default]
    Ended,
    /// The guard has let it start; it has no log yet.
    Starting(Record),
    Running(u32),
}

#[derive(Debug, Clone, Default)]
struct Disk {
    record: Option<Record>,
    generations: BTreeMap<u32, Generation>,
}

#[derive(Debug, Default)]
struct Node {
    disk: Disk,
    on: bool,
    /// Of a partition.
    side: bool,
    /// The masters of its config, which it reads when it is switched on.
    seats: Vec<Seat>,
    pending: Option<(Sight, Decision)>,
    environment: Option<Record>,
    etcd: Etcd,
}

impl Node {
    fn on(seats: &[Seat]) -> Self {
        Self {
            on: true,
            seats: seats.to_vec(),
            ..Self::default()
        }
    }

    fn data(&self) -> Data {
        let record = self.disk.record.as_ref();
        let generation = record.and_then(|record| self.disk.generations.get(&record.generation));
        generation.map_or(Data::Unused, Generation::data)
    }

    fn stage(&self) -> Stage {
        Stage::of(self.disk.record.as_ref(), self.data(), &self.seats)
    }

    fn log_of(&self, generation: u32) -> Option<&Log> {
        self.disk.generations.get(&generation)?.log.as_ref()
    }

    /// That of a running etcd.
    fn running(&self) -> Option<&Log> {
        match self.etcd {
            Etcd::Running(generation) => self.log_of(generation),
            _ => None,
        }
    }

    fn running_mut(&mut self) -> Option<&mut Log> {
        match self.etcd {
            Etcd::Running(generation) => self.disk.generations.get_mut(&generation)?.log.as_mut(),
            _ => None,
        }
    }

    fn may_have_begun(&self) -> bool {
        let starts = |(_, decision): &(Sight, Decision)| matches!(decision, Decision::Start { .. });
        let mut generations = self.disk.generations.values();
        self.pending.as_ref().is_some_and(starts)
            || self.environment.is_some()
            || generations.any(|it| it.data() != Data::Unused)
    }

    fn cut(&mut self) {
        (self.on, self.pending, self.environment) = (false, None, None);
        self.etcd = Etcd::Ended;
    }
}

/// Those of a set of masters.
type Set = u8;

#[derive(Debug, Clone)]
enum Event {
    Power(usize),
    /// All lose their power at the same time.
    Blackout,
    Wipe(usize),
    /// Only the log is gone.
    LoseLog(usize),
    /// A new machine takes this one's place in the list of masters, before etcd's first start. The others read the
    /// new list when they are next switched on.
    Edit(usize),
    WipeAll,
    Partition(Set),
    /// These decide and do it.
    Decide(Set),
    Look(usize),
    /// What was decided at the last look; the second: the power goes between the deed and its record.
    Act(usize, bool),
    /// PID 1, the guard and etcd go on.
    Etcd(Set),
    Attend(Set),
    /// The second: only the leader itself has written it when it stops leading.
    Write(usize, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = || 0..5usize;
    let set = any::<Set>;
    let cut = prop::bool::weighted(0.1);
    let event = prop_oneof![
        40 => node().prop_map(Event::Power),
        4 => Just(Event::Blackout),
        30 => node().prop_map(Event::Wipe),
        20 => node().prop_map(Event::LoseLog),
        10 => node().prop_map(Event::Edit),
        1 => Just(Event::WipeAll),
        10 => set().prop_map(Event::Partition),
        120 => set().prop_map(Event::Decide),
        30 => node().prop_map(Event::Look),
        30 => (node(), cut).prop_map(|(node, cut)| Event::Act(node, cut)),
        100 => set().prop_map(Event::Etcd),
        60 => set().prop_map(Event::Attend),
        40 => (node(), any::<bool>()).prop_map(|(node, few)| Event::Write(node, few)),
    ];
    prop::collection::vec(event, 0..80)
}

struct World {
    nodes: Vec<Node>,
    /// The masters of the newest config.
    seats: Vec<Seat>,
    /// All masters that ever were.
    machines: Vec<Seat>,
    term: u32,
    last_id: u64,
    last_write: u32,
    acknowledged: Vec<u32>,
}

impl World {
    fn new(count: usize) -> Self {
        let seats: Vec<Seat> = (0..count).map(Self::seat).collect();
        Self {
            nodes: (0..count).map(|_| Node::on(&seats)).collect(),
            machines: seats.clone(),
            seats,
            term: 1,
            last_id: 100,
            last_write: 0,
            acknowledged: Vec::new(),
        }
    }

    fn seat(n: usize) -> Seat {
        Seat {
            name: format!("dev-{n}"),
            peer_url: format!("https://10.77.0.1{n}:2380"),
        }
    }

    /// etcd makes the ids of the first members from their URLs.
    fn first_members(&self, seats: &[Seat]) -> Vec<Member> {
        let member = |(id, seat): (u64, &Seat)| Member {
            id,
            name: seat.name.clone(),
            peer_urls: vec![seat.peer_url.clone()],
            client_urls: Vec::new(),
            learner: false,
        };
        let machines = (1..).zip(&self.machines);
        let listed = machines.filter(|(_, machine)| seats.contains(machine));
        listed.map(member).collect()
    }

    fn first_id(&self, at: usize) -> u64 {
        let machines = (1..).zip(&self.machines);
        let mut own = machines.filter(|(_, machine)| **machine == self.seats[at]);
        own.next().map_or(0, |(id, _)| id)
    }

    /// The first who can lead on this side, and who follows it.
    fn leader(&self, side: bool) -> Option<(usize, Vec<usize>)> {
        self.leaders(side).into_iter().next()
    }

    /// All who can.
    fn leaders(&self, side: bool) -> Vec<(usize, Vec<usize>)> {
        let running = |node: &usize| self.nodes[*node].side == side;
        let all: Vec<usize> = (0..self.nodes.len()).filter(running).collect();
        let leads = |leader: &usize| {
            let log = self.nodes[*leader].running()?;
            let voters = log.voters();
            let follows = |node: &&usize| {
                let other = self.nodes[**node].running();
                other.is_some_and(|it| voters.contains(&it.member) && it.age() <= log.age())
            };
            let followers: Vec<usize> = all.iter().filter(follows).copied().collect();
            let leads = voters.contains(&log.member) && followers.len() > voters.len() / 2;
            leads.then_some((*leader, followers))
        };
        all.iter().filter_map(leads).collect()
    }

    fn members(&self, side: bool) -> Option<Vec<Member>> {
        let (leader, _) = self.leader(side)?;
        Some(self.nodes[leader].running()?.members().to_vec())
    }

    /// The leader's log with one more entry, on the leader itself and on these.
    fn append(&mut self, leader: usize, followers: &[usize], entry: Entry) {
        self.term += 1;
        let term = self.term;
        let Some(log) = self.nodes[leader].running_mut() else {
            return;
        };
        log.entries.push((term, entry));
        let entries = log.entries.clone();
        for follower in followers {
            if let Some(log) = self.nodes[*follower].running_mut() {
                log.entries = entries.clone();
            }
        }
    }

    fn change_members(&mut self, side: bool, change: impl FnOnce(&mut Vec<Member>)) {
        if let (Some((leader, followers)), Some(mut members)) =
            (self.leader(side), self.members(side))
        {
            change(&mut members);
            self.append(leader, &followers, Entry::Members(members));
        }
    }

    /// Whether a majority of the voters keep what they have without this node's disk.
    fn is_spare(&self, lost: usize) -> bool {
        let logs = self
            .nodes
            .iter()
            .filter_map(|node| node.log_of(node.disk.record.as_ref()?.generation));
        let changed = |log: &&Log| {
            let changes = log.entries.iter().rev();
            changes
                .clone()
                .find(|(_, entry)| matches!(entry, Entry::Members(_)))
                .map(|(term, _)| *term)
        };
        let voters = match logs.max_by_key(changed) {
            Some(log) => log.voters(),
            None if !self.nodes.iter().any(Node::may_have_begun) => return true,
            None => self
                .first_members(&self.seats)
                .iter()
                .map(|it| it.id)
                .collect(),
        };
        let intact = (0..self.nodes.len()).filter(|node| {
            let disk = &self.nodes[*node].disk;
            let member = disk.record.as_ref().and_then(|record| {
                match self.nodes[*node].log_of(record.generation) {
                    Some(log) => Some(log.member),
                    // One of the first members that has not begun.
                    None if self.nodes[*node].stage() == Stage::Bootstrapping => {
                        Some(self.first_id(*node))
                    }
                    None => None,
                }
            });
            *node != lost && member.is_some_and(|id| voters.contains(&id))
        });
        intact.count() > voters.len() / 2
    }

    fn look(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.on {
            return;
        }
        let members = self.members(node.side);
        let say = |(other, seat): (&Node, &Seat)| Peer {
            name: seat.name.clone(),
            answer: if other.on && other.side == node.side && other.seats == node.seats {
                Ok(other.stage())
            } else {
                Err("silence, or another list".to_owned())
            },
        };
        let others = self.nodes.iter().zip(&node.seats);
        let peers = if members.is_none() && !node.stage().has_data() {
            let others = others.filter(|(_, seat)| **seat != self.seats[at]);
            others.map(say).collect()
        } else {
            Vec::new()
        };
        let sight = Sight {
            own: self.seats[at].clone(),
            seats: node.seats.clone(),
            record: node.disk.record.clone(),
            data: node.data(),
            peers,
            members,
        };
        let decision = decide(&sight);
        self.nodes[at].pending = Some((sight, decision));
    }

    fn act(&mut self, at: usize, cut: bool) {
        let Some((sight, decision)) = self.nodes[at].pending.take() else {
            return;
        };
        let side = self.nodes[at].side;
        match decision {
            Decision::Keep { record } => self.nodes[at].disk.record = Some(record),
            Decision::Start { record } => {
                self.nodes[at].disk.record = Some(record.clone());
                self.nodes[at].environment = Some(record);
            }
            Decision::Remove { id } => {
                self.change_members(side, |members| members.retain(|member| member.id != id));
            }
            Decision::AddLearner => self.add_learner(at, &sight, cut),
            Decision::Wait { .. } => {}
        }
        if cut {
            self.nodes[at].cut();
        }
    }

    fn add_learner(&mut self, at: usize, sight: &Sight, cut: bool) {
        let side = self.nodes[at].side;
        let url = &self.seats[at].peer_url.clone();
        let refuses = |member: &Member| member.learner || member.peer_urls.contains(url);
        match self.members(side) {
            Some(members) if !members.iter().any(refuses) => {}
            _ => return,
        }
        self.last_id += 1;
        let id = self.last_id;
        let learner = Member {
            id,
            name: String::new(),
            peer_urls: vec![url.clone()],
            client_urls: Vec::new(),
            learner: true,
        };
        self.change_members(side, |members| members.push(learner));
        if let (false, Some(members)) = (cut, self.members(side)) {
            self.nodes[at].disk.record = Some(added(sight, id, &members));
        }
    }

    /// PID 1, the guard and etcd, one move on.
    fn etcd(&mut self, at: usize) {
        match self.nodes[at].etcd.clone() {
            Etcd::Ended => self.guard(at),
            Etcd::Starting(record) => self.first_start(at, &record),
            Etcd::Running(_) => self.run(at),
        }
    }

    fn guard(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(record) = node.environment.clone() else {
            return;
        };
        let generations = &mut node.disk.generations;
        let generation = generations.entry(record.generation).or_default();
        if generation.log.is_some() {
            (generation.started, generation.lost) = (true, false);
            node.etcd = Etcd::Running(record.generation);
        } else if record.confirmed || generation.started || generation.lost {
            generation.lost = true;
            return;
        } else {
            generation.started = true;
            node.etcd = Etcd::Starting(record.clone());
        }
        if record.confirmed {
            generations.retain(|number, _| *number == record.generation);
        }
    }

    fn first_start(&mut self, at: usize, record: &Record) {
        let log = match record.mode {
            Mode::New => Some(Log {
                member: self.first_id(at),
                entries: vec![(
                    1,
                    Entry::Members(self.first_members(&record.initial_cluster)),
                )],
            }),
            Mode::Existing => self
                .members(self.nodes[at].side)
                .filter(|members| {
                    let urls = members.iter().flat_map(|member| &member.peer_urls);
                    let told = record.initial_cluster.iter().map(|seat| &seat.peer_url);
                    urls.eq(told)
                })
                .and(record.member_id)
                .map(|member| Log {
                    member,
                    entries: Vec::new(),
                }),
        };
        let node = &mut self.nodes[at];
        let generation = node.disk.generations.entry(record.generation).or_default();
        match log {
            Some(log) => {
                generation.log = Some(log);
                node.etcd = Etcd::Running(record.generation);
            }
            // It ends, and the guard takes its word back.
            None => {
                generation.started = false;
                node.etcd = Etcd::Ended;
            }
        }
    }

    /// A running etcd follows its leader, tells its name, and ends when it was taken out.
    fn run(&mut self, at: usize) {
        let side = self.nodes[at].side;
        let (Some((leader, _)), Some(id)) = (
            self.leader(side),
            self.nodes[at].running().map(|log| log.member),
        ) else {
            return;
        };
        let Some(newest) = self.nodes[leader].running().cloned() else {
            return;
        };
        let Some(member) = newest.members().iter().find(|member| member.id == id) else {
            self.nodes[at].etcd = Etcd::Ended;
            return;
        };
        let (published, name) = (!member.client_urls.is_empty(), self.seats[at].name.clone());
        if let Some(log) = self.nodes[at].running_mut()
            && log.age() <= newest.age()
        {
            log.entries = newest.entries;
        }
        if !published {
            self.change_members(side, |members| {
                for member in members.iter_mut().filter(|member| member.id == id) {
                    member.client_urls = vec![format!("https://{name}:2379")];
                    member.name = name.clone();
                }
            });
        }
    }

    /// The master confirms its member and has it promoted.
    fn attend(&mut self, at: usize) {
        let node = &self.nodes[at];
        let side = node.side;
        let (Some(own), Some(members), Some(record)) =
            (node.running(), self.members(side), &node.disk.record)
        else {
            return;
        };
        let (id, age) = (own.member, own.age());
        let Some(member) = members.iter().find(|member| member.id == id) else {
            return;
        };
        if let Some(record) = confirmed(record, member) {
            self.nodes[at].disk.record = Some(record.clone());
            self.nodes[at].environment = Some(record);
        }
        let newest = self.leader(side).and_then(|(leader, _)| {
            let log = self.nodes[leader].running()?;
            Some(log.age())
        });
        if member.learner && newest == Some(age) {
            self.change_members(side, |members| {
                for member in members.iter_mut().filter(|member| member.id == id) {
                    member.learner = false;
                }
            });
        }
    }

    fn write(&mut self, at: usize, few: bool) {
        let Some((leader, followers)) = self.leader(self.nodes[at].side) else {
            return;
        };
        self.last_write += 1;
        let write = Entry::Write(self.last_write);
        if few && followers.len() > 1 {
            self.append(leader, &[], write);
        } else {
            self.append(leader, &followers, write);
            self.acknowledged.push(self.last_write);
        }
    }

    fn play(&mut self, event: &Event) {
        let count = self.nodes.len();
        match *event {
            Event::Power(node) if self.nodes[node % count].on => self.nodes[node % count].cut(),
            Event::Power(node) => self.switch_on(node % count),
            Event::Blackout => self.nodes.iter_mut().for_each(Node::cut),
            Event::Wipe(node) if self.is_spare(node % count) => {
                self.nodes[node % count].cut();
                self.nodes[node % count].disk = Disk::default();
            }
            Event::LoseLog(node) if self.is_spare(node % count) => {
                let node = &mut self.nodes[node % count];
                node.cut();
                if let Some(record) = &node.disk.record
                    && let Some(generation) = node.disk.generations.get_mut(&record.generation)
                {
                    generation.log = None;
                }
            }
            Event::Edit(node) if !self.nodes.iter().any(Node::may_have_begun) => {
                self.edit(node % count);
            }
            Event::Wipe(_) | Event::LoseLog(_) | Event::Edit(_) => {}
            Event::WipeAll => {
                for node in &mut self.nodes {
                    node.cut();
                    node.disk = Disk::default();
                }
                self.acknowledged.clear();
            }
            Event::Partition(side) => {
                for (at, node) in self.nodes.iter_mut().enumerate() {
                    node.side = side >> at & 1 == 1;
                }
            }
            Event::Decide(set) => self.each(set, |world, at| {
                world.look(at);
                world.act(at, false);
            }),
            Event::Look(node) => self.look(node % count),
            Event::Act(node, cut) => self.act(node % count, cut),
            Event::Etcd(set) => self.each(set, Self::etcd),
            Event::Attend(set) => self.each(set, Self::attend),
            Event::Write(node, few) => self.write(node % count, few),
        }
    }

    fn switch_on(&mut self, at: usize) {
        self.nodes[at].on = true;
        self.nodes[at].seats = self.seats.clone();
    }

    fn edit(&mut self, at: usize) {
        let new = Self::seat(self.machines.len());
        self.machines.push(new.clone());
        self.seats[at] = new;
        self.nodes[at] = Node::on(&self.seats);
    }

    fn each(&mut self, set: Set, mut play: impl FnMut(&mut Self, usize)) {
        for at in (0..self.nodes.len()).filter(|at| set >> at & 1 == 1) {
            play(self, at);
        }
    }

    /// No two clusters, no loss.
    fn check(&self) -> Result<(), TestCaseError> {
        let [here, there] = [false, true].map(|side| self.leaders(side));
        prop_assert!(here.is_empty() || there.is_empty(), "both sides lead");
        let first = |leader: usize| self.nodes[leader].running().and_then(Log::first);
        for (leader, _) in here.iter().chain(&there) {
            let log = self.nodes[*leader].running();
            for (other, _) in here.iter().chain(&there) {
                prop_assert_eq!(first(*leader), first(*other), "two clusters");
            }
            let lost = |write: &&u32| !log.is_some_and(|log| log.has(**write));
            let lost: Vec<&u32> = self.acknowledged.iter().filter(lost).collect();
            prop_assert!(lost.is_empty(), "{leader} leads without {lost:?}");
        }
        Ok(())
    }

    /// All is switched on and connected; the masters do the rest.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for at in 0..self.nodes.len() {
            // An edited list is read by a restart.
            if self.nodes[at].seats != self.seats {
                self.nodes[at].cut();
            }
            self.switch_on(at);
            self.nodes[at].side = false;
        }
        for _ in 0..60 {
            self.each(Set::MAX, |world, at| {
                world.look(at);
                world.act(at, false);
                world.etcd(at);
                world.attend(at);
            });
            self.check()?;
            if self.unsettled().is_empty() {
                return Ok(());
            }
        }
        Err(TestCaseError::fail(self.unsettled().join("; ")))
    }

    /// Who is no voting member yet.
    fn unsettled(&self) -> Vec<String> {
        let members = self.members(false).unwrap_or_default();
        let votes = |node: &Node| {
            let own = node.running().map(|log| log.member);
            let votes = |member: &Member| Some(member.id) == own && !member.learner;
            members.len() == self.nodes.len() && members.iter().any(votes)
        };
        let nodes = self.nodes.iter().zip(&self.seats);
        let unsettled = nodes.filter(|(node, _)| !votes(node) || node.stage() != Stage::Member);
        unsettled
            .map(|(node, seat)| format!("{} is {:?}", seat.name, node.stage()))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_two_clusters_no_loss_and_nobody_is_needed(count in 3..=5usize, events in events()) {
        let mut world = World::new(count);
        for event in &events {
            world.play(event);
            world.check()?;
        }
        world.settle()?;
    }
}
