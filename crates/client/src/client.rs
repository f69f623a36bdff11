//! The handle.

mod reading;
mod storage;
mod talk;

use crate::actor::Actor;
use crate::api::{
    ConversationRow, DigestRow, Finding, InviteRow, Line, Message, Progress, SearchHit, SearchQuery, Sent, Standing,
    SyncReport,
};
use crate::backup::{self, Backup};
use crate::files::Folder;
use crate::import::{Export, Format, Imports};
use crate::key_store::KeyStoreKind;
use crate::profile::{self, Profile};
use crate::sync::{self, SyncOptions};
use crate::timeline::{self, Timeline};
use crate::transport::tls::Tls;
use crate::watch::{self, Events, Listening};
use crate::{Error, SystemEntropy, doctor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tombolo_model::control::Kind;
use tombolo_model::id::unhex;
use tombolo_model::{AccountId, ConversationId, DeviceId};
use tombolo_oplog::Open;
use tombolo_replica::Now;
use tombolo_seal::Invitation;
use tombolo_seal::backup::BackupKey;

/// Where a profile is and how it connects.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder.
    pub home: PathBuf,
    /// Where its keys are; `None` = where the profile says.
    pub key_store: Option<KeyStoreKind>,
    /// A PEM file with further certificates to believe, for relays with their own.
    pub extra_certificates: Option<PathBuf>,
}

/// A profile that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The account.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
}

/// A handle to an open profile.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) actor: Actor,
    pub(crate) tls: Arc<Tls>,
    /// Sealed files.
    pub(crate) folder: Folder,
    name: Arc<str>,
    account: AccountId,
    device: DeviceId,
}

impl Client {
    /// Makes a profile: keys in the key store, a description in the home. Fails where there is one already.
    ///
    /// # Errors
    /// `profile-exists`, `name`, `address`, those of the key store, `home` when the folder cannot be written.
    pub fn init(config: &Config, name: &str, relays: &[String]) -> Result<Created, Error> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kind = config.key_store.unwrap_or(KeyStoreKind::Keyring);
        profile::create(&config.home, name, relays, kind, wall.as_millis() as u64, &mut SystemEntropy)?;
        let profile = Profile::open(&config.home, config.key_store)?;
        Ok(Created { account: profile.identity.account.id(), device: profile.identity.device.id() })
    }

    /// Makes a profile of a backup: a new device of its account, certified in all its conversations. Fails where there is a
    /// profile already.
    ///
    /// # Errors
    /// `profile-exists`, `home-in-use`, `not-a-backup`, `wrong-key`, `damaged`, `cut-off`, `newer`; those of the key store
    /// and of the store. No profile was made then.
    pub fn restore(config: &Config, file: &Path, key: &BackupKey) -> Result<Created, Error> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        backup::restore(config, file, key, tombolo_replica::Now { mono_ms: 0, wall_ms: wall.as_millis() as u64 })
    }

    /// Makes a backup of everything on this device into a new file, and returns the key that opens it, which is kept
    /// nowhere else. Others can write meanwhile only once the copy is made.
    ///
    /// # Errors
    /// `file` when it exists or cannot be written; those of the store.
    pub async fn backup(&self, file: PathBuf) -> Result<Backup, Error> {
        self.actor.call(move |node, now| backup::make(node, &file, now)).await?
    }

    /// Certifies this device in every conversation of its account in which it has no place yet.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn certify_everywhere(&self) -> Result<Vec<ConversationId>, Error> {
        self.actor.call(move |node, now| node.certify_everywhere(now)).await?
    }

    /// Opens a profile. The store is there when this returns.
    ///
    /// # Errors
    /// `no-profile`, `in-use`, `key-missing`, and those of the store.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let profile = Profile::open(&config.home, config.key_store)?;
        let tls = Tls::new(config.extra_certificates.as_deref())
            .map_err(|error| Error::new(error.code(), error.to_string(), ""))?;
        let (account, device) = (profile.identity.account.id(), profile.identity.device.id());
        let name = Arc::from(profile.identity.name.as_str());
        let database = profile.database();
        let path = database.clone();
        let folder = Folder::beside(&database);
        let files = folder.clone();
        let open = move || {
            let Profile { identity, continue_logs, lock, .. } = profile;
            let mut node = crate::Node::open(Open::new(path, 0), identity, continue_logs, Box::new(SystemEntropy))?;
            node.keep(lock);
            node.folder = Some(files);
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = Now { mono_ms: 0, wall_ms: wall.as_millis() as u64 };
            node.own(now)?;
            node.tick(now)?;
            Ok(node)
        };
        Ok(Self { actor: Actor::start(open, database)?, tls: Arc::new(tls), folder, name, account, device })
    }

    /// Closes the store in order. Without it the next start begins new logs, which costs a few bytes and nothing else.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn close(&self) -> Result<(), Error> {
        self.actor.close().await
    }

    /// The name that others see.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// All conversations: favourites first, archived ones last, among each the one with the newest message first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn conversations(&self) -> Result<Vec<ConversationRow>, Error> {
        self.actor.call(|node, _| node.conversations()).await?
    }

    /// Founds a conversation for any number of people.
    ///
    /// # Errors
    /// `too-large` for a title over 256 bytes; those of the store.
    pub async fn create(&self, title: &str) -> Result<ConversationId, Error> {
        let title = title.to_owned();
        self.actor.call(move |node, now| node.create(&title, Kind::Group, now)).await?
    }

    /// Makes an invitation link; with no conversation named, founds one for two people. `expires_in_ms` counts from now,
    /// 0 = never.
    ///
    /// # Errors
    /// `uses`, `unknown-conversation`, `asked`; those of the store.
    pub async fn invite(
        &self,
        conversation: Option<ConversationId>,
        uses: u32,
        expires_in_ms: u64,
    ) -> Result<(String, ConversationId), Error> {
        let call = move |node: &mut crate::Node, now: tombolo_replica::Now| {
            let expires_ms = if expires_in_ms == 0 { 0 } else { now.wall_ms.saturating_add(expires_in_ms) };
            node.invite(conversation, uses, expires_ms, now)
        };
        let invitation = self.actor.call(call).await??;
        Ok((invitation.to_string(), invitation.conversation))
    }

    /// Invitations of one conversation, or of all.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn invites(&self, conversation: Option<ConversationId>) -> Result<Vec<InviteRow>, Error> {
        let call = move |node: &mut crate::Node, _| {
            let all = match conversation {
                Some(conversation) => vec![conversation],
                None => node.conversations()?.into_iter().map(|row| row.id).collect(),
            };
            let mut rows = Vec::new();
            for conversation in all {
                rows.extend(node.invites(&conversation)?);
            }
            Ok(rows)
        };
        self.actor.call(call).await?
    }

    /// Ends an invitation by its key (64 hex digits).
    ///
    /// # Errors
    /// `invitation` when there is none with that key; those of the store.
    pub async fn revoke(&self, key: &str) -> Result<ConversationId, Error> {
        let wrong =
            |_| Error::new("invitation", "this is not the key of an invitation", "`tombolo invites` lists them");
        let key: [u8; 32] = unhex(key.trim()).map_err(wrong)?;
        self.actor.call(move |node, now| node.revoke(&key, now)).await?
    }

    /// Accepts an invitation link, offline if need be.
    ///
    /// # Errors
    /// `invitation` for a text that is no whole link, `member`; those of the store.
    pub async fn accept(&self, link: &str) -> Result<(ConversationId, Standing), Error> {
        let parsed = link.trim().parse::<Invitation>();
        let invitation = parsed.map_err(|error| Error::new("invitation", error.to_string(), ""))?;
        let conversation = self.actor.call(move |node, now| node.accept(&invitation, now)).await??;
        Ok((conversation, Standing::Asked))
    }

    /// Sends messages in order; all of them are on the disk when this returns, or none.
    ///
    /// # Errors
    /// `empty`, `too-large`, `unknown-conversation`; those of the store.
    pub async fn send(&self, conversation: ConversationId, texts: Vec<String>) -> Result<Vec<Sent>, Error> {
        let call = move |node: &mut crate::Node, now| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            node.send(conversation, &texts, now)
        };
        self.actor.call(call).await?
    }

    /// A page of messages, oldest first: the newest ones before `before`, or before the end. They count as seen.
    ///
    /// # Errors
    /// `cursor`, `unknown-conversation`; those of the store.
    pub async fn messages(
        &self,
        conversation: ConversationId,
        limit: usize,
        before: Option<String>,
    ) -> Result<Vec<Message>, Error> {
        self.actor.call(move |node, _| node.messages(&conversation, limit, before.as_deref(), true)).await?
    }

    /// A number that changes whenever anything here may have: whoever shows something looks again then.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.actor.changes()
    }

    /// The newest `limit` messages of a conversation as items, and keyed diffs from then on. `offset_s` says how many
    /// **seconds** local time is ahead of UTC.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn timeline(&self, conversation: ConversationId, limit: usize, offset_s: i32) -> Result<Timeline, Error> {
        timeline::open(&self.actor, conversation, limit, offset_s).await
    }

    /// Brings messages in from elsewhere; returns how many were new and how many were skipped.
    ///
    /// # Errors
    /// `unknown-conversation`; those of the store.
    pub async fn import(
        &self,
        conversation: ConversationId,
        lines: Vec<Line>,
        progress: impl Fn(usize) + Send + 'static,
    ) -> Result<(u64, u64), Error> {
        self.actor.call(move |node, now| node.import(conversation, &lines, now, progress)).await?
    }

    /// Brings an export in that [`Export::read`] has understood. Returns what was done.
    ///
    /// # Errors
    /// `unknown-conversation`, `archive` and others for a file that is not as it says; those of the store.
    pub async fn import_export(
        &self,
        conversation: ConversationId,
        mut export: Export,
        progress: impl Fn(usize) + Send + 'static,
    ) -> Result<Imports, Error> {
        let folder = self.folder.clone();
        let call = move |node: &mut crate::Node, now| {
            let max = node.file_settings()?.largest_bytes;
            let mut attach = crate::files::taking(&folder, max);
            node.import_export(conversation, &mut export, &mut attach, now, progress)
        };
        self.actor.call(call).await?
    }

    /// Says which member a name of an import is. `person` is a member's name, the beginning of an account's id that no
    /// other has, or `None` for this account. May be said before the import and long after it.
    ///
    /// # Errors
    /// `unknown-person`, `ambiguous`, `unknown-conversation`, `too-large`; those of the store.
    pub async fn map_imported(
        &self,
        conversation: ConversationId,
        source: Format,
        name: String,
        person: Option<String>,
    ) -> Result<AccountId, Error> {
        let call =
            move |node: &mut crate::Node, now| node.map_imported(conversation, source, &name, person.as_deref(), now);
        self.actor.call(call).await?
    }

    /// Every message of a conversation that can be read, in display order. They do not count as seen.
    ///
    /// # Errors
    /// `unknown-conversation`; those of the store.
    pub async fn export(&self, conversation: ConversationId) -> Result<Vec<Message>, Error> {
        let call = move |node: &mut crate::Node, _| {
            let mut messages = Vec::new();
            node.export(&conversation, |message| {
                messages.push(message);
                Ok(())
            })?;
            Ok(messages)
        };
        self.actor.call(call).await?
    }

    /// Root digest and op count of one conversation, or of all.
    ///
    /// # Errors
    /// `unknown-conversation`; those of the store.
    pub async fn digest(&self, conversation: Option<ConversationId>) -> Result<Vec<DigestRow>, Error> {
        self.actor.call(move |node, _| node.digest(conversation)).await?
    }

    /// Exchanges until nothing is missing. `progress` is called often.
    ///
    /// # Errors
    /// `no-relay`; the first failure when no replica could be reached at all. Single failures stand in the report.
    pub async fn sync(
        &self,
        options: &SyncOptions,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<SyncReport, Error> {
        sync::sync(&self.actor, Some(&self.folder), options, &self.tls, &progress).await
    }

    /// Stays connected with the relays of this device and its conversations (and those named), again and again with
    /// jittered back-off; what happens comes out of the channel. Ends when the channel is dropped.
    ///
    /// # Errors
    /// `address`; those of the store.
    pub async fn watch(&self, options: &SyncOptions) -> Result<Events, Error> {
        watch::watch(&self.actor, &self.folder, options, Arc::clone(&self.tls)).await
    }

    /// Finds messages, newest first; what has come so far is in the index when this returns.
    ///
    /// # Errors
    /// `empty-search`, `unknown-conversation`; those of the store.
    pub async fn search(&self, query: SearchQuery) -> Result<Vec<SearchHit>, Error> {
        // A step at a time, so that messages come and go meanwhile.
        while self.actor.call(|node, _| node.index()).await?? > 0 {}
        self.actor.call(move |node, now| node.search(&query, now)).await?
    }

    /// Accepts other devices on an address, `HOST:PORT` (port 0 picks one), and tells the local network by mDNS.
    ///
    /// # Errors
    /// `listen` when the address cannot be had.
    pub async fn listen(&self, address: &str) -> Result<Listening, Error> {
        watch::listen(&self.actor, address, self.device).await
    }

    /// Tells the members who are connected that this person is there or typing. Never stored.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn presence(&self, conversation: ConversationId, what: &'static str) -> Result<(), Error> {
        self.actor.call(move |node, now| node.presence(&conversation, what, now)).await?
    }

    /// Checks the store from the bytes up; with `repair`, fetches again from relays what is damaged.
    ///
    /// # Errors
    /// Those of the store where nothing can be read at all.
    pub async fn doctor(
        &self,
        repair: bool,
        progress: impl Fn(&str, u64, u64) + Send + 'static,
    ) -> Result<Vec<Finding>, Error> {
        doctor::doctor(&self.actor, repair, &self.tls, progress).await
    }
}
