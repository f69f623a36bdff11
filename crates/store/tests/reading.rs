//! What was read is one function on all of a person's devices: several of them, with late arrivals, partitions, marks and
//! rebuilds, against a model that knows only sets of places.

use crate::world::{Group, NOW_MS, START_MS, Store, account, certificate, device};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::content::MessageRef;
use tombolo_model::control::Control;
use tombolo_model::reading::{Kept, Mark};
use tombolo_model::{Hlc, LogId, OpId, Register, Seen, Signature};
use tombolo_oplog::Incoming;
use tombolo_store::{Place, mark, mark_seen, mark_unread, unread_of};

/// The person's devices.
const OWN: [u8; 3] = [3, 4, 5];

/// A message: its place in its log, its place on the screen.
type At = (Hlc, OpId);
type Spot = (u8, u64);

#[derive(Clone, Debug)]
enum Step {
    /// Somebody else says something, so many milliseconds back.
    Say(u8, u64),
    /// The person does, on a device.
    Own(usize, u64),
    /// Ops come to a device: of those that it lacks, every n-th.
    Deliver(usize, usize),
    /// What stands between two messages was shown.
    Look(usize, usize, usize),
    MarkUnread(usize, Option<usize>),
    Publish(usize),
    /// Registers come from one device to another.
    Carry(usize, usize),
    Rebuild(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let d = 0..3usize;
    prop_oneof![
        6 => (1..3u8, 0..60u64).prop_map(|(who, back)| Step::Say(who, back)),
        2 => (d.clone(), 0..30u64).prop_map(|(device, back)| Step::Own(device, back)),
        8 => (d.clone(), 1..4usize).prop_map(|(device, nth)| Step::Deliver(device, nth)),
        5 => (d.clone(), 0..20usize, 0..20usize).prop_map(|(device, from, to)| Step::Look(device, from, to)),
        1 => (d.clone(), proptest::option::of(0..20usize)).prop_map(|(device, at)| Step::MarkUnread(device, at)),
        4 => d.clone().prop_map(Step::Publish),
        5 => (d.clone(), 0..3usize).prop_map(|(from, to)| Step::Carry(from, to)),
        1 => d.prop_map(Step::Rebuild),
    ]
}

/// One device in the model.
#[derive(Clone, Default)]
struct Naive {
    held: BTreeSet<Spot>,
    read: BTreeSet<Spot>,
    mark: Mark,
    registers: BTreeMap<u8, (u64, BTreeSet<Spot>, Mark)>,
}

struct World {
    group: Group,
    stores: Vec<Store>,
    naive: Vec<Naive>,
    /// Everything that was said.
    said: BTreeMap<Spot, (Incoming, At)>,
    clock_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut group = Group::new(1);
        let invite = group.founding[1].op.id;
        let join = Control::Join { certificate: certificate(5), invite: [7; 32], proof: [3; 64], relays: vec![] };
        group.control(5, &[invite], join);
        let stores = OWN.iter().map(|own| Store::of_device(&group, *own)).collect();
        Self { group, stores, naive: vec![Naive::default(); 3], said: BTreeMap::new(), clock_ms: 1_000 }
    }

    fn say(&mut self, author: u8, back_ms: u64) -> Incoming {
        self.clock_ms += 10;
        let ms = self.clock_ms.saturating_sub(back_ms);
        let text = self.said.len().to_string();
        let op = self.group.text(author, ms, &text);
        let at = (op.op.header.hlc, op.op.id);
        self.said.insert((author, op.op.header.seq), (op.clone(), at));
        op
    }

    fn at(&self, spot: &Spot) -> At {
        self.said[spot].1
    }

    /// What a device shows: everything below it in its log is there too.
    fn shown(&self, d: usize) -> Vec<Spot> {
        let held = &self.naive[d].held;
        let whole = |(author, seq): &Spot| {
            self.said.keys().filter(|(a, s)| a == author && s < seq).all(|spot| held.contains(spot))
        };
        let mut shown: Vec<Spot> = held.iter().filter(|spot| whole(spot)).copied().collect();
        shown.sort_by_key(|spot| self.at(spot));
        shown
    }

    fn seen(&self, d: usize) -> Option<At> {
        self.shown(d).iter().filter(|spot| self.naive[d].read.contains(spot)).map(|spot| self.at(spot)).max()
    }

    fn read_up_to(&mut self, d: usize, from: At, to: At) {
        let seen = self.seen(d);
        for spot in self.shown(d) {
            let at = self.at(&spot);
            if at <= to && (Some(at) > seen || at >= from) {
                self.naive[d].read.insert(spot);
            }
        }
    }

    /// The person's own words below what was seen need no reading.
    fn close(&mut self, d: usize) {
        let seen = self.seen(d);
        for spot in self.shown(d) {
            if OWN.contains(&spot.0) && Some(self.at(&spot)) <= seen {
                self.naive[d].read.insert(spot);
            }
        }
    }

    fn act(&mut self, step: &Step) {
        let now_ms = NOW_MS + self.clock_ms;
        match *step {
            Step::Say(author, back_ms) => {
                self.say(author, back_ms);
            }
            Step::Own(d, back_ms) => {
                let op = self.say(OWN[d], back_ms);
                let spot = (OWN[d], op.op.header.seq);
                self.naive[d].held.insert(spot);
                self.stores[d].write(&[op]);
                let at = self.at(&spot);
                self.read_up_to(d, at, at);
            }
            Step::Deliver(d, nth) => {
                let lacks: Vec<Spot> =
                    self.said.keys().filter(|spot| !self.naive[d].held.contains(spot)).copied().collect();
                let some: Vec<Spot> = lacks.into_iter().step_by(nth).collect();
                let ops: Vec<Incoming> = some.iter().map(|spot| self.said[spot].0.clone()).collect();
                self.naive[d].held.extend(some);
                self.stores[d].take(&ops);
            }
            Step::Look(d, from, to) => {
                let shown = self.shown(d);
                if shown.is_empty() {
                    return;
                }
                let (from, to) = (from % shown.len(), to % shown.len());
                let (from, to) = (self.at(&shown[from.min(to)]), self.at(&shown[from.max(to)]));
                self.read_up_to(d, from, to);
                let mark = &mut self.naive[d].mark;
                if mark.from.is_some_and(|from| (from.hlc, from.id) <= to) {
                    *mark = Mark { stamp_ms: now_ms.max(mark.stamp_ms + 1), from: None };
                }
                let place = |(hlc, id): At| Place::native(hlc, id);
                let batch = self.stores[d].log.batch().unwrap();
                let id = self.group.conversation;
                mark_seen(batch.transaction().unwrap(), &id, &place(from), &place(to), now_ms).unwrap();
                batch.commit().unwrap();
            }
            Step::MarkUnread(d, at) => {
                let shown = self.shown(d);
                let from = at.filter(|_| !shown.is_empty()).map(|at| self.at(&shown[at % shown.len()]));
                let named = from.map(|(hlc, id)| MessageRef { hlc, id });
                let mark = &mut self.naive[d].mark;
                if mark.from != named {
                    *mark = Mark { stamp_ms: now_ms.max(mark.stamp_ms + 1), from: named };
                }
                let place = from.map(|(hlc, id)| Place::native(hlc, id));
                let batch = self.stores[d].log.batch().unwrap();
                let id = self.group.conversation;
                mark_unread(batch.transaction().unwrap(), &id, place.as_ref(), now_ms).unwrap();
                batch.commit().unwrap();
            }
            Step::Publish(d) => self.publish(d),
            Step::Carry(from, to) => self.carry(from, to),
            Step::Rebuild(d) => {
                self.stores[d].assert_rebuilt_equals_live();
            }
        }
        for d in 0..3 {
            self.close(d);
        }
    }

    fn publish(&mut self, d: usize) {
        let naive = &mut self.naive[d];
        let version = naive.registers.get(&OWN[d]).map_or(1, |register| register.0 + 1);
        naive.registers.insert(OWN[d], (version, naive.read.clone(), naive.mark));
        let (store, id) = (&mut self.stores[d], self.group.conversation);
        let read: Seen = store.views.frontier(&store.log, &id).unwrap();
        let mark = mark(&store.log, &id).unwrap();
        let register = Register {
            conversation: id,
            device: device(OWN[d]),
            version,
            payload: Kept { read, mark }.to_bytes(),
            signature: Signature([0; 64]),
        };
        put(store, &register);
    }

    fn carry(&mut self, from: usize, to: usize) {
        let registers = self.stores[from].log.registers(&self.group.conversation).unwrap();
        for register in registers {
            put(&mut self.stores[to], &register);
        }
        for (of, register) in self.naive[from].registers.clone() {
            let naive = &mut self.naive[to];
            if naive.registers.get(&of).is_none_or(|known| known.0 < register.0) {
                naive.read.extend(&register.1);
                naive.mark = naive.mark.max(register.2);
                naive.registers.insert(of, register);
            }
        }
    }

    fn check(&self) {
        for d in 0..3 {
            let naive = &self.naive[d];
            let shown = self.shown(d);
            let seen = self.seen(d);
            let of_others = || shown.iter().filter(|spot| !OWN.contains(&spot.0));
            let marked = |spot: &Spot| naive.mark.from.is_some_and(|from| (from.hlc, from.id) <= self.at(spot));
            let unread = of_others().filter(|spot| !naive.read.contains(spot) || marked(spot)).count() as u64;
            let late: BTreeSet<OpId> = of_others()
                .filter(|spot| !naive.read.contains(spot) && Some(self.at(spot)) < seen)
                .map(|spot| self.at(spot).1)
                .collect();
            let store = &self.stores[d];
            let id = self.group.conversation;
            let messages = store.all(&id);
            assert_eq!(messages.len(), shown.len());
            let is_late = |message: &tombolo_store::Message| message.late.is_some_and(|late| late.unseen);
            let found: BTreeSet<OpId> =
                messages.iter().filter(|message| is_late(message)).map(|message| message.id()).collect();
            assert_eq!(found, late, "late on device {d}");
            assert_eq!(unread_of(&store.log, &id, &store.views.me()).unwrap(), unread, "unread on device {d}");
            let place = seen.map(|(hlc, id)| Place::native(hlc, id));
            assert_eq!(tombolo_store::seen(&store.log, &id).unwrap(), place, "seen on device {d}");
        }
    }

    /// What the frontier of a device says of messages, by the model and by the device.
    fn frontiers(&mut self, d: usize) -> (BTreeSet<Spot>, BTreeSet<Spot>) {
        let store = &mut self.stores[d];
        let frontier = store.views.frontier(&store.log, &self.group.conversation).unwrap();
        let found = self.said.keys().filter(|(author, seq)| frontier.contains(&LogId([*author; 8]), *seq));
        (self.naive[d].read.clone(), found.copied().collect())
    }
}

fn put(store: &mut Store, register: &Register) {
    store.views.set_now(store.now_ms);
    let mut batch = store.log.batch().unwrap();
    batch.put_register(register, Some(&device(250)), &mut store.views).unwrap();
    batch.commit().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn unread_is_one_function_on_all_devices(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.act(step);
            world.check();
        }
        // Partitions heal: every op and every register comes everywhere.
        for d in 0..3 {
            world.act(&Step::Deliver(d, 1));
            world.act(&Step::Publish(d));
        }
        for d in 0..3 {
            world.act(&Step::Carry(d, (d + 1) % 3));
            world.act(&Step::Carry(d, (d + 2) % 3));
            world.check();
        }
        for d in 0..3 {
            world.act(&Step::Carry(d, (d + 1) % 3));
            world.act(&Step::Carry(d, (d + 2) % 3));
        }
        world.check();
        let id = world.group.conversation;
        let unread: BTreeSet<u64> =
            world.stores.iter().map(|store| unread_of(&store.log, &id, &store.views.me()).unwrap()).collect();
        prop_assert_eq!(unread.len(), 1, "the same on every device");
        for d in 0..3 {
            let (model, found) = world.frontiers(d);
            prop_assert_eq!(found, model);
            world.stores[d].assert_rebuilt_equals_live();
        }
        world.check();
    }
}

#[test]
fn a_register_of_somebody_else_says_nothing_of_what_this_person_has_read() {
    let mut world = World::new();
    world.act(&Step::Say(1, 0));
    world.act(&Step::Deliver(0, 1));
    let mut read = Seen::new();
    read.insert(LogId([1; 8]), 1, 100);
    let kept = Kept { read, mark: Mark::default() };
    let register = Register {
        conversation: world.group.conversation,
        device: device(1),
        version: 1,
        payload: kept.to_bytes(),
        signature: Signature([0; 64]),
    };
    assert_ne!(account(1), account(3));
    put(&mut world.stores[0], &register);
    world.check();
    let _ = START_MS;
}

#[test]
fn a_register_that_comes_before_its_key_and_before_the_messages_counts_as_soon_as_both_are_here() {
    let mut world = World::new();
    for _ in 0..4 {
        world.act(&Step::Say(1, 0));
    }
    world.act(&Step::Deliver(0, 1));
    world.act(&Step::Look(0, 0, 2));
    world.act(&Step::Publish(0));
    world.stores[1].has_key.store(false, std::sync::atomic::Ordering::Relaxed);
    world.act(&Step::Carry(0, 1));
    world.act(&Step::Deliver(1, 1));
    let id = world.group.conversation;
    let unread = |world: &World| unread_of(&world.stores[1].log, &id, &world.stores[1].views.me()).unwrap();
    assert_eq!(unread(&world), 4, "nothing can be read yet");
    let store = &mut world.stores[1];
    store.has_key.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut batch = store.log.batch().unwrap();
    let reader = batch.reads().unwrap();
    store.views.reopen(reader, batch.transaction().unwrap(), &id).unwrap();
    batch.commit().unwrap();
    assert_eq!(unread(&world), 1);
    world.check();
}
