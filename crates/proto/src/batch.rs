//! Ops on the wire: columns instead of headers.
//!
//! A batch groups ops by conversation. Per conversation a dictionary names each log once, with the first seq and the
//! id before it; `prev`, ids and body hashes of the rest follow from the hash chain and do not travel. Parents are
//! distances back in the batch where they are in it. The columns go through the host's compressor (bodies are sealed
//! and would not shrink); signatures travel for the last op of each run and every 32nd seq, the chain vouches for the
//! rest. Measured costs stand in ARCHITECTURE.md.
//!
//! From protocol 3 on a batch may be *brief*: what the receiver surely holds is named by the beginning of its id. A run
//! then starts with eight bytes that stand for author, log, seq and the id before it; a parent costs eight bytes instead
//! of 32; a conversation two instead of 16. A receiver that does not find what is named takes nothing of the batch.
//!
//! Not here: who checks signatures (the host, through `identity`), what is sent when (`session`).

use crate::limit::{BATCH_OPS_MAX, COLUMN_BYTES_MAX, FRAME_BYTES_MAX};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use tombolo_model::codec::{Malformed, Reader, put_bytes, put_varint, put_zigzag};
use tombolo_model::limit::{BODY_BYTES_MAX, ERASES_MAX, EXTENSION_BYTES_MAX, PARENTS_MAX, SIGNED_EVERY};
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, Op, OpId, Signature, Sound};

/// Compression, given by the host: needs `std`, and its bound is a safety matter.
pub trait Compression {
    /// Compresses.
    fn compress(&self, bytes: &[u8]) -> Vec<u8>;
    /// Decompresses to at most `max` bytes; `None` when the input is damaged or would be longer.
    fn decompress(&self, bytes: &[u8], max: usize) -> Option<Vec<u8>>;
}

const FLAG_CLASS: u8 = 0b0000_0011;
const FLAG_SIGNED: u8 = 0b0000_0100;
const FLAG_BODY: u8 = 0b0000_1000;
const FLAG_RARE: u8 = 0b0001_0000;
const FLAG_GENESIS: u8 = 0b0010_0000;
/// Its body is not here, and it is sent all the same: to be stored without it. From protocol 2 on.
const FLAG_BARE: u8 = 0b0100_0000;
const FLAGS_KNOWN: u8 = 0b0111_1111;

/// Layout of the columns, beside the bit for compression: brief.
const LAYOUT_BRIEF: u8 = 0b10;
const PACKED: u8 = 0b01;
/// How a run of a brief section begins.
const RUN_WHOLE: u8 = 0;
const RUN_CONTINUES: u8 = 1;
/// How a brief section names a parent that is not before it in the batch; distances follow from 2 on.
const PARENT_WHOLE: u64 = 0;
const PARENT_NAMED: u64 = 1;
/// **Bytes** of the shortest name of a conversation.
const CONVERSATION_BYTES_MIN: usize = 2;

/// What the receiver of a brief batch surely holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// Ops, each the only one of its conversation whose id begins so, with their clocks.
    pub ops: BTreeMap<OpId, Hlc>,
    /// The conversations of these ops.
    pub known: BTreeSet<ConversationId>,
    /// All conversations that both sides may see.
    pub shared: Vec<ConversationId>,
}

impl Brief {
    /// **Bytes** of the shortest beginning of a conversation's id that no other one has; all of it where the receiver may
    /// not have the conversation.
    fn name(&self, conversation: &ConversationId) -> usize {
        if !self.known.contains(conversation) {
            return conversation.0.len();
        }
        let alone = |len: &usize| {
            let begins = |other: &&ConversationId| other.0[..*len] == conversation.0[..*len] && *other != conversation;
            !self.shared.iter().any(|other| begins(&other))
        };
        (CONVERSATION_BYTES_MIN..conversation.0.len()).find(alone).unwrap_or(conversation.0.len())
    }
}

/// An op that the receiver of a brief batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: OpId,
    /// Who wrote it.
    pub author: DeviceId,
    /// In which log.
    pub log: LogId,
    /// At which place.
    pub seq: u64,
    /// Its clock.
    pub hlc: Hlc,
}

/// Finds what a brief batch names.
pub trait Names {
    /// The only conversation that both sides may see whose id begins so.
    fn conversation(&mut self, begins: &[u8]) -> Option<ConversationId>;
    /// The only op of a conversation whose id begins so, see [`OpId::prefix`].
    fn op(&mut self, conversation: &ConversationId, prefix: u64) -> Option<Named>;
}

/// Where nothing can be named.
struct Nameless;

impl Names for Nameless {
    fn conversation(&mut self, _begins: &[u8]) -> Option<ConversationId> {
        None
    }
    fn op(&mut self, _conversation: &ConversationId, _prefix: u64) -> Option<Named> {
        None
    }
}

/// Encodes ops. Order is kept within a conversation; `ops` should come with parents first, so that parents cost a byte.
/// The last op of every run must carry a signature or be vouched for by what the receiver holds.
#[must_use]
pub fn encode(ops: &[Op], compression: &dyn Compression) -> Vec<u8> {
    encode_bare(ops, &BTreeSet::new(), compression)
}

/// As [`encode`]. Of the ops without bodies those in `bare` are to be stored so; the others only vouch for ops before
/// them. For protocol 2 and later.
#[must_use]
pub fn encode_bare(ops: &[Op], bare: &BTreeSet<OpId>, compression: &dyn Compression) -> Vec<u8> {
    encode_brief(ops, bare, None, compression)
}

/// As [`encode_bare`], naming what the receiver holds by the beginning of its id. For protocol 3 and later.
#[must_use]
pub fn encode_brief(
    ops: &[Op],
    bare: &BTreeSet<OpId>,
    brief: Option<&Brief>,
    compression: &dyn Compression,
) -> Vec<u8> {
    let layout = if brief.is_some() { LAYOUT_BRIEF } else { 0 };
    let mut sections: BTreeMap<ConversationId, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        sections.entry(op.conversation()).or_default().push(op);
    }
    let mut columns = Vec::new();
    let mut tail = Vec::new();
    put_varint(&mut columns, sections.len() as u64);
    for (conversation, ops) in &sections {
        encode_section(conversation, ops, bare, brief, &mut columns, &mut tail);
    }
    let packed = compression.compress(&columns);
    let mut out = Vec::with_capacity(packed.len().min(columns.len()) + tail.len() + 8);
    if packed.len() < columns.len() {
        out.push(layout | PACKED);
        put_bytes(&mut out, &packed);
    } else {
        out.push(layout);
        put_bytes(&mut out, &columns);
    }
    out.extend_from_slice(&tail);
    out
}

struct Run {
    author: DeviceId,
    log: LogId,
    first: u64,
    prev: OpId,
    next: u64,
    tip: OpId,
    last_index: usize,
}

fn encode_section(
    conversation: &ConversationId,
    ops: &[&Op],
    bare: &BTreeSet<OpId>,
    brief: Option<&Brief>,
    columns: &mut Vec<u8>,
    tail: &mut Vec<u8>,
) {
    let mut runs: Vec<Run> = Vec::new();
    let mut open: BTreeMap<(DeviceId, LogId), usize> = BTreeMap::new();
    let mut run_of = Vec::with_capacity(ops.len());
    for (index, op) in ops.iter().enumerate() {
        let header = &op.header;
        let name = (header.author, header.log);
        let continues =
            open.get(&name).copied().filter(|run| runs[*run].next == header.seq && runs[*run].tip == header.prev);
        let run = continues.unwrap_or_else(|| {
            runs.push(Run {
                author: header.author,
                log: header.log,
                first: header.seq,
                prev: header.prev,
                next: header.seq,
                tip: header.prev,
                last_index: index,
            });
            open.insert(name, runs.len() - 1);
            runs.len() - 1
        });
        runs[run].next = header.seq + 1;
        runs[run].tip = op.id;
        runs[run].last_index = index;
        run_of.push(run);
    }
    match brief {
        Some(brief) => put_bytes(columns, &conversation.0[..brief.name(conversation)]),
        None => columns.extend_from_slice(&conversation.0),
    }
    put_varint(columns, ops.len() as u64);
    put_varint(columns, runs.len() as u64);
    let held = |id: &OpId| brief.and_then(|brief| brief.ops.get(id));
    for run in &runs {
        if brief.is_some() {
            let named = run.first > 1 && held(&run.prev).is_some();
            columns.push(if named { RUN_CONTINUES } else { RUN_WHOLE });
            if named {
                columns.extend_from_slice(&run.prev.prefix().to_be_bytes());
                continue;
            }
        }
        columns.extend_from_slice(&run.author.0);
        columns.extend_from_slice(&run.log.0);
        put_varint(columns, run.first);
        if run.first > 1 {
            columns.extend_from_slice(&run.prev.0);
        }
    }
    let places: BTreeMap<OpId, usize> = ops.iter().enumerate().map(|(index, op)| (op.id, index)).collect();
    if brief.is_none() || runs.len() > 1 {
        for run in &run_of {
            put_varint(columns, *run as u64);
        }
    }
    for (index, op) in ops.iter().enumerate() {
        let travels = op.signature.is_some()
            && (op.header.seq.is_multiple_of(SIGNED_EVERY) || runs[run_of[index]].last_index == index);
        let mut flags = op.header.class as u8;
        flags |= if travels { FLAG_SIGNED } else { 0 };
        flags |= if op.body.is_some() { FLAG_BODY } else { 0 };
        flags |= if is_rare(&op.header) { FLAG_RARE } else { 0 };
        flags |= if op.header.is_genesis() { FLAG_GENESIS } else { 0 };
        flags |= if op.body.is_none() && bare.contains(&op.id) { FLAG_BARE } else { 0 };
        columns.push(flags);
        if travels && let Some(signature) = &op.signature {
            tail.extend_from_slice(&signature.0);
        }
    }
    // Of a brief section the times begin where the log that its first run continues stood.
    let begins = runs.first().filter(|run| run.first > 1).and_then(|run| held(&run.prev));
    let mut last_ms = begins.map_or(0, |hlc| hlc.ms() as i64);
    for op in ops {
        put_zigzag(columns, op.header.hlc.ms() as i64 - last_ms);
        last_ms = op.header.hlc.ms() as i64;
    }
    for op in ops {
        put_varint(columns, u64::from(op.header.hlc.counter()));
    }
    for (index, op) in ops.iter().enumerate() {
        put_varint(columns, op.header.parents.len() as u64);
        for parent in &op.header.parents {
            match places.get(parent).filter(|place| **place < index) {
                Some(place) => put_varint(columns, (index - place) as u64 + u64::from(brief.is_some())),
                None if held(parent).is_some() => {
                    put_varint(columns, PARENT_NAMED);
                    columns.extend_from_slice(&parent.prefix().to_be_bytes());
                }
                None => {
                    put_varint(columns, PARENT_WHOLE);
                    columns.extend_from_slice(&parent.0);
                }
            }
        }
    }
    for op in ops {
        put_varint(columns, u64::from(op.header.body_len));
    }
    for op in ops {
        if op.body.is_none() {
            columns.extend_from_slice(&op.header.body_hash.0);
        }
        if is_rare(&op.header) {
            encode_rare(&op.header, columns);
        }
    }
    for op in ops {
        if let Some(body) = &op.body {
            tail.extend_from_slice(body);
        }
    }
}

fn is_rare(header: &Header) -> bool {
    header.version != tombolo_model::op::VERSION
        || header.epoch != 0
        || header.expires_ms != 0
        || !header.erases.is_empty()
        || !header.extension.is_empty()
}

fn encode_rare(header: &Header, columns: &mut Vec<u8>) {
    columns.push(header.version);
    put_varint(columns, u64::from(header.epoch));
    put_varint(columns, header.expires_ms);
    put_varint(columns, header.erases.len() as u64);
    for erased in &header.erases {
        columns.extend_from_slice(&erased.0);
    }
    put_bytes(columns, &header.extension);
}

/// What a batch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The ops, with and without bodies.
    pub ops: Vec<Sound>,
    /// Those without bodies that are to be stored all the same.
    pub bare: BTreeSet<OpId>,
}

/// As [`decode_bare`], without telling ops apart that have no body.
///
/// # Errors
/// [`Malformed`]; the whole batch is dropped.
pub fn decode(bytes: &[u8], compression: &dyn Compression) -> Result<Vec<Sound>, Malformed> {
    Ok(decode_bare(bytes, compression)?.ops)
}

/// Reads what [`encode`] and [`encode_bare`] wrote. Ids and hashes of bodies are computed, so an op that decodes has those that its bytes
/// say; signatures are for the host to check.
///
/// # Errors
/// [`Malformed`]; the whole batch is dropped.
pub fn decode_bare(bytes: &[u8], compression: &dyn Compression) -> Result<Decoded, Malformed> {
    decode_brief(bytes, &mut Nameless, compression)?.ok_or(Malformed::Unknown("name"))
}

/// Reads what [`encode_brief`] wrote. `None`: it names something that is not here, so nothing of it can be read.
///
/// # Errors
/// [`Malformed`]; the whole batch is dropped.
pub fn decode_brief(
    bytes: &[u8],
    names: &mut dyn Names,
    compression: &dyn Compression,
) -> Result<Option<Decoded>, Malformed> {
    let mut reader = Reader::new(bytes);
    let layout = reader.u8()?;
    if layout & !(LAYOUT_BRIEF | PACKED) != 0 {
        return Err(Malformed::Unknown("compression"));
    }
    let block = reader.bytes(FRAME_BYTES_MAX, "columns")?;
    let unpacked;
    let columns = if layout & PACKED == 0 {
        block
    } else {
        unpacked = compression.decompress(block, COLUMN_BYTES_MAX).ok_or(Malformed::TooLarge("decompressed batch"))?;
        &unpacked
    };
    let mut columns = Reader::new(columns);
    let sections = columns.count(BATCH_OPS_MAX, "conversations")?;
    let mut decoded = Decoded::default();
    for _ in 0..sections {
        let names: Option<&mut dyn Names> = if layout & LAYOUT_BRIEF == 0 { None } else { Some(&mut *names) };
        if !decode_section(&mut columns, &mut reader, names, &mut decoded)? {
            return Ok(None);
        }
    }
    columns.finish()?;
    reader.finish()?;
    Ok(Some(decoded))
}

struct Place {
    author: DeviceId,
    log: LogId,
    seq: u64,
    prev: OpId,
}

/// Reads one conversation's ops; `false` when it names something that is not here.
fn decode_section(
    columns: &mut Reader<'_>,
    tail: &mut Reader<'_>,
    mut names: Option<&mut dyn Names>,
    decoded: &mut Decoded,
) -> Result<bool, Malformed> {
    let Decoded { ops: out, bare } = decoded;
    let brief = names.is_some();
    let conversation = match &mut names {
        None => ConversationId(columns.array()?),
        Some(names) => {
            let begins = columns.bytes(size_of::<ConversationId>(), "name of a conversation")?;
            match <[u8; 16]>::try_from(begins) {
                Ok(whole) => ConversationId(whole),
                Err(_) => match names.conversation(begins) {
                    Some(conversation) => conversation,
                    None => return Ok(false),
                },
            }
        }
    };
    let count = columns.count(BATCH_OPS_MAX, "ops of a batch")?;
    if out.len() + count > BATCH_OPS_MAX {
        return Err(Malformed::TooLarge("ops of a batch"));
    }
    let run_count = columns.count(count, "runs of a batch")?;
    let mut runs = Vec::with_capacity(run_count);
    let mut ms: i64 = 0;
    for index in 0..run_count {
        if let Some(names) = &mut names {
            match columns.u8()? {
                RUN_WHOLE => {}
                RUN_CONTINUES => {
                    let Some(held) = names.op(&conversation, columns.u64()?) else { return Ok(false) };
                    let seq = held.seq.checked_add(1).ok_or(Malformed::TooLarge("seq"))?;
                    runs.push(Place { author: held.author, log: held.log, seq, prev: held.id });
                    if index == 0 {
                        ms = held.hlc.ms() as i64;
                    }
                    continue;
                }
                _ => return Err(Malformed::Unknown("run")),
            }
        }
        let author = DeviceId(columns.array()?);
        let log = LogId(columns.array()?);
        let seq = columns.varint()?;
        let prev = if seq > 1 { OpId(columns.array()?) } else { OpId::ZERO };
        runs.push(Place { author, log, seq, prev });
    }
    let mut run_of = Vec::with_capacity(count);
    for _ in 0..count {
        let run = if brief && run_count == 1 { 0 } else { columns.varint()? };
        if run >= run_count as u64 {
            return Err(Malformed::Unknown("run"));
        }
        run_of.push(run as usize);
    }
    let mut flags = Vec::with_capacity(count);
    let mut signatures = Vec::with_capacity(count);
    for _ in 0..count {
        let flag = columns.u8()?;
        if flag & !FLAGS_KNOWN != 0 {
            return Err(Malformed::Unknown("flag"));
        }
        if flag & FLAG_BARE != 0 && flag & FLAG_BODY != 0 {
            return Err(Malformed::NotCanonical("flag"));
        }
        signatures.push(if flag & FLAG_SIGNED != 0 { Some(Signature(tail.array()?)) } else { None });
        flags.push(flag);
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        ms = ms.checked_add(columns.zigzag()?).ok_or(Malformed::TooLarge("clock"))?;
        if !(0..1 << 47).contains(&ms) {
            return Err(Malformed::TooLarge("clock"));
        }
        times.push(ms as u64);
    }
    let mut clocks = Vec::with_capacity(count);
    for time in times {
        let counter = u16::try_from(columns.varint()?).map_err(|_| Malformed::TooLarge("clock counter"))?;
        clocks.push(Hlc::new(time, counter));
    }
    let mut parents: Vec<Vec<(u64, OpId)>> = Vec::with_capacity(count);
    for index in 0..count {
        let number = columns.count(PARENTS_MAX, "parents")?;
        let mut list = Vec::with_capacity(number);
        for _ in 0..number {
            let said = columns.varint()?;
            let named = match &mut names {
                Some(names) if said == PARENT_NAMED => {
                    let Some(held) = names.op(&conversation, columns.u64()?) else { return Ok(false) };
                    Some(held.id)
                }
                _ if said == PARENT_WHOLE => Some(OpId(columns.array()?)),
                _ => None,
            };
            let back = if named.is_some() { 0 } else { said - u64::from(brief) };
            if back > index as u64 {
                return Err(Malformed::Unknown("parent"));
            }
            list.push((back, named.unwrap_or_default()));
        }
        parents.push(list);
    }
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push(columns.count(BODY_BYTES_MAX, "body")? as u32);
    }
    let base = out.len();
    let mut rest = Vec::with_capacity(count);
    for flag in &flags {
        let hash = if flag & FLAG_BODY == 0 { Some(BodyHash(columns.array()?)) } else { None };
        let rare = if flag & FLAG_RARE != 0 { Some(decode_rare(columns)?) } else { None };
        rest.push((hash, rare));
    }
    for (index, (hash, rare)) in rest.into_iter().enumerate() {
        let flag = flags[index];
        let body = match hash {
            None => Some(tail.take(lengths[index] as usize)?.to_vec()),
            Some(_) => None,
        };
        let mut named: Vec<OpId> = Vec::with_capacity(parents[index].len());
        for (back, explicit) in &parents[index] {
            named.push(if *back == 0 { *explicit } else { out[base + index - *back as usize].id });
        }
        let rare = rare.unwrap_or_default();
        let place = &mut runs[run_of[index]];
        let header = Header {
            version: rare.version,
            class: Class::try_from(flag & FLAG_CLASS)?,
            conversation: if flag & FLAG_GENESIS != 0 { ConversationId::ZERO } else { conversation },
            author: place.author,
            log: place.log,
            seq: place.seq,
            prev: place.prev,
            hlc: clocks[index],
            epoch: rare.epoch,
            expires_ms: rare.expires_ms,
            parents: named,
            erases: rare.erases,
            extension: rare.extension,
            body_len: lengths[index],
            body_hash: hash.unwrap_or_default(),
        };
        let op = Sound::join(header, signatures[index], body)?;
        if op.conversation() != conversation {
            return Err(Malformed::NotCanonical("genesis"));
        }
        place.seq = place.seq.checked_add(1).ok_or(Malformed::TooLarge("seq"))?;
        place.prev = op.id;
        if flag & FLAG_BARE != 0 {
            bare.insert(op.id);
        }
        out.push(op);
    }
    Ok(true)
}

struct Rare {
    version: u8,
    epoch: u32,
    expires_ms: u64,
    erases: Vec<OpId>,
    extension: Vec<u8>,
}

impl Default for Rare {
    fn default() -> Self {
        Self { version: tombolo_model::op::VERSION, epoch: 0, expires_ms: 0, erases: vec![], extension: vec![] }
    }
}

fn decode_rare(columns: &mut Reader<'_>) -> Result<Rare, Malformed> {
    let version = columns.u8()?;
    let epoch = u32::try_from(columns.varint()?).map_err(|_| Malformed::TooLarge("epoch"))?;
    let expires_ms = columns.varint()?;
    let count = columns.count(ERASES_MAX, "erases")?;
    let mut erases = Vec::with_capacity(count);
    for _ in 0..count {
        erases.push(OpId(columns.array()?));
    }
    let extension = columns.bytes(EXTENSION_BYTES_MAX, "extension")?.to_vec();
    Ok(Rare { version, epoch, expires_ms, erases, extension })
}
