//! Backups: what was sealed comes back, everything else is found and named.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use std::io::{Read, Write};
use tombolo_seal::backup::{BackupError, BackupKey, BackupReader, BackupWriter, InvalidBackupKey};

const CHUNK: usize = 256 * 1024;
const HEADER: usize = 44;

fn key() -> BackupKey {
    BackupKey::new([7; 16])
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new(), &key(), [3; 16]).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn open(sealed: &[u8], key: &BackupKey) -> Result<Vec<u8>, BackupError> {
    let mut plain = Vec::new();
    let read = BackupReader::new(sealed, key).and_then(|mut reader| reader.read_to_end(&mut plain));
    read.map(|_| plain).map_err(|error| BackupError::in_io(&error).unwrap())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn what_was_sealed_comes_back() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let plain = pattern(len);
        let sealed = seal(&plain);
        assert_eq!(sealed.len(), HEADER + len + 16 * len.div_ceil(CHUNK).max(1));
        assert_eq!(open(&sealed, &key()), Ok(plain));
    }
}

/// The format is a promise: old backups must open for ever.
#[test]
fn the_bytes_are_pinned() {
    let sealed = seal(b"hello");
    let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, PINNED);
    assert_eq!(key().to_string(), PINNED_KEY);
}

const PINNED: &str = "746f6d626f6c6f206261636b75700a01030303030303030303030303030303033f8716ca8a8a652600040000\
    ccb8a068a329f117c495625dfd71201fd505bd5c1c";
const PINNED_KEY: &str = "0W3G-E1R7-0W3G-E1R7-0W3G-E1R7-0Z1K";

#[test]
fn another_key_or_file_is_named() {
    let sealed = seal(b"hello");
    assert_eq!(open(&sealed, &BackupKey::new([8; 16])), Err(BackupError::WrongKey));
    assert_eq!(open(b"hello", &key()), Err(BackupError::NotABackup));
    assert_eq!(open(b"", &key()), Err(BackupError::NotABackup));
    let mut newer = sealed;
    newer[15] = 9;
    assert_eq!(open(&newer, &key()), Err(BackupError::Newer(9)));
}

#[test]
fn every_cut_is_found() {
    let sealed = seal(&pattern(2 * CHUNK + 100));
    let ends =
        [16, 20, HEADER, HEADER + 1, HEADER + CHUNK + 16, HEADER + 2 * (CHUNK + 16), HEADER + 2 * (CHUNK + 16) + 7];
    for end in ends {
        assert_eq!(open(&sealed[..end], &key()), Err(BackupError::CutOff { at: end as u64 }), "{end}");
    }
    for end in (0..sealed.len()).step_by(9_973).chain(sealed.len() - 20..sealed.len()) {
        assert!(open(&sealed[..end], &key()).is_err(), "{end}");
    }
}

#[test]
fn chunks_have_their_place() {
    let sealed = seal(&pattern(3 * CHUNK));
    let chunk = |at: usize| &sealed[HEADER + at * (CHUNK + 16)..HEADER + (at + 1) * (CHUNK + 16)];
    let header = &sealed[..HEADER];
    let second = (HEADER + CHUNK + 16) as u64;
    assert_eq!(open(&[header, chunk(1), chunk(0), chunk(2)].concat(), &key()), Err(BackupError::Damaged { at: 44 }));
    assert_eq!(open(&[header, chunk(0), chunk(2)].concat(), &key()), Err(BackupError::Damaged { at: second }));
    assert_eq!(
        open(&[header, chunk(0), chunk(0), chunk(1), chunk(2)].concat(), &key()),
        Err(BackupError::Damaged { at: second })
    );
    // Nothing may follow the last, and no other file's chunk may stand in for it.
    assert!(open(&[&sealed, chunk(2)].concat(), &key()).is_err());
    assert!(open(&[&sealed, b"x".as_slice()].concat(), &key()).is_err());
    let mut writer = BackupWriter::new(Vec::new(), &key(), [4; 16]).unwrap();
    writer.write_all(&pattern(3 * CHUNK)).unwrap();
    let other = writer.finish().unwrap();
    assert!(open(&[header, &other[HEADER..]].concat(), &key()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_flipped_bit_is_found(len in 0..CHUNK * 2, at in any::<usize>(), bit in 0..8u8) {
        let plain = pattern(len);
        let mut sealed = seal(&plain);
        let at = at % sealed.len();
        sealed[at] ^= 1 << bit;
        prop_assert!(open(&sealed, &key()).is_err());
    }

    #[test]
    fn hostile_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), chunk_bytes in any::<u32>()) {
        let mut sealed = seal(b"hello");
        sealed.extend(bytes);
        prop_assert!(open(&sealed[..], &key()).is_err() || sealed.len() == seal(b"hello").len());
        sealed[40..44].copy_from_slice(&chunk_bytes.to_be_bytes());
        let _ = open(&sealed, &key());
    }

    #[test]
    fn keys_survive_being_written_down(bytes in any::<[u8; 16]>(), at in 0..28usize, other in 0..32usize) {
        let key = BackupKey::new(bytes);
        let text = key.to_string();
        prop_assert_eq!(text.len(), 34);
        prop_assert_eq!(text.parse::<BackupKey>().unwrap(), key.clone());
        let careless = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        prop_assert_eq!(careless.parse::<BackupKey>().unwrap(), key);
        // One letter that is another.
        let at = at + at / 4;
        let letter = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[other];
        let mut wrong = text.clone().into_bytes();
        if wrong[at] != letter {
            wrong[at] = letter;
            let read = String::from_utf8(wrong).unwrap().parse::<BackupKey>();
            prop_assert!(read.is_err() || read.unwrap().to_string() != text);
        }
    }
}

#[test]
fn what_is_no_key_is_named() {
    for wrong in ["", "ABCD", "U", &"0".repeat(27), &"0".repeat(29), "!!!!-0000-0000-0000-0000-0000-0000"] {
        assert_eq!(wrong.parse::<BackupKey>(), Err(InvalidBackupKey::Form), "{wrong}");
    }
    assert_eq!("0".repeat(28).parse::<BackupKey>(), Err(InvalidBackupKey::Mistake));
    // Of 4,096 texts with any check one is a key: mistakes are told nearly always.
    let text = key().to_string();
    let mut told = 0;
    for at in (0..34).filter(|at| at % 5 != 4) {
        for letter in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars().filter(|letter| !text[at..].starts_with(*letter)) {
            let wrong = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            told += usize::from(wrong.parse::<BackupKey>() == Err(InvalidBackupKey::Mistake));
        }
    }
    assert!(told >= 28 * 31 - 3, "{told} of {}", 28 * 31);
    assert_eq!(format!("{:?}", key()), "BackupKey(hidden)");
}
