//! One blob up to a relay or down from it, through whatever breaks in between.
//!
//! Up: the relay says how much is on its disk, and pieces follow from there; they grow while they arrive and shrink when
//! they do not. Down: `part.rs` says what is missing. What is broken is tried again as long as anything moves in between;
//! then it is left for the next time, with nothing lost. Not here: HTTP (`wire.rs`), which blobs (`table.rs`).

use super::folder::{Folder, disk, lie};
use super::part::{Part, Spoiled};
use super::table::Errand;
use super::wire::{Kept, Trouble, Wire, jitter};
use crate::Error;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;
use tombolo_seal::{FileKey, Layout};

/// **Bytes** of a piece: at first, at least, at most. A relay takes no larger ones.
const PIECE_BYTES: u64 = 512 * 1024;
const PIECE_BYTES_MIN: u64 = 64 * 1024;
pub(crate) const PIECE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Failures in a row, without a byte in between, after which a blob is left for the next time.
const FAILURES_MAX: u32 = 4;
/// How often the whole of it may be sent before a relay that keeps forgetting is left alone.
const MOVED_TIMES_MAX: u64 = 4;
/// **Milliseconds** before the first new attempt; doubled with each.
const BACK_OFF_MS: u64 = 150;

/// Called with how many **bytes** are through, and of how many.
pub(crate) type Moving<'a> = dyn Fn(u64, u64) + Send + Sync + 'a;

/// How an errand ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is there, or here. `moved`: **bytes** that went over the wire for it.
    Done { moved: u64 },
    /// Not this time; nothing is lost.
    Later(Error),
    /// Never, as it is.
    Failed(Error),
    /// The copy on this device is damaged.
    Damaged,
}

/// Counts failures in a row.
struct Patience {
    failures: u32,
}

impl Patience {
    /// Something moved.
    fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt; false = it is enough.
    async fn wait(&mut self) -> bool {
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            return false;
        }
        let wait_ms = BACK_OFF_MS << self.failures.min(8);
        tokio::time::sleep(Duration::from_millis(wait_ms) + jitter(wait_ms / 2)).await;
        true
    }
}

fn later(name: &str, words: &str) -> Ended {
    let hint = "what arrived is kept; the next `tombolo sync` goes on from there";
    Ended::Later(Error::new("file-later", format!("{name:?}: {words}"), hint))
}

/// Brings a blob to a relay.
pub(crate) async fn up(wire: &impl Wire, folder: &Folder, errand: &Errand, moving: &Moving<'_>) -> Ended {
    let name = &errand.file.name;
    let opened = File::open(folder.blob(&errand.id)).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (total, mut file) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ended::Later(disk("reading", &folder.blob(&errand.id), &error)),
    };
    let (mut patience, mut piece, mut moved) = (Patience { failures: 0 }, PIECE_BYTES, 0);
    let mut have = None;
    loop {
        let answered = match have {
            None => wire.look(errand.id).await,
            Some(from) => {
                let len = piece.min(total - from);
                let mut bytes = vec![0; len as usize];
                if let Err(error) = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(&mut bytes)) {
                    return Ended::Later(disk("reading", &folder.blob(&errand.id), &error));
                }
                moved += len;
                match wire.put(errand.id, total, from, bytes).await {
                    Ok(kept) if kept.have > from && moved <= total.saturating_mul(MOVED_TIMES_MAX) => {
                        piece = (piece * 2).min(PIECE_BYTES_MAX);
                        patience.renew();
                        Ok(kept)
                    }
                    // A relay that takes and forgets is no reason to send for ever.
                    Ok(_) => Err(Trouble::Passing("the relay took a piece and does not have it".to_owned())),
                    failed => failed,
                }
            }
        };
        match answered {
            Ok(Kept { whole: true, .. }) => {
                moving(total, total);
                return Ended::Done { moved };
            }
            // What has arrived whole is done: a relay that says so and has not checked it is asked again.
            Ok(kept) if kept.have < total => {
                moving(kept.have, total);
                have = Some(kept.have);
            }
            Ok(_) => {
                have = None;
                if !patience.wait().await {
                    return later(name, "the relay has all of it and does not finish");
                }
            }
            Err(Trouble::Passing(words)) => {
                piece = (piece / 2).max(PIECE_BYTES_MIN);
                // Whether the piece arrived is for the relay to say.
                have = None;
                if !patience.wait().await {
                    return later(name, &words);
                }
            }
            Err(Trouble::Refused { code, words, have: theirs }) => match code.as_str() {
                "offset" | "busy" | "piece-changed" | "cut" | "too-many" | "length-differs" => {
                    have = theirs.filter(|theirs| *theirs < total);
                    if !patience.wait().await {
                        return later(name, &words);
                    }
                }
                "hash-differs" => return Ended::Damaged,
                _ => return later(name, &words),
            },
            Err(Trouble::Local(error)) => return Ended::Later(error),
        }
    }
}

/// Brings a blob here.
pub(crate) async fn down(wire: &impl Wire, folder: &Folder, errand: &Errand, moving: &Moving<'_>) -> Ended {
    let name = &errand.file.name;
    let Some(layout) = Layout::of(errand.file.bytes) else { return Ended::Failed(lie(name, "length")) };
    let part = folder.make().and_then(|()| {
        Part::open(folder, errand.id, layout, FileKey::new(errand.file.key)).map_err(|error| local(folder, error))
    });
    let mut part = match part {
        Ok(part) => part,
        Err(error) => return Ended::Later(error),
    };
    let (mut patience, mut moved) = (Patience { failures: 0 }, 0);
    loop {
        let stretch = match part.wants() {
            Ok(Some(stretch)) => stretch,
            Ok(None) => return finish(part, folder, errand, moved),
            Err(error) => return spoiled(folder, errand, error),
        };
        let mut wrong = None;
        let before = part.right();
        let answered = {
            let (part, wrong, moved) = (&mut part, &mut wrong, &mut moved);
            let mut sink = move |bytes: &[u8]| {
                *moved += bytes.len() as u64;
                let taken = part.take(bytes);
                let (have, total) = part.progress();
                moving(have, total);
                taken.map_err(|error| {
                    let words = error.to_string();
                    *wrong = Some(error);
                    Error::new("file-disk", words, "")
                })
            };
            wire.get(errand.id, layout.sealed(), stretch, &mut sink).await
        };
        if let Some(error) = wrong {
            return spoiled(folder, errand, error);
        }
        if part.right() > before {
            patience.renew();
        }
        match answered {
            Ok(()) => {}
            Err(Trouble::Passing(words)) => {
                if !patience.wait().await {
                    return later(name, &words);
                }
            }
            Err(Trouble::Refused { code, words, .. }) => match code.as_str() {
                "too-many" | "busy" => {
                    if !patience.wait().await {
                        return later(name, &words);
                    }
                }
                "length-differs" => return Ended::Failed(lie(name, "length")),
                _ => return later(name, &words),
            },
            Err(Trouble::Local(error)) => return Ended::Later(error),
        }
    }
}

fn finish(part: Part, folder: &Folder, errand: &Errand, moved: u64) -> Ended {
    match part.finish() {
        Ok(()) => Ended::Done { moved },
        Err(error) => spoiled(folder, errand, error),
    }
}

fn local(folder: &Folder, error: Spoiled) -> Error {
    match error {
        Spoiled::Disk(error) => disk("writing into", &folder.blob(&tombolo_model::BlobId::ZERO), &error),
        other => Error::new("file-disk", other.to_string(), ""),
    }
}

/// A disk that fails may work again; bytes that are wrong stay wrong and are thrown away.
fn spoiled(folder: &Folder, errand: &Errand, error: Spoiled) -> Ended {
    let name = &errand.file.name;
    match error {
        Spoiled::Disk(_) => Ended::Later(local(folder, error)),
        Spoiled::HashDiffers => {
            folder.remove(&errand.id);
            Ended::Failed(lie(name, "hash"))
        }
        // What is right of it is kept: another relay may have the rest.
        Spoiled::Damaged | Spoiled::TooMuch => {
            let words = format!("{name:?} comes damaged, however often it is asked for");
            Ended::Failed(Error::new(
                "file-differs",
                words,
                "ask its sender to send it again, or try again with `tombolo fetch`",
            ))
        }
    }
}
