//! What an operator can set: the TOML file, its defaults, and the commented text that `init` writes.
//!
//! Every setting has a default that is safe on a small machine; the commented file is made from the same defaults, and a
//! test reads it back, so that the two cannot drift apart. Not here: the command line (`main.rs`), files of the data
//! folder (`place.rs`).

use crate::RelayError;
use serde::Deserialize;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use tombolo_model::limit::{ADDRESS_BYTES_MAX, FILE_BYTES_MAX};
use tombolo_proto::limit::{FRAME_BYTES_MAX, OPENING_MS, WINDOW_BYTES};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen, `HOST:PORT`; port 0 picks a free one.
    pub listen: String,
    /// The address that clients use, where it is another one (a proxy, a name); empty = as listened on.
    pub url: String,
    /// Where the relay lives, as its operator names it.
    pub region: String,
    /// Allows to listen without TLS where others can reach it.
    pub insecure_plain: bool,
    /// What is logged to standard error, as a `tracing` filter. Read again on SIGHUP.
    pub log: String,
    /// Who may read `/metrics`.
    pub metrics: MetricsFor,
    /// Certificate files; none = plain.
    pub tls: Option<Tls>,
    /// Limits.
    pub limits: Limits,
    /// Faults on purpose; only the command line of `serve --dev` sets them.
    #[serde(skip)]
    pub faults: Faults,
}

/// Who may read `/metrics`: its sums say how much a relay is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsFor {
    /// Requests from this machine that did not come through a proxy.
    Loopback,
    /// Everybody who reaches the listener.
    Anybody,
    /// Nobody.
    Nobody,
}

/// Certificate files in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// Bounds on what others can make this process do. 0 means no limit where the text of the file says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address (IPv6: from one /64).
    pub connections_per_address: usize,
    /// Connections at once that have not authenticated yet.
    pub half_open: usize,
    /// **Milliseconds** within which a connection must have authenticated.
    pub opening_ms: u64,
    /// Frames a second of one device.
    pub device_frames_per_second: u64,
    /// **Bytes** a second of one device.
    pub device_bytes_per_second: u64,
    /// Frames a second from one address.
    pub address_frames_per_second: u64,
    /// **Bytes** a second from one address.
    pub address_bytes_per_second: u64,
    /// **Seconds** of each rate that may come at once.
    pub burst_s: u64,
    /// **Bytes** kept for one account.
    pub account_bytes: u64,
    /// **Bytes** kept for everybody.
    pub stored_bytes: u64,
    /// **Bytes** that wait to be sent on one connection.
    pub queue_bytes: usize,
    /// **Bytes** that wait to be sent on all connections.
    pub queues_bytes: usize,
    /// **Bytes** of received frames that wait for the store.
    pub inbox_bytes: usize,
    /// **Milliseconds** that one write to a connection may take.
    pub write_timeout_ms: u64,
    /// **Bytes** of one blob: a sealed file.
    pub blob_bytes: u64,
    /// **Bytes** of blobs kept for one account.
    pub account_blob_bytes: u64,
    /// **Bytes** of blobs kept for everybody.
    pub stored_blob_bytes: u64,
    /// Unfinished uploads of one account.
    pub account_uploads: u64,
    /// Requests about blobs that are answered at once.
    pub blob_transfers: usize,
    /// **Seconds** after which a blob that nothing refers to, or an upload that nobody goes on with, is let go.
    pub blob_unreferenced_s: u64,
    /// **Days** after which every blob is let go; 0 = never.
    pub blob_expire_days: u64,
}

/// Faults on purpose, for developers of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every frame comes this many **milliseconds** later, both ways.
    pub delay_ms: u64,
    /// Of 1,000 frames this many take their connection with them.
    pub drop_permille: u32,
    /// Every so many **seconds** all connections are cut; 0 = never.
    pub cut_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8787".into(),
            url: String::new(),
            region: String::new(),
            insecure_plain: false,
            log: "info".into(),
            metrics: MetricsFor::Loopback,
            tls: None,
            limits: Limits::default(),
            faults: Faults::default(),
        }
    }
}

const KIB: u64 = 1024;
const MIB: u64 = KIB * 1024;
const GIB: u64 = MIB * 1024;

/// **Bytes** of the largest file with its padding and seals.
const BLOB_BYTES_MAX: u64 = FILE_BYTES_MAX + FILE_BYTES_MAX / 8;
/// **Seconds**: the message that refers to a blob must have time to come.
const UNREFERENCED_S_MIN: u64 = 60;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 256,
            half_open: 512,
            opening_ms: OPENING_MS,
            device_frames_per_second: 2_000,
            device_bytes_per_second: 16 * MIB,
            address_frames_per_second: 8_000,
            address_bytes_per_second: 64 * MIB,
            burst_s: 4,
            account_bytes: 8 * GIB,
            stored_bytes: 0,
            queue_bytes: 6 * MIB as usize,
            queues_bytes: GIB as usize,
            inbox_bytes: 64 * MIB as usize,
            write_timeout_ms: 20_000,
            blob_bytes: GIB,
            account_blob_bytes: 8 * GIB,
            stored_blob_bytes: 0,
            account_uploads: 64,
            blob_transfers: 64,
            blob_unreferenced_s: 3 * 86_400,
            blob_expire_days: 0,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`RelayError::ConfigFile`] naming the line; [`RelayError::Config`] where values contradict each other.
    pub fn read(path: &Path) -> Result<Self, RelayError> {
        let wrong = |reason: String| RelayError::ConfigFile { path: path.into(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        // Paths in a file are meant as seen from that file.
        if let (Some(tls), Some(folder)) = (&mut config.tls, path.parent()) {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
        }
        config.check()?;
        Ok(config)
    }

    /// Checks what can be checked without starting.
    ///
    /// # Errors
    /// [`RelayError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), RelayError> {
        let wrong = |text: String| Err(RelayError::Config(text));
        let limits = &self.limits;
        if !self.url.is_empty() {
            check_url(&self.url)?;
        }
        if self.region.len() > ADDRESS_BYTES_MAX {
            return wrong(format!("`region` may have {ADDRESS_BYTES_MAX} bytes"));
        }
        for (name, value) in [
            ("connections", limits.connections),
            ("connections_per_address", limits.connections_per_address),
            ("half_open", limits.half_open),
            ("blob_transfers", limits.blob_transfers),
        ] {
            if value == 0 {
                return wrong(format!("`limits.{name}` must be at least 1"));
            }
        }
        if !(100..=OPENING_MS).contains(&limits.opening_ms) {
            return wrong(format!("`limits.opening_ms` must be from 100 to {OPENING_MS}"));
        }
        if limits.write_timeout_ms == 0 {
            return wrong("`limits.write_timeout_ms` must be at least 1".into());
        }
        if limits.blob_bytes > BLOB_BYTES_MAX {
            return wrong(format!("`limits.blob_bytes` must be at most {BLOB_BYTES_MAX}: files are not larger"));
        }
        if limits.account_uploads == 0 || limits.blob_unreferenced_s < UNREFERENCED_S_MIN {
            return wrong(format!(
                "`limits.account_uploads` must be at least 1, `limits.blob_unreferenced_s` at least {UNREFERENCED_S_MIN}"
            ));
        }
        // A reader that keeps to its credit must never look like a slow one.
        let window = WINDOW_BYTES as usize + 2 * FRAME_BYTES_MAX;
        for (name, value, least) in [
            ("queue_bytes", limits.queue_bytes, window),
            ("queues_bytes", limits.queues_bytes, limits.queue_bytes),
            ("inbox_bytes", limits.inbox_bytes, 2 * FRAME_BYTES_MAX),
        ] {
            if value < least {
                return wrong(format!("`limits.{name}` must be at least {least}"));
            }
        }
        if self.faults.drop_permille > 1_000 {
            return wrong("at most 1,000 of 1,000 frames can be dropped".into());
        }
        Ok(())
    }

    /// Checks everything that a start would check, and reads the certificate files.
    ///
    /// # Errors
    /// As [`Config::check`] and [`Config::address`], and [`RelayError::Tls`].
    pub fn check_all(&self) -> Result<(), RelayError> {
        self.check()?;
        self.address()?;
        self.tls.as_ref().map_or(Ok(()), |files| crate::tls::load(files).map(drop))
    }

    /// The address to listen on, once it is clear that nobody can listen in.
    ///
    /// # Errors
    /// [`RelayError::Listen`] when the name is unknown; [`RelayError::PlainOnPublic`].
    pub fn address(&self) -> Result<SocketAddr, RelayError> {
        let failed = |source| RelayError::Listen { address: self.listen.clone(), source };
        let all: Vec<SocketAddr> = self.listen.to_socket_addrs().map_err(failed)?.collect();
        let Some(first) = all.first() else {
            return Err(failed(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address")));
        };
        if self.tls.is_none() && !self.insecure_plain && !first.ip().is_loopback() {
            return Err(RelayError::PlainOnPublic { address: first.to_string() });
        }
        Ok(*first)
    }

    /// The commented file that `init` writes: every setting with its default, those that differ from it set.
    #[must_use]
    pub fn commented(&self) -> String {
        let none = Self::default();
        let line = |name: &str, value: String, default: String| {
            if value == default { format!("# {name} = {default}") } else { format!("{name} = {value}") }
        };
        let text = |value: &str| toml::Value::String(value.into()).to_string();
        let mut out = TEMPLATE.to_owned();
        for (name, value, default) in [
            ("listen", text(&self.listen), text(&none.listen)),
            ("url", text(&self.url), text(&none.url)),
            ("region", text(&self.region), text(&none.region)),
            ("insecure_plain", self.insecure_plain.to_string(), none.insecure_plain.to_string()),
            ("log", text(&self.log), text(&none.log)),
        ] {
            out = out.replace(&format!("@{name}@"), &line(name, value, default));
        }
        let (mine, default) = (self.limits.named(), none.limits.named());
        for ((name, value), (_, default)) in mine.iter().zip(default) {
            out = out.replace(&format!("@{name}@"), &line(name, value.to_string(), default.to_string()));
        }
        out
    }
}

impl Limits {
    fn named(&self) -> [(&'static str, u64); 22] {
        [
            ("connections", self.connections as u64),
            ("connections_per_address", self.connections_per_address as u64),
            ("half_open", self.half_open as u64),
            ("opening_ms", self.opening_ms),
            ("device_frames_per_second", self.device_frames_per_second),
            ("device_bytes_per_second", self.device_bytes_per_second),
            ("address_frames_per_second", self.address_frames_per_second),
            ("address_bytes_per_second", self.address_bytes_per_second),
            ("burst_s", self.burst_s),
            ("account_bytes", self.account_bytes),
            ("stored_bytes", self.stored_bytes),
            ("queue_bytes", self.queue_bytes as u64),
            ("queues_bytes", self.queues_bytes as u64),
            ("inbox_bytes", self.inbox_bytes as u64),
            ("write_timeout_ms", self.write_timeout_ms),
            ("blob_bytes", self.blob_bytes),
            ("account_blob_bytes", self.account_blob_bytes),
            ("stored_blob_bytes", self.stored_blob_bytes),
            ("account_uploads", self.account_uploads),
            ("blob_transfers", self.blob_transfers as u64),
            ("blob_unreferenced_s", self.blob_unreferenced_s),
            ("blob_expire_days", self.blob_expire_days),
        ]
    }
}

/// Whether a text is an address that clients can dial.
///
/// # Errors
/// [`RelayError::Config`].
pub(crate) fn check_url(url: &str) -> Result<(), RelayError> {
    let wrong = |reason: &str| Err(RelayError::Config(format!("`{url}` is no address of a relay: {reason}")));
    if url.len() > ADDRESS_BYTES_MAX {
        return wrong("it is too long");
    }
    let Ok(parsed) = url.parse::<axum::http::Uri>() else { return wrong("it is no URL") };
    if !matches!(parsed.scheme_str(), Some("ws" | "wss")) {
        return wrong("it must begin with ws:// or wss://");
    }
    if parsed.host().is_none_or(str::is_empty) {
        return wrong("it names no host");
    }
    Ok(())
}

const TEMPLATE: &str = include_str!("config.template.toml");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn uncommented(text: &str) -> String {
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_set = |rest: &&str| rest.split_once(" = ").is_some_and(|(name, _)| is_name(name)) || *rest == "[tls]";
        let set = |line: &str| line.strip_prefix("# ").filter(is_set).map(str::to_owned);
        text.lines().map(|line| set(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
    }

    #[test]
    fn the_commented_file_says_the_defaults() {
        let text = Config::default().commented();
        assert!(!text.contains('@'), "{text}");
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        let all = uncommented(&text);
        let parsed: Config = toml::from_str(&all).unwrap();
        let tls = Tls { certificate: "fullchain.pem".into(), key: "privkey.pem".into() };
        assert_eq!(parsed, Config { tls: Some(tls), ..Config::default() });
        // Nothing that can be set is missing from the file.
        for (name, _) in Limits::default().named() {
            assert!(all.contains(&format!("\n{name} = ")), "{name}");
        }
    }

    #[test]
    fn what_init_was_told_is_set() {
        let told = Config {
            listen: "[::1]:9".into(),
            region: "a \"b\"".into(),
            limits: Limits { burst_s: 9, ..Limits::default() },
            ..Config::default()
        };
        assert_eq!(toml::from_str::<Config>(&told.commented()).unwrap(), told);
    }

    #[test]
    fn slips_are_named() {
        assert!(toml::from_str::<Config>("lisen = \"x\"").unwrap_err().to_string().contains("lisen"));
        let wrong = |limits: Limits| Config { limits, ..Config::default() }.check().unwrap_err().to_string();
        let limits = Limits::default();
        assert!(wrong(Limits { queue_bytes: 1, ..limits }).contains("queue_bytes"));
        assert!(wrong(Limits { opening_ms: 60_000, ..limits }).contains("opening_ms"));
        assert!(wrong(Limits { half_open: 0, ..limits }).contains("half_open"));
        Config::default().check().unwrap();
        for bad in ["http://relay", "wss://", "relay:1", "ws:// x", ""] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        check_url("wss://relay.example:9/v1/sync").unwrap();
    }

    #[test]
    fn plain_is_for_loopback() {
        let at = |listen: &str| Config { listen: listen.into(), ..Config::default() };
        assert!(matches!(at("0.0.0.0:0").address(), Err(RelayError::PlainOnPublic { .. })));
        assert!(matches!(at("[::]:0").address(), Err(RelayError::PlainOnPublic { .. })));
        at("127.0.0.1:0").address().unwrap();
        at("[::1]:0").address().unwrap();
        Config { insecure_plain: true, ..at("0.0.0.0:0") }.address().unwrap();
        assert!(matches!(at("nowhere").address(), Err(RelayError::Listen { .. })));
    }
}
