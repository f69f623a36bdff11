//! What must hold for any bytes that a stranger sends: no panic, bounded work, and whatever is accepted has one form.
//!
//! Each function takes any bytes, panics when a promise is broken, and returns whether the bytes were accepted. Used by
//! the fuzz targets and, on a stable compiler, by the tests that replay the corpus. Not here: where inputs come from.

use tombolo_model::codec::Reader;
use tombolo_model::content::Content;
use tombolo_model::limit::{BODY_BYTES_MAX, ERASES_MAX, EXTENSION_BYTES_MAX, PARENTS_MAX};
use tombolo_model::{Control, Header, Op, Sound};
use tombolo_proto::Frame;
use tombolo_proto::batch::{self, Compression as _};
use tombolo_proto::limit::{BATCH_OPS_MAX, COLUMN_BYTES_MAX};
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::ranges::{self, Span};
use tombolo_proto::reconcile::sketch::Sketch;
use tombolo_replica::Zstd;
use tombolo_seal::Invitation;

/// A name and what it checks.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("frame", frame),
    ("batch", batch),
    ("op", op),
    ("control", control),
    ("content", content),
    ("invitation", invitation),
];

/// A frame, and what lies inside it.
pub fn frame(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::from_bytes(bytes) else { return false };
    if matches!(frame, Frame::Ignored(_)) {
        return true;
    }
    assert_eq!(frame.to_bytes(), bytes, "a frame has one form");
    match &frame {
        Frame::Batch(it) => {
            batch(&it.ops);
        }
        Frame::Cells { cells, .. } => {
            if let Ok(sketch) = Sketch::from_bytes(cells) {
                assert_eq!(&sketch.to_bytes(), cells);
                let cells = sketch.len();
                if let Ok(found) = sketch.decode() {
                    assert!(found.mine.len() + found.theirs.len() <= cells, "no more than cells can name");
                }
            }
        }
        Frame::Ranges { ranges: it, .. } => {
            if let Ok(message) = ranges::from_bytes(Span::ALL, it) {
                assert_eq!(&ranges::to_bytes(Span::ALL, &message), it, "a message about ranges has one form");
            }
        }
        Frame::Differ(differences) => {
            for difference in differences {
                if let Ok(estimator) = Estimator::from_bytes(&difference.estimator) {
                    let _ = estimator.difference(&Estimator::new());
                }
            }
        }
        _ => {}
    }
    true
}

/// A batch: what decodes is bounded, consists of sound ops, and survives another trip.
pub fn batch(bytes: &[u8]) -> bool {
    let Ok(ops) = batch::decode(bytes, &Zstd) else { return false };
    assert!(ops.len() <= BATCH_OPS_MAX);
    for op in &ops {
        assert_eq!(Sound::check(op.clone().into_op()).as_ref(), Ok(op));
        assert_eq!(Header::from_bytes(&op.header.to_bytes()).as_ref(), Ok(&op.header));
    }
    let ops: Vec<Op> = ops.into_iter().map(Sound::into_op).collect();
    let again = batch::encode(&ops, &Zstd);
    if columns(&again).is_some_and(|len| len > COLUMN_BYTES_MAX) {
        // Nobody sends so much at once: the session splits it.
        return true;
    }
    let mut expected: Vec<&Op> = ops.iter().collect();
    expected.sort_by_key(|op| op.conversation());
    let arrived = batch::decode(&again, &Zstd).expect("what was decoded can be encoded");
    assert_eq!(arrived.len(), expected.len());
    for (op, came) in expected.iter().zip(&arrived) {
        assert_eq!((op.id, &op.header, &op.body), (came.id, &came.header, &came.body));
        assert!(came.signature.is_none() || came.signature == op.signature);
    }
    let plain: Vec<Op> = arrived.iter().cloned().map(Sound::into_op).collect();
    assert_eq!(batch::decode(&batch::encode(&plain, &Zstd), &Zstd), Ok(arrived), "and nothing changes any more");
    true
}

/// **Bytes** of the columns of a batch when they are unpacked.
fn columns(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let packed = reader.u8().ok()?;
    let block = reader.bytes(usize::MAX, "columns").ok()?;
    if packed == 0 { Some(block.len()) } else { Zstd.decompress(block, 16 * COLUMN_BYTES_MAX).map(|it| it.len()) }
}

/// A header.
pub fn op(bytes: &[u8]) -> bool {
    let Ok(header) = Header::from_bytes(bytes) else { return false };
    assert_eq!(header.to_bytes(), bytes, "a header has one form");
    assert_eq!(header.check(), Ok(()));
    assert!(header.parents.len() <= PARENTS_MAX && header.erases.len() <= ERASES_MAX);
    assert!(header.extension.len() <= EXTENSION_BYTES_MAX && header.body_len as usize <= BODY_BYTES_MAX);
    let id = header.id();
    assert_eq!(header.key(&id).hlc(), header.hlc);
    let op = Op::new(header, None, None);
    assert_eq!(op.id, id);
    assert_eq!(op.header.is_genesis(), op.conversation() == id.founds() && op.header.conversation.0 == [0; 16]);
    true
}

/// A control body: it is hashed as it came, so it may have several forms, but they mean the same.
pub fn control(bytes: &[u8]) -> bool {
    let Ok(control) = Control::from_bytes(bytes) else { return false };
    assert_eq!(Control::from_bytes(&control.to_bytes()), Ok(control));
    true
}

/// An opened body.
pub fn content(bytes: &[u8]) -> bool {
    let Ok(content) = Content::from_padded(bytes) else { return false };
    match content.to_padded() {
        Ok(padded) => assert_eq!(Content::from_padded(&padded), Ok(content)),
        Err(_) => assert!(matches!(content, Content::Unknown(_)), "whatever is known can be written"),
    }
    true
}

/// An invitation: the bytes as a link, and the bytes inside a link whose checksum is right.
pub fn invitation(bytes: &[u8]) -> bool {
    let link = core::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Invitation>().ok());
    let inside = wrapped(bytes).parse::<Invitation>();
    if let Ok(it) = &inside {
        assert_eq!(it.to_string(), wrapped(bytes), "a link has one form");
    }
    let mut accepted = false;
    for it in link.into_iter().chain(inside) {
        let back: Invitation = it.to_string().parse().expect("what was read can be written");
        assert_eq!(back.to_string(), it.to_string());
        assert!(it.relays.iter().all(|relay| relay.url.starts_with("ws") && relay.url.is_ascii()));
        accepted = true;
    }
    accepted
}

/// A link around any bytes, with the checksum that belongs to them.
fn wrapped(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut whole = bytes.to_vec();
    let sum = *blake3::Hasher::new_derive_key("tombolo 1 invitation checksum").update(bytes).finalize().as_bytes();
    whole.extend_from_slice(&sum[..4]);
    let mut link = String::from("tombolo:");
    for chunk in whole.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            link.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    link
}

/// A batch whose columns are not compressed, so that small changes stay small.
pub fn plain_batch(ops: &[Op]) -> Vec<u8> {
    struct Plain;
    impl batch::Compression for Plain {
        fn compress(&self, bytes: &[u8]) -> Vec<u8> {
            bytes.to_vec()
        }
        fn decompress(&self, bytes: &[u8], _: usize) -> Option<Vec<u8>> {
            Some(bytes.to_vec())
        }
    }
    batch::encode(ops, &Plain)
}

/// Bytes inside a link without its checksum: what the target `invitation` takes.
pub fn inside(invitation: &Invitation) -> Vec<u8> {
    let link = invitation.to_string();
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = link.bytes().skip("tombolo:".len()).map(value).collect();
    let mut bytes = Vec::new();
    for chunk in digits.chunks(4) {
        let bits = chunk.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    bytes.truncate(bytes.len() - 4);
    bytes
}
