//! Files that come along with an import: sealed as they are read, never on the disk in the clear.
//!
//! Not here: reading the export (`import`), sealing (`folder.rs`), thumbnails (`thumbnail.rs`).

use super::folder::{Folder, disk};
use super::thumbnail;
use crate::entropy::Entropy;
use crate::import::Label;
use crate::{Error, SystemEntropy};
use std::io::{Cursor, Read};
use tombolo_model::content::File;
use tombolo_model::limit::THUMBNAIL_BYTES_MAX;

/// **Bytes** of a picture that is held in memory to make a thumbnail of it: photographs of phones are smaller.
const PICTURE_BYTES_MAX: u64 = 32 << 20;

/// Takes files of at most `max` **bytes** into `folder`; larger ones do not come along.
pub(crate) fn taking(
    folder: &Folder,
    max: u64,
) -> impl FnMut(&Label<'_>, u64, &mut dyn Read) -> Result<Option<File>, Error> {
    let mut entropy: Box<dyn Entropy> = Box::new(SystemEntropy);
    move |label, bytes, source| {
        let random = (entropy.bytes(), entropy.bytes());
        let failed = |error: std::io::Error| disk("sealing into", &folder.path, &error);
        let (sealed, image) = if label.media.starts_with("image/") && bytes <= PICTURE_BYTES_MAX.min(max) {
            let mut picture = Vec::new();
            source.read_to_end(&mut picture).map_err(failed)?;
            let sealed = folder.seal_stream(&mut Cursor::new(&picture), bytes, random, max);
            (sealed, thumbnail::of_bytes(&picture, THUMBNAIL_BYTES_MAX))
        } else {
            (folder.seal_stream(source, bytes, random, max), None)
        };
        let file = sealed.map_err(failed)?;
        Ok(file.map(|file| File { name: label.name.into(), media: label.media.into(), image, ..file }))
    }
}
