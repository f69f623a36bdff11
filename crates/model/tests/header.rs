//! The header has exactly one form; its id depends on every field; its bytes are pinned.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use tombolo_model::id::hex;
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, Malformed, Op, OpId, Sound};

fn ids(max: usize) -> impl Strategy<Value = Vec<OpId>> {
    btree_set(any::<[u8; 32]>().prop_map(OpId), 0..=max).prop_map(|set| set.into_iter().collect())
}

/// Any valid header, genesis and merge ones included.
pub(crate) fn headers() -> impl Strategy<Value = Header> {
    let names = (any::<u8>(), 0..3u8, any::<[u8; 16]>(), any::<[u8; 32]>(), any::<[u8; 8]>());
    let place = (1..=i64::MAX as u64, prop::bool::ANY, any::<[u8; 32]>(), 0..=i64::MAX as u64);
    let rest =
        (any::<u32>(), any::<u64>(), ids(32), ids(32), vec(any::<u8>(), 0..=256), 0..=65_536u32, any::<[u8; 32]>());
    (names, place, rest, 0..8u8).prop_map(|(names, place, rest, shape)| {
        let (version, class, conversation, author, log) = names;
        let (seq, first, prev, hlc) = place;
        let (epoch, expires_ms, parents, erases, extension, body_len, body_hash) = rest;
        let genesis = shape == 0;
        let seq = if first || genesis { 1 } else { seq.max(2) };
        let class = if genesis { Class::Control } else { Class::try_from(class).unwrap() };
        let nonzero = |mut bytes: [u8; 32]| {
            bytes[0] |= 1;
            OpId(bytes)
        };
        let mut conversation = ConversationId(conversation);
        conversation.0[0] |= 1;
        Header {
            version,
            class,
            conversation: if genesis { ConversationId::ZERO } else { conversation },
            author: DeviceId(author),
            log: LogId(log),
            seq,
            prev: if seq == 1 { OpId::ZERO } else { nonzero(prev) },
            hlc: Hlc(hlc),
            epoch,
            expires_ms,
            parents: if genesis { vec![] } else { parents },
            erases,
            extension,
            body_len: if class == Class::Merge { 0 } else { body_len },
            body_hash: BodyHash(body_hash),
        }
    })
}

/// Every field changed in the smallest way; the name says which.
fn neighbours(header: &Header) -> Vec<(&'static str, Header)> {
    let mut all = Vec::new();
    let mut change = |name, edit: &dyn Fn(&mut Header)| {
        let mut other = header.clone();
        edit(&mut other);
        all.push((name, other));
    };
    change("version", &|it| it.version ^= 1);
    change("class", &|it| it.class = if it.class == Class::Content { Class::Control } else { Class::Content });
    change("conversation", &|it| it.conversation.0[15] ^= 1);
    change("author", &|it| it.author.0[31] ^= 1);
    change("log", &|it| it.log.0[7] ^= 1);
    change("seq", &|it| it.seq ^= 1);
    change("prev", &|it| it.prev.0[31] ^= 1);
    change("hlc", &|it| it.hlc.0 ^= 1);
    change("epoch", &|it| it.epoch ^= 1);
    change("expires", &|it| it.expires_ms ^= 1);
    change("parents: one more", &|it| it.parents.push(OpId([9; 32])));
    change("erases: one more", &|it| it.erases.push(OpId([9; 32])));
    change("extension: one more", &|it| it.extension.push(0));
    change("body length", &|it| it.body_len ^= 1);
    change("body hash", &|it| it.body_hash.0[31] ^= 1);
    if !header.parents.is_empty() {
        change("parent", &|it| it.parents[0].0[31] ^= 1);
        change("parents: one less", &|it| it.parents.truncate(it.parents.len() - 1));
        change("a parent that is erased instead", &|it| {
            let moved = it.parents.pop().unwrap();
            it.erases.push(moved);
        });
    }
    if !header.erases.is_empty() {
        change("erased", &|it| it.erases[0].0[31] ^= 1);
    }
    if !header.extension.is_empty() {
        change("extension", &|it| it.extension[0] ^= 1);
    }
    all
}

proptest! {
    #[test]
    fn headers_survive(header in headers()) {
        prop_assert_eq!(header.check(), Ok(()));
        let bytes = header.to_bytes();
        prop_assert_eq!(Header::from_bytes(&bytes), Ok(header.clone()));
        prop_assert_eq!(&bytes[..bytes.len() - 32], &header.associated_data()[..]);
    }

    #[test]
    fn the_id_depends_on_every_field(header in headers()) {
        for (field, other) in neighbours(&header) {
            prop_assert_ne!(header.id(), other.id(), "{}", field);
        }
    }

    #[test]
    fn every_byte_counts(header in headers(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = header.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Refused, or another op in its own one form.
        if let Ok(other) = Header::from_bytes(&bytes) {
            prop_assert_ne!(other.id(), header.id());
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }

    #[test]
    fn cut_and_lengthened_headers_are_refused(header in headers(), at in any::<prop::sample::Index>()) {
        let mut bytes = header.to_bytes();
        prop_assert!(Header::from_bytes(&bytes[..at.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(Header::from_bytes(&bytes).is_err());
    }

    #[test]
    fn any_bytes_give_an_error_or_a_header_in_its_one_form(bytes in vec(any::<u8>(), 0..400)) {
        if let Ok(header) = Header::from_bytes(&bytes) {
            prop_assert_eq!(header.to_bytes(), bytes);
        }
    }

    #[test]
    fn unsorted_and_doubled_lists_are_refused(header in headers(), swap in prop::bool::ANY) {
        let doubled = |list: &mut Vec<OpId>| {
            if swap { list.reverse() } else if let Some(first) = list.first().copied() { list.insert(0, first) }
        };
        let mut parents = header.clone();
        doubled(&mut parents.parents);
        if header.parents.len() > 1 {
            prop_assert!(parents.check().is_err());
            prop_assert!(Header::from_bytes(&parents.to_bytes()).is_err());
        }
        let mut erases = header.clone();
        doubled(&mut erases.erases);
        if header.erases.len() > 1 {
            prop_assert!(Header::from_bytes(&erases.to_bytes()).is_err());
        }
    }
}

fn plain() -> Header {
    Header {
        version: 1,
        class: Class::Content,
        conversation: ConversationId([0xc0; 16]),
        author: DeviceId([0xa0; 32]),
        log: LogId([0x10; 8]),
        seq: 2,
        prev: OpId([0x0f; 32]),
        hlc: Hlc::new(0x0102_0304_0506, 0x0708),
        epoch: 0x1112_1314,
        expires_ms: 0x2122_2324_2526_2728,
        parents: vec![OpId([0x31; 32]), OpId([0x32; 32])],
        erases: vec![OpId([0x41; 32])],
        extension: vec![0x51, 0x52, 0x53],
        body_len: 0x61,
        body_hash: BodyHash([0x71; 32]),
    }
}

#[test]
fn each_bound_and_form_is_refused_with_its_name() {
    let refused = |edit: &dyn Fn(&mut Header)| {
        let mut header = plain();
        edit(&mut header);
        let error = header.check().unwrap_err();
        // A list that is too long cannot be written with its count in a byte, or is refused when read.
        assert!(Header::from_bytes(&header.to_bytes()).is_err());
        error
    };
    let many = |count: u8| (0..count).map(|number| OpId([number + 1; 32])).collect::<Vec<_>>();
    assert_eq!(refused(&|it| it.parents = many(33)), Malformed::TooLarge("parents"));
    assert_eq!(refused(&|it| it.erases = many(33)), Malformed::TooLarge("erases"));
    assert_eq!(refused(&|it| it.extension = vec![0; 257]), Malformed::TooLarge("extension"));
    assert_eq!(refused(&|it| it.body_len = 65_537), Malformed::TooLarge("body"));
    assert_eq!(refused(&|it| it.parents.reverse()), Malformed::NotCanonical("parents"));
    assert_eq!(refused(&|it| it.parents[1] = it.parents[0]), Malformed::NotCanonical("parents"));
    assert_eq!(refused(&|it| it.erases.push(it.erases[0])), Malformed::NotCanonical("erases"));
    assert_eq!(refused(&|it| it.seq = 0), Malformed::TooLarge("seq"));
    assert_eq!(refused(&|it| it.seq = 1 << 63), Malformed::TooLarge("seq"));
    assert_eq!(refused(&|it| it.seq = 1), Malformed::NotCanonical("prev"));
    assert_eq!(refused(&|it| it.prev = OpId::ZERO), Malformed::NotCanonical("prev"));
    assert_eq!(refused(&|it| it.hlc = Hlc(1 << 63)), Malformed::TooLarge("hlc"));
    assert_eq!(refused(&|it| it.conversation = ConversationId::ZERO), Malformed::NotCanonical("genesis"));
    assert_eq!(refused(&|it| it.class = Class::Merge), Malformed::NotCanonical("merge"));
    let mut unknown = plain().to_bytes();
    unknown[1] = 3;
    assert_eq!(Header::from_bytes(&unknown), Err(Malformed::Unknown("class")));
}

#[test]
fn the_bytes_of_a_header_and_its_id_are_pinned() {
    let fields = [
        ("version", "01".to_owned()),
        ("class content", "00".to_owned()),
        ("conversation", "c0".repeat(16)),
        ("author", "a0".repeat(32)),
        ("log", "10".repeat(8)),
        ("seq", "0000000000000002".to_owned()),
        ("prev", "0f".repeat(32)),
        ("hlc: milliseconds, counter", "0102030405060708".to_owned()),
        ("epoch", "11121314".to_owned()),
        ("expires", "2122232425262728".to_owned()),
        ("parents: count", "02".to_owned()),
        ("parents", "31".repeat(32) + &"32".repeat(32)),
        ("erases: count", "01".to_owned()),
        ("erases", "41".repeat(32)),
        ("extension: length", "0003".to_owned()),
        ("extension", "515253".to_owned()),
        ("body length", "00000061".to_owned()),
        ("body hash", "71".repeat(32)),
    ];
    let pinned: String = fields.iter().map(|(_, bytes)| bytes.as_str()).collect();
    assert_eq!(hex(&plain().to_bytes()), pinned);
    assert_eq!(plain().id().to_string(), "01bcaa4b689c5b68e3ead83fd817a187cbb6c7f7eda66d2b90a48fcd8e0b0f5a");
    assert_eq!(hex(&BodyHash::of(b"body").0), "c149eb2600ea31bf51ff89780af7b7c72f8f3f7b53a46eb899a1e72fd26c8447");
    // The id is BLAKE3 in its key derivation mode, and the body hash has a domain of its own.
    let id = blake3::Hasher::new_derive_key("tombolo 1 op id").update(&plain().to_bytes()).finalize();
    assert_eq!(plain().id().0, *id.as_bytes());
    let body = blake3::Hasher::new_derive_key("tombolo 1 body hash").update(b"body").finalize();
    assert_eq!(BodyHash::of(b"body").0, *body.as_bytes());
}

#[test]
fn a_genesis_founds_the_conversation_that_its_id_begins_with() {
    let mut header = plain();
    (header.conversation, header.class, header.seq, header.prev) =
        (ConversationId::ZERO, Class::Control, 1, OpId::ZERO);
    header.parents.clear();
    header.check().unwrap();
    let id = header.id();
    assert_eq!(header.belongs_to(&id).0, id.0[..16]);
    assert_eq!(header.depends_on().count(), 0);
}

#[test]
fn an_op_whose_parts_do_not_fit_is_not_sound() {
    let good = Sound::join(plain(), None, Some(b"hello".to_vec())).unwrap();
    assert_eq!((good.header.body_len, good.header.body_hash), (5, BodyHash::of(b"hello")));
    assert_eq!(Sound::check(good.clone().into_op()), Ok(good.clone()));
    let bare = Op { body: None, ..good.clone().into_op() };
    assert_eq!(Sound::check(bare.clone()).map(Sound::into_op), Ok(bare), "what is not held contradicts nothing");
    for spoil in [
        |op: &mut Op| op.id.0[0] ^= 1,
        |op: &mut Op| op.header.epoch ^= 4,
        |op: &mut Op| op.body = Some(b"jello".to_vec()),
        |op: &mut Op| op.body = Some(b"hello!".to_vec()),
        |op: &mut Op| {
            op.header.seq = 0;
            op.id = op.header.id();
        },
    ] {
        let mut bad = good.clone().into_op();
        spoil(&mut bad);
        assert!(Sound::check(bad).is_err());
    }
    let nowhere = Header { seq: 0, ..plain() };
    assert_eq!(Sound::join(nowhere, None, None), Err(Malformed::TooLarge("seq")));
}
