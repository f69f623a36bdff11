//! A conversation of many people as its ops: signed, sealed, interleaved, with the parents that people who read along
//! with a little delay would name.
//!
//! Everything comes from one seed. Each author has seen the history up to 0 to 4 ops ago; clocks go on by 0 to 2 seconds
//! per op; texts are [`super::TEXT_BYTES`] random characters. Not here: storing (`writing`, `opening`), sets without ops
//! (`memory`).

use super::{Measured, TEXT_BYTES};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tombolo_identity::{AccountKey, DeviceKey, InviteKey, sign_op};
use tombolo_model::content::Content;
use tombolo_model::control::{Control, Kind};
use tombolo_model::limit::SIGNED_EVERY;
use tombolo_model::{BodyHash, Class, ConversationId, Header, Hlc, LogId, Op, OpId, Sound};
use tombolo_oplog::Incoming;
use tombolo_seal::{ConversationSecret, Invitation, OVERHEAD_BYTES, Place, Sealer, SecretSealer, open_body};
use tombolo_store::Opener;
use tombolo_testkit::rng::Rng;

/// When the history begins, **milliseconds** since 1970.
pub const BEGINS_MS: u64 = 1_700_000_000_000;
/// By how many ops an author may be behind.
const LAG_MAX: u64 = 4;

/// One who writes: one account, one device, one log.
#[derive(Debug)]
struct Author {
    account: AccountKey,
    device: DeviceKey,
    log: LogId,
    seq: u64,
    tip: OpId,
    tip_hlc: Hlc,
    /// Number of the author's newest op in the whole history, from 1.
    at: u64,
}

/// Opens what the corpus sealed.
#[derive(Clone, Debug)]
pub struct OneSecret(pub SecretSealer);

impl Opener for OneSecret {
    fn open(&self, op: &Op) -> Option<Content> {
        let plain = open_body(&self.0, &op.header, op.body.as_deref()?).ok()?;
        Content::from_padded(&plain).ok()
    }
}

/// The generator.
#[derive(Debug)]
pub struct Corpus {
    /// The conversation.
    pub conversation: ConversationId,
    /// What was written before the first message: founding, invitation, joins.
    pub setup: Vec<Incoming>,
    sealer: SecretSealer,
    authors: Vec<Author>,
    rng: Rng,
    wall_ms: u64,
    /// Heads after each of the newest ops, oldest first; the last is after op number `count`.
    heads: VecDeque<BTreeMap<OpId, Hlc>>,
    count: u64,
    /// Sign only ops that travel with a signature. Quicker; such ops are as a receiver would hold them.
    pub sparse: bool,
}

impl Corpus {
    /// A conversation of its own: the first author founds it and invites the others.
    #[must_use]
    pub fn founded(seed: u64, authors: usize) -> Self {
        let mut rng = Rng::new(seed);
        let secret = ConversationSecret::new(rng.bytes());
        let mut corpus = Self::empty(secret, rng, BEGINS_MS);
        corpus.add_authors(authors);
        let certificate = corpus.authors[0].account.certify(corpus.authors[0].device.id(), BEGINS_MS);
        let salt = corpus.rng.bytes();
        corpus.control(0, Control::Genesis { certificate, kind: Kind::Group, salt, relays: Vec::new() });
        let key = InviteKey::from_seed(corpus.rng.bytes());
        corpus.control(0, Control::Invite { key: key.public(), uses: 1000, expires_ms: 0 });
        corpus.join(1..authors, &key);
        corpus
    }

    /// Further authors for a conversation that exists: they accept its invitation, made when `heads` were its heads, and
    /// write from `wall_ms` (**milliseconds** since 1970) on.
    #[must_use]
    pub fn joining(seed: u64, invitation: &Invitation, heads: Vec<(OpId, Hlc)>, wall_ms: u64, authors: usize) -> Self {
        let mut corpus = Self::empty(invitation.secret.clone(), Rng::new(seed), wall_ms);
        corpus.conversation = invitation.conversation;
        corpus.heads.push_back(heads.into_iter().collect());
        corpus.add_authors(authors);
        corpus.join(0..authors, &invitation.key());
        corpus
    }

    fn empty(secret: ConversationSecret, rng: Rng, wall_ms: u64) -> Self {
        let sealer = SecretSealer::new(secret);
        let (conversation, authors, setup) = (ConversationId::ZERO, Vec::new(), Vec::new());
        Self { conversation, setup, sealer, authors, rng, wall_ms, heads: VecDeque::new(), count: 0, sparse: false }
    }

    fn add_authors(&mut self, count: usize) {
        for _ in 0..count {
            self.authors.push(Author {
                account: AccountKey::from_seed(self.rng.bytes()),
                device: DeviceKey::from_seed(self.rng.bytes()),
                log: LogId(self.rng.bytes()),
                seq: 0,
                tip: OpId::ZERO,
                tip_hlc: Hlc::ZERO,
                at: 0,
            });
        }
    }

    fn join(&mut self, which: std::ops::Range<usize>, key: &InviteKey) {
        for index in which {
            let author = &self.authors[index];
            let certificate = author.account.certify(author.device.id(), BEGINS_MS);
            let proof = key.prove(&self.conversation, &certificate);
            self.control(index, Control::Join { certificate, invite: key.public(), proof, relays: Vec::new() });
        }
    }

    /// What opens the texts.
    #[must_use]
    pub fn opener(&self) -> Box<OneSecret> {
        Box::new(OneSecret(self.sealer.clone()))
    }

    /// The device of an author.
    #[must_use]
    pub fn device(&self, author: usize) -> DeviceKey {
        DeviceKey::from_seed(*self.authors[author].device.seed())
    }

    /// The clock of the newest op, **milliseconds** since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    /// Goes on as another branch of the same history: what is written here is not seen there, and the other way round.
    /// Texts differ by `seed`.
    #[must_use]
    pub fn apart(&self, seed: u64) -> Self {
        let authors = self.authors.iter().map(|author| Author {
            account: AccountKey::from_seed(*author.account.seed()),
            device: DeviceKey::from_seed(*author.device.seed()),
            ..*author
        });
        Self {
            authors: authors.collect(),
            rng: Rng::new(seed),
            setup: Vec::new(),
            sealer: self.sealer.clone(),
            heads: self.heads.clone(),
            ..*self
        }
    }

    /// A random text.
    pub fn text(&mut self) -> String {
        text(&mut self.rng, TEXT_BYTES)
    }

    /// The next messages, each by a random one of the authors named.
    ///
    /// # Errors
    /// When a text cannot be sealed, which does not happen.
    pub fn messages(&mut self, count: usize, authors: std::ops::Range<usize>) -> Measured<Vec<Op>> {
        (0..count)
            .map(|_| {
                let by = authors.start + self.rng.index(authors.len());
                let plain = Content::Text(self.text()).to_padded()?;
                self.wall_ms += self.rng.below(2_000);
                let header = self.header(by, Class::Content, plain.len() + OVERHEAD_BYTES);
                let sealed = self.sealer.seal(&header.associated_data(), &Place::of(&header), &plain)?;
                Ok(self.complete(by, header, sealed))
            })
            .collect()
    }

    fn control(&mut self, by: usize, control: Control) {
        let body = control.to_bytes();
        let header = self.header(by, Class::Control, body.len());
        let op = self.complete(by, header, body);
        self.conversation = op.conversation();
        let op = Sound::check(op).expect("the generator writes sound ops");
        self.setup.push(Incoming { op, control: Some(control) });
    }

    fn header(&mut self, by: usize, class: Class, body_len: usize) -> Header {
        let author = &self.authors[by];
        let lag = if class == Class::Content { self.rng.below(LAG_MAX + 1) } else { 0 };
        let seen_at = self.count.saturating_sub(lag).max(author.at);
        let back = ((self.count - seen_at) as usize).min(self.heads.len().saturating_sub(1));
        let seen = self.heads.len().checked_sub(back + 1).map(|at| self.heads[at].clone()).unwrap_or_default();
        let hlc = seen.values().copied().fold(author.tip_hlc, Hlc::max);
        let parents: BTreeSet<OpId> = seen.into_keys().filter(|id| *id != author.tip).collect();
        Header {
            version: tombolo_model::op::VERSION,
            class,
            conversation: self.conversation,
            author: author.device.id(),
            log: author.log,
            seq: author.seq + 1,
            prev: author.tip,
            hlc: Hlc::tick(hlc, self.wall_ms),
            epoch: 0,
            expires_ms: 0,
            parents: parents.into_iter().collect(),
            erases: Vec::new(),
            extension: Vec::new(),
            body_len: body_len as u32,
            body_hash: BodyHash::default(),
        }
    }

    fn complete(&mut self, by: usize, mut header: Header, body: Vec<u8>) -> Op {
        let author = &mut self.authors[by];
        let op = if self.sparse && !header.seq.is_multiple_of(SIGNED_EVERY) && header.class == Class::Content {
            header.body_hash = BodyHash::of(&body);
            Op::new(header, None, Some(body))
        } else {
            sign_op(header, &author.device, body)
        };
        self.count += 1;
        (author.seq, author.tip, author.tip_hlc, author.at) = (op.header.seq, op.id, op.header.hlc, self.count);
        let mut heads = self.heads.back().cloned().unwrap_or_default();
        for id in op.header.depends_on() {
            heads.remove(id);
        }
        heads.insert(op.id, op.header.hlc);
        self.heads.push_back(heads);
        if self.heads.len() > 2 + LAG_MAX as usize {
            self.heads.pop_front();
        }
        op
    }
}

/// Random characters that do not compress below 6.5 bits each; sealed they do not compress at all.
pub fn text(rng: &mut Rng, bytes: usize) -> String {
    (0..bytes).map(|_| char::from(b' ' + rng.below(95) as u8)).collect()
}

/// Ops as they are appended.
#[must_use]
pub fn incoming(ops: Vec<Op>) -> Vec<Incoming> {
    let sound = |op| Sound::check(op).expect("the generator writes sound ops");
    ops.into_iter().map(|op| Incoming { op: sound(op), control: None }).collect()
}
