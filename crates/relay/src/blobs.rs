//! The depot: blobs that the relay keeps and cannot read.
//!
//! Responsible for: taking pieces (checked against the hash that their sender signed, on the disk before they are
//! acknowledged), putting whole blobs under their hash, counting references from the headers of ops, quotas, and letting
//! go what nobody needs. Not here: HTTP (`web.rs`), the tables (`index.rs`), words for what is refused (`refusal.rs`).
//!
//! ```text
//! blobs/index.db      what is known (index.rs)
//! blobs/part/N        an upload: checked up to `have`; what lies behind is written again
//! blobs/HASH          a whole blob
//! ```
//!
//! After a crash: an upload goes on at `have`; one that was whole but not yet renamed is finished at the next start; files
//! that no row names are unreferenced blobs, or leftovers of uploads.

pub(crate) mod index;
pub(crate) mod refusal;
#[cfg(test)]
mod tests;
pub(crate) mod web;

use crate::config::Limits;
use index::{Index, Part, Payer, Sums, put};
use refusal::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tombolo_model::blob::Request;
use tombolo_model::{BlobId, ConversationId, DeviceId, OpId, extension};
use tombolo_oplog::{LogError, Reader};

/// **Bytes** of one piece: what a broken connection costs at most, and large enough that a sync of the disk for each of
/// them does not hurt.
pub(crate) const PIECE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// **Bytes** that are hashed at once when a whole blob is read again.
const READ_BYTES: usize = 256 * 1024;
/// Ops that are looked at together.
const FOLLOW_OPS: usize = 10_000;
/// Arrivals without references after which it is noted that they have none.
const FOLLOW_NOTE: u64 = 10_000;
/// Uploads whose hash is kept up while they come; others are read once more at the end.
const HASHERS_MAX: usize = 256;

/// Who may do what, from the log.
pub(crate) trait Rights {
    /// Who pays for what a device brings; `None` for a device that takes part in nothing.
    fn payer(&self, device: &DeviceId) -> Result<Option<Payer>, LogError>;
    /// Whether a device takes part in a conversation.
    fn is_member(&self, conversation: &ConversationId, device: &DeviceId) -> Result<bool, LogError>;
}

impl Rights for Reader {
    fn payer(&self, device: &DeviceId) -> Result<Option<Payer>, LogError> {
        let sql = "SELECT account FROM member WHERE device = ?1 ORDER BY account LIMIT 1";
        let mut statement = self.connection()?.prepare_cached(sql)?;
        let mut rows = statement.query([device.as_bytes()])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    fn is_member(&self, conversation: &ConversationId, device: &DeviceId) -> Result<bool, LogError> {
        Self::is_member(self, conversation, device)
    }
}

/// How much of a blob a device may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// **Bytes** of the whole, where it is known.
    pub(crate) total: Option<u64>,
    /// **Bytes** that are on the disk.
    pub(crate) have: u64,
    pub(crate) whole: bool,
}

#[derive(Debug)]
struct Tables {
    index: Index,
    /// Uploads that a request is at work on.
    busy: BTreeSet<i64>,
    /// Hashes of uploads up to where they are.
    hashers: BTreeMap<i64, (blake3::Hasher, u64)>,
}

/// How far references were read.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    known: bool,
    through: u64,
    /// Up to where that is on the disk.
    noted: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Depot {
    folder: PathBuf,
    limits: Limits,
    rights: Mutex<Box<dyn RightsOf>>,
    tables: Mutex<Tables>,
    /// Only the owner of the log waits for this one.
    followed: Mutex<Followed>,
}

/// [`Rights`] that may live on any thread.
pub(crate) trait RightsOf: Rights + Send + std::fmt::Debug {}
impl<T: Rights + Send + std::fmt::Debug> RightsOf for T {}

/// A piece that is being taken. What was written of it counts once [`Piece::finish`] says so.
#[derive(Debug)]
pub(crate) struct Piece {
    depot: Arc<Depot>,
    part: Part,
    file: File,
    request: Request,
    written: u64,
    of_piece: blake3::Hasher,
    of_all: Option<blake3::Hasher>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.depot.tables().busy.remove(&self.part.n);
    }
}

impl Depot {
    /// Opens the folder, makes what is missing, and finishes what a crash interrupted.
    pub(crate) fn open(
        folder: &Path,
        limits: Limits,
        rights: Box<dyn RightsOf>,
        now_ms: u64,
    ) -> Result<Arc<Self>, LogError> {
        let failed = |error: std::io::Error| LogError::Io(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder.join("part")).map_err(failed)?;
        let index = Index::open(&folder.join("index.db"))?;
        let tables = Tables { index, busy: BTreeSet::new(), hashers: BTreeMap::new() };
        let depot = Self {
            folder: folder.to_owned(),
            limits,
            rights: Mutex::new(rights),
            tables: Mutex::new(tables),
            followed: Mutex::default(),
        };
        depot.recover(now_ms).map_err(|refusal| LogError::Io(refusal.to_string()))?;
        Ok(Arc::new(depot))
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rights(&self) -> MutexGuard<'_, Box<dyn RightsOf>> {
        self.rights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part_path(&self, n: i64) -> PathBuf {
        self.folder.join("part").join(n.to_string())
    }

    fn blob_path(&self, id: &BlobId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn recover(&self, now_ms: u64) -> Result<(), Refusal> {
        let parts = self.tables().index.parts()?;
        for part in &parts {
            if part.have == part.bytes {
                // Whatever else is wrong with it was for its sender to hear.
                if let Err(Refusal::Disk(why)) = self.complete(part, None, now_ms) {
                    return Err(Refusal::Disk(why));
                }
            }
        }
        let kept: BTreeSet<String> = parts.iter().map(|part| part.n.to_string()).collect();
        for entry in fs::read_dir(self.folder.join("part"))? {
            let entry = entry?;
            if !kept.contains(&*entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        // Whole blobs whose rows are lost, and rows whose files are.
        let mut rows: BTreeSet<BlobId> = self.tables().index.blobs()?.into_iter().collect();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(id) = entry.file_name().to_string_lossy().parse::<BlobId>() else { continue };
            let bytes = entry.metadata()?.len();
            if !rows.remove(&id) {
                self.tables().index.write(|tx| put::blob(tx, &id, &[0; 32], bytes, now_ms))?;
            }
        }
        Ok(self.tables().index.write(|tx| rows.iter().try_for_each(|id| put::no_blob(tx, id)))?)
    }

    /// Whether a device may know of a blob: something refers to it in a conversation that it takes part in.
    fn may_read(&self, device: &DeviceId, id: &BlobId) -> Result<bool, LogError> {
        let conversations = self.tables().index.conversations(id)?;
        let rights = self.rights();
        for conversation in conversations {
            if rights.is_member(&conversation, device)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How much of a blob is here for a device. Of what it may not read it hears about its own upload only.
    pub(crate) fn look(&self, device: &DeviceId, id: &BlobId) -> Result<Look, Refusal> {
        let payer = self.rights().payer(device)?.ok_or(Refusal::Stranger)?;
        let readable = self.may_read(device, id)?;
        let tables = self.tables();
        if readable && let Some(total) = tables.index.bytes_of(id)? {
            return Ok(Look { total: Some(total), have: total, whole: true });
        }
        let part = tables.index.part(id, &payer)?;
        let (total, have) = part.map_or((None, 0), |part| (Some(part.bytes), part.have));
        Ok(Look { total, have, whole: false })
    }

    /// A stretch of a whole blob: the file, set to where it begins, and the length of the whole.
    pub(crate) fn read(&self, device: &DeviceId, request: &Request) -> Result<(File, u64), Refusal> {
        self.rights().payer(device)?.ok_or(Refusal::Stranger)?;
        if !self.may_read(device, &request.blob)? {
            return Err(Refusal::NotHere);
        }
        let total = self.tables().index.bytes_of(&request.blob)?.ok_or(Refusal::NotHere)?;
        if request.len == 0 || request.from.checked_add(request.len).is_none_or(|end| end > total) {
            return Err(Refusal::Malformed("range"));
        }
        let mut file = match File::open(self.blob_path(&request.blob)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Refusal::NotHere),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(request.from))?;
        Ok((file, total))
    }

    /// Begins to take a piece. `Ok(None)` = the blob is here already.
    pub(crate) fn begin(
        self: &Arc<Self>,
        device: &DeviceId,
        request: &Request,
        now_ms: u64,
    ) -> Result<Option<Piece>, Refusal> {
        let payer = self.rights().payer(device)?.ok_or(Refusal::Stranger)?;
        if request.len > PIECE_BYTES_MAX {
            return Err(Refusal::PieceTooLarge { max: PIECE_BYTES_MAX });
        }
        request.check().map_err(|_| Refusal::Malformed("piece"))?;
        if request.total > self.limits.blob_bytes {
            return Err(Refusal::TooLarge { bytes: request.total, max: self.limits.blob_bytes });
        }
        let readable = self.may_read(device, &request.blob)?;
        let mut tables = self.tables();
        if readable && tables.index.bytes_of(&request.blob)?.is_some() {
            return Ok(None);
        }
        let part = match tables.index.part(&request.blob, &payer)? {
            Some(part) => part,
            None => self.new_part(&mut tables, request, &payer, now_ms)?,
        };
        if !tables.busy.insert(part.n) {
            return Err(Refusal::Busy);
        }
        let of_all = tables.hashers.remove(&part.n).filter(|(_, upto)| *upto == part.have);
        drop(tables);
        let of_all = of_all.map(|(hasher, _)| hasher).or_else(|| (part.have == 0).then(blake3::Hasher::new));
        // From here on dropping it gives the upload free.
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.part_path(part.n));
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                self.tables().busy.remove(&part.n);
                return Err(error.into());
            }
        };
        let (depot, request) = (Arc::clone(self), *request);
        let mut piece = Piece { depot, part, file, request, written: 0, of_piece: blake3::Hasher::new(), of_all };
        if part.bytes != request.total {
            piece.forget()?;
            return Err(Refusal::LengthDiffers);
        }
        if part.have != request.from {
            piece.keep_hasher();
            return Err(Refusal::Offset { have: part.have });
        }
        piece.file.seek(SeekFrom::Start(part.have))?;
        Ok(Some(piece))
    }

    fn new_part(&self, tables: &mut Tables, request: &Request, payer: &Payer, now_ms: u64) -> Result<Part, Refusal> {
        if request.from > 0 {
            return Err(Refusal::Offset { have: 0 });
        }
        let over = |sums: Sums, max: u64| max > 0 && sums.bytes + sums.part_bytes + request.total > max;
        let (own, all) = (tables.index.sums(Some(payer))?, tables.index.sums(None)?);
        if own.parts >= self.limits.account_uploads {
            return Err(Refusal::TooManyUploads);
        }
        if over(own, self.limits.account_blob_bytes) || over(all, self.limits.stored_blob_bytes) {
            return Err(Refusal::Quota);
        }
        Ok(tables.index.write(|tx| put::part(tx, &request.blob, payer, request.total, now_ms))?)
    }

    /// Checks the hash of a whole upload and puts it where it belongs.
    fn complete(&self, part: &Part, hash: Option<blake3::Hash>, now_ms: u64) -> Result<(), Refusal> {
        let (from, to) = (self.part_path(part.n), self.blob_path(&part.id));
        // A crash may have come after it was renamed.
        let lies = if from.exists() { &from } else { &to };
        if !lies.exists() {
            return Ok(self.tables().index.write(|tx| put::no_part(tx, part.n))?);
        }
        let hash = hash.map_or_else(|| hash_of(lies, part.bytes), Ok)?;
        if *hash.as_bytes() != part.id.0 {
            self.tables().index.write(|tx| put::no_part(tx, part.n))?;
            remove(&from)?;
            return Err(Refusal::HashDiffers);
        }
        if lies == &from {
            fs::rename(&from, &to)?;
            sync_folder(&self.folder)?;
        }
        Ok(self.tables().index.write(|tx| {
            put::blob(tx, &part.id, &part.payer, part.bytes, now_ms)?;
            put::no_part(tx, part.n)
        })?)
    }

    /// Reads the references of ops that have arrived since the last time.
    pub(crate) fn follow(&self, log: &Reader) -> Result<(), LogError> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if !followed.known {
            let last = log.cursor()?.position;
            let noted = self.tables().index.followed()?;
            match noted.filter(|(incarnation, through)| *incarnation == log.incarnation() && *through <= last) {
                Some((_, through)) => {
                    // The process may have ended between erasing a body and letting go of what it referred to.
                    let referring = self.tables().index.referring()?;
                    for (conversation, id) in referring {
                        if log.op(&conversation, &id)?.is_none_or(|op| op.body.is_none()) {
                            self.released(&conversation, &id)?;
                        }
                    }
                    *followed = Followed { known: true, through, noted: through };
                }
                // Another log, or an older state of it: references are read anew.
                None => self.tables().index.write(put::no_references)?,
            }
            followed.known = true;
        }
        loop {
            let (found, last) = log.extended_after(followed.through, FOLLOW_OPS)?;
            if last == followed.through {
                return Ok(());
            }
            if !found.is_empty() || last - followed.noted >= FOLLOW_NOTE {
                self.tables().index.write(|tx| {
                    for op in &found {
                        // What is in no known form refers to nothing.
                        for id in extension::blobs(&op.extension).unwrap_or_default() {
                            put::reference(tx, &id, &op.conversation, &op.id)?;
                        }
                    }
                    put::followed(tx, log.incarnation(), last)
                })?;
                followed.noted = last;
            }
            followed.through = last;
        }
    }

    /// An op's body was erased or has expired: it refers to nothing any more, and what nothing refers to goes.
    pub(crate) fn released(&self, conversation: &ConversationId, op: &OpId) -> Result<(), LogError> {
        let left = self.tables().index.write(|tx| put::no_reference(tx, conversation, op))?;
        self.let_go(&left)
    }

    /// Lets go what nobody needs, and what has been here for as long as the operator allows.
    pub(crate) fn sweep(&self, now_ms: u64) -> Result<(), LogError> {
        let before = |seconds: u64| now_ms.saturating_sub(seconds.saturating_mul(1_000));
        let expired_ms = match self.limits.blob_expire_days {
            0 => 0,
            days => before(days.saturating_mul(86_400)),
        };
        let (blobs, parts) = self.tables().index.due(before(self.limits.blob_unreferenced_s), expired_ms)?;
        for part in parts {
            let mut tables = self.tables();
            if !tables.busy.contains(&part.n) {
                tables.index.write(|tx| put::no_part(tx, part.n))?;
                tables.hashers.remove(&part.n);
                drop(tables);
                remove(&self.part_path(part.n)).map_err(|error| LogError::Io(error.to_string()))?;
            }
        }
        self.let_go(&blobs)
    }

    fn let_go(&self, blobs: &[BlobId]) -> Result<(), LogError> {
        for id in blobs {
            // First the row: a file without one is found at the next start.
            self.tables().index.write(|tx| put::no_blob(tx, id))?;
            remove(&self.blob_path(id)).map_err(|error| LogError::Io(error.to_string()))?;
        }
        Ok(())
    }

    pub(crate) fn sums(&self) -> Result<Sums, LogError> {
        self.tables().index.sums(None)
    }
}

impl Piece {
    /// Takes some of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.written += bytes.len() as u64;
        if self.written > self.request.len {
            return Err(Refusal::Malformed("length"));
        }
        self.of_piece.update(bytes);
        self.file.write_all(bytes)?;
        if let Some(hasher) = &mut self.of_all {
            hasher.update(bytes);
        }
        Ok(())
    }

    /// All of it came: it is checked, put on the disk, and counts. Returns how much there is now, and whether that is all.
    pub(crate) fn finish(mut self, now_ms: u64) -> Result<(u64, bool), Refusal> {
        if self.written < self.request.len {
            return Err(Refusal::Cut);
        }
        if *self.of_piece.finalize().as_bytes() != self.request.piece {
            return Err(Refusal::PieceChanged);
        }
        self.file.sync_data()?;
        if self.part.have == 0 {
            sync_folder(&self.depot.folder.join("part"))?;
        }
        let have = self.part.have + self.written;
        self.depot.tables().index.write(|tx| put::have(tx, self.part.n, have, now_ms))?;
        self.part.have = have;
        if have < self.part.bytes {
            self.keep_hasher();
            return Ok((have, false));
        }
        let hash = self.of_all.take().map(|hasher| hasher.finalize());
        self.depot.complete(&self.part, hash, now_ms)?;
        Ok((have, true))
    }

    fn keep_hasher(&mut self) {
        let Some(hasher) = self.of_all.take() else { return };
        let mut tables = self.depot.tables();
        if tables.hashers.len() >= HASHERS_MAX {
            tables.hashers.pop_first();
        }
        tables.hashers.insert(self.part.n, (hasher, self.part.have));
    }

    /// Drops the whole upload.
    fn forget(&mut self) -> Result<(), Refusal> {
        self.depot.tables().index.write(|tx| put::no_part(tx, self.part.n))?;
        Ok(remove(&self.depot.part_path(self.part.n))?)
    }
}

fn hash_of(path: &Path, bytes: u64) -> std::io::Result<blake3::Hash> {
    let mut file = File::open(path)?.take(bytes);
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; READ_BYTES];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(&block[..read]),
        };
    }
}

/// Removes a file that need not be there.
fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new name is on the disk, too.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
