//! Files beside the log: attached, sealed, carried up and down, saved.
//!
//! A message names its files by the hash of their sealed bytes and carries what opens them; it is written at once, and the
//! bytes follow when a relay is in reach, so that words overtake a slow upload. Whatever is cut off goes on from the byte
//! where it was, after a restart too. Files up to a limit come by themselves; what is larger, when somebody asks for it.
//! Names are labels: where a file goes is for the person to say.
//!
//! Read in this order: this file (what can be asked for), `table.rs` (what is known), `folder.rs` and `part.rs` (the
//! bytes here), `carry.rs` (the way up and down), `wire.rs` (HTTP), `thumbnail.rs`, `label.rs`.

mod brought;
mod carry;
mod folder;
mod label;
mod part;
mod table;
#[cfg(test)]
mod tests;
mod thumbnail;
mod wire;

pub(crate) use brought::taking;
pub(crate) use folder::Folder;
pub use label::suggestion;
pub(crate) use table::STEP;

use crate::actor::Actor;
use crate::api::{Post, Progress, Sent};
use crate::transport::tls::Tls;
use crate::{Client, Error, Node};
use carry::Ended;
use std::path::{Path, PathBuf};
use table::Errand;
use tombolo_identity::DeviceKey;
use tombolo_model::content::File;
use tombolo_model::limit::{FILE_BYTES_MAX, FILES_MAX, THUMBNAIL_BYTES_MAX};
use tombolo_model::{BlobId, ConversationId, DeviceId, OpId, extension};
use wire::Http;

/// **Bytes** of a body that all thumbnails of one message may take together.
const THUMBNAILS_BYTES_MAX: usize = 52 * 1024;
/// **Bytes** of name, keys and numbers of one file in a message, generously.
const FILE_WORDS_BYTES: usize = 700;

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Own, on this device only.
    Local,
    /// On this device.
    Here,
    /// So many **bytes** of it, sealed, have come.
    Coming(u64),
    /// It comes with the next exchange.
    Wanted,
    /// It comes when somebody asks for it.
    Elsewhere,
    /// It is not what its sender said, or comes damaged: why.
    Failed(String),
}

impl FileState {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Here => "here",
            Self::Coming(_) => "coming",
            Self::Wanted => "wanted",
            Self::Elsewhere => "elsewhere",
            Self::Failed(_) => "failed",
        }
    }
}

/// A file in a list.
#[derive(Clone, Debug)]
pub struct FileRow {
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message that carries it.
    pub message: OpId,
    /// Which of the message's files, from 1.
    pub n: u32,
    /// The message's clock reading.
    pub hlc: u64,
    /// The device that wrote the message.
    pub author: DeviceId,
    /// Whether this device did.
    pub own: bool,
    /// Where it is.
    pub state: FileState,
    /// How many relays are known to hold it.
    pub relays: u64,
    /// What the message says of it.
    pub file: File,
}

/// What a person allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// **Bytes** of the largest file that may be attached.
    pub largest_bytes: u64,
    /// **Bytes** up to which a file comes by itself; 0 = none does.
    pub automatic_bytes: u64,
    /// **Bytes** of all that came by itself and is here; what is above waits to be asked for.
    pub automatic_total_bytes: u64,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            largest_bytes: FILE_BYTES_MAX,
            automatic_bytes: 16 * 1024 * 1024,
            automatic_total_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// What became of files in an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) notes: Vec<String>,
}

/// Runs what waits for the disk away from the sockets.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::stopped())?
}

/// The extension of a header whose op carries files.
pub(crate) fn named(files: &[File]) -> Result<Vec<u8>, Error> {
    let blobs: Vec<BlobId> = files.iter().map(|file| BlobId(file.blob)).collect();
    extension::with_blobs(&blobs).map_err(|_| too_many())
}

fn too_many() -> Error {
    let words = format!("a message may carry {FILES_MAX} files");
    Error::new("too-many-files", words, "send them in several messages, or packed into one file")
}

impl Client {
    /// Sends a message with files. It is on the disk when this returns, and so are the files, sealed; their bytes go up
    /// with the next exchange. `progress` is called with the number of files that are sealed.
    ///
    /// # Errors
    /// `file-unreadable`, `file-too-large`, `file-changed`, `too-many-files`, and as [`Client::post`]. Nothing was sent.
    pub async fn attach(
        &self,
        conversation: ConversationId,
        mut post: Post,
        paths: Vec<PathBuf>,
        progress: impl Fn(usize) + Send + 'static,
    ) -> Result<Sent, Error> {
        if paths.len() > FILES_MAX {
            return Err(too_many());
        }
        let count = paths.len();
        let seeds = move |node: &mut Node, _| {
            let seeds: Vec<([u8; 32], [u8; 8])> = (0..count).map(|_| (node.random(), node.random())).collect();
            node.file_settings().map(|settings| (settings, seeds))
        };
        let (settings, seeds) = self.actor.call(seeds).await??;
        let folder = self.folder.clone();
        // Thumbnails share what the text leaves of a body.
        let room = THUMBNAILS_BYTES_MAX.saturating_sub(post.text.len() + count * FILE_WORDS_BYTES);
        let each = (room / count.max(1)).min(THUMBNAIL_BYTES_MAX);
        let seal = move || {
            let mut files = Vec::new();
            for (path, (key, name)) in paths.iter().zip(seeds) {
                let mut file = folder.seal(path, key, name, settings.largest_bytes)?;
                file.image = thumbnail::of(path, each);
                files.push(file);
                progress(files.len());
            }
            Ok(files)
        };
        post.files = on_disk(seal).await?;
        self.post(conversation, post).await
    }

    /// Files of a conversation, or of all, in display order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn files(&self, conversation: Option<ConversationId>) -> Result<Vec<FileRow>, Error> {
        let folder = self.folder.clone();
        self.actor.call(move |node, _| node.files(&folder, conversation, None)).await?
    }

    /// One file of the message whose id begins so; `n` counts from 1.
    ///
    /// # Errors
    /// `no-file` when there is none, `ambiguous` when several messages begin so; those of the store.
    pub async fn file(&self, message: &str, n: u32) -> Result<FileRow, Error> {
        let (folder, begin) = (self.folder.clone(), message.trim().to_owned());
        let found = self.actor.call(move |node, _| node.files(&folder, None, Some(&begin))).await??;
        let mut messages: Vec<OpId> = found.iter().map(|row| row.message).collect();
        messages.dedup();
        if messages.len() > 1 {
            let hint = "name it by as much of its id as tells it apart";
            return Err(Error::new("ambiguous", "several messages with files begin so", hint));
        }
        found.into_iter().find(|row| row.n == n).ok_or_else(|| {
            let words = format!("no message {message:?} with a file {n} is here");
            Error::new("no-file", words, "`tombolo files C` lists them")
        })
    }

    /// Asks for a file, whatever its size, and fetches it if a relay is in reach. Returns where it is then.
    ///
    /// # Errors
    /// `no-file`, `file-later` with what stands in the way, `file-differs` when it is not what its sender said; those of
    /// the store.
    pub async fn fetch(
        &self,
        message: &str,
        n: u32,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<FileRow, Error> {
        let row = self.file(message, n).await?;
        let id = BlobId(row.file.blob);
        if self.folder.has(&id) {
            return Ok(row);
        }
        self.actor.call(move |node, _| node.want_blob(&id)).await??;
        let relays = self.actor.call(|node, _| node.relays()).await??;
        let mut last = None;
        for (url, key) in relays {
            let Some(key) = key else { continue };
            let (to, folder) = (url.clone(), self.folder.clone());
            let found = self.actor.call(move |node, _| node.downloads(&folder, &to, &key, false)).await??;
            let Some(errand) = found.into_iter().find(|errand| errand.id == id) else { continue };
            let work = Work { actor: &self.actor, folder: &self.folder, url: &url, progress: &progress };
            let wire = work.wire(key, &self.tls).await?;
            let mut carried = Carried::default();
            last = work.down(&wire, &errand, &mut carried).await?;
            if last.is_none() {
                return self.file(message, n).await;
            }
        }
        let hint = "`tombolo sync` fetches it as soon as a relay has it";
        Err(last.unwrap_or_else(|| Error::new("file-later", "no relay of this conversation is known yet", hint)))
    }

    /// Opens a file to where a person wants it: a folder, or a name. Returns where it is.
    ///
    /// # Errors
    /// `no-file`, `file-elsewhere` when its bytes are not here, `exists` unless `overwrite`, `file-damaged` when the copy
    /// here has changed (the next exchange repairs it), `file-disk`.
    pub async fn save(&self, message: &str, n: u32, to: &Path, overwrite: bool) -> Result<PathBuf, Error> {
        let row = self.file(message, n).await?;
        let id = BlobId(row.file.blob);
        if !self.folder.has(&id) {
            let words = format!("the bytes of {:?} are not on this device", row.file.name);
            return Err(Error::new("file-elsewhere", words, "fetch it first: `tombolo fetch MESSAGE`"));
        }
        let (folder, to) = (self.folder.clone(), to.to_owned());
        let saved = on_disk(move || folder.save(&row.file, &to, overwrite)).await;
        if saved.as_ref().is_err_and(|error| error.code() == "file-damaged") {
            self.actor.call(move |node, _| node.want_blob(&id)).await??;
        }
        saved
    }

    /// What is allowed for files.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn file_settings(&self) -> Result<FileSettings, Error> {
        self.actor.call(|node, _| node.file_settings()).await?
    }

    /// Changes what is allowed for files, on this device.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_file_settings(&self, settings: FileSettings) -> Result<(), Error> {
        self.actor.call(move |node, _| node.set_file_settings(&settings)).await?
    }
}

/// Carrying for one relay.
pub(crate) struct Work<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) folder: &'a Folder,
    pub(crate) url: &'a str,
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Work<'_> {
    async fn wire(&self, key: DeviceId, tls: &Tls) -> Result<Http, Error> {
        let device = self.actor.call(|node, _| DeviceKey::from_seed(*node.identity().device.seed())).await?;
        Http::new(self.url, key, device, tls)
    }

    /// Everything that is to go to a relay, and everything that is to come from it. `all`: whatever conversations it is
    /// named for.
    pub(crate) async fn exchange(&self, key: DeviceId, all: bool, tls: &Tls) -> Result<Carried, Error> {
        let (url, folder) = (self.url.to_owned(), self.folder.clone());
        let both = self.actor.call(move |node, _| {
            Ok::<_, Error>((node.uploads(&folder, &url, &key, all)?, node.downloads(&folder, &url, &key, all)?))
        });
        let (uploads, downloads) = both.await??;
        let mut carried = Carried::default();
        if uploads.is_empty() && downloads.is_empty() {
            return Ok(carried);
        }
        let wire = self.wire(key, tls).await?;
        for errand in &uploads {
            self.up(&wire, errand, &mut carried).await?;
        }
        for errand in &downloads {
            if let Some(error) = self.down(&wire, errand, &mut carried).await? {
                carried.notes.push(format!("{}: {error}", self.url));
            }
        }
        Ok(carried)
    }

    fn moving(&self, name: &str) -> impl Fn(u64, u64) + Send + Sync {
        let with = label::suggestion(name);
        move |done, total| (self.progress)(Progress { with: with.clone(), ops: done, expected: total })
    }

    async fn up(&self, wire: &Http, errand: &Errand, carried: &mut Carried) -> Result<(), Error> {
        let ended = carry::up(wire, self.folder, errand, &self.moving(&errand.file.name)).await;
        let (id, url) = (errand.id, self.url.to_owned());
        match ended {
            Ended::Done { moved } => {
                carried.up += 1;
                carried.bytes_up += moved;
                self.actor.call(move |node, _| node.note_relay(&id, &url, true)).await??;
            }
            Ended::Later(error) | Ended::Failed(error) => carried.notes.push(format!("{}: {error}", self.url)),
            Ended::Damaged => {
                let error = folder::damaged(&errand.file.name);
                // What is right of it is kept, and only the rest is asked for.
                let _ = self.folder.damaged(&id);
                self.actor.call(move |node, _| node.want_blob(&id)).await??;
                carried.notes.push(error.to_string());
            }
        }
        Ok(())
    }

    /// `None` = it is here.
    async fn down(&self, wire: &Http, errand: &Errand, carried: &mut Carried) -> Result<Option<Error>, Error> {
        let ended = carry::down(wire, self.folder, errand, &self.moving(&errand.file.name)).await;
        let (id, url) = (errand.id, self.url.to_owned());
        match ended {
            Ended::Done { moved } => {
                carried.down += 1;
                carried.bytes_down += moved;
                self.actor
                    .call(move |node, _| node.note_relay(&id, &url, true).and_then(|()| node.note_here(&id)))
                    .await??;
                Ok(None)
            }
            Ended::Later(error) => Ok(Some(error)),
            Ended::Failed(error) => {
                let why = error.message().to_owned();
                self.actor.call(move |node, _| node.fail_blob(&id, &why)).await??;
                Ok(Some(error))
            }
            Ended::Damaged => Ok(None),
        }
    }
}
