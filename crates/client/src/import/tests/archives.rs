//! Zip archives: honest ones, and those that are not.

use super::{NOW_MS, lines};
use crate::Error;
use crate::import::{Export, Reading};
use proptest::prelude::*;
use std::io::{Cursor, Read as _, Write as _};
use std::time::Instant;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const CHAT: &str = "[25.03.21, 14:05:33] Ana: hello\r\n\
    [25.03.21, 14:06:30] Ben: \u{200e}<attached: 00000012-PHOTO-2021-03-25-14-06-30.jpg>\r\n\
    [25.03.21, 14:06:31] Ben: \u{200e}<attached: 00000013-PHOTO-2021-03-25-14-06-31.jpg>\r\n";

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn open(bytes: Vec<u8>) -> Result<Export, Error> {
    Export::read(Cursor::new(bytes), &Reading { dates: None, offset_s: &|_| 0, now_ms: NOW_MS })
}

/// Reads a file of an export: label, media type, content.
fn file(export: &mut Export, name: &str) -> Result<Option<(String, String, Vec<u8>)>, Error> {
    let mut found = None;
    export.attach(name, &mut |label, bytes, source| {
        let mut content = Vec::new();
        let _ = source.read_to_end(&mut content);
        found = Some((label.name.to_owned(), label.media.to_owned(), content));
        let blob = tombolo_model::content::File {
            blob: [0; 32],
            key: [0; 32],
            bytes,
            name: label.name.into(),
            media: label.media.into(),
            image: None,
        };
        Ok(Some(blob))
    })?;
    Ok(found)
}

#[test]
fn a_chat_with_its_files() {
    let photo = "00000012-PHOTO-2021-03-25-14-06-30.jpg";
    let bytes = zip(&[
        ("notes.txt", b"[25.03.20, 14:05:33] Zoe: a chat that somebody sent as a file"),
        ("deep/in/_chat.txt", CHAT.as_bytes()),
        (&format!("../../{photo}"), b"a picture"),
        ("inner.zip", &zip(&[("_chat.txt", b"nothing")])),
    ]);
    let mut export = open(bytes).unwrap();
    assert_eq!(lines(&export).len(), 3);
    assert_eq!(lines(&export)[0].2, "hello");
    assert_eq!(
        file(&mut export, photo).unwrap(),
        Some((photo.to_owned(), "image/jpeg".to_owned(), b"a picture".to_vec()))
    );
    assert_eq!(file(&mut export, "00000013-PHOTO-2021-03-25-14-06-31.jpg").unwrap(), None);
    assert_eq!(file(&mut export, &format!("../../../{photo}")).unwrap().unwrap().0, photo, "a name is a label");
}

/// The one that names the others is the chat, whatever they are called.
#[test]
fn the_chat_is_found_by_what_it_says() {
    let bytes = zip(&[
        ("aaa_chat.txt", b"[25.03.21, 14:05:33] Zoe: not this one"),
        ("something else.txt", CHAT.as_bytes()),
        ("00000012-PHOTO-2021-03-25-14-06-30.jpg", b"p"),
    ]);
    assert_eq!(lines(&open(bytes).unwrap()).len(), 3);
    let error = open(zip(&[("readme.txt", b"nothing here"), ("a.jpg", b"p")])).unwrap_err();
    assert_eq!(error.code(), "not-an-export");
}

/// A bomb in one entry: 600 MB of zeros in 600 KB, once as the chat and once as a picture.
#[test]
fn a_bomb_costs_little() {
    let zeros = vec![b' '; 64 << 20];
    let began = Instant::now();
    let error = open(zip(&[("_chat.txt", &[CHAT.as_bytes(), &zeros].concat())])).unwrap_err();
    assert_eq!(error.code(), "archive-too-large", "{error}");
    let photo = "00000012-PHOTO-2021-03-25-14-06-30.jpg";
    let mut export = open(zip(&[("_chat.txt", CHAT.as_bytes()), (photo, &zeros)])).unwrap();
    assert_eq!(file(&mut export, photo).unwrap_err().code(), "archive-too-large");
    assert!(began.elapsed().as_secs() < 60);
}

/// Where the directory and the local header of the first entry say how large it is.
fn sizes(bytes: &[u8]) -> Vec<usize> {
    let central = bytes.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    vec![central + 24]
}

#[test]
fn entries_that_lie_about_their_size_are_found() {
    for (said, code) in [(1u32, "archive"), (100_000, "archive"), (u32::MAX - 1, "archive-too-large")] {
        let mut bytes = zip(&[("_chat.txt", CHAT.as_bytes())]);
        for at in sizes(&bytes) {
            bytes[at..at + 4].copy_from_slice(&said.to_le_bytes());
        }
        assert_eq!(open(bytes).unwrap_err().code(), code, "{said}");
    }
    // A flipped byte of the content.
    let mut bytes = zip(&[("_chat.txt", CHAT.as_bytes())]);
    bytes[60] ^= 1;
    assert_eq!(open(bytes).unwrap_err().code(), "archive");
}

#[test]
fn encrypted_archives_are_named() {
    let mut bytes = zip(&[("_chat.txt", CHAT.as_bytes())]);
    let central = bytes.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    bytes[central + 8] |= 1;
    bytes[6] |= 1;
    assert_eq!(open(bytes).unwrap_err().code(), "archive-encrypted");
}

/// The end of an archive in the large form, which says how many entries there are.
fn large_end(entries: u64, directory_bytes: u64, directory_at: u64, record_at: u64) -> Vec<u8> {
    let mut end = b"PK\x06\x06".to_vec();
    end.extend(44u64.to_le_bytes());
    end.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [entries, entries, directory_bytes, directory_at] {
        end.extend(number.to_le_bytes());
    }
    end.extend(b"PK\x06\x07\0\0\0\0");
    end.extend(record_at.to_le_bytes());
    end.extend(1u32.to_le_bytes());
    end.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    end
}

#[test]
fn the_large_form_is_read_and_its_lies_are_named() {
    let honest = zip(&[("_chat.txt", CHAT.as_bytes())]);
    let at = honest.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    let end = honest.windows(4).position(|at| at == b"PK\x05\x06").unwrap();
    let with = |entries: u64, directory_bytes: u64| {
        [&honest[..end], &large_end(entries, directory_bytes, at as u64, end as u64)].concat()
    };
    assert_eq!(lines(&open(with(1, (end - at) as u64)).unwrap()).len(), 3);
    let began = Instant::now();
    for entries in [70_000, 10_000_000, u64::from(u32::MAX), u64::MAX] {
        let error = open(with(entries, u64::MAX / 2)).unwrap_err();
        assert_eq!(error.code(), "archive-too-large", "{error}");
    }
    // A record that hides from its locator.
    let mut hidden = with(1, (end - at) as u64);
    hidden.splice(end + 56..end + 56, [0; 8]);
    assert_eq!(open(hidden).unwrap_err().code(), "archive");
    assert!(began.elapsed().as_secs() < 10);
}

/// A thousand entries that share the bytes of one: what each says is honest, all of them together are a bomb.
#[test]
fn entries_that_share_their_bytes_are_bounded_together() {
    let zeros = vec![b'x'; 1 << 20];
    let bytes = zip(&[("_chat.txt", CHAT.as_bytes()), ("00000012-PHOTO-2021-03-25-14-06-30.jpg", &zeros)]);
    let mut export = open(bytes).unwrap();
    let mut read = 0;
    let error = loop {
        match file(&mut export, "00000012-PHOTO-2021-03-25-14-06-30.jpg") {
            Ok(_) => read += 1,
            Err(error) => break error,
        }
        assert!(read < 100);
    };
    assert_eq!((error.code(), read > 1), ("archive-too-large", true));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_archives_never_panic(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>()) {
        let photo = "00000012-PHOTO-2021-03-25-14-06-30.jpg";
        let mut bytes = zip(&[("_chat.txt", CHAT.as_bytes()), (photo, b"a picture of a boat")]);
        for (at, byte) in changes {
            let end = bytes.len();
            bytes[at % end] = byte;
        }
        if cut % 4 == 0 {
            let end = bytes.len();
            bytes.truncate(cut % end);
        }
        if let Ok(mut export) = open(bytes) {
            let _ = file(&mut export, photo);
        }
    }
}

#[test]
fn a_picture_that_is_not_wanted_is_not_read() {
    let photo = "00000012-PHOTO-2021-03-25-14-06-30.jpg";
    let mut export = open(zip(&[("_chat.txt", CHAT.as_bytes()), (photo, b"p")])).unwrap();
    assert_eq!(export.attach(photo, &mut |_, _, _| Ok(None)).unwrap(), None);
    let part = |_: &crate::import::Label<'_>, _: u64, source: &mut dyn std::io::Read| {
        let _ = source.take(0).read(&mut [0]);
        Ok(None)
    };
    assert_eq!(export.attach(photo, &mut { part }).unwrap(), None);
}
