//! Profiles on the disk with a history of days: made by the client's own code, filled through the log.
//!
//! A profile is made as `tombolo init` makes it, its first ops are written by a node whose clock stands in the past, and
//! the history is appended like ops that a peer has brought: checked, folded, with views. What is measured afterwards
//! opens the profile through the client. Not here: measuring.

use super::Measured;
use super::corpus::{Corpus, incoming};
use std::path::{Path, PathBuf};
use tombolo_client::key_store::{KeyStore, KeyStoreKind};
use tombolo_client::{Client, Config, Identity, Node, SystemEntropy};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::Op;
use tombolo_oplog::{Log, Open};
use tombolo_seal::StorageKey;
use tombolo_store::Views;

/// How the client is told where a profile is.
#[must_use]
pub fn config(home: &Path) -> Config {
    Config { home: home.to_owned(), key_store: Some(KeyStoreKind::File), extra_certificates: None }
}

/// The database of a profile.
fn database(home: &Path) -> PathBuf {
    home.join("tombolo.db")
}

/// Makes a profile.
///
/// # Errors
/// Those of the client.
pub fn init(home: &Path, name: &str, relays: &[String]) -> Measured<()> {
    std::fs::create_dir_all(home)?;
    Client::init(&config(home), name, relays)?;
    Ok(())
}

/// Its store as a node without threads, whose time is an argument.
///
/// # Errors
/// Those of the key store and the store.
pub fn node(home: &Path, name: &str) -> Measured<Node> {
    let keys = KeyStore::open(KeyStoreKind::File, home)?;
    let key = |name: &str| -> Measured<[u8; 32]> {
        let found = keys.get(name)?.ok_or("the profile has lost a key")?;
        Ok(found.as_slice().try_into()?)
    };
    let identity = Identity {
        account: AccountKey::from_seed(key("account")?),
        device: DeviceKey::from_seed(key("device")?),
        certified_ms: 1,
        storage: StorageKey::new(key("storage")?),
        name: name.into(),
        relays: Vec::new(),
    };
    Ok(Node::open(Open::new(database(home), 0), identity, true, Box::new(SystemEntropy))?)
}

/// Appends what others wrote, `per_batch` ops in one transaction, as if one peer had brought it.
///
/// # Errors
/// Those of the store; an op that is not taken.
pub fn append(home: &Path, corpus: &Corpus, parts: impl Iterator<Item = Measured<Vec<Op>>>) -> Measured<()> {
    let components = tombolo_client::node::COMPONENTS;
    let mut log = Log::open(Open { components, ..Open::new(database(home), 0) })?;
    let own = DeviceKey::from_seed([250; 32]).id();
    let mut views = Views::new(corpus.opener(), own);
    let peer = DeviceKey::from_seed([251; 32]).id();
    let setup = std::iter::once(Ok(corpus.setup.clone()));
    for ops in setup.chain(parts.map(|ops| ops.map(incoming))) {
        let ops = ops?;
        let expected = ops.len();
        let now_ms = ops.last().map_or(0, |last| last.op.header.hlc.ms());
        let mut batch = log.batch()?;
        let appended = batch.append(ops, Some(&peer), now_ms, &mut views)?;
        if appended.stored.len() != expected || appended.waiting > 0 {
            let first = appended.refused.first();
            return Err(format!("{} of {expected} stored, {first:?}", appended.stored.len()).into());
        }
        batch.commit()?;
    }
    Ok(log.close()?)
}

/// Copies a profile.
///
/// # Errors
/// The disk's.
pub fn copy(from: &Path, to: &Path) -> Measured<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
