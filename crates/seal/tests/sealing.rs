//! Bodies and stored secrets: open for the right key at the right place, closed for everything else.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tombolo_model::limit::BODY_BYTES_MAX;
use tombolo_model::op::VERSION;
use tombolo_model::{BodyHash, Class, ConversationId, DeviceId, Header, Hlc, LogId, OpId};
use tombolo_seal::{
    ConversationSecret, OVERHEAD_BYTES, Place, SealError, Sealer, SecretSealer, StorageKey, open_body, seal_body,
};
use zeroize::ZeroizeOnDrop;

fn sealer(secret: u8) -> SecretSealer {
    SecretSealer::new(ConversationSecret::new([secret; 32]))
}

fn place() -> Place {
    Place { author: DeviceId([1; 32]), log: LogId([2; 8]), seq: 3, epoch: 4 }
}

fn header() -> Header {
    Header {
        version: VERSION,
        class: Class::Content,
        conversation: ConversationId([5; 16]),
        author: DeviceId([1; 32]),
        log: LogId([2; 8]),
        seq: 3,
        prev: OpId([6; 32]),
        hlc: Hlc::new(7, 0),
        epoch: 4,
        expires_ms: 0,
        parents: vec![],
        erases: vec![],
        extension: vec![],
        body_len: 0,
        body_hash: BodyHash::default(),
    }
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_costs_16_bytes(plain: Vec<u8>, ad: Vec<u8>, seq: u64, epoch: u32) {
        let at = Place { seq, epoch, ..place() };
        let sealed = sealer(1).seal(&ad, &at, &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + 16);
        prop_assert_eq!(&*sealer(1).open(&ad, &at, &sealed).unwrap(), &plain);
    }

    #[test]
    fn one_flipped_bit_closes_it(plain: Vec<u8>, bit: prop::sample::Index) {
        let mut sealed = sealer(1).seal(b"ad", &place(), &plain).unwrap();
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(sealer(1).open(b"ad", &place(), &sealed), Err(SealError::NotOpened));
    }
}

#[test]
fn another_key_place_or_header_does_not_open() {
    let sealed = sealer(1).seal(b"ad", &place(), b"plain").unwrap();
    let open = |secret, ad: &[u8], at| sealer(secret).open(ad, &at, &sealed).map(|plain| plain.to_vec());
    assert_eq!(open(1, b"ad", place()), Ok(b"plain".to_vec()));
    assert_eq!(open(2, b"ad", place()), Err(SealError::NotOpened));
    assert_eq!(open(1, b"aD", place()), Err(SealError::NotOpened));
    assert_eq!(open(1, b"", place()), Err(SealError::NotOpened));
    for at in [
        Place { author: DeviceId([9; 32]), ..place() },
        Place { log: LogId([9; 8]), ..place() },
        Place { seq: 9, ..place() },
        Place { epoch: 9, ..place() },
    ] {
        assert_eq!(open(1, b"ad", at), Err(SealError::NotOpened), "{at:?}");
    }
    for len in 0..OVERHEAD_BYTES {
        assert_eq!(sealer(1).open(b"ad", &place(), &sealed[..len]), Err(SealError::NotOpened));
    }
}

#[test]
fn equal_texts_at_two_places_look_unrelated() {
    let (a, b) = (place(), Place { seq: 4, ..place() });
    let (a, b) = (sealer(1).seal(b"", &a, &[0; 64]).unwrap(), sealer(1).seal(b"", &b, &[0; 64]).unwrap());
    let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    assert!(equal < 10, "{equal} of {} bytes are equal", a.len());
    assert!(!a.windows(4).any(|window| window == [0; 4]), "the text shows through");
}

#[test]
fn every_header_field_is_bound() {
    let mut sealed_under = header();
    let sealed = seal_body(&sealer(1), &mut sealed_under, b"plain").unwrap();
    assert_eq!(sealed_under.body_len as usize, sealed.len());
    assert_eq!(&**open_body(&sealer(1), &sealed_under, &sealed).unwrap(), b"plain");
    // The hash of the body comes after sealing.
    let with_hash = Header { body_hash: BodyHash::of(&sealed), ..sealed_under.clone() };
    assert!(open_body(&sealer(1), &with_hash, &sealed).is_ok());
    let changes: [fn(&mut Header); 13] = [
        |h| h.version += 1,
        |h| h.class = Class::Control,
        |h| h.conversation.0[0] ^= 1,
        |h| h.author.0[0] ^= 1,
        |h| h.log.0[0] ^= 1,
        |h| h.seq += 1,
        |h| h.prev.0[0] ^= 1,
        |h| h.hlc.0 += 1,
        |h| h.epoch += 1,
        |h| h.expires_ms += 1,
        |h| h.parents.push(OpId([1; 32])),
        |h| h.erases.push(OpId([1; 32])),
        |h| h.extension.push(0),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut changed = with_hash.clone();
        change(&mut changed);
        assert_eq!(open_body(&sealer(1), &changed, &sealed), Err(SealError::NotOpened), "change {at}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_header_untouched() {
    let max = BODY_BYTES_MAX - OVERHEAD_BYTES;
    let mut header = header();
    assert_eq!(seal_body(&sealer(1), &mut header, &vec![0; max]).unwrap().len(), BODY_BYTES_MAX);
    header.body_len = 7;
    let error = SealError::TooLarge { bytes: max + 1, max };
    assert_eq!(seal_body(&sealer(1), &mut header, &vec![0; max + 1]), Err(error));
    assert_eq!(sealer(1).seal(b"", &place(), &vec![0; max + 1]), Err(error));
    assert_eq!(header.body_len, 7);
}

/// The derivation is part of the format: bodies of old stores must open. (Computed as well by two other libraries, BLAKE3 and
/// AES-GCM-SIV of Python packages, from the description in `body`.)
#[test]
fn the_sealed_bytes_are_pinned() {
    let sealed = sealer(7).seal(b"header", &place(), b"a text").unwrap();
    assert_eq!(tombolo_model::id::hex(&sealed), "6528df36be239ac8c24fac302658f51f80a3853602ed");
}

#[test]
fn stored_secrets_open_under_their_name_only() {
    let key = StorageKey::new([1; 32]);
    let wrapped = key.wrap("conversation", [2; 12], &[3; 32]).unwrap();
    assert_eq!(wrapped.len(), 1 + 12 + 32 + 16);
    assert_eq!(&**key.unwrap_("conversation", &wrapped).unwrap(), &[3; 32]);
    assert_eq!(key.unwrap_("conversatioN", &wrapped), Err(SealError::NotOpened));
    assert_eq!(StorageKey::new([9; 32]).unwrap_("conversation", &wrapped), Err(SealError::NotOpened));
    for at in 1..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        assert_eq!(key.unwrap_("conversation", &changed), Err(SealError::NotOpened));
        assert_eq!(key.unwrap_("conversation", &wrapped[..at]), Err(SealError::NotOpened));
    }
    assert_eq!(key.unwrap_("conversation", &[]), Err(SealError::NotOpened));
    assert_eq!(key.unwrap_("conversation", &[2; 61]), Err(SealError::Newer(2)));
    assert_ne!(wrapped, key.wrap("conversation", [4; 12], &[3; 32]).unwrap());
}

#[test]
fn secrets_are_wiped_and_never_show() {
    fn wiped_on_drop<T: ZeroizeOnDrop>(_: &T) {}
    let (secret, key) = (ConversationSecret::new([0xa1; 32]), StorageKey::new([0xa1; 32]));
    wiped_on_drop(&secret);
    wiped_on_drop(&key);
    let opened = key.unwrap_("n", &key.wrap("n", [0; 12], b"secret").unwrap()).unwrap();
    wiped_on_drop(&opened);
    for shown in [format!("{secret:?}"), format!("{key:?}"), format!("{:?}", SecretSealer::new(secret.clone()))] {
        assert!(!shown.contains("161") && !shown.contains("a1"), "{shown}");
    }
}
