//! Blobs over HTTP: the device's side of a relay's `/v1/blobs/`.
//!
//! Every request is signed. A relay whose clock differs says what time it is; then the request is made once more, by its
//! clock. Not here: what to ask for (`carry.rs`).

use crate::transport::tls::Tls;
use crate::{Entropy, Error, SystemEntropy};
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tombolo_identity::DeviceKey;
use tombolo_model::blob::{Request, Verb};
use tombolo_model::crypto::{DOMAIN_BLOB, Signer as _};
use tombolo_model::id::hex;
use tombolo_model::{BlobId, DeviceId};

/// **Milliseconds** until a connection must be there.
const CONNECT_MS: u64 = 10_000;
/// **Milliseconds** in which nothing comes before a request counts as lost.
const STILL_MS: u64 = 30_000;

/// How much of a blob a relay has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// **Bytes** on its disk.
    pub(crate) have: u64,
    pub(crate) whole: bool,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection broke or nobody answers: it may be over in a moment.
    Passing(String),
    /// The relay said no, with its code and words, and how much it has where it says so.
    Refused { code: String, words: String, have: Option<u64> },
    /// What came was of no use here.
    Local(Error),
}

/// Takes what comes. What it says is wrong ends the request.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Error> + Send + 'a;

/// A way to a relay; tests bring one that breaks.
pub(crate) trait Wire: Sync {
    /// How much of a blob is there.
    fn look(&self, id: BlobId) -> impl Future<Output = Result<Kept, Trouble>> + Send;
    /// Sends a piece.
    fn put(
        &self,
        id: BlobId,
        total: u64,
        from: u64,
        piece: Vec<u8>,
    ) -> impl Future<Output = Result<Kept, Trouble>> + Send;
    /// Asks for a stretch of a blob that is `total` **bytes** long.
    fn get(
        &self,
        id: BlobId,
        total: u64,
        stretch: std::ops::Range<u64>,
        sink: &mut Sink<'_>,
    ) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// A relay over HTTP.
pub(crate) struct Http {
    client: reqwest::Client,
    /// Address without path.
    base: String,
    relay: DeviceId,
    device: DeviceKey,
    /// **Milliseconds** by which the relay's clock is ahead.
    ahead_ms: AtomicI64,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Http {
    /// A relay by its WebSocket address and its key.
    ///
    /// # Errors
    /// `address`.
    pub(crate) fn new(url: &str, relay: DeviceId, device: DeviceKey, tls: &Tls) -> Result<Self, Error> {
        let wrong = || Error::new("address", format!("{url:?} is not the address of a relay"), "");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let scheme = match scheme {
            "ws" => "http",
            "wss" => "https",
            _ => return Err(wrong()),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls.config).clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(Duration::from_millis(CONNECT_MS))
            .read_timeout(Duration::from_millis(STILL_MS))
            .build()
            .map_err(|error| Error::new("http", error.to_string(), ""))?;
        let base = format!("{scheme}://{}", rest.trim_end_matches('/'));
        Ok(Self { client, base, relay, device, ahead_ms: AtomicI64::new(0) })
    }

    /// Asks, and once more by the relay's clock where it says that ours differs.
    async fn ask(&self, request: Request, body: Option<Vec<u8>>) -> Result<Response, Trouble> {
        let mut again = true;
        loop {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            let at_ms = wall.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed));
            let request = Request { at_ms, ..request };
            let response = self.ask_once(&request, body.clone()).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let their_ms: Option<u64> = number(response.headers(), "tombolo-time");
            let code = text(response.headers(), "tombolo-code").unwrap_or_default();
            if let Some(their_ms) = their_ms.filter(|_| code == "clock" && again) {
                again = false;
                self.ahead_ms.store(their_ms.cast_signed().wrapping_sub(wall.cast_signed()), Ordering::Relaxed);
                continue;
            }
            return Err(refused(response, code).await);
        }
    }

    async fn ask_once(&self, request: &Request, body: Option<Vec<u8>>) -> Result<Response, Trouble> {
        let signature = self.device.sign(DOMAIN_BLOB, &request.signed_bytes());
        let method = match request.verb {
            Verb::Look => Method::HEAD,
            Verb::Put => Method::PATCH,
            Verb::Get => Method::GET,
        };
        let mut asked = self
            .client
            .request(method, format!("{}/v1/blobs/{}", self.base, request.blob))
            .header("tombolo-device", self.device.id().to_string())
            .header("tombolo-time", request.at_ms.to_string())
            .header("tombolo-signature", hex(&signature.0));
        match request.verb {
            Verb::Look => {}
            Verb::Put => {
                asked = asked
                    .header("tombolo-from", request.from.to_string())
                    .header("tombolo-size", request.total.to_string())
                    .header("tombolo-piece", hex(&request.piece));
            }
            Verb::Get => {
                let last = request.from + request.len.saturating_sub(1);
                asked = asked.header(RANGE, format!("bytes={}-{last}", request.from));
            }
        }
        if let Some(body) = body {
            asked = asked.body(body);
        }
        asked.send().await.map_err(passing)
    }

    fn request(&self, verb: Verb, blob: BlobId) -> Request {
        Request { relay: self.relay, at_ms: 0, verb, blob, from: 0, len: 0, total: 0, piece: [0; 32] }
    }
}

impl Wire for Http {
    async fn look(&self, id: BlobId) -> Result<Kept, Trouble> {
        kept(&self.ask(self.request(Verb::Look, id), None).await?)
    }

    async fn put(&self, id: BlobId, total: u64, from: u64, piece: Vec<u8>) -> Result<Kept, Trouble> {
        let hash = *blake3::hash(&piece).as_bytes();
        let request = Request { from, len: piece.len() as u64, total, piece: hash, ..self.request(Verb::Put, id) };
        kept(&self.ask(request, Some(piece)).await?)
    }

    async fn get(
        &self,
        id: BlobId,
        total: u64,
        stretch: std::ops::Range<u64>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Trouble> {
        let (from, len) = (stretch.start, stretch.end.saturating_sub(stretch.start));
        let request = Request { from, len, ..self.request(Verb::Get, id) };
        let response = self.ask(request, None).await?;
        let said = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let length = said.and_then(|range| range.rsplit_once('/')).and_then(|(_, total)| total.parse::<u64>().ok());
        if response.status() != StatusCode::PARTIAL_CONTENT || length != Some(total) {
            let words = "the relay's copy has another length than the message says".to_owned();
            return Err(Trouble::Refused { code: "length-differs".into(), words, have: None });
        }
        let mut left = len;
        let mut body = response.bytes_stream();
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(passing)?;
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| Trouble::Passing("the relay sent more than it was asked for".to_owned()))?;
            sink(&bytes).map_err(Trouble::Local)?;
        }
        if left > 0 { Err(Trouble::Passing("the relay ended early".to_owned())) } else { Ok(()) }
    }
}

/// The library's own words say little; what lies beneath says more.
fn passing(error: reqwest::Error) -> Trouble {
    let error = error.without_url();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Trouble::Passing(deepest.to_string())
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn kept(response: &Response) -> Result<Kept, Trouble> {
    let have = number(response.headers(), "tombolo-have");
    let whole = number::<u8>(response.headers(), "tombolo-whole");
    match (have, whole) {
        (Some(have), Some(whole)) => Ok(Kept { have, whole: whole == 1 }),
        _ => Err(not_a_relay()),
    }
}

fn not_a_relay() -> Trouble {
    let words = "it does not keep files, or something between here and there does not let them through".to_owned();
    Trouble::Refused { code: "no-files".into(), words, have: None }
}

/// What a relay says when it says no: a header, and a sentence that is bounded before it is read.
async fn refused(response: Response, code: String) -> Trouble {
    let have = number(response.headers(), "tombolo-have");
    let status = response.status();
    if code.is_empty() {
        return if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Trouble::Passing(format!("HTTP status {status}"))
        } else {
            not_a_relay()
        };
    }
    let known = code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let code = if known { code } else { "refused".to_owned() };
    let words = words(&code).to_owned();
    Trouble::Refused { code, words, have }
}

/// Our words for a relay's codes: what a relay writes is not shown.
fn words(code: &str) -> &'static str {
    match code {
        "quota" => "the relay has no room left for this account",
        "too-large" => "it is larger than the relay takes",
        "too-many-uploads" => "too many uploads of this account are unfinished",
        "not-here" => "it is not there (yet)",
        "stranger" => "the relay does not know this device yet",
        "clock" => "the relay does not accept the time of this device",
        "signature" => "the relay does not accept the signature of this device",
        "hash-differs" => "what arrived is not what was announced",
        "length-differs" => "its length is another than was announced",
        "disk" => "the relay's disk failed",
        "stopping" => "the relay is stopping",
        _ => "the relay refused it",
    }
}

/// Random **milliseconds** up to `max_ms`: those who were cut off together do not come back together.
pub(crate) fn jitter(max_ms: u64) -> Duration {
    let source: &mut dyn Entropy = &mut SystemEntropy;
    Duration::from_millis(u64::from_le_bytes(source.bytes()) % max_ms.max(1))
}
