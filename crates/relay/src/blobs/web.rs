//! Blobs over HTTP: who asks, what for, and the bytes in both directions.
//!
//! | request | answers |
//! |---|---|
//! | `HEAD /v1/blobs/HASH` | 200 with `tombolo-have` (durable bytes), `tombolo-size` where known, `tombolo-whole` |
//! | `PATCH /v1/blobs/HASH` | a piece at `tombolo-from`: 204 with `tombolo-have` once it is on the disk |
//! | `GET /v1/blobs/HASH` | with `Range: bytes=A-B`: 206 |
//!
//! Every request is signed by a device (`model::blob::Request`). Whoever has not shown who it is gets no body read. A
//! connection that carries such requests keeps its place among those that have authenticated; it is cut when it stands
//! still. Refusals are JSON `{code, message}` with the code in `tombolo-code` too (`refusal.rs`).
//! Not here: the depot itself (`blobs.rs`).

use super::refusal::Refusal;
use super::{Depot, PIECE_BYTES_MAX};
use crate::admission::Guest;
use crate::hub::Hub;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tombolo_identity::Strict;
use tombolo_model::blob::{Request, Verb};
use tombolo_model::crypto::{DOMAIN_BLOB, Verifier as _};
use tombolo_model::id::unhex;
use tombolo_model::{BlobId, DeviceId, Signature};

/// **Milliseconds** by which a request may be older or younger than the relay's clock says: a recorded one is worth
/// nothing afterwards, and within it only what the recorder has seen already.
pub(crate) const FRESH_MS: u64 = 5 * 60_000;
/// A transfer in which nothing moves for so long is ended, and so is a connection on which nothing is asked.
const STILL: Duration = Duration::from_secs(30);
/// **Bytes** that are read from the disk at once.
const BLOCK_BYTES: usize = 256 * 1024;

const FROM: HeaderName = HeaderName::from_static("tombolo-from");
const SIZE: HeaderName = HeaderName::from_static("tombolo-size");
const PIECE: HeaderName = HeaderName::from_static("tombolo-piece");
const DEVICE: HeaderName = HeaderName::from_static("tombolo-device");
const TIME: HeaderName = HeaderName::from_static("tombolo-time");
const SIGNATURE: HeaderName = HeaderName::from_static("tombolo-signature");
const HAVE: HeaderName = HeaderName::from_static("tombolo-have");
const WHOLE: HeaderName = HeaderName::from_static("tombolo-whole");
const CODE: HeaderName = HeaderName::from_static("tombolo-code");

/// One request, once its sender is known.
struct Visit {
    hub: Arc<Hub>,
    guest: Arc<Guest>,
    device: DeviceId,
    request: Request,
    /// Held for as long as the transfer lasts.
    _room: OwnedSemaphorePermit,
}

/// Everything under `/v1/blobs/`.
pub(crate) async fn blob(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let meters = Arc::clone(&hub.meters);
    let answered = match admit(hub, peer, &id, &method, &headers) {
        Err(refusal) => Err(refusal),
        Ok(visit) => match visit.request.verb {
            Verb::Look => look(visit).await,
            Verb::Put => put(visit, body).await,
            Verb::Get => get(visit).await,
        },
    };
    answered.unwrap_or_else(|refusal| {
        meters.blob_refused(refusal.code());
        tracing::debug!(code = refusal.code(), "a request about a blob was refused: {refusal}");
        refused(&refusal)
    })
}

/// Who asks, and whether it may ask now.
fn admit(hub: Arc<Hub>, peer: SocketAddr, id: &str, method: &Method, headers: &HeaderMap) -> Result<Visit, Refusal> {
    if hub.stopping.load(Ordering::Acquire) {
        return Err(Refusal::Stopping);
    }
    let device = DeviceId(text(headers, &DEVICE, unhex)?);
    let request = request(hub.key, id, method, headers)?;
    let signature = Signature(text(headers, &SIGNATURE, unhex)?);
    if !Strict.verify(&device, DOMAIN_BLOB, &request.signed_bytes(), &signature) {
        return Err(Refusal::Signature);
    }
    if now_ms().abs_diff(request.at_ms) > FRESH_MS {
        return Err(Refusal::Clock);
    }
    let guest = hub.admission.find(peer).ok_or(Refusal::TooMany)?;
    let _room = Arc::clone(&hub.transfers).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
    guest.touch();
    if !guest.upgraded.swap(true, Ordering::AcqRel) {
        hub.admission.authenticated(&guest, device);
        tokio::spawn(watch(Arc::clone(&guest)));
    }
    Ok(Visit { hub, guest, device, request, _room })
}

/// Cuts a connection on which nothing moves.
async fn watch(guest: Arc<Guest>) {
    loop {
        let moved = guest.touched();
        sleep(STILL).await;
        if guest.touched() == moved || guest.is_cut() {
            guest.cut();
            return;
        }
    }
}

fn request(relay: DeviceId, id: &str, method: &Method, headers: &HeaderMap) -> Result<Request, Refusal> {
    let blob: BlobId = id.parse().map_err(|_| Refusal::Malformed("hash"))?;
    let at_ms = text(headers, &TIME, u64::from_str)?;
    let none = Request { relay, at_ms, verb: Verb::Look, blob, from: 0, len: 0, total: 0, piece: [0; 32] };
    match method.as_str() {
        "HEAD" => Ok(none),
        "PATCH" => Ok(Request {
            verb: Verb::Put,
            from: text(headers, &FROM, u64::from_str)?,
            len: text(headers, &header::CONTENT_LENGTH, u64::from_str)?,
            total: text(headers, &SIZE, u64::from_str)?,
            piece: text(headers, &PIECE, unhex)?,
            ..none
        }),
        "GET" => {
            let (from, len) = text(headers, &header::RANGE, range)?;
            Ok(Request { verb: Verb::Get, from, len, ..none })
        }
        _ => Err(Refusal::Malformed("method")),
    }
}

/// `bytes=A-B`, both included, in the one form that the protocol has.
fn range(text: &str) -> Result<(u64, u64), ()> {
    let (from, to) = text.strip_prefix("bytes=").and_then(|rest| rest.split_once('-')).ok_or(())?;
    let (from, to): (u64, u64) = (from.parse().map_err(drop)?, to.parse().map_err(drop)?);
    let len = to.checked_sub(from).and_then(|len| len.checked_add(1)).ok_or(())?;
    Ok((from, len))
}

fn text<T, E>(headers: &HeaderMap, name: &HeaderName, read: impl Fn(&str) -> Result<T, E>) -> Result<T, Refusal> {
    let wrong = || {
        Refusal::Malformed(match name.as_str() {
            "tombolo-device" => "tombolo-device",
            "tombolo-time" => "tombolo-time",
            "tombolo-signature" => "tombolo-signature",
            "tombolo-from" => "tombolo-from",
            "tombolo-size" => "tombolo-size",
            "tombolo-piece" => "tombolo-piece",
            "content-length" => "content-length",
            _ => "range",
        })
    };
    let value = headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    read(value).map_err(|_| wrong())
}

/// Runs what waits for the disk away from the sockets.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Disk("a task ended".into()))?
}

async fn look(visit: Visit) -> Result<Response, Refusal> {
    let (depot, device, id) = (Arc::clone(&visit.hub.depot), visit.device, visit.request.blob);
    let found = on_disk(move || depot.look(&device, &id)).await?;
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(HAVE, found.have.into());
    headers.insert(WHOLE, u16::from(found.whole).into());
    if let Some(total) = found.total {
        headers.insert(SIZE, total.into());
    }
    Ok(response)
}

async fn put(visit: Visit, body: Body) -> Result<Response, Refusal> {
    let (depot, device, request) = (Arc::clone(&visit.hub.depot), visit.device, visit.request);
    let begun = on_disk(move || Depot::begin(&depot, &device, &request, now_ms())).await?;
    let Some(mut piece) = begun else { return Ok(kept(request.total, true)) };
    let mut stream = body.into_data_stream();
    loop {
        let bytes = match timeout(STILL, stream.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(bytes))) => bytes,
            Ok(Some(Err(_))) | Err(_) => return Err(Refusal::Cut),
        };
        visit.moved(bytes.len()).await;
        visit.hub.meters.blob_bytes_in.increment(bytes.len() as u64);
        piece = on_disk(move || {
            piece.write(&bytes)?;
            Ok(piece)
        })
        .await?;
    }
    let (have, whole) = on_disk(move || piece.finish(now_ms())).await?;
    visit.hub.meters.blob_pieces.increment(1);
    Ok(kept(have, whole))
}

async fn get(visit: Visit) -> Result<Response, Refusal> {
    let (depot, device, request) = (Arc::clone(&visit.hub.depot), visit.device, visit.request);
    let (file, total) = on_disk(move || depot.read(&device, &request)).await?;
    let blocks = stream::unfold((visit, Some(file), request.len), |(visit, file, left)| async move {
        let file = file.filter(|_| left > 0)?;
        let want = left.min(BLOCK_BYTES as u64) as usize;
        match on_disk(move || block(file, want)).await {
            Ok((file, bytes)) => {
                visit.moved(bytes.len()).await;
                visit.hub.meters.blob_bytes_out.increment(bytes.len() as u64);
                let left = left - bytes.len() as u64;
                Some((Ok(bytes), (visit, Some(file), left)))
            }
            // The length is promised: the connection ends short of it.
            Err(refusal) => Some((Err(std::io::Error::other(refusal.to_string())), (visit, None, 0))),
        }
    });
    let mut response = Response::new(Body::from_stream(blocks));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {}-{}/{total}", request.from, request.from + request.len - 1);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, request.len.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(range) = HeaderValue::from_str(&range) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

fn block(mut file: File, want: usize) -> Result<(File, Bytes), Refusal> {
    let mut bytes = vec![0; want];
    file.read_exact(&mut bytes)?;
    Ok((file, bytes.into()))
}

impl Visit {
    /// Bytes went through: the connection is alive, and whoever is too fast waits.
    async fn moved(&self, bytes: usize) {
        self.guest.touch();
        self.guest.unread_bytes.store(0, Ordering::Relaxed);
        let (wait, whose) = self.guest.charge(bytes as u64);
        if !wait.is_zero() {
            self.hub.meters.slowed(whose);
            // However long it is: what waits by our will does not stand still.
            let step = STILL / 3;
            let mut left = wait;
            while !left.is_zero() {
                sleep(left.min(step)).await;
                self.guest.touch();
                left = left.saturating_sub(step);
            }
        }
    }
}

fn kept(have: u64, whole: bool) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(HAVE, have.into());
    response.headers_mut().insert(WHOLE, u16::from(whole).into());
    response
}

fn refused(refusal: &Refusal) -> Response {
    let text = serde_json::json!({ "code": refusal.code(), "message": refusal.to_string() });
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (refusal.status(), json, text.to_string() + "\n").into_response();
    let headers = response.headers_mut();
    headers.insert(CODE, HeaderValue::from_static(refusal.code()));
    headers.insert(TIME, now_ms().into());
    match refusal {
        Refusal::Offset { have } => drop(headers.insert(HAVE, (*have).into())),
        Refusal::PieceTooLarge { .. } => drop(headers.insert(SIZE, PIECE_BYTES_MAX.into())),
        _ => {}
    }
    response
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
