//! Ops on the wire: columns instead of headers.
//!
//! A batch groups ops by conversation. Per conversation a dictionary names each log once, with the first seq and the
//! id before it; `prev`, ids and body hashes of the rest follow from the hash chain and do not travel. Parents are
//! distances back in the batch where they are in it. The columns go through the host's compressor (bodies are sealed
//! and would not shrink); signatures travel for the last op of each run and every 32nd seq, the chain vouches for the
//! rest. Measured costs stand in ARCHITECTURE.md.
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
    let mut sections: BTreeMap<ConversationId, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        sections.entry(op.conversation()).or_default().push(op);
    }
    let mut columns = Vec::new();
    let mut tail = Vec::new();
    put_varint(&mut columns, sections.len() as u64);
    for (conversation, ops) in &sections {
        encode_section(conversation, ops, bare, &mut columns, &mut tail);
    }
    let packed = compression.compress(&columns);
    let mut out = Vec::with_capacity(packed.len().min(columns.len()) + tail.len() + 8);
    if packed.len() < columns.len() {
        out.push(1);
        put_bytes(&mut out, &packed);
    } else {
        out.push(0);
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
    columns.extend_from_slice(&conversation.0);
    put_varint(columns, ops.len() as u64);
    put_varint(columns, runs.len() as u64);
    for run in &runs {
        columns.extend_from_slice(&run.author.0);
        columns.extend_from_slice(&run.log.0);
        put_varint(columns, run.first);
        if run.first > 1 {
            columns.extend_from_slice(&run.prev.0);
        }
    }
    let places: BTreeMap<OpId, usize> = ops.iter().enumerate().map(|(index, op)| (op.id, index)).collect();
    for run in &run_of {
        put_varint(columns, *run as u64);
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
    let mut last_ms = 0;
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
                Some(place) => put_varint(columns, (index - place) as u64),
                None => {
                    put_varint(columns, 0);
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
    let mut reader = Reader::new(bytes);
    let packed = reader.u8()?;
    let block = reader.bytes(FRAME_BYTES_MAX, "columns")?;
    let unpacked;
    let columns = match packed {
        0 => block,
        1 => {
            unpacked =
                compression.decompress(block, COLUMN_BYTES_MAX).ok_or(Malformed::TooLarge("decompressed batch"))?;
            &unpacked
        }
        _ => return Err(Malformed::Unknown("compression")),
    };
    let mut columns = Reader::new(columns);
    let sections = columns.count(BATCH_OPS_MAX, "conversations")?;
    let mut decoded = Decoded::default();
    for _ in 0..sections {
        decode_section(&mut columns, &mut reader, &mut decoded)?;
    }
    columns.finish()?;
    reader.finish()?;
    Ok(decoded)
}

struct Place {
    author: DeviceId,
    log: LogId,
    seq: u64,
    prev: OpId,
}

fn decode_section(columns: &mut Reader<'_>, tail: &mut Reader<'_>, decoded: &mut Decoded) -> Result<(), Malformed> {
    let Decoded { ops: out, bare } = decoded;
    let conversation = ConversationId(columns.array()?);
    let count = columns.count(BATCH_OPS_MAX, "ops of a batch")?;
    if out.len() + count > BATCH_OPS_MAX {
        return Err(Malformed::TooLarge("ops of a batch"));
    }
    let run_count = columns.count(count, "runs of a batch")?;
    let mut runs = Vec::with_capacity(run_count);
    for _ in 0..run_count {
        let author = DeviceId(columns.array()?);
        let log = LogId(columns.array()?);
        let seq = columns.varint()?;
        let prev = if seq > 1 { OpId(columns.array()?) } else { OpId::ZERO };
        runs.push(Place { author, log, seq, prev });
    }
    let mut run_of = Vec::with_capacity(count);
    for _ in 0..count {
        let run = columns.varint()?;
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
    let mut ms: i64 = 0;
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
            let back = columns.varint()?;
            if back > index as u64 {
                return Err(Malformed::Unknown("parent"));
            }
            list.push((back, if back == 0 { OpId(columns.array()?) } else { OpId::ZERO }));
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
    Ok(())
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
