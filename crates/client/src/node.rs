//! A device without threads and sockets: everything that a person can do, as plain functions over a replica.
//!
//! The programs run a node on one owner thread (`actor`); the simulated world runs many in one loop. Time and
//! randomness come in as arguments. What is returned as done is on the disk.

mod devices;
mod import;
mod outbox;
mod own;
mod reading;
mod search;
mod show;
mod storage;
mod talk;
mod texts;
pub mod typing;

pub use talk::UNDO_MS;

use crate::Error;
use crate::api::{ConversationRow, DigestRow, InviteRow, Sent, Standing};
use crate::entropy::Entropy;
use crate::secrets::{self, Secrets};
use crate::token::WriteToken;
use std::fmt;
use tombolo_identity::{AccountKey, DeviceKey, InviteKey};
use tombolo_model::content::Content;
use tombolo_model::control::{Certificate, Control, Kind};
use tombolo_model::limit::{INVITE_USES_MAX, TEXT_BYTES_MAX};
use tombolo_model::{AccountId, ConversationId, DeviceId, Header, LogId, RelayAddress};
use tombolo_oplog::{Component, Log, Open};
use tombolo_replica::{Draft, Now, Replica, Rest, Target, Written};
use tombolo_seal::{Invitation, OVERHEAD_BYTES, Place, Sealer as _, SecretSealer, StorageKey};
use tombolo_store::Views;

/// Who this device is.
pub struct Identity {
    /// The account's key.
    pub account: AccountKey,
    /// The device's key.
    pub device: DeviceKey,
    /// When the device was certified, **milliseconds** since 1970.
    pub certified_ms: u64,
    /// Wraps what lies on the disk.
    pub storage: StorageKey,
    /// The name that new conversations get to know this account by.
    pub name: String,
    /// Relays that new conversations are kept on.
    pub relays: Vec<RelayAddress>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("account", &self.account.id())
            .field("device", &self.device.id())
            .finish_non_exhaustive()
    }
}

/// A device: its store and who it is.
pub struct Node {
    replica: Replica<Views>,
    identity: Identity,
    secrets: Secrets,
    entropy: Box<dyn Entropy>,
    kept: Vec<Box<dyn std::any::Any>>,
    news: reading::News,
    typing: typing::Typing,
    readers: std::cell::RefCell<std::collections::BTreeMap<ConversationId, reading::Readers>>,
    /// Where sealed files lie; `None` where a device has none.
    pub(crate) folder: Option<crate::files::Folder>,
    /// Bodies have gone since files were looked after.
    pub(crate) files_due: bool,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The parts of a device's file beside the log itself.
pub const COMPONENTS: &[Component] = &[tombolo_store::COMPONENT, secrets::COMPONENT, outbox::COMPONENT];

impl Node {
    /// Opens the store. `continue_logs` says that the store is the very one that was last closed in order; otherwise the
    /// next op of every conversation begins a new log. `open.components` is filled in here.
    ///
    /// # Errors
    /// [`Error`] of the store, or `wrong-key` when the secrets do not open.
    pub fn open(
        open: Open<'_>,
        identity: Identity,
        continue_logs: bool,
        mut entropy: Box<dyn Entropy>,
    ) -> Result<Self, Error> {
        let open = Open { components: COMPONENTS, random: u64::from_be_bytes(entropy.bytes()), ..open };
        let mut log = Log::open(open)?;
        if !continue_logs {
            let mut batch = log.batch()?;
            batch.begin_new_logs()?;
            batch.commit()?;
        }
        let secrets = Secrets::default();
        secrets.load(&log, &identity.storage)?;
        let doors = reading::Doors::new(secrets.clone(), &identity.account);
        let mut views = Views::new(Box::new(doors), identity.device.id()).of_account(identity.account.id());
        // A crash came between founding a conversation and storing its secret, or the conversation came back from peers.
        for (conversation, secret) in secrets::unstored(&log, &secrets, &identity.storage, &identity.device.id())? {
            let kept = (conversation, secret);
            secrets::keep((&mut log, &mut views), &secrets, &identity.storage, kept, entropy.as_mut())?;
        }
        let key = DeviceKey::from_seed(*identity.device.seed());
        Ok(Self {
            replica: Replica::new(log, key, views),
            identity,
            secrets,
            entropy,
            kept: Vec::new(),
            news: reading::News::default(),
            typing: typing::Typing::default(),
            readers: std::cell::RefCell::default(),
            folder: None,
            files_due: true,
        })
    }

    /// Keeps something alive as long as the store is open: the lock of its home.
    pub(crate) fn keep(&mut self, what: impl std::any::Any) {
        self.kept.push(Box::new(what));
    }

    /// The replica underneath: connections, timers, outputs.
    pub fn replica(&mut self) -> &mut Replica<Views> {
        &mut self.replica
    }

    /// The log, for reading.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.replica.log()
    }

    /// What opens bodies.
    pub(crate) fn opener(&self) -> &Secrets {
        &self.secrets
    }

    /// Who this device is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.identity.account.id()
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.identity.device.id()
    }

    /// Fresh random bytes.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        self.entropy.bytes()
    }

    /// Closes the store in order.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub fn close(self) -> Result<(), Error> {
        Ok(self.replica.close()?)
    }

    fn certificate(&self) -> Certificate {
        self.identity.account.certify(self.identity.device.id(), self.identity.certified_ms)
    }

    /// Writes sealed contents, each with what its header says besides.
    pub(crate) fn write_with(
        &mut self,
        conversation: ConversationId,
        contents: &[(Content, Rest)],
        now: Now,
    ) -> Result<Vec<Written>, Error> {
        let sealer = self.secrets.get(&conversation).ok_or_else(|| self.no_conversation(&conversation))?;
        self.write(Target::Known(conversation), None, contents, sealer.as_ref(), now)
    }

    /// Writes a control op, if there is one, and sealed contents behind it, all in one transaction.
    fn write(
        &mut self,
        target: Target<'_>,
        control: Option<Control>,
        contents: &[(Content, Rest)],
        sealer: &SecretSealer,
        now: Now,
    ) -> Result<Vec<Written>, Error> {
        let plains = contents.iter().map(|(content, _)| content.to_padded()).collect::<Result<Vec<_>, _>>()?;
        let seals: Vec<_> = plains
            .iter()
            .map(|plain| {
                move |header: &Header| {
                    let place = Place::of(header);
                    sealer.seal(&header.associated_data(), &place, plain).map_err(|error| error.to_string())
                }
            })
            .collect();
        let sealed = plains.iter().zip(&seals).zip(contents).map(|((plain, seal), (_, rest))| Draft::Sealed {
            len: plain.len() + OVERHEAD_BYTES,
            seal,
            rest: rest.clone(),
        });
        let control = control.map(|control| Draft::Clear(Box::new(control)));
        let drafts: Vec<Draft<'_>> = control.into_iter().chain(sealed).collect();
        let fresh_log = LogId(self.random());
        Ok(self.replica.write(target, &drafts, fresh_log, now)?)
    }

    fn no_conversation(&self, conversation: &ConversationId) -> Error {
        Error::new(
            "unknown-conversation",
            format!("there is no conversation {conversation} on this device"),
            "`tombolo list` shows what there is",
        )
    }

    /// Founds a conversation.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(&mut self, title: &str, kind: Kind, now: Now) -> Result<ConversationId, Error> {
        let salt: [u8; 16] = self.random();
        let genesis =
            Control::Genesis { certificate: self.certificate(), kind, salt, relays: self.identity.relays.clone() };
        let mut contents = vec![(Content::Name(self.identity.name.clone()), Rest::default())];
        if kind == Kind::Group {
            contents.push((Content::Title(title.to_owned()), Rest::default()));
        }
        let secret = secrets::derive(&self.identity.storage, &salt);
        let sealer = SecretSealer::new(secret.clone());
        let written = self.write(Target::New, Some(genesis), &contents, &sealer, now)?;
        let Some(first) = written.first() else { return Err(Error::stopped()) };
        self.keep_secret(first.conversation, secret)?;
        Ok(first.conversation)
    }

    fn keep_secret(
        &mut self,
        conversation: ConversationId,
        secret: tombolo_seal::ConversationSecret,
    ) -> Result<(), Error> {
        secrets::keep(
            self.replica.log_and_fold(),
            &self.secrets,
            &self.identity.storage,
            (conversation, secret),
            self.entropy.as_mut(),
        )
    }

    /// Makes an invitation to a conversation, or, with none named, founds one for two people and invites to that.
    ///
    /// # Errors
    /// `uses` for a number out of bounds, `unknown-conversation`, and those of the store.
    pub fn invite(
        &mut self,
        conversation: Option<ConversationId>,
        uses: u32,
        expires_ms: u64,
        now: Now,
    ) -> Result<Invitation, Error> {
        if !(1..=INVITE_USES_MAX).contains(&uses) {
            let words = format!("an invitation can be used 1 to {INVITE_USES_MAX} times, not {uses}");
            return Err(Error::new("uses", words, ""));
        }
        let conversation = match conversation {
            Some(conversation) => conversation,
            None => self.create("", Kind::Direct, now)?,
        };
        let secret = secrets::stored(self.log(), &self.identity.storage, &conversation)?
            .ok_or_else(|| self.no_conversation(&conversation))?;
        let row = self.log().conversation(&conversation)?.ok_or_else(|| self.no_conversation(&conversation))?;
        let Some(kind) = row.kind else {
            let words = "this device has asked to join this conversation and has not been let in yet";
            return Err(Error::new("asked", words, "run `tombolo sync` first"));
        };
        let key = InviteKey::from_seed(self.random());
        let invite = Control::Invite { key: key.public(), uses, expires_ms };
        let fresh_log = LogId(self.random());
        let written = self.replica.write(Some(conversation), &[Draft::Clear(Box::new(invite))], fresh_log, now)?;
        let Some(op) = written.first() else { return Err(Error::stopped()) };
        let mut relays = self.log().relays(&conversation)?;
        for relay in &mut relays {
            if relay.key == [0; 32] {
                relay.key = self.met_relay(&relay.url)?.map_or([0; 32], |key| key.0);
            }
        }
        Ok(Invitation {
            conversation,
            invite_op: op.id,
            invite_hlc: op.hlc,
            invite_seed: key.seed(),
            secret,
            kind,
            relays,
        })
    }

    /// Accepts an invitation, offline if need be: the join is written here and completed by whichever replica that has
    /// the conversation is met next. As long as it is not completed the link may be accepted again: that repeats what a
    /// crash left undone.
    ///
    /// # Errors
    /// `member` when this device takes part already, and those of the store.
    pub fn accept(&mut self, invitation: &Invitation, now: Now) -> Result<ConversationId, Error> {
        let conversation = invitation.conversation;
        let device = self.device();
        let row = self.log().conversation(&conversation)?;
        if row.is_some_and(|row| row.kind.is_some()) && self.log().is_member(&conversation, &device)? {
            return Err(Error::new("member", "this device takes part in that conversation already", ""));
        }
        self.keep_secret(conversation, invitation.secret.clone())?;
        // Whoever has asked with another invitation asks again: that one may have been revoked or used up meanwhile.
        if row.is_some_and(|row| row.kind.is_none()) && self.has_asked(&conversation, &invitation.key().public())? {
            return self.name_relays(conversation, &invitation.relays);
        }
        let certificate = self.certificate();
        let proof = invitation.key().prove(&conversation, &certificate);
        let named = |relay: &RelayAddress| invitation.relays.iter().any(|known| known.url == relay.url);
        // A conversation of two lives on both people's relays; a group stays where it is.
        let relays = match invitation.kind {
            Kind::Direct => self.identity.relays.iter().filter(|relay| !named(relay)).cloned().collect(),
            Kind::Group | Kind::Own => Vec::new(),
        };
        let join = Control::Join { certificate, invite: invitation.key().public(), proof, relays };
        if row.is_some() {
            // Not below the invitation's op: should that never come, nothing written from here on could be shown.
            let fresh_log = LogId(self.random());
            self.replica.write(Some(conversation), &[Draft::Clear(Box::new(join))], fresh_log, now)?;
            return self.name_relays(conversation, &invitation.relays);
        }
        let target = Target::Invited { conversation, seen: invitation.invite_hlc, relays: &invitation.relays };
        let name = (Content::Name(self.identity.name.clone()), Rest::default());
        let sealer = SecretSealer::new(invitation.secret.clone());
        self.write(target, Some(join), &[name], &sealer, now)?;
        Ok(conversation)
    }

    /// Notes the relays that an invitation names: without them a newcomer does not know whom to ask.
    fn name_relays(&mut self, conversation: ConversationId, relays: &[RelayAddress]) -> Result<ConversationId, Error> {
        let mut batch = self.replica.log_mut().batch()?;
        for relay in relays {
            batch.add_relay(&conversation, relay)?;
        }
        batch.commit()?;
        Ok(conversation)
    }

    /// Invitations of a conversation.
    ///
    /// # Errors
    /// Those of the store.
    pub fn invites(&self, conversation: &ConversationId) -> Result<Vec<InviteRow>, Error> {
        let invites = self.log().invites(conversation)?;
        Ok(invites
            .into_iter()
            .map(|invite| InviteRow {
                conversation: *conversation,
                key: invite.key,
                uses: invite.uses,
                used: invite.used,
                expires_ms: invite.expires_ms,
                revoked: invite.revoked,
            })
            .collect())
    }

    /// Ends an invitation.
    ///
    /// # Errors
    /// `invitation` when there is none with that key.
    pub fn revoke(&mut self, key: &[u8; 32], now: Now) -> Result<ConversationId, Error> {
        for row in self.log().conversations()? {
            if self.log().invites(&row.id)?.iter().any(|invite| invite.key == *key) {
                let fresh_log = LogId(self.random());
                let revoke = Draft::Clear(Box::new(Control::Revoke { key: *key }));
                self.replica.write(Some(row.id), &[revoke], fresh_log, now)?;
                return Ok(row.id);
            }
        }
        Err(Error::new("invitation", "there is no invitation with that key", "`tombolo invites` lists them"))
    }

    /// Sends messages, in order, in one transaction: all of them are on the disk when this returns, or none.
    ///
    /// # Errors
    /// `empty`, `too-large`, `unknown-conversation`, and those of the store.
    pub fn send(&mut self, conversation: ConversationId, texts: &[&str], now: Now) -> Result<Vec<Sent>, Error> {
        let rest = self.rest_of(&conversation, now)?;
        for text in texts {
            if text.is_empty() {
                return Err(Error::new("empty", "an empty message is not sent", ""));
            }
            if text.len() > TEXT_BYTES_MAX {
                let words = format!("a message may have {TEXT_BYTES_MAX} bytes, this one has {}", text.len());
                return Err(Error::new("too-large", words, "split it"));
            }
        }
        let contents: Vec<(Content, Rest)> =
            texts.iter().map(|text| (Content::Text((*text).to_owned()), rest.clone())).collect();
        let written = self.write_with(conversation, &contents, now)?;
        Ok(written.iter().map(|op| self.sent(op, now)).collect())
    }

    pub(crate) fn sent(&self, op: &Written, now: Now) -> Sent {
        let token = WriteToken {
            time_ms: now.wall_ms,
            hlc: op.hlc,
            replica: self.device(),
            conversation: op.conversation,
            log: op.log,
            seq: op.seq,
            id: op.id,
        };
        Sent { id: op.id, token }
    }

    /// Root digest and count of one conversation, or of all.
    ///
    /// # Errors
    /// `unknown-conversation` and those of the store.
    pub fn digest(&self, conversation: Option<ConversationId>) -> Result<Vec<DigestRow>, Error> {
        let rows = match conversation {
            Some(id) => vec![self.log().conversation(&id)?.ok_or_else(|| self.no_conversation(&id))?],
            // What no other device has is compared with nobody.
            None => {
                let mut rows = self.log().conversations()?;
                rows.retain(|row| {
                    row.kind != Some(Kind::Own) || self.log().members(&row.id).map_or(true, |all| all.len() > 1)
                });
                rows
            }
        };
        let mut digests = Vec::with_capacity(rows.len());
        for row in rows {
            let digest = self.log().proof(&row.id)?.0;
            digests.push(DigestRow { conversation: row.id, digest, ops: row.ops });
        }
        Ok(digests)
    }

    /// All conversations: favourites first, archived ones last, among each the one with the newest message first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn conversations(&self) -> Result<Vec<ConversationRow>, Error> {
        let rows = self.log().conversations()?;
        let (mut keeping, _) = self.keeping()?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let keeping = keeping.remove(&row.id).unwrap_or_default();
            let newest = match tombolo_store::page(self.log(), &row.id, None, 1)?.first() {
                Some(message) => message.arrival,
                // What devices agree on is no news.
                None if row.kind == Some(Kind::Own) => 0,
                None => row.last_arrival,
            };
            let order = (keeping.archived, !keeping.favourite, std::cmp::Reverse(newest));
            let mut relays: Vec<String> = Vec::new();
            // One address may be named twice: before and after its key was known.
            for relay in self.log().relays(&row.id)? {
                if !relays.contains(&relay.url) {
                    relays.push(relay.url);
                }
            }
            let listed = ConversationRow {
                id: row.id,
                title: self.title(&row.id, row.kind)?,
                kind: row.kind.unwrap_or(Kind::Group),
                // A member has the op that founded the conversation.
                standing: if row.kind.is_some() { Standing::Member } else { Standing::Asked },
                unread: self.unread(&row.id)?,
                mentions: self.unread_mentions(&row.id)?,
                ops: row.ops,
                relays,
                keeping,
            };
            list.push((order, listed));
        }
        list.sort_by_key(|(order, _)| *order);
        Ok(list.into_iter().map(|(_, row)| row).collect())
    }

    /// Adds a relay to what a conversation names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn add_relay(&mut self, conversation: ConversationId, relay: RelayAddress, now: Now) -> Result<(), Error> {
        let fresh_log = LogId(self.random());
        let relays = Draft::Clear(Box::new(Control::Relays { add: vec![relay] }));
        self.replica.write(Some(conversation), &[relays], fresh_log, now)?;
        Ok(())
    }

    /// Tells members who are connected that this person is there or typing; sealed, never stored.
    ///
    /// # Errors
    /// `unknown-conversation`.
    pub fn presence(&mut self, conversation: &ConversationId, what: &str, now: Now) -> Result<(), Error> {
        let sealer = self.secrets.get(conversation).ok_or_else(|| self.no_conversation(conversation))?;
        // Fresh random bytes stand where a log's name does: no nonce is used twice.
        let place = Place { author: self.device(), log: LogId(self.random()), seq: 0, epoch: 0 };
        let sealed = sealer.seal(conversation.as_bytes(), &place, what.as_bytes());
        let sealed = sealed.map_err(|error| Error::new("seal", error.to_string(), ""))?;
        let mut payload = Vec::with_capacity(40 + sealed.len());
        payload.extend_from_slice(&place.author.0);
        payload.extend_from_slice(&place.log.0);
        payload.extend_from_slice(&sealed);
        self.replica.presence(*conversation, &payload, now);
        Ok(())
    }

    /// Opens what [`Node::presence`] sealed: the device and what it says.
    #[must_use]
    pub fn open_presence(&self, conversation: &ConversationId, payload: &[u8]) -> Option<(DeviceId, String)> {
        let sealer = self.secrets.get(conversation)?;
        let (author, rest) = payload.split_first_chunk::<32>()?;
        let (log, sealed) = rest.split_first_chunk::<8>()?;
        let place = Place { author: DeviceId(*author), log: LogId(*log), seq: 0, epoch: 0 };
        let plain = sealer.open(conversation.as_bytes(), &place, sealed).ok()?;
        let what = std::str::from_utf8(&plain).ok()?;
        Some((place.author, what.to_owned()))
    }

    /// Devices that take part in any conversation of this one.
    ///
    /// # Errors
    /// Those of the store.
    pub fn companions(&self) -> Result<Vec<DeviceId>, Error> {
        let mut devices = std::collections::BTreeSet::new();
        for row in self.log().conversations()? {
            devices.extend(self.log().members(&row.id)?.into_iter().map(|member| member.device));
        }
        devices.remove(&self.device());
        Ok(devices.into_iter().collect())
    }
}
