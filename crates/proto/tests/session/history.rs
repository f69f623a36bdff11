//! Writes ops: authors with fake keys, conversations that branch and merge, seeded randomness.

use tombolo_model::crypto::{DOMAIN_OP, Signer, Verifier};
use tombolo_model::op::VERSION;
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, Op, OpId, Signature};
use tombolo_proto::batch::Compression;

/// Seeded randomness (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.next() as u8)
    }
}

/// A key whose signatures anybody could make: the session must not care how signatures work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) DeviceId);

impl Key {
    pub(crate) fn of(number: u8) -> Self {
        Self(DeviceId([number; 32]))
    }
}

impl Signer for Key {
    fn device(&self) -> DeviceId {
        self.0
    }

    fn sign(&self, domain: &str, message: &[u8]) -> Signature {
        let mut hasher = blake3::Hasher::new_derive_key("fake signature");
        for part in [&self.0.0[..], domain.as_bytes(), message] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 64];
        hasher.finalize_xof().fill(&mut bytes);
        Signature(bytes)
    }
}

/// Checks signatures of [`Key`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fake;

impl Verifier for Fake {
    fn verify(&self, device: &DeviceId, domain: &str, message: &[u8], signature: &Signature) -> bool {
        Key(*device).sign(domain, message) == *signature
    }
}

/// What `replica` compresses with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zstd;

impl Compression for Zstd {
    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 3).unwrap()
    }

    fn decompress(&self, bytes: &[u8], max: usize) -> Option<Vec<u8>> {
        use std::io::Read as _;
        let mut out = Vec::new();
        zstd::stream::read::Decoder::new(bytes).ok()?.take(max as u64 + 1).read_to_end(&mut out).ok()?;
        (out.len() <= max).then_some(out)
    }
}

/// A header with nothing special about it.
pub(crate) fn header(
    conversation: ConversationId,
    author: DeviceId,
    log: LogId,
    seq: u64,
    prev: OpId,
    hlc: Hlc,
) -> Header {
    Header {
        version: VERSION,
        class: Class::Content,
        conversation,
        author,
        log,
        seq,
        prev,
        hlc,
        epoch: 0,
        expires_ms: 0,
        parents: vec![],
        erases: vec![],
        extension: vec![],
        body_len: 0,
        body_hash: BodyHash::of(&[]),
    }
}

/// Fills in the body and signs.
pub(crate) fn seal(mut header: Header, body: Vec<u8>) -> Op {
    header.body_len = body.len() as u32;
    header.body_hash = BodyHash::of(&body);
    let signer = Key(header.author);
    let mut op = Op::new(header, None, Some(body));
    op.signature = Some(signer.sign(DOMAIN_OP, &op.id.0));
    op
}

/// Where one log stands.
#[derive(Clone, Copy, Debug)]
struct Tail {
    author: DeviceId,
    log: LogId,
    seq: u64,
    prev: OpId,
}

/// A conversation in the making.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    pub(crate) conversation: ConversationId,
    tails: Vec<Tail>,
    head: OpId,
    ms: u64,
    pub(crate) random: Random,
    pub(crate) body_bytes: usize,
}

impl Writing {
    /// Founds a conversation with as many authors, one log each; the genesis op comes back too.
    pub(crate) fn found(seed: u64, authors: u8) -> (Self, Op) {
        let mut random = Random(seed);
        let mut tails: Vec<Tail> = (0..authors)
            .map(|number| Tail { author: Key::of(number + 1).0, log: LogId(random.array()), seq: 0, prev: OpId::ZERO })
            .collect();
        let ms = 1_700_000_000_000 + random.below(1 << 30);
        let first = &mut tails[0];
        let mut header = header(ConversationId::ZERO, first.author, first.log, 1, OpId::ZERO, Hlc::new(ms, 0));
        header.class = Class::Control;
        let genesis = seal(header, random.bytes(120));
        (first.seq, first.prev) = (1, genesis.id);
        let conversation = genesis.conversation();
        (Self { conversation, tails, head: genesis.id, ms, random, body_bytes: 24 }, genesis)
    }

    /// The next op, by a random author who has seen everything so far or, one time in four, only its own log.
    pub(crate) fn op(&mut self) -> Op {
        let at = self.random.below(self.tails.len() as u64) as usize;
        let apart = self.random.below(4) == 0;
        self.ms += 1 + self.random.below(60_000);
        let tail = &mut self.tails[at];
        let mut header =
            header(self.conversation, tail.author, tail.log, tail.seq + 1, tail.prev, Hlc::new(self.ms, 0));
        if !apart && self.head != tail.prev {
            header.parents.push(self.head);
        }
        let op = seal(header, self.random.bytes(self.body_bytes));
        (tail.seq, tail.prev) = (tail.seq + 1, op.id);
        self.head = op.id;
        op
    }

    pub(crate) fn ops(&mut self, count: usize) -> Vec<Op> {
        (0..count).map(|_| self.op()).collect()
    }

    /// An author that writes two ops for one place.
    pub(crate) fn fork(&mut self) -> [Op; 2] {
        let tail = self.tails[self.random.below(self.tails.len() as u64) as usize];
        core::array::from_fn(|_| {
            self.ms += 1;
            let hlc = Hlc::new(self.ms, 0);
            let header = header(self.conversation, tail.author, tail.log, tail.seq + 1, tail.prev, hlc);
            seal(header, self.random.bytes(self.body_bytes))
        })
    }
}

/// A whole conversation.
pub(crate) fn conversation(seed: u64, authors: u8, count: usize) -> Vec<Op> {
    let (mut writing, genesis) = Writing::found(seed, authors);
    let mut ops = vec![genesis];
    ops.extend(writing.ops(count));
    ops
}
