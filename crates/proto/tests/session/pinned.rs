//! The bytes of every frame and of a batch, written by hand, field by field. A change here is a new protocol version.

use crate::history::{Key, header, seal};
use tombolo_model::digest::Chain;
use tombolo_model::id::{hex, unhex};
use tombolo_model::{Class, ConversationId, DeviceId, Hlc, LogId, OpId, Proof, Register, Signature, Sound};
use tombolo_proto::batch::{self, Compression};
use tombolo_proto::frame::{Ack, Batch, Difference, Hello, Reading, Registers, Resume, Root, Settled, Wanted};
use tombolo_proto::source::{Height, Run};
use tombolo_proto::{Frame, Refusal, Tool};

/// Each field's name and hex bytes.
type Fields<'a> = &'a [(&'a str, &'a str)];

fn bytes_of(fields: Fields<'_>) -> String {
    fields
        .iter()
        .map(|(_, bytes)| match bytes.split_once('*') {
            Some((byte, times)) => byte.repeat(times.parse().unwrap()),
            None => (*bytes).to_owned(),
        })
        .collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| unhex::<1>(core::str::from_utf8(pair).unwrap()).unwrap()[0]).collect()
}

const CONVERSATION: ConversationId = ConversationId([0xc0; 16]);

/// Every frame, with its name and its bytes.
pub(crate) fn frames() -> Vec<(Frame, Vec<u8>)> {
    let pin = |frame: Frame, fields: Fields<'_>| (frame, from_hex(&bytes_of(fields)));
    vec![
        pin(
            Frame::Hello(Hello {
                version: 2,
                version_min: 1,
                replica: DeviceId([0xaa; 32]),
                nonce: [0xbb; 32],
                clock_ms: 0x0102_0304_0506,
                window_bytes: 300,
            }),
            &[
                ("type", "00"),
                ("newest version", "02"),
                ("oldest version", "01"),
                ("replica", "aa*32"),
                ("nonce", "bb*32"),
                ("clock, milliseconds", "0000010203040506"),
                ("window: 300", "ac02"),
            ],
        ),
        pin(Frame::Prove(Signature([0x51; 64])), &[("type", "01"), ("signature", "51*64")]),
        pin(
            Frame::Resume(Resume {
                incarnation: 0x0102_0304_0506_0708,
                position: 200,
                chain: Chain([0xc1; 16]),
                read: Some((7, Chain([0xc2; 16]))),
                proof: Proof([0xd1; 32]),
                count: 128,
            }),
            &[
                ("type", "02"),
                ("incarnation", "0102030405060708"),
                ("position: 200", "c801"),
                ("chain", "c1*16"),
                ("a cursor follows", "01"),
                ("read up to 7", "07"),
                ("chain there", "c2*16"),
                ("salted proof", "d1*32"),
                ("count: 128", "8001"),
            ],
        ),
        pin(
            Frame::Resume(Resume {
                incarnation: 1,
                position: 0,
                chain: Chain([0xc1; 16]),
                read: None,
                proof: Proof([0xd1; 32]),
                count: 0,
            }),
            &[
                ("type", "02"),
                ("incarnation", "0000000000000001"),
                ("position", "00"),
                ("chain", "c1*16"),
                ("no cursor", "00"),
                ("salted proof", "d1*32"),
                ("count", "00"),
            ],
        ),
        pin(
            Frame::Batch(Batch {
                number: 1,
                tool: Tool::Cursor,
                through: Some((9, Chain([0xc3; 16]))),
                ops: vec![0x00, 0x01, 0x00],
            }),
            &[
                ("type", "03"),
                ("number", "01"),
                ("tool: cursor", "00"),
                ("a cursor follows", "01"),
                ("through 9", "09"),
                ("chain there", "c3*16"),
                ("no compression", "00"),
                ("columns: length", "01"),
                ("no conversations", "00"),
            ],
        ),
        pin(
            Frame::Ack(Ack {
                number: 130,
                signature: Signature([0x52; 64]),
                refused: vec![(CONVERSATION, Refusal::QuotaExceeded)],
            }),
            &[
                ("type", "04"),
                ("number: 130", "8201"),
                ("signature", "52*64"),
                ("refused: count", "01"),
                ("conversation", "c0*16"),
                ("reason: quota", "04"),
            ],
        ),
        pin(
            Frame::Settled(Settled {
                position: 3,
                chain: Chain([0xc4; 16]),
                proof: Proof([0xd2; 32]),
                seen: 5,
                round: 2,
            }),
            &[
                ("type", "05"),
                ("position", "03"),
                ("chain", "c4*16"),
                ("salted proof", "d2*32"),
                ("seen", "05"),
                ("round", "02"),
            ],
        ),
        pin(
            Frame::Roots(vec![Root { conversation: CONVERSATION, count: 300, tag: [0x71; 8] }]),
            &[("type", "06"), ("count", "01"), ("conversation", "c0*16"), ("ops: 300", "ac02"), ("tag", "71*8")],
        ),
        pin(
            Frame::Differ(vec![Difference {
                conversation: CONVERSATION,
                count: 4,
                heights: vec![
                    Height { log: LogId([0x11; 8]), height: 3, ragged: false },
                    Height { log: LogId([0x12; 8]), height: 64, ragged: true },
                ],
                estimator: vec![0xe1, 0xe2],
            }]),
            &[
                ("type", "07"),
                ("count", "01"),
                ("conversation", "c0*16"),
                ("ops", "04"),
                ("heights: count", "02"),
                ("log", "11*8"),
                ("height 3, whole", "06"),
                ("log", "12*8"),
                ("height 64, ragged: 129", "8101"),
                ("estimator: length", "02"),
                ("estimator", "e1e2"),
            ],
        ),
        pin(
            Frame::Want { conversation: CONVERSATION, tool: Tool::Heights, wanted: Wanted::All },
            &[("type", "08"), ("conversation", "c0*16"), ("tool: heights", "01"), ("everything", "00")],
        ),
        pin(
            Frame::Want {
                conversation: CONVERSATION,
                tool: Tool::Heights,
                wanted: Wanted::Runs(vec![Run { log: LogId([0x11; 8]), from: 4, to: 200 }]),
            },
            &[
                ("type", "08"),
                ("conversation", "c0*16"),
                ("tool: heights", "01"),
                ("runs", "01"),
                ("count", "01"),
                ("log", "11*8"),
                ("from", "04"),
                ("to 200", "c801"),
            ],
        ),
        pin(
            Frame::Want {
                conversation: CONVERSATION,
                tool: Tool::Ranges,
                wanted: Wanted::Prefixes(vec![0x0102_0304_0506_0708]),
            },
            &[
                ("type", "08"),
                ("conversation", "c0*16"),
                ("tool: ranges", "03"),
                ("prefixes", "02"),
                ("count", "01"),
                ("prefix", "0102030405060708"),
            ],
        ),
        pin(
            Frame::Cells { conversation: CONVERSATION, cells: vec![0x81; 13] },
            &[("type", "09"), ("conversation", "c0*16"), ("one cell: sum 8, check 4, count 1", "81*13")],
        ),
        pin(
            Frame::Decoded { conversation: CONVERSATION, want: None },
            &[("type", "0a"), ("conversation", "c0*16"), ("did not decode", "00")],
        ),
        pin(
            Frame::Decoded { conversation: CONVERSATION, want: Some(vec![1]) },
            &[
                ("type", "0a"),
                ("conversation", "c0*16"),
                ("decoded", "01"),
                ("count", "01"),
                ("prefix", "0000000000000001"),
            ],
        ),
        pin(
            Frame::Ranges { conversation: CONVERSATION, want: vec![2], ranges: vec![0x3c] },
            &[
                ("type", "0b"),
                ("conversation", "c0*16"),
                ("wanted: count", "01"),
                ("prefix", "0000000000000002"),
                ("one range to the end: skip", "3c"),
            ],
        ),
        pin(Frame::Ping(300), &[("type", "0c"), ("mark: 300", "ac02")]),
        pin(Frame::Pong(300), &[("type", "0d"), ("mark: 300", "ac02")]),
        pin(
            Frame::Bye { code: "done".into(), words: "a b".into() },
            &[("type", "0e"), ("length", "04"), ("done", "646f6e65"), ("length", "03"), ("a b", "612062")],
        ),
        pin(
            Frame::Presence { conversation: CONVERSATION, payload: vec![1, 2] },
            &[("type", "40"), ("conversation", "c0*16"), ("sealed", "0102")],
        ),
        pin(
            Frame::Moved { url: "ws://x".into(), at_ms: 0x0102, signature: Signature([0x53; 64]) },
            &[
                ("type", "41"),
                ("length", "06"),
                ("address", "77733a2f2f78"),
                ("at, milliseconds", "0000000000000102"),
                ("signature", "53*64"),
            ],
        ),
        pin(
            Frame::Reading(Reading { read: 300, digest: [0x61; 6] }),
            &[("type", "42"), ("read up to 300", "ac02"), ("digest", "61*6")],
        ),
        pin(
            Frame::Registers(Registers {
                through: 200,
                last: true,
                registers: vec![
                    register(CONVERSATION, 0xaa, 1, vec![0xf1, 0xf2]),
                    register(CONVERSATION, 0xab, 129, vec![]),
                    register(ConversationId([0xc1; 16]), 0xaa, 2, vec![0xf3]),
                ],
            }),
            &[
                ("type", "43"),
                ("through 200", "c801"),
                ("the last one", "01"),
                ("conversations: count", "02"),
                ("conversation", "c0*16"),
                ("registers: count", "02"),
                ("device", "aa*32"),
                ("version", "01"),
                ("payload: length", "02"),
                ("payload", "f1f2"),
                ("signature", "54*64"),
                ("device", "ab*32"),
                ("version: 129", "8101"),
                ("payload: length", "00"),
                ("signature", "54*64"),
                ("conversation", "c1*16"),
                ("registers: count", "01"),
                ("device", "aa*32"),
                ("version", "02"),
                ("payload: length", "01"),
                ("payload", "f3"),
                ("signature", "54*64"),
            ],
        ),
        pin(Frame::Registered(300), &[("type", "44"), ("through 300", "ac02")]),
    ]
}

fn register(conversation: ConversationId, device: u8, version: u64, payload: Vec<u8>) -> Register {
    Register { conversation, device: DeviceId([device; 32]), version, payload, signature: Signature([0x54; 64]) }
}

#[test]
fn every_frame_has_its_bytes() {
    let mut kinds = std::collections::BTreeSet::new();
    for (frame, pinned) in frames() {
        assert_eq!(hex(&frame.to_bytes()), hex(&pinned), "{}", frame.name());
        assert_eq!(Frame::from_bytes(&pinned), Ok(frame));
        kinds.insert(pinned[0]);
    }
    let all: Vec<u8> = (0x00..=0x0e).chain(0x40..=0x44).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all, "every type is pinned");
}

#[test]
fn tools_and_refusals_have_their_numbers() {
    let tools = [Tool::Cursor, Tool::Heights, Tool::Sketch, Tool::Ranges];
    assert_eq!(tools.map(|tool| tool as u8), [0, 1, 2, 3]);
    let refusals = [
        Refusal::NotHere,
        Refusal::InviteUsedUp,
        Refusal::InviteRevoked,
        Refusal::InviteExpired,
        Refusal::QuotaExceeded,
        Refusal::TooMany,
        Refusal::Waits,
    ];
    assert_eq!(refusals.map(|refusal| refusal as u8), [0, 1, 2, 3, 4, 5, 6]);
}

struct Plain;

impl Compression for Plain {
    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    fn decompress(&self, _: &[u8], _: usize) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn a_batch_has_its_bytes() {
    let author = Key::of(0xaa).0;
    let log = LogId([0x11; 8]);
    let first = seal(header(CONVERSATION, author, log, 1, OpId::ZERO, Hlc::new(0x0100, 2)), vec![0xb1; 3]);
    let mut second = header(CONVERSATION, author, log, 2, first.id, Hlc::new(0x0102, 0));
    second.parents = vec![OpId([0x31; 32])];
    let second = seal(second, vec![0xb2; 2]);
    let other = Key::of(0xab).0;
    let mut third = header(CONVERSATION, other, LogId([0x12; 8]), 7, OpId([0x0f; 32]), Hlc::new(0x0101, 0));
    (third.class, third.epoch, third.expires_ms) = (Class::Control, 3, 200);
    third.parents = vec![first.id];
    third.erases = vec![OpId([0x41; 32])];
    third.extension = vec![0x51];
    let mut third = seal(third, vec![0xb3; 4]);
    third.body = None;
    let ops = [first.clone(), second.clone(), third.clone()];
    let columns = bytes_of(&[
        ("conversations: count", "01"),
        ("conversation", "c0*16"),
        ("ops: count", "03"),
        ("runs: count", "02"),
        ("run 0: author", "aa*32"),
        ("run 0: log", "11*8"),
        ("run 0: first seq, so nothing before it", "01"),
        ("run 1: author", "ab*32"),
        ("run 1: log", "12*8"),
        ("run 1: first seq", "07"),
        ("run 1: id before it", "0f*32"),
        ("run of each op", "000001"),
        ("flags: content with body; content, signed, with body; control, signed, rare", "080c15"),
        ("milliseconds: 256, then zigzag of 2 and of -1", "80040401"),
        ("counters", "020000"),
        ("parents of op 0", "00"),
        ("parents of op 1: one, not in the batch", "0100"),
        ("its id", "31*32"),
        ("parents of op 2: one, two ops back", "0102"),
        ("body lengths", "030204"),
        ("op 2: body hash", &hex(&third.header.body_hash.0)),
        ("op 2, rare: version", "01"),
        ("epoch", "03"),
        ("expires: 200", "c801"),
        ("erases: count", "01"),
        ("erased", "41*32"),
        ("extension: length", "01"),
        ("extension", "51"),
    ]);
    let length = columns.len() / 2;
    let pinned = bytes_of(&[
        ("no compression", "00"),
        ("length of the columns", &hex(&[(length & 0x7f) as u8 | 0x80, (length >> 7) as u8])),
        ("columns", &columns),
        ("signature of op 1", &hex(&second.signature.unwrap().0)),
        ("signature of op 2", &hex(&third.signature.unwrap().0)),
        ("body of op 0", "b1*3"),
        ("body of op 1", "b2*2"),
    ]);
    let bytes = batch::encode(&ops, &Plain);
    assert_eq!(hex(&bytes), pinned);
    let mut expected = ops.to_vec();
    expected[0].signature = None;
    let expected = expected.into_iter().map(|op| Sound::check(op).unwrap()).collect();
    assert_eq!(batch::decode(&bytes, &Plain), Ok(expected));
}
