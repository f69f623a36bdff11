//! Two sessions and a wire between them. The wire delivers one frame at a time and can be cut after any of them; every
//! claim of equality is checked against the sets themselves.

use crate::history::{Fake, Key, Zstd};
use crate::memory::Memory;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tombolo_model::crypto::{DOMAIN_OP, Verifier as _};
use tombolo_model::{ConversationId, DeviceId, LogId, Op, OpId, Sound};
use tombolo_proto::session::{Config, Context, Now, Tools, VERSION, VERSION_MIN};
use tombolo_proto::source::Cursor;
use tombolo_proto::{Fault, Input, Output, Refusal, Session};

/// One end.
pub(crate) struct Side {
    pub(crate) key: Key,
    pub(crate) memory: Memory,
    pub(crate) session: Session,
    /// Conversations that this side does not take, and why it says so.
    pub(crate) refuses: BTreeMap<ConversationId, Refusal>,
    pub(crate) proven: u32,
    pub(crate) unproven: u32,
    pub(crate) events: Vec<Output>,
    pub(crate) fault: Option<Fault>,
    /// Type and size of every frame that it sent.
    pub(crate) sent: Vec<(u8, usize)>,
    /// **Bytes** of batches that it sent and that are not acknowledged.
    pub(crate) outstanding: BTreeMap<u64, usize>,
    pub(crate) outstanding_max: usize,
    next_batch: u64,
}

impl Side {
    pub(crate) fn new(number: u8, memory: Memory) -> Self {
        Self {
            key: Key::of(number),
            memory,
            session: Session::new(Config::new(number == ONE, [number; 32])),
            refuses: BTreeMap::new(),
            proven: 0,
            unproven: 0,
            events: vec![],
            fault: None,
            sent: vec![],
            outstanding: BTreeMap::new(),
            outstanding_max: 0,
            next_batch: 0,
        }
    }

    pub(crate) fn handle(&mut self, input: Input<'_>, now: Now) -> Vec<Output> {
        let ctx = Context { source: &self.memory, signer: &self.key, verifier: &Fake, compression: &Zstd, now };
        self.session.handle(input, &ctx);
        std::iter::from_fn(|| self.session.poll()).collect()
    }
}

/// Keys of the two ends; the first one dials.
pub(crate) const ONE: u8 = 201;
pub(crate) const TWO: u8 = 202;

/// Both ends.
pub(crate) struct World {
    pub(crate) sides: [Side; 2],
    pub(crate) wire: VecDeque<(usize, Vec<u8>)>,
    pub(crate) now: Now,
    pub(crate) delivered: usize,
    pub(crate) tools: Tools,
    pub(crate) versions: [(u8, u8); 2],
    pub(crate) window_bytes: u64,
    pub(crate) connections: u8,
    /// While ops come from outside, an honest claim may be older than what the sets are now.
    pub(crate) check_claims: bool,
    /// Disks that write only while nothing is on the wire.
    pub(crate) slow: bool,
    writing: VecDeque<(usize, Arrived)>,
}

/// Number, ops, those to be stored without bodies, and the place that goes with them.
type Arrived = (u64, Vec<Op>, BTreeSet<OpId>, Option<Cursor>);

impl World {
    pub(crate) fn new(one: Memory, two: Memory) -> Self {
        Self {
            sides: [Side::new(ONE, one), Side::new(TWO, two)],
            wire: VecDeque::new(),
            now: Now { mono_ms: 1_000, wall_ms: 1_800_000_000_000 },
            delivered: 0,
            tools: Tools::ALL,
            versions: [(VERSION, VERSION_MIN); 2],
            window_bytes: tombolo_proto::limit::WINDOW_BYTES,
            connections: 0,
            check_claims: true,
            slow: false,
            writing: VecDeque::new(),
        }
    }

    /// A new connection, with new sessions; what was on the wire is lost.
    pub(crate) fn connect(&mut self) {
        self.wire.clear();
        self.writing.clear();
        self.connections += 1;
        for index in 0..2 {
            let nonce = [self.connections * 2 + index as u8; 32];
            let mut config = Config::new(index == 0, nonce);
            config.tools = self.tools;
            config.versions = self.versions[index];
            config.window_bytes = self.window_bytes;
            let side = &mut self.sides[index];
            side.session = Session::new(config);
            side.sent.clear();
            side.outstanding.clear();
            (side.fault, side.next_batch) = (None, 0);
            (side.proven, side.unproven) = (0, 0);
        }
        self.input(0, Input::Connected);
        self.input(1, Input::Connected);
    }

    pub(crate) fn input(&mut self, index: usize, input: Input<'_>) {
        let outputs = self.sides[index].handle(input, self.now);
        let mut persisted = Vec::new();
        let mut registers_stored = 0;
        for output in outputs {
            match output {
                Output::Send(frame) => self.send(index, frame),
                Output::Registers { registers, through } => {
                    let peer = self.sides[1 - index].key.0;
                    let kept = &mut self.sides[index].memory.registers;
                    for register in registers {
                        kept.put(register, Some(peer));
                    }
                    kept.read.insert(peer, through);
                    registers_stored += 1;
                }
                Output::Persist { number, ops, bare, through, .. } => {
                    let ops: Vec<Op> = ops.into_iter().map(Sound::into_op).collect();
                    persisted.push((number, ops, bare, through));
                }
                other => self.take(index, other),
            }
        }
        for arrived in persisted {
            if self.slow {
                self.writing.push_back((index, arrived));
            } else {
                self.persist(index, arrived);
            }
        }
        for _ in 0..registers_stored {
            self.input(index, Input::RegistersStored);
        }
    }

    fn persist(&mut self, index: usize, (number, ops, bare, through): Arrived) {
        let peer = self.sides[1 - index].key.0;
        let side = &mut self.sides[index];
        check_vouched(&ops);
        let mut stored = 0;
        let mut refused = BTreeMap::new();
        for op in ops.iter().filter(|op| op.body.is_some() || bare.contains(&op.id)) {
            match side.refuses.get(&op.conversation()) {
                Some(refusal) => {
                    refused.insert(op.conversation(), *refusal);
                }
                None => stored += u64::from(side.memory.take(op, Some(peer))),
            }
        }
        if let Some(cursor) = through {
            side.memory.cursors.insert(peer, cursor);
        }
        let refused = refused.into_iter().collect();
        self.input(index, Input::Persisted { number, stored, refused });
    }

    fn send(&mut self, index: usize, frame: Vec<u8>) {
        let side = &mut self.sides[index];
        side.sent.push((frame[0], frame.len()));
        if frame[0] == 0x03 {
            side.next_batch += 1;
            side.outstanding.insert(side.next_batch, frame.len());
            side.outstanding_max = side.outstanding_max.max(side.outstanding.values().sum());
        }
        self.wire.push_back((1 - index, frame));
    }

    fn take(&mut self, index: usize, output: Output) {
        let peer = self.sides[1 - index].key.0;
        match &output {
            Output::Remember(cursor) => {
                self.sides[index].memory.cursors.insert(peer, *cursor);
            }
            Output::Acked { position } => {
                // What counts as held by the peer is held by it, whatever was refused.
                let mine: Vec<_> = self.sides[index].memory.ids_through(*position);
                let held = self.sides[1 - index].memory.ids();
                assert!(mine.iter().all(|id| held.contains(id)), "acknowledged through {position}, but not held");
                self.sides[index].memory.acked.insert(peer, *position);
            }
            Output::Proven { conversations, .. } => {
                self.sides[index].proven += 1;
                if self.check_claims {
                    for conversation in conversations {
                        let [one, two] = [0, 1].map(|side: usize| self.sides[side].memory.held(conversation));
                        assert_eq!(one, two, "proven while unequal");
                    }
                }
            }
            Output::AcksLost { .. } => {
                self.sides[index].memory.acked.remove(&peer);
            }
            Output::Unproven { .. } => self.sides[index].unproven += 1,
            Output::Close(fault) => self.sides[index].fault = Some(fault.clone()),
            _ => {}
        }
        self.sides[index].events.push(output);
    }

    /// Delivers one frame; `false` when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some((to, frame)) = self.wire.pop_front() else {
            let Some((index, arrived)) = self.writing.pop_front() else { return false };
            self.persist(index, arrived);
            return true;
        };
        self.delivered += 1;
        if frame[0] == 0x04
            && let Ok(tombolo_proto::Frame::Ack(ack)) = tombolo_proto::Frame::from_bytes(&frame)
        {
            self.sides[to].outstanding.remove(&ack.number);
        }
        self.input(to, Input::Frame(&frame));
        true
    }

    /// Until nothing is on the wire.
    pub(crate) fn run(&mut self) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the session does not come to rest");
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.input(0, Input::Tick);
        self.input(1, Input::Tick);
        self.run();
    }

    /// Connects, runs, and insists that both ends came to be equal and know it.
    pub(crate) fn converge(&mut self) {
        self.connect();
        self.run();
        self.assert_converged();
    }

    /// Connects and runs; both may be shown different things.
    pub(crate) fn converge_apart(&mut self) {
        self.connect();
        self.run();
        assert_eq!((&self.sides[0].fault, &self.sides[1].fault), (&None, &None));
    }

    pub(crate) fn assert_converged(&self) {
        let [one, two] = &self.sides;
        assert_eq!((&one.fault, &two.fault), (&None, &None));
        let [missing_1, missing_2] =
            [(one, two), (two, one)].map(|(a, b)| b.memory.ids().difference(&a.memory.ids()).count());
        assert_eq!((missing_1, missing_2), (0, 0), "the sets differ");
        assert!(one.proven > 0 && two.proven > 0, "equal, but not proven: {} {}", one.proven, two.proven);
    }

    /// **Bytes** and frames after authentication, both ways, with what a WebSocket adds to each message.
    pub(crate) fn cost(&self) -> (usize, usize) {
        let after = |side: &Side, mask: usize| {
            let frames = side.sent.iter().filter(|(kind, _)| *kind > 0x01);
            frames.fold((0, 0), |(bytes, count), (_, len)| {
                (bytes + len + if *len < 126 { 2 } else { 4 } + mask, count + 1)
            })
        };
        let (one, two) = (after(&self.sides[0], 4), after(&self.sides[1], 0));
        (one.0 + two.0, one.1 + two.1)
    }
}

/// Every op of a batch must be signed, or be named by one that is.
fn check_vouched(ops: &[Op]) {
    let mut named: BTreeSet<_> = BTreeSet::new();
    let mut order: Vec<&Op> = ops.iter().collect();
    let place = |op: &Op| -> (DeviceId, LogId, std::cmp::Reverse<u64>) {
        (op.header.author, op.header.log, std::cmp::Reverse(op.header.seq))
    };
    order.sort_by_key(|op| place(op));
    for op in order {
        let signed = op.signature.as_ref().is_some_and(|it| Fake.verify(&op.header.author, DOMAIN_OP, &op.id.0, it));
        assert!(signed || named.contains(&op.id), "an op that nothing vouches for: {op:?}");
        named.insert(op.header.prev);
    }
}
