//! What was read: marking, telling others and the own devices, and who has received and read what.
//!
//! Responsible for: making the register of this device (two parts, sealed apart: one for everybody in the conversation, one
//! for the devices of this account), when it is due, opening those of others, receipts. Nothing is told twice, and a
//! restart forgets nothing that is due: what a register was made from is remembered on the disk. Not here: the sets
//! (`model`), unread counts (`store`), how registers travel (`proto`, `replica`).

use super::Node;
use crate::Error;
use crate::api::{MessageState, Reach, Receipt};
use crate::secrets::Secrets;
use std::collections::BTreeMap;
use tombolo_identity::AccountKey;
use tombolo_model::codec::{Reader, put_bytes};
use tombolo_model::content::{Content, Slot, Value};
use tombolo_model::limit::{READERS_MAX, REGISTER_BYTES_MAX};
use tombolo_model::reading::{Kept, Told};
use tombolo_model::{AccountId, ConversationId, DeviceId, Hlc, LogId, Op, OpId, Register, Seen, Signature};
use tombolo_oplog::rusqlite::OptionalExtension as _;
use tombolo_replica::Now;
use tombolo_seal::{ConversationSecret, Place as SealPlace, Sealer, SecretSealer};
use tombolo_store::{Opener, OwnReading, Place};

/// First byte of a payload, so that a later form can be told apart.
const FORM: u8 = 1;
/// **Milliseconds** after which others are told what was read, per ten devices of the conversation.
const READ_MS: u64 = 1_000;
/// **Milliseconds** after which others are told what came, per ten devices: the laziest of news.
const HELD_MS: u64 = 3_000;

/// Opens bodies with the secrets of conversations, and registers of the own devices with a key that they share.
pub(crate) struct Doors {
    secrets: Secrets,
    own: OwnKey,
}

impl Doors {
    pub(crate) fn new(secrets: Secrets, account: &AccountKey) -> Self {
        Self { secrets, own: OwnKey::of(account) }
    }
}

impl Opener for Doors {
    fn open(&self, op: &Op) -> Option<Content> {
        self.secrets.open(op)
    }

    fn reading(&self, register: &Register) -> Option<OwnReading> {
        let parts = Parts::of(register)?;
        let kept = parts.kept(&self.own.sealer(&register.conversation), register)?;
        let mut read = kept.read;
        if let Some(sealer) = self.secrets.get(&register.conversation)
            && let Some(told) = parts.told(sealer.as_ref(), register)
        {
            read.merge(&told.read);
        } else if !parts.told.is_empty() {
            // Both parts or none: what was merged once is not looked at again.
            return None;
        }
        Some(OwnReading { read, mark: kept.mark })
    }
}

/// The key that the devices of an account share, one per conversation.
struct OwnKey(ConversationSecret);

impl OwnKey {
    fn of(account: &AccountKey) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 registers among own devices");
        hasher.update(account.seed().as_slice());
        Self(ConversationSecret::new(*hasher.finalize().as_bytes()))
    }

    fn sealer(&self, conversation: &ConversationId) -> SecretSealer {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        hasher.update(&conversation.0);
        SecretSealer::new(ConversationSecret::new(*hasher.finalize().as_bytes()))
    }
}

/// A payload: form, eight random bytes, the part for everybody, the part for own devices.
struct Parts<'a> {
    random: LogId,
    told: &'a [u8],
    kept: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(register: &'a Register) -> Option<Self> {
        let mut reader = Reader::new(&register.payload);
        if reader.u8().ok()? != FORM {
            return None;
        }
        let random = LogId(reader.array().ok()?);
        let told = reader.bytes(REGISTER_BYTES_MAX, "register").ok()?;
        let kept = reader.take(reader.left()).ok()?;
        Some(Self { random, told, kept })
    }

    /// Version and random bytes together: no nonce comes twice, not even after a restore.
    fn place(register: &Register, random: LogId) -> SealPlace {
        SealPlace { author: register.device, log: random, seq: register.version, epoch: 0 }
    }

    fn told(&self, sealer: &dyn Sealer, register: &Register) -> Option<Told> {
        let place = Self::place(register, self.random);
        Told::from_bytes(&sealer.open(&associated(register, b"told"), &place, self.told).ok()?).ok()
    }

    fn kept(&self, sealer: &dyn Sealer, register: &Register) -> Option<Kept> {
        let place = Self::place(register, self.random);
        Kept::from_bytes(&sealer.open(&associated(register, b"kept"), &place, self.kept).ok()?).ok()
    }
}

fn associated(register: &Register, part: &[u8; 4]) -> Vec<u8> {
    let mut bytes = register.conversation.0.to_vec();
    bytes.extend_from_slice(part);
    bytes
}

/// News that wait a moment before they are told, so that several go together.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// After how many **milliseconds** what has just changed is due.
    fresh: BTreeMap<ConversationId, u64>,
    /// When each conversation is due, on the clock of `mono_ms`.
    due_ms: BTreeMap<ConversationId, u64>,
}

/// What the members of a conversation have received and read, by account.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Sum of the registers that it was made from, and the number of devices.
    made_from: (u64, u64),
    by_account: BTreeMap<AccountId, Told>,
}

impl Node {
    /// Marks a conversation as read up to a message, or all of it: everything up to there was shown.
    ///
    /// # Errors
    /// `cursor`, `unknown-conversation`, and those of the store.
    pub fn read(&mut self, conversation: &ConversationId, up_to: Option<&str>, now: Now) -> Result<(), Error> {
        self.log().conversation(conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let to = match up_to {
            Some(cursor) => Some(self.cursor(conversation, cursor)?),
            None => tombolo_store::page(self.log(), conversation, None, 1)?.pop().map(|message| message.place),
        };
        let Some(to) = to else { return Ok(()) };
        let from = Place::native(Hlc::ZERO, OpId::ZERO);
        self.reading_may_differ(*conversation, true);
        let batch = self.replica.log_mut().batch()?;
        if tombolo_store::mark_seen(batch.transaction()?, conversation, &from, &to, now.wall_ms)? {
            batch.commit()?;
        }
        Ok(())
    }

    /// Marks a conversation unread from a message on; reading it again takes the mark away.
    ///
    /// # Errors
    /// `cursor`, `imported` (what was brought in is never unread), `unknown-conversation`, and those of the store.
    pub fn mark_unread(&mut self, conversation: &ConversationId, from: &str, now: Now) -> Result<(), Error> {
        self.log().conversation(conversation)?.ok_or_else(|| self.no_conversation(conversation))?;
        let place = self.cursor(conversation, from)?;
        if place.section != tombolo_store::Section::Native {
            let words = "what was brought in from elsewhere is never unread";
            return Err(Error::new("imported", words, "name a message that was written here"));
        }
        self.reading_may_differ(*conversation, true);
        let batch = self.replica.log_mut().batch()?;
        if tombolo_store::mark_unread(batch.transaction()?, conversation, Some(&place), now.wall_ms)? {
            batch.commit()?;
        }
        Ok(())
    }

    /// Messages of others that are unread and call upon this person.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unread_mentions(&self, conversation: &ConversationId) -> Result<u64, Error> {
        Ok(tombolo_store::unread_mentions(self.log(), conversation, &self.replica.fold().me())?)
    }

    /// Ops came, or (`shown`) something was read: what is told of a conversation may be other than what is so.
    pub(crate) fn reading_may_differ(&mut self, conversation: ConversationId, shown: bool) {
        let after_ms = if shown { READ_MS } else { HELD_MS };
        let known = self.news.fresh.entry(conversation).or_insert(after_ms);
        *known = (*known).min(after_ms);
    }

    /// Tells what is due by now, while somebody is connected. On the disk when it returns.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tell_due(&mut self, now: Now) -> Result<(), Error> {
        if self.replica.conns().next().is_none() {
            return Ok(());
        }
        for (conversation, after_ms) in std::mem::take(&mut self.news.fresh) {
            // The more devices, the lazier: each of them tells all others.
            let due_ms = now.mono_ms + after_ms * (1 + self.log().devices(&conversation)? / 10);
            let known = self.news.due_ms.entry(conversation).or_insert(due_ms);
            *known = (*known).min(due_ms);
        }
        let due: Vec<ConversationId> =
            self.news.due_ms.iter().filter(|(_, due_ms)| **due_ms <= now.mono_ms).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return Ok(());
        }
        for conversation in &due {
            self.news.due_ms.remove(conversation);
        }
        self.tell(due, now)
    }

    /// Tells everything that is other than what was told last, due or not. On the disk when it returns.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tell_all(&mut self, now: Now) -> Result<(), Error> {
        self.news = News::default();
        let all = self.log().conversations()?.into_iter().map(|row| row.id).collect();
        self.tell(all, now)
    }

    fn tell(&mut self, conversations: Vec<ConversationId>, now: Now) -> Result<(), Error> {
        let told = self.own_value(&Slot::Receipts)? != Value::Flag(false);
        let (mut registers, mut prints) = (Vec::new(), Vec::new());
        for conversation in conversations {
            if let Some((print, register)) = self.register(&conversation, told)? {
                prints.push((conversation, print));
                registers.push(register);
            }
        }
        self.replica.publish(registers, now, |tx| {
            prints.iter().try_for_each(|(conversation, print)| tombolo_store::set_told(tx, conversation, print))
        })?;
        Ok(())
    }

    /// The register of this device, and what it is made from; `None` when nothing has changed, or nobody would read it.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn register(
        &mut self,
        conversation: &ConversationId,
        receipts: bool,
    ) -> Result<Option<(Vec<u8>, (ConversationId, u64, Vec<u8>))>, Error> {
        let (id, device) = (*conversation, self.device());
        if self.log().devices(&id)? < 2 || !self.log().is_member(&id, &device)? {
            return Ok(None);
        }
        let everybody = self.log().accounts(&id)? <= READERS_MAX;
        let mut print = tombolo_store::print(self.log(), &id, everybody)?;
        print.push(u8::from(everybody) | u8::from(receipts) << 1);
        if tombolo_store::is_told(self.log(), &id, &print)? {
            return Ok(None);
        }
        let Some(sealer) = self.secrets.get(&id) else { return Ok(None) };
        let (log, views) = self.replica.log_and_fold();
        let read = tombolo_store::of_speakers(log, &id, &views.frontier(log, &id)?)?;
        let held = if everybody { log.delivered_through(&id, None)? } else { Seen::new() };
        let held = tombolo_store::of_speakers(log, &id, &held)?;
        let mark = tombolo_store::mark(log, &id)?;
        let mut told = Told { held, read: Seen::new() };
        let mut kept = Kept { read: Seen::new(), mark };
        if everybody && receipts {
            told.read = read
        } else {
            kept.read = read
        };
        let (told, kept) = fitting(told, kept, everybody);
        let version = self.log().register_version(&id, &device)? + 1;
        let random = LogId(self.random());
        let named = Register { conversation: id, device, version, payload: Vec::new(), signature: Signature([0; 64]) };
        let place = Parts::place(&named, random);
        let seal = |error: tombolo_seal::SealError| Error::new("seal", error.to_string(), "");
        let mut payload = vec![FORM];
        payload.extend_from_slice(&random.0);
        let told = match told {
            Some(told) => sealer.seal(&associated(&named, b"told"), &place, &told).map_err(seal)?,
            None => Vec::new(),
        };
        put_bytes(&mut payload, &told);
        let own = OwnKey::of(&self.identity.account).sealer(&id);
        payload.extend(own.seal(&associated(&named, b"kept"), &place, &kept).map_err(seal)?);
        Ok(Some((print, (id, version, payload))))
    }

    /// Who has received and read a message, but for this person. Empty where named readers are off: in conversations of
    /// more than 50 people.
    ///
    /// # Errors
    /// `unknown-message`, and those of the store.
    pub fn receipts(&self, conversation: &ConversationId, id: &OpId) -> Result<Vec<Receipt>, Error> {
        let op = self.log().op(conversation, id)?.ok_or_else(super::talk::unknown_message)?;
        let names = tombolo_store::names(self.log(), conversation)?;
        let author = names.account(&op.header.author);
        self.with_readers(conversation, |readers| {
            let others = readers.by_account.iter().filter(|(account, _)| Some(**account) != author);
            let receipt = |(account, told): (&AccountId, &Told)| Receipt {
                account: *account,
                name: names.of_account(account).map_or_else(|| account.short(), str::to_owned),
                own: *account == self.account(),
                delivered: told.held.contains(&op.header.log, op.header.seq),
                read: told.read.contains(&op.header.log, op.header.seq),
            };
            others.map(receipt).collect()
        })
    }

    /// How far an own message has come, by what members tell: one look at all registers for a whole page.
    pub(super) fn reach(&self, conversation: &ConversationId, arrival: u64) -> Result<Reach, Error> {
        let sql = "SELECT l.log, o.seq FROM op o CROSS JOIN log l ON l.n = o.log WHERE o.arrival = ?1";
        let place: Option<([u8; 8], i64)> = self
            .log()
            .connection()?
            .prepare_cached(sql)?
            .query_row([arrival as i64], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((log, seq)) = place.map(|(log, seq)| (LogId(log), seq as u64)) else { return Ok(Reach::default()) };
        self.with_readers(conversation, |readers| {
            let mut reach = Reach::default();
            for (_, told) in readers.by_account.iter().filter(|(account, _)| **account != self.account()) {
                reach.others += 1;
                let read = told.read.contains(&log, seq);
                reach.read += u64::from(read);
                reach.delivered += u64::from(read || told.held.contains(&log, seq));
            }
            reach
        })
    }

    /// Runs `look` on what members have received and read. It is put together once per change of a register.
    fn with_readers<T>(&self, conversation: &ConversationId, look: impl FnOnce(&Readers) -> T) -> Result<T, Error> {
        let made_from = (self.log().register_sum(conversation, None)?, self.log().devices(conversation)?);
        let mut cache = self.readers.borrow_mut();
        let readers = match cache.remove(conversation) {
            Some(readers) if readers.made_from == made_from => readers,
            _ => self.read_registers(conversation, made_from)?,
        };
        let found = look(&readers);
        cache.insert(*conversation, readers);
        Ok(found)
    }

    fn read_registers(&self, conversation: &ConversationId, made_from: (u64, u64)) -> Result<Readers, Error> {
        let mut readers = Readers { made_from, by_account: BTreeMap::new() };
        if self.log().accounts(conversation)? > READERS_MAX {
            return Ok(readers);
        }
        let mut accounts: BTreeMap<DeviceId, AccountId> = BTreeMap::new();
        for member in self.log().members(conversation)? {
            readers.by_account.entry(member.account).or_default();
            accounts.entry(member.device).or_insert(member.account);
        }
        let Some(sealer) = self.secrets.get(conversation) else { return Ok(readers) };
        for register in self.log().registers(conversation)? {
            let told = Parts::of(&register).and_then(|parts| parts.told(sealer.as_ref(), &register));
            let account = accounts.get(&register.device);
            if let (Some(told), Some(of)) = (told, account.and_then(|account| readers.by_account.get_mut(account))) {
                of.held.merge(&told.held);
                of.read.merge(&told.read);
            }
        }
        Ok(readers)
    }
}

/// The state of an own message that `held` relays and peers hold.
pub(super) fn state_of(held: u64, reach: Reach) -> MessageState {
    match held {
        _ if reach.read > 0 => MessageState::Read(reach.read),
        _ if reach.others > 0 && reach.delivered == reach.others => MessageState::Delivered(reach.delivered),
        0 => MessageState::Local,
        held => MessageState::Held(held),
    }
}

/// Both parts as bytes, so short that they fit. What does not fit is not told: other devices then show more as unread.
fn fitting(mut told: Told, mut kept: Kept, everybody: bool) -> (Option<Vec<u8>>, Vec<u8>) {
    /// Form, random bytes, a length, two tags.
    const AROUND: usize = 1 + 8 + 3 + 2 * tombolo_seal::OVERHEAD_BYTES;
    loop {
        let open = everybody.then(|| told.to_bytes());
        let own = kept.to_bytes();
        if AROUND + open.as_ref().map_or(0, Vec::len) + own.len() <= REGISTER_BYTES_MAX {
            return (open, own);
        }
        if !told.held.is_empty() {
            told.held = Seen::new();
        } else {
            halve(&mut told.read);
            halve(&mut kept.read);
        }
    }
}

/// Leaves out every second log.
fn halve(seen: &mut Seen) {
    let mut half = Seen::new();
    for (log, seqs) in seen.iter().step_by(2) {
        for (first, last) in seqs.intervals() {
            half.insert(*log, *first, *last);
        }
    }
    *seen = if seen.iter().count() > 1 { half } else { Seen::new() };
}
