//! The secrets of conversations: kept wrapped beside the log, open in memory while the program runs.
//!
//! A conversation that this device founded derives its secret from the storage key and the salt of the genesis op, so
//! that no crash between founding and storing can lose it. Not here: how bodies are sealed (`seal`).

use crate::Error;
use crate::entropy::Entropy;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use tombolo_model::content::Content;
use tombolo_model::{Class, Control, ConversationId, DeviceId, Op};
use tombolo_oplog::rusqlite::{OptionalExtension as _, params};
use tombolo_oplog::{Component, Log, Step};
use tombolo_seal::{ConversationSecret, SealError, Sealer as _, SecretSealer, StorageKey};
use tombolo_store::{Opener, Views};

/// Tables of the client itself.
pub(crate) const COMPONENT: Component = Component { name: "client", steps: &[FIRST, crate::files::STEP] };

const FIRST: Step = Step {
    why: "secrets of conversations, wrapped with the storage key; relays that were met, by address",
    sql: "CREATE TABLE secret (
                  conversation BLOB NOT NULL PRIMARY KEY,
                  wrapped BLOB NOT NULL -- nonce and sealed 32 bytes
              ) STRICT, WITHOUT ROWID;
              CREATE TABLE met_relay (
                  url TEXT NOT NULL PRIMARY KEY,
                  key BLOB NOT NULL, -- the key that answered there first, or that a signed move names
                  moved_at_ms INTEGER NOT NULL DEFAULT 0
              ) STRICT, WITHOUT ROWID;",
};

/// Opens and seals bodies for every conversation whose secret is known.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<RwLock<BTreeMap<ConversationId, Arc<SecretSealer>>>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    pub(crate) fn get(&self, conversation: &ConversationId) -> Option<Arc<SecretSealer>> {
        self.0.read().ok()?.get(conversation).cloned()
    }

    pub(crate) fn insert(&self, conversation: ConversationId, secret: ConversationSecret) {
        if let Ok(mut secrets) = self.0.write() {
            secrets.insert(conversation, Arc::new(SecretSealer::new(secret)));
        }
    }

    /// Reads every stored secret.
    pub(crate) fn load(&self, log: &Log, storage: &StorageKey) -> Result<(), Error> {
        let mut statement = log.connection()?.prepare("SELECT conversation, wrapped FROM secret")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let conversation: [u8; 16] = row.get(0)?;
            let wrapped: Vec<u8> = row.get(1)?;
            let id = ConversationId(conversation);
            self.insert(id, unwrap(storage, &id, &wrapped)?);
        }
        Ok(())
    }
}

fn name(conversation: &ConversationId) -> String {
    format!("conversation {conversation}")
}

fn unwrap(storage: &StorageKey, id: &ConversationId, wrapped: &[u8]) -> Result<ConversationSecret, Error> {
    let plain = storage.unwrap_(&name(id), wrapped).map_err(|_| wrong_key())?;
    let bytes: [u8; 32] = plain.as_slice().try_into().map_err(|_| wrong_key())?;
    Ok(ConversationSecret::new(bytes))
}

fn wrong_key() -> Error {
    Error::new(
        "wrong-key",
        "the stored secrets do not open with the key in the key store",
        "choose the key store that this profile was made with (--key-store)",
    )
}

/// The secret itself, for an invitation.
pub(crate) fn stored(
    log: &Log,
    storage: &StorageKey,
    conversation: &ConversationId,
) -> Result<Option<ConversationSecret>, Error> {
    let sql = "SELECT wrapped FROM secret WHERE conversation = ?1";
    let wrapped: Option<Vec<u8>> =
        log.connection()?.query_row(sql, [conversation.as_bytes()], |row| row.get(0)).optional()?;
    wrapped.map(|wrapped| unwrap(storage, conversation, &wrapped)).transpose()
}

/// Keeps a secret and reads with it what came before it did, in one transaction; durable when it returns.
pub(crate) fn keep(
    (log, views): (&mut Log, &mut Views),
    secrets: &Secrets,
    storage: &StorageKey,
    (conversation, secret): (ConversationId, ConversationSecret),
    entropy: &mut dyn Entropy,
) -> Result<(), Error> {
    let seal = |error: SealError| Error::new("seal", error.to_string(), "");
    let wrapped = storage.wrap(&name(&conversation), entropy.bytes(), secret.expose()).map_err(seal)?;
    let mut batch = log.batch()?;
    batch.transaction()?.execute(
        "INSERT INTO secret (conversation, wrapped) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET wrapped = ?2",
        params![conversation.as_bytes(), wrapped],
    )?;
    secrets.insert(conversation, secret);
    let reader = batch.reads()?;
    views.reopen(reader, batch.transaction()?, &conversation)?;
    Ok(batch.commit()?)
}

/// The secret of a conversation that this device founds, from the salt of its genesis op.
pub(crate) fn derive(storage: &StorageKey, salt: &[u8; 16]) -> ConversationSecret {
    let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 secret of a founded conversation");
    hasher.update(storage.expose());
    hasher.update(salt);
    ConversationSecret::new(*hasher.finalize().as_bytes())
}

/// Secrets of conversations that this device founded and that lack one.
pub(crate) fn unstored(
    log: &Log,
    secrets: &Secrets,
    storage: &StorageKey,
    device: &DeviceId,
) -> Result<Vec<(ConversationId, ConversationSecret)>, Error> {
    let mut found = Vec::new();
    for row in log.conversations()?.into_iter().filter(|row| secrets.get(&row.id).is_none()) {
        for height in log.heights(&row.id)?.into_iter().filter(|height| height.author == *device) {
            let first = log.run(&row.id, device, &height.log, 1, 1, 1)?;
            let Some(op) = first.first().filter(|op| op.header.is_genesis()) else { continue };
            let control = op.body.as_ref().map(|body| Control::from_bytes(body));
            if let Some(Ok(Control::Genesis { salt, .. })) = control {
                found.push((row.id, derive(storage, &salt)));
            }
        }
    }
    Ok(found)
}

impl Opener for Secrets {
    fn open(&self, op: &Op) -> Option<Content> {
        if op.header.class != Class::Content {
            return None;
        }
        let sealer = self.get(&op.conversation())?;
        let body = op.body.as_ref()?;
        let place = tombolo_seal::Place::of(&op.header);
        let plain = sealer.open(&op.header.associated_data(), &place, body).ok()?;
        Content::from_padded(&plain).ok()
    }
}
