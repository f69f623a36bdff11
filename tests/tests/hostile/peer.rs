//! The other end of a connection, by hand: authenticates as the protocol says, and then says whatever it likes.

use super::{WALL_MS, key};
use tombolo_identity::DeviceKey;
use tombolo_model::crypto::{DOMAIN_SESSION, Signer as _};
use tombolo_model::digest::Chain;
use tombolo_model::{Op, Proof};
use tombolo_oplog::Fold;
use tombolo_proto::frame::{Batch, Hello, Resume};
use tombolo_proto::{Fault, Frame, Refusal, Tool, batch};
use tombolo_replica::{ConnId, Event, Now, Output, Replica, Scope, Zstd};

/// What a victim said on the connection, and what happened there.
#[derive(Debug, Default)]
pub struct Told {
    pub frames: Vec<Vec<u8>>,
    pub fault: Option<Fault>,
    pub events: Vec<Event>,
}

impl Told {
    pub fn code(&self) -> Option<&'static str> {
        self.fault.as_ref().map(Fault::code)
    }

    pub fn read(&self) -> impl Iterator<Item = Frame> + '_ {
        self.frames.iter().map(|frame| Frame::from_bytes(frame).unwrap())
    }

    pub fn refused(&self) -> Vec<Refusal> {
        let acks = self.read().filter_map(|frame| if let Frame::Ack(ack) = frame { Some(ack.refused) } else { None });
        acks.flatten().map(|(_, refusal)| refusal).collect()
    }

    pub fn acks(&self) -> usize {
        self.read().filter(|frame| matches!(frame, Frame::Ack(_))).count()
    }

    pub fn proven(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Proven { .. })).count()
    }
}

pub struct Peer {
    pub key: DeviceKey,
    pub conn: ConnId,
    pub resume: Resume,
    initiator: bool,
    mine: Hello,
    theirs: Hello,
    batches: u64,
}

impl Peer {
    /// Dials a victim and authenticates. The victim's nonce is that of the connection.
    pub fn dial<F: Fold>(victim: &mut Replica<F>, conn: ConnId, seed: u8, nonce: [u8; 32], now: Now) -> Self {
        Self::meet(victim, conn, seed, Some(nonce), true, (own_nonce(conn), Scope::Members), now)
    }

    /// The victim and a hostile device authenticate each other; `nonce` is the hostile one's, by default a copy of the
    /// victim's.
    pub fn meet<F: Fold>(
        victim: &mut Replica<F>,
        conn: ConnId,
        seed: u8,
        nonce: Option<[u8; 32]>,
        initiator: bool,
        victims: ([u8; 32], Scope),
        now: Now,
    ) -> Self {
        Self::open(victim, conn, key(seed), nonce, initiator, victims, now)
    }

    /// Any device at all dials.
    pub fn meet_as<F: Fold>(victim: &mut Replica<F>, conn: ConnId, key: DeviceKey, now: Now) -> Self {
        let mut peer = Self::open(victim, conn, key, Some([8; 32]), true, (own_nonce(conn), Scope::Members), now);
        let resume = peer.nothing();
        let told = peer.say(victim, &resume, now);
        assert!(told.fault.is_none(), "{told:?}");
        peer
    }

    fn open<F: Fold>(
        victim: &mut Replica<F>,
        conn: ConnId,
        key: DeviceKey,
        nonce: Option<[u8; 32]>,
        initiator: bool,
        (victims_nonce, scope): ([u8; 32], Scope),
        now: Now,
    ) -> Self {
        victim.connect(conn, super::link(!initiator, victims_nonce, scope), now);
        let told = drain(victim, conn, now);
        let Ok(Frame::Hello(theirs)) = Frame::from_bytes(&told.frames[0]) else { panic!("{told:?}") };
        let mine = Hello {
            replica: key.id(),
            nonce: nonce.unwrap_or(theirs.nonce),
            clock_ms: WALL_MS,
            window_bytes: 1 << 21,
            ..theirs.clone()
        };
        let none = Resume {
            incarnation: 0,
            position: 0,
            chain: Chain::default(),
            read: None,
            proof: Proof::default(),
            count: 0,
        };
        let mut peer = Self { key, conn, resume: none, initiator, mine, theirs, batches: 0 };
        let told = peer.say(victim, &Frame::Hello(peer.mine.clone()), now);
        assert!(told.fault.is_none(), "{told:?}");
        let proof = Frame::Prove(peer.key.sign(DOMAIN_SESSION, &peer.transcript()));
        let told = peer.say(victim, &proof, now);
        // Optional frames may come first: this peer is of a version that does not know them.
        let resume = told.read().find_map(|frame| if let Frame::Resume(resume) = frame { Some(resume) } else { None });
        let Some(resume) = resume else { panic!("{told:?}") };
        peer.resume = resume;
        peer
    }

    fn transcript(&self) -> [u8; 32] {
        let (mine, theirs) = (Frame::Hello(self.mine.clone()).to_bytes(), Frame::Hello(self.theirs.clone()).to_bytes());
        let (first, second) = if self.initiator { (mine, theirs) } else { (theirs, mine) };
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 session transcript");
        for part in [first, second, vec![]] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(&part);
        }
        hasher.update(&[u8::from(self.initiator)]);
        *hasher.finalize().as_bytes()
    }

    /// A proof as this side has to say it on this connection.
    pub fn salted(&self, proof: &Proof) -> Proof {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 salted proof");
        hasher.update(&self.mine.nonce);
        hasher.update(&self.theirs.nonce);
        hasher.update(&[u8::from(self.initiator)]);
        hasher.update(&proof.0);
        Proof(*hasher.finalize().as_bytes())
    }

    /// "I hold nothing and have read nothing."
    pub fn nothing(&self) -> Frame {
        self.claim(&Proof::over(std::iter::empty()), 0)
    }

    /// "I hold `count` ops with this proof over all that we share, and have read nothing."
    pub fn claim(&self, proof: &Proof, count: u64) -> Frame {
        Frame::Resume(Resume {
            incarnation: 5,
            position: count,
            chain: Chain::default(),
            read: None,
            proof: self.salted(proof),
            count,
        })
    }

    pub fn say<F: Fold>(&mut self, victim: &mut Replica<F>, frame: &Frame, now: Now) -> Told {
        self.bytes(victim, &frame.to_bytes(), now)
    }

    pub fn bytes<F: Fold>(&mut self, victim: &mut Replica<F>, frame: &[u8], now: Now) -> Told {
        victim.receive(self.conn, frame, now);
        drain(victim, self.conn, now)
    }

    /// The next batch.
    pub fn next_batch(&mut self, ops: &[Op], tool: Tool) -> Frame {
        self.batches += 1;
        Frame::Batch(Batch { number: self.batches, tool, through: None, ops: batch::encode(ops, &Zstd) })
    }

    /// Brings an op that the victim takes; what it says meanwhile to somebody else goes to `heard`.
    pub fn next_op<F: Fold>(
        &mut self,
        victim: &mut Replica<F>,
        op: &Op,
        now: Now,
        other: ConnId,
        heard: &mut Vec<Frame>,
    ) {
        let frame = self.next_batch(std::slice::from_ref(op), Tool::Heights).to_bytes();
        victim.receive(self.conn, &frame, now);
        heard.extend(drain(victim, other, now).read());
    }

    /// Says the next batch, as found by heights.
    pub fn batch<F: Fold>(&mut self, victim: &mut Replica<F>, ops: &[Op], now: Now) -> Told {
        let frame = self.next_batch(ops, Tool::Heights);
        self.say(victim, &frame, now)
    }
}

fn own_nonce(conn: ConnId) -> [u8; 32] {
    let mut nonce = [0x77; 32];
    nonce[..8].copy_from_slice(&conn.0.to_be_bytes());
    nonce
}

/// Lets the victim store and answer.
pub fn drain<F: Fold>(victim: &mut Replica<F>, conn: ConnId, now: Now) -> Told {
    victim.flush(now).unwrap();
    let mut told = Told::default();
    while let Some(output) = victim.poll() {
        match output {
            Output::Send { conn: to, frame } if to == conn => told.frames.push(frame),
            Output::Close { conn: to, fault } if to == conn => told.fault = Some(fault),
            Output::Event(event) => told.events.push(event),
            Output::Send { .. } | Output::Close { .. } => {}
        }
    }
    told
}
