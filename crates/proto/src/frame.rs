//! The frames: what crosses a connection, byte by byte. PROTOCOL.md has the grammar; tests pin the bytes.
//!
//! A frame is one message of an ordered transport: a type byte and its fields. Types from 0x40 on are optional: whoever
//! does not know one ignores it; an unknown type below that ends the session.

use crate::fault::Fault;
use crate::limit::{
    FRAME_BYTES_MAX, HEIGHTS_MAX, PRESENCE_BYTES_MAX, RANGE_BYTES, ROOTS_MAX, WANTS_MAX, WORDS_BYTES_MAX,
};
use crate::registers;
use crate::source::{Height, Run};
use alloc::string::String;
use alloc::vec::Vec;
use tombolo_model::codec::{Malformed, Reader, put_bytes, put_varint};
use tombolo_model::digest::Chain;
use tombolo_model::limit::ADDRESS_BYTES_MAX;
use tombolo_model::{ConversationId, DeviceId, LogId, Proof, Register, Signature};

/// Which way ops that travel were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// They arrived after the other side's cursor.
    Cursor = 0,
    /// Per-log heights named a missing tail.
    Heights = 1,
    /// A sketch was decoded.
    Sketch = 2,
    /// Ranges were split.
    Ranges = 3,
}

impl TryFrom<u8> for Tool {
    type Error = Malformed;
    fn try_from(byte: u8) -> Result<Self, Malformed> {
        match byte {
            0 => Ok(Self::Cursor),
            1 => Ok(Self::Heights),
            2 => Ok(Self::Sketch),
            3 => Ok(Self::Ranges),
            _ => Err(Malformed::Unknown("tool")),
        }
    }
}

/// First words of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Newest protocol version spoken.
    pub version: u8,
    /// Oldest protocol version spoken.
    pub version_min: u8,
    /// The replica's key.
    pub replica: DeviceId,
    /// Random, fresh for this connection.
    pub nonce: [u8; 32],
    /// The wall clock, **milliseconds** since 1970: compared, never believed.
    pub clock_ms: u64,
    /// **Bytes** of unacknowledged batches that this side takes.
    pub window_bytes: u64,
}

/// Where each side stands, right after authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The sender's incarnation.
    pub incarnation: u64,
    /// End of the sender's arrival order.
    pub position: u64,
    /// Its chain.
    pub chain: Chain,
    /// How far the sender has read the receiver's arrival order; `None` = never, or the receiver's past is not trusted.
    pub read: Option<(u64, Chain)>,
    /// Salted proof over the conversations that both may see.
    pub proof: Proof,
    /// Ops in them.
    pub count: u64,
}

/// Some ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// 1, 2, 3 ... per sender and connection.
    pub number: u64,
    /// How they were found.
    pub tool: Tool,
    /// With this batch the receiver has read the sender's arrival order up to here.
    pub through: Option<(u64, Chain)>,
    /// [`crate::batch`] bytes.
    pub ops: Vec<u8>,
}

/// The receiver has a batch on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The batch.
    pub number: u64,
    /// Over incarnation and batch, by the receiver's device key.
    pub signature: Signature,
    /// Conversations of which the receiver took nothing, with the reason.
    pub refused: Vec<(ConversationId, Refusal)>,
}

/// Why ops of a conversation were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The receiver does not know the conversation, or the sender has no place in it.
    NotHere = 0,
    /// The invitation has been used as often as it may.
    InviteUsedUp = 1,
    /// The invitation was revoked.
    InviteRevoked = 2,
    /// The invitation has expired.
    InviteExpired = 3,
    /// The sender's account has no room left.
    QuotaExceeded = 4,
    /// A bound of the receiver: too many branches, pending ops or strangers.
    TooMany = 5,
    /// Some of it waits for what authorises it, uncounted: it is not held yet, and the next comparison will tell.
    Waits = 6,
    /// The batch names something that is not here: nothing of it was taken, and the next comparison will tell. Said of no
    /// conversation in particular.
    Unnamed = 7,
}

impl TryFrom<u8> for Refusal {
    type Error = Malformed;
    fn try_from(byte: u8) -> Result<Self, Malformed> {
        match byte {
            0 => Ok(Self::NotHere),
            1 => Ok(Self::InviteUsedUp),
            2 => Ok(Self::InviteRevoked),
            3 => Ok(Self::InviteExpired),
            4 => Ok(Self::QuotaExceeded),
            5 => Ok(Self::TooMany),
            6 => Ok(Self::Waits),
            7 => Ok(Self::Unnamed),
            _ => Err(Malformed::Unknown("refusal")),
        }
    }
}

/// The sender has sent everything; here is its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// End of the sender's arrival order.
    pub position: u64,
    /// Its chain.
    pub chain: Chain,
    /// Salted proof over the conversations that both may see.
    pub proof: Proof,
    /// Number of the receiver's last batch that is on the sender's disk.
    pub seen: u64,
    /// Digest rounds that the initiator has driven, or that the responder has served.
    pub round: u64,
}

/// One conversation in a roots frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The conversation.
    pub conversation: ConversationId,
    /// Ops held.
    pub count: u64,
    /// First bytes of the salted proof.
    pub tag: [u8; 8],
}

/// One conversation that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The conversation.
    pub conversation: ConversationId,
    /// Ops held by the sender.
    pub count: u64,
    /// Heights of the sender's logs; empty when left out.
    pub heights: Vec<Height>,
    /// The sender's estimator; empty when left out.
    pub estimator: Vec<u8>,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything of the conversation.
    All,
    /// Stretches of logs.
    Runs(Vec<Run>),
    /// Ops whose ids start with these.
    Prefixes(Vec<u64>),
}

/// How far registers were read, and which are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Position of the receiver's changes up to which the sender has read them.
    pub read: u64,
    /// Digest of the sender's registers that the receiver may see.
    pub digest: [u8; 6],
}

/// Some registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// With this frame the receiver has read the sender's changes up to here.
    pub through: u64,
    /// It ends what a comparison has begun.
    pub last: bool,
    /// The registers.
    pub registers: Vec<Register>,
}

/// One message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First words.
    Hello(Hello),
    /// Proof of the key named in the hello.
    Prove(Signature),
    /// Where the sender stands.
    Resume(Resume),
    /// Some ops.
    Batch(Batch),
    /// They are on disk.
    Ack(Ack),
    /// Everything was sent.
    Settled(Settled),
    /// What is held, per conversation: begins a digest round.
    Roots(Vec<Root>),
    /// Which of them differ.
    Differ(Vec<Difference>),
    /// A request for ops.
    Want {
        /// The conversation.
        conversation: ConversationId,
        /// How they were found.
        tool: Tool,
        /// Which.
        wanted: Wanted,
    },
    /// A prefix of the sender's sketch.
    Cells {
        /// The conversation.
        conversation: ConversationId,
        /// [`crate::reconcile::sketch`] bytes.
        cells: Vec<u8>,
    },
    /// The answer: what the decoder lacks, or `None` when the cells did not decode.
    Decoded {
        /// The conversation.
        conversation: ConversationId,
        /// Prefixes of ops that the decoder lacks.
        want: Option<Vec<u64>>,
    },
    /// Ranges that differ.
    Ranges {
        /// The conversation.
        conversation: ConversationId,
        /// Prefixes of ops that the sender lacks.
        want: Vec<u64>,
        /// [`crate::reconcile::ranges`] bytes; empty = nothing left to compare.
        ranges: Vec<u8>,
    },
    /// Asks for a sign of life.
    Ping(u64),
    /// A sign of life.
    Pong(u64),
    /// The end, with a code and words.
    Bye {
        /// Stable code.
        code: String,
        /// For people.
        words: String,
    },
    /// Typing and presence: forwarded, never stored.
    Presence {
        /// The conversation.
        conversation: ConversationId,
        /// Sealed.
        payload: Vec<u8>,
    },
    /// The replica's signed word that it has moved.
    Moved {
        /// The new address.
        url: String,
        /// When it was signed, **milliseconds** since 1970.
        at_ms: u64,
        /// Over both, by the replica's key.
        signature: Signature,
    },
    /// Compares registers.
    Reading(Reading),
    /// Some registers.
    Registers(Registers),
    /// They are on disk, up to this position.
    Registered(u64),
    /// An optional frame of a newer version: ignored.
    Ignored(u8),
}

impl Frame {
    /// For logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Prove(_) => "prove",
            Self::Resume(_) => "resume",
            Self::Batch(_) => "batch",
            Self::Ack(_) => "ack",
            Self::Settled(_) => "settled",
            Self::Roots(_) => "roots",
            Self::Differ(_) => "differ",
            Self::Want { .. } => "want",
            Self::Cells { .. } => "cells",
            Self::Decoded { .. } => "decoded",
            Self::Ranges { .. } => "ranges",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Bye { .. } => "bye",
            Self::Presence { .. } => "presence",
            Self::Moved { .. } => "moved",
            Self::Reading(_) => "reading",
            Self::Registers(_) => "registers",
            Self::Registered(_) => "registered",
            Self::Ignored(_) => "an optional frame",
        }
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Hello(hello) => {
                out.push(0x00);
                out.push(hello.version);
                out.push(hello.version_min);
                out.extend_from_slice(&hello.replica.0);
                out.extend_from_slice(&hello.nonce);
                out.extend_from_slice(&hello.clock_ms.to_be_bytes());
                put_varint(&mut out, hello.window_bytes);
            }
            Self::Prove(signature) => {
                out.push(0x01);
                out.extend_from_slice(&signature.0);
            }
            Self::Resume(resume) => {
                out.push(0x02);
                out.extend_from_slice(&resume.incarnation.to_be_bytes());
                put_place(&mut out, resume.position, &resume.chain);
                put_optional_place(&mut out, resume.read);
                out.extend_from_slice(&resume.proof.0);
                put_varint(&mut out, resume.count);
            }
            Self::Batch(batch) => {
                out.push(0x03);
                put_varint(&mut out, batch.number);
                out.push(batch.tool as u8);
                put_optional_place(&mut out, batch.through);
                out.extend_from_slice(&batch.ops);
            }
            Self::Ack(ack) => {
                out.push(0x04);
                put_varint(&mut out, ack.number);
                out.extend_from_slice(&ack.signature.0);
                put_varint(&mut out, ack.refused.len() as u64);
                for (conversation, refusal) in &ack.refused {
                    out.extend_from_slice(&conversation.0);
                    out.push(*refusal as u8);
                }
            }
            Self::Settled(settled) => {
                out.push(0x05);
                put_place(&mut out, settled.position, &settled.chain);
                out.extend_from_slice(&settled.proof.0);
                put_varint(&mut out, settled.seen);
                put_varint(&mut out, settled.round);
            }
            Self::Roots(roots) => {
                out.push(0x06);
                put_varint(&mut out, roots.len() as u64);
                for root in roots {
                    out.extend_from_slice(&root.conversation.0);
                    put_varint(&mut out, root.count);
                    out.extend_from_slice(&root.tag);
                }
            }
            Self::Differ(differences) => {
                out.push(0x07);
                put_varint(&mut out, differences.len() as u64);
                for difference in differences {
                    put_difference(&mut out, difference);
                }
            }
            Self::Want { conversation, tool, wanted } => {
                out.push(0x08);
                out.extend_from_slice(&conversation.0);
                out.push(*tool as u8);
                put_wanted(&mut out, wanted);
            }
            Self::Cells { conversation, cells } => {
                out.push(0x09);
                out.extend_from_slice(&conversation.0);
                out.extend_from_slice(cells);
            }
            Self::Decoded { conversation, want } => {
                out.push(0x0a);
                out.extend_from_slice(&conversation.0);
                match want {
                    None => out.push(0),
                    Some(want) => {
                        out.push(1);
                        put_prefixes(&mut out, want);
                    }
                }
            }
            Self::Ranges { conversation, want, ranges } => {
                out.push(0x0b);
                out.extend_from_slice(&conversation.0);
                put_prefixes(&mut out, want);
                out.extend_from_slice(ranges);
            }
            Self::Ping(mark) => {
                out.push(0x0c);
                put_varint(&mut out, *mark);
            }
            Self::Pong(mark) => {
                out.push(0x0d);
                put_varint(&mut out, *mark);
            }
            Self::Bye { code, words } => {
                out.push(0x0e);
                put_bytes(&mut out, code.as_bytes());
                put_bytes(&mut out, words.as_bytes());
            }
            Self::Presence { conversation, payload } => {
                out.push(0x40);
                out.extend_from_slice(&conversation.0);
                out.extend_from_slice(payload);
            }
            Self::Moved { url, at_ms, signature } => {
                out.push(0x41);
                put_bytes(&mut out, url.as_bytes());
                out.extend_from_slice(&at_ms.to_be_bytes());
                out.extend_from_slice(&signature.0);
            }
            Self::Reading(reading) => {
                out.push(0x42);
                put_varint(&mut out, reading.read);
                out.extend_from_slice(&reading.digest);
            }
            Self::Registers(frame) => {
                out.push(0x43);
                put_varint(&mut out, frame.through);
                out.push(u8::from(frame.last));
                registers::put(&mut out, &frame.registers);
            }
            Self::Registered(through) => {
                out.push(0x44);
                put_varint(&mut out, *through);
            }
            Self::Ignored(kind) => out.push(*kind),
        }
        out
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`Fault::FrameTooLarge`] and [`Fault::Malformed`]: the peer's fault; nothing was kept. Costs at most a small
    /// multiple of the frame's own length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(Fault::FrameTooLarge { bytes: bytes.len(), max: FRAME_BYTES_MAX });
        }
        let mut reader = Reader::new(bytes);
        let frame = Self::read(&mut reader)?;
        if !matches!(frame, Self::Ignored(_)) {
            reader.finish()?;
        }
        Ok(frame)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            0x00 => Self::Hello(Hello {
                version: reader.u8()?,
                version_min: reader.u8()?,
                replica: DeviceId(reader.array()?),
                nonce: reader.array()?,
                clock_ms: reader.u64()?,
                window_bytes: reader.varint()?,
            }),
            0x01 => Self::Prove(Signature(reader.array()?)),
            0x02 => {
                let incarnation = reader.u64()?;
                let (position, chain) = place(reader)?;
                Self::Resume(Resume {
                    incarnation,
                    position,
                    chain,
                    read: optional_place(reader)?,
                    proof: Proof(reader.array()?),
                    count: reader.varint()?,
                })
            }
            0x03 => Self::Batch(Batch {
                number: reader.varint()?,
                tool: Tool::try_from(reader.u8()?)?,
                through: optional_place(reader)?,
                ops: rest(reader)?,
            }),
            0x04 => {
                let number = reader.varint()?;
                let signature = Signature(reader.array()?);
                let count = reader.count(ROOTS_MAX, "refusals")?;
                let refused = (0..count)
                    .map(|_| Ok((ConversationId(reader.array()?), Refusal::try_from(reader.u8()?)?)))
                    .collect::<Result<_, Malformed>>()?;
                Self::Ack(Ack { number, signature, refused })
            }
            0x05 => {
                let (position, chain) = place(reader)?;
                Self::Settled(Settled {
                    position,
                    chain,
                    proof: Proof(reader.array()?),
                    seen: reader.varint()?,
                    round: reader.varint()?,
                })
            }
            0x06 => {
                let count = reader.count(ROOTS_MAX, "roots")?;
                let roots = (0..count)
                    .map(|_| {
                        Ok(Root {
                            conversation: ConversationId(reader.array()?),
                            count: reader.varint()?,
                            tag: reader.array()?,
                        })
                    })
                    .collect::<Result<_, Malformed>>()?;
                Self::Roots(roots)
            }
            0x07 => {
                let count = reader.count(ROOTS_MAX, "differences")?;
                Self::Differ((0..count).map(|_| difference(reader)).collect::<Result<_, _>>()?)
            }
            0x08 => Self::Want {
                conversation: ConversationId(reader.array()?),
                tool: Tool::try_from(reader.u8()?)?,
                wanted: wanted(reader)?,
            },
            0x09 => Self::Cells { conversation: ConversationId(reader.array()?), cells: rest(reader)? },
            0x0a => Self::Decoded {
                conversation: ConversationId(reader.array()?),
                want: match reader.u8()? {
                    0 => None,
                    1 => Some(prefixes(reader)?),
                    _ => return Err(Malformed::Unknown("answer to a sketch")),
                },
            },
            0x0b => Self::Ranges {
                conversation: ConversationId(reader.array()?),
                want: prefixes(reader)?,
                ranges: {
                    let bytes = rest(reader)?;
                    if bytes.len() > 2 * RANGE_BYTES {
                        return Err(Malformed::TooLarge("ranges"));
                    }
                    bytes
                },
            },
            0x0c => Self::Ping(reader.varint()?),
            0x0d => Self::Pong(reader.varint()?),
            0x0e => Self::Bye { code: words(reader)?, words: words(reader)? },
            0x40 => {
                let conversation = ConversationId(reader.array()?);
                let payload = rest(reader)?;
                if payload.len() > PRESENCE_BYTES_MAX {
                    return Err(Malformed::TooLarge("presence"));
                }
                Self::Presence { conversation, payload }
            }
            0x41 => {
                let url = reader.bytes(ADDRESS_BYTES_MAX, "address")?;
                Self::Moved { url: text(url)?, at_ms: reader.u64()?, signature: Signature(reader.array()?) }
            }
            0x42 => Self::Reading(Reading { read: reader.varint()?, digest: reader.array()? }),
            0x43 => Self::Registers(Registers {
                through: reader.varint()?,
                last: match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed::Unknown("end of registers")),
                },
                registers: registers::take(reader)?,
            }),
            0x44 => Self::Registered(reader.varint()?),
            optional @ 0x45.. => Self::Ignored(optional),
            _ => return Err(Malformed::Unknown("frame")),
        })
    }
}

fn put_place(out: &mut Vec<u8>, position: u64, chain: &Chain) {
    put_varint(out, position);
    out.extend_from_slice(&chain.0);
}

fn place(reader: &mut Reader<'_>) -> Result<(u64, Chain), Malformed> {
    Ok((reader.varint()?, Chain(reader.array()?)))
}

fn put_optional_place(out: &mut Vec<u8>, place: Option<(u64, Chain)>) {
    match place {
        None => out.push(0),
        Some((position, chain)) => {
            out.push(1);
            put_place(out, position, &chain);
        }
    }
}

fn optional_place(reader: &mut Reader<'_>) -> Result<Option<(u64, Chain)>, Malformed> {
    match reader.u8()? {
        0 => Ok(None),
        1 => place(reader).map(Some),
        _ => Err(Malformed::Unknown("cursor")),
    }
}

fn rest(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    reader.take(reader.left()).map(<[u8]>::to_vec)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    core::str::from_utf8(bytes).map(String::from).map_err(|_| Malformed::NotCanonical("text"))
}

fn words(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    text(reader.bytes(WORDS_BYTES_MAX, "words")?)
}

fn put_prefixes(out: &mut Vec<u8>, prefixes: &[u64]) {
    put_varint(out, prefixes.len() as u64);
    for prefix in prefixes {
        out.extend_from_slice(&prefix.to_be_bytes());
    }
}

fn prefixes(reader: &mut Reader<'_>) -> Result<Vec<u64>, Malformed> {
    let count = reader.count(WANTS_MAX, "prefixes")?;
    let mut bytes = Reader::new(reader.take(count * 8)?);
    (0..count).map(|_| bytes.u64()).collect()
}

const WANT_ALL: u8 = 0;
const WANT_RUNS: u8 = 1;
const WANT_PREFIXES: u8 = 2;

fn put_wanted(out: &mut Vec<u8>, wanted: &Wanted) {
    match wanted {
        Wanted::All => out.push(WANT_ALL),
        Wanted::Runs(runs) => {
            out.push(WANT_RUNS);
            put_varint(out, runs.len() as u64);
            for run in runs {
                out.extend_from_slice(&run.log.0);
                put_varint(out, run.from);
                put_varint(out, run.to);
            }
        }
        Wanted::Prefixes(list) => {
            out.push(WANT_PREFIXES);
            put_prefixes(out, list);
        }
    }
}

fn wanted(reader: &mut Reader<'_>) -> Result<Wanted, Malformed> {
    Ok(match reader.u8()? {
        WANT_ALL => Wanted::All,
        WANT_RUNS => {
            let count = reader.count(WANTS_MAX, "runs")?;
            let runs = (0..count)
                .map(|_| Ok(Run { log: LogId(reader.array()?), from: reader.varint()?, to: reader.varint()? }))
                .collect::<Result<_, Malformed>>()?;
            Wanted::Runs(runs)
        }
        WANT_PREFIXES => Wanted::Prefixes(prefixes(reader)?),
        _ => return Err(Malformed::Unknown("want")),
    })
}

fn put_difference(out: &mut Vec<u8>, difference: &Difference) {
    out.extend_from_slice(&difference.conversation.0);
    put_varint(out, difference.count);
    put_varint(out, difference.heights.len() as u64);
    for height in &difference.heights {
        out.extend_from_slice(&height.log.0);
        put_varint(out, height.height << 1 | u64::from(height.ragged));
    }
    put_bytes(out, &difference.estimator);
}

fn difference(reader: &mut Reader<'_>) -> Result<Difference, Malformed> {
    let conversation = ConversationId(reader.array()?);
    let count = reader.varint()?;
    let number = reader.count(HEIGHTS_MAX, "heights")?;
    let mut heights = Vec::new();
    for _ in 0..number {
        let log = LogId(reader.array()?);
        let packed = reader.varint()?;
        heights.push(Height { log, height: packed >> 1, ragged: packed & 1 == 1 });
    }
    let estimator = reader.bytes(4096, "estimator")?.to_vec();
    Ok(Difference { conversation, count, heights, estimator })
}
