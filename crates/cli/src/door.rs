//! The one place that knows the client: what it is called there, and what it is called here.
//!
//! Commands speak to [`Door`]; the types that they get are re-exported here, so that a change of the client's face ends
//! in this file. Not here: printing.

use crate::args::{Global, KeyStore};
use crate::failure::Failure;
use std::path::PathBuf;
use tombolo_client::import::Reading;
use tombolo_client::key_store::KeyStoreKind;
use tombolo_client::{Client, Config};

pub(crate) use tombolo_client::import::{DateOrder, Export, Format, Imports};
pub(crate) use tombolo_client::{
    AccountId, Backup, BackupKey, Cited, ConflictRow, ConversationId, ConversationRow, Created, DigestRow, Event,
    Events, FileRow, FileSettings, FileState, Finding, InvalidBackupKey, InviteRow, Listening, Message, MessageState,
    OpId, OutboxRow, Post, Progress, Receipt, SearchHit, SearchQuery, Sent, Standing, StorageRow, SyncOptions,
    SyncReport, TextRow, VersionRow,
};

#[cfg(test)]
pub(crate) use tombolo_client::{Beside, DeviceId, Keeping, Reach};
pub(crate) use tombolo_client::{File, Kind, ReactionRow as Reaction};

/// Names a file with further certificates to believe, for relays with their own.
const CERTIFICATES: &str = "TOMBOLO_CERTIFICATES";

/// An open profile.
#[derive(Clone)]
pub(crate) struct Door {
    client: Client,
}

/// How the profile is opened.
pub(crate) fn settings(global: &Global) -> Result<Config, Failure> {
    Ok(config(home(global)?, chosen(global)?))
}

fn config(home: PathBuf, key_store: Option<KeyStore>) -> Config {
    let key_store = key_store.map(|kind| match kind {
        KeyStore::Keyring => KeyStoreKind::Keyring,
        KeyStore::File => KeyStoreKind::File,
    });
    let extra_certificates = std::env::var_os(CERTIFICATES).filter(|path| !path.is_empty()).map(PathBuf::from);
    Config { home, key_store, extra_certificates }
}

/// The folder of the profile.
pub(crate) fn home(global: &Global) -> Result<PathBuf, Failure> {
    global.home.clone().or_else(crate::home::default_home).ok_or_else(|| {
        Failure::new("home", "this system does not say where programs keep their data", "name a folder with --home")
    })
}

/// The chosen place for keys; `None` when neither flag nor environment says anything.
fn chosen(global: &Global) -> Result<Option<KeyStore>, Failure> {
    let environment = std::env::var("TOMBOLO_KEY_STORE").ok();
    let kind = global.key_store(environment.as_deref()).map_err(Failure::Usage)?;
    let said = global.key_store.is_some() || environment.is_some_and(|text| !text.is_empty());
    Ok(said.then_some(kind))
}

/// Runs what blocks (key stores do) away from the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, tombolo_client::Error> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            Err(Failure::new("stopped", error.to_string(), "this is a fault of the program: please report it"))
        }
    }
}

/// A profile that was made, and where.
pub(crate) struct Profile {
    /// Its keys' public halves.
    pub(crate) created: Created,
    /// Its folder.
    pub(crate) home: PathBuf,
    /// Where its secrets are.
    pub(crate) key_store: KeyStore,
}

/// Makes a profile.
pub(crate) async fn init(global: &Global, name: String, relay: Option<String>) -> Result<Profile, Failure> {
    let home = home(global)?;
    let key_store = chosen(global)?.unwrap_or(KeyStore::Keyring);
    let config = config(home.clone(), Some(key_store));
    let created = blocking(move || Client::init(&config, &name, relay.as_slice())).await?;
    Ok(Profile { created, home, key_store })
}

/// Makes a profile of a backup.
pub(crate) async fn restore(global: &Global, file: PathBuf, key: BackupKey) -> Result<Profile, Failure> {
    let home = home(global)?;
    let key_store = chosen(global)?.unwrap_or(KeyStore::Keyring);
    let config = config(home.clone(), Some(key_store));
    let created = blocking(move || Client::restore(&config, &file, &key)).await?;
    Ok(Profile { created, home, key_store })
}

/// Reads an export, `-` from standard input; changes nothing. `offset_s`: how many **seconds** the times in it are ahead of
/// UTC at a moment (milliseconds since 1970).
pub(crate) async fn read_export(
    file: PathBuf,
    dates: Option<DateOrder>,
    offset_s: impl Fn(u64) -> i32 + Send + 'static,
) -> Result<Export, Failure> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    blocking(move || {
        let reading = Reading { dates, offset_s: &offset_s, now_ms: now.as_millis() as u64 };
        if file.as_os_str() == "-" {
            return Export::read_once(std::io::stdin().lock(), &reading);
        }
        let unreadable = |error| {
            let words = format!("{} cannot be read: {error}", file.display());
            tombolo_client::Error::new("file", words, "name a chat exported from WhatsApp, or a file of JSON Lines")
        };
        let opened = std::fs::File::open(&file).map_err(unreadable)?;
        if opened.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
        }
        Export::read(std::io::BufReader::new(opened), &reading)
    })
    .await
}

impl Door {
    /// Opens the profile.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        let config = config(home(global)?, chosen(global)?);
        Ok(Self { client: blocking(move || Client::open(&config)).await? })
    }

    /// A profile that is open already.
    pub(crate) fn of(client: Client) -> Self {
        Self { client }
    }

    /// The client, for commands that only pass on.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Closes the store in order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.client.close().await?)
    }

    pub(crate) async fn conversations(&self) -> Result<Vec<ConversationRow>, Failure> {
        Ok(self.client.conversations().await?)
    }

    pub(crate) async fn create(&self, title: &str) -> Result<ConversationId, Failure> {
        Ok(self.client.create(title).await?)
    }

    /// `expires_ms` counts from now; 0 = never.
    pub(crate) async fn invite(
        &self,
        conversation: Option<ConversationId>,
        uses: u32,
        expires_ms: u64,
    ) -> Result<(String, ConversationId), Failure> {
        Ok(self.client.invite(conversation, uses, expires_ms).await?)
    }

    pub(crate) async fn invites(&self, conversation: Option<ConversationId>) -> Result<Vec<InviteRow>, Failure> {
        Ok(self.client.invites(conversation).await?)
    }

    pub(crate) async fn revoke(&self, key: &str) -> Result<ConversationId, Failure> {
        Ok(self.client.revoke(key).await?)
    }

    pub(crate) async fn accept(&self, link: &str) -> Result<(ConversationId, Standing), Failure> {
        Ok(self.client.accept(link).await?)
    }

    pub(crate) async fn send(&self, conversation: ConversationId, texts: Vec<String>) -> Result<Vec<Sent>, Failure> {
        Ok(self.client.send(conversation, texts).await?)
    }

    pub(crate) async fn messages(
        &self,
        conversation: ConversationId,
        limit: usize,
        before: Option<String>,
    ) -> Result<Vec<Message>, Failure> {
        Ok(self.client.messages(conversation, limit, before).await?)
    }

    pub(crate) async fn import(
        &self,
        conversation: ConversationId,
        export: Export,
        progress: impl Fn(usize) + Send + 'static,
    ) -> Result<Imports, Failure> {
        Ok(self.client.import_export(conversation, export, progress).await?)
    }

    /// `person`: `None` = this account.
    pub(crate) async fn map_imported(
        &self,
        conversation: ConversationId,
        source: Format,
        name: String,
        person: Option<String>,
    ) -> Result<AccountId, Failure> {
        Ok(self.client.map_imported(conversation, source, name, person).await?)
    }

    pub(crate) async fn export(&self, conversation: ConversationId) -> Result<Vec<Message>, Failure> {
        Ok(self.client.export(conversation).await?)
    }

    pub(crate) async fn backup(&self, file: PathBuf) -> Result<Backup, Failure> {
        Ok(self.client.backup(file).await?)
    }

    pub(crate) async fn digest(&self, conversation: Option<ConversationId>) -> Result<Vec<DigestRow>, Failure> {
        Ok(self.client.digest(conversation).await?)
    }

    pub(crate) async fn sync(
        &self,
        options: &SyncOptions,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<SyncReport, Failure> {
        Ok(self.client.sync(options, progress).await?)
    }

    pub(crate) async fn watch(&self) -> Result<Events, Failure> {
        Ok(self.client.watch(&SyncOptions::default()).await?)
    }

    pub(crate) async fn listen(&self, address: &str) -> Result<Listening, Failure> {
        Ok(self.client.listen(address).await?)
    }

    pub(crate) async fn doctor(
        &self,
        repair: bool,
        progress: impl Fn(&str, u64, u64) + Send + 'static,
    ) -> Result<Vec<Finding>, Failure> {
        Ok(self.client.doctor(repair, progress).await?)
    }
}

/// How much later than written a late message came, as far as it is known; `None` when it is not late.
pub(crate) fn late_by_ms(message: &Message) -> Option<u64> {
    message.late.then(|| message.came_ms.saturating_sub(message.time_ms))
}
