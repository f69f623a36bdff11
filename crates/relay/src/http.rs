//! What can be asked over HTTP: the WebSocket that everything is for, and what operators and their tools look at.
//!
//! | path | answers |
//! |---|---|
//! | `/v1/sync`, `/` | the WebSocket |
//! | `/health` | 200 while the process runs |
//! | `/ready` | 200 when something could just be written to the store, else 503 |
//! | `/metrics` | Prometheus text, to whom the configuration says |
//! | `/v1/info` | JSON: key, region, protocol versions |
//! | `/v1/blobs/HASH` | sealed files: `blobs/web.rs` |
//!
//! Not here: frames (`socket.rs`), listening and TLS (`server.rs`).

use crate::blobs;
use crate::config::MetricsFor;
use crate::guard::EXPORTER_LABEL;
use crate::hub::Hub;
use crate::owner::Input;
use crate::socket::{self, READ_BUFFER_BYTES, WRITE_BUFFER_BYTES};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tombolo_proto::limit::FRAME_BYTES_MAX;
use tombolo_proto::session::{VERSION, VERSION_MIN};

/// How long the store may take to show that it is writable.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// A client that ties its session to the TLS connection says so with this header, and the relay answers with the same:
/// keying material under [`EXPORTER_LABEL`], 32 bytes, without context, then is the session's binding. Behind a proxy
/// that ends TLS the relay does not answer with it, and the binding is empty.
const BINDING: HeaderName = HeaderName::from_static("tombolo-binding");
const TLS_EXPORTER: HeaderValue = HeaderValue::from_static("tls-exporter");

const _: () = assert!(EXPORTER_LABEL.len() < 64);

/// All paths.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/", any(sync))
        .route("/v1/sync", any(sync))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/info", get(info))
        .route("/v1/blobs/{hash}", any(blobs::web::blob))
        .with_state(hub)
}

async fn sync(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return (
            StatusCode::UPGRADE_REQUIRED,
            [(header::UPGRADE, "websocket")],
            "This is a Tombolo relay. Programs talk to it over a WebSocket at /v1/sync; people need not.\n",
        )
            .into_response();
    };
    if hub.stopping.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping\n").into_response();
    }
    let Some(guest) = hub.admission.find(peer) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the connection made room for another one\n").into_response();
    };
    let bound = headers.get(&BINDING) == Some(&TLS_EXPORTER);
    let binding = guest.binding.get().filter(|_| bound).cloned();
    let is_bound = binding.is_some();
    let mut response = upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * FRAME_BYTES_MAX)
        .on_upgrade(move |socket| {
            guest.upgraded.store(true, Ordering::Release);
            socket::run(socket, guest, hub, binding.unwrap_or_default())
        });
    if is_bound {
        response.headers_mut().insert(BINDING, TLS_EXPORTER);
    }
    response
}

async fn health() -> &'static str {
    "alive\n"
}

async fn ready(State(hub): State<Arc<Hub>>) -> Response {
    let not_ready = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if hub.stopping.load(Ordering::Acquire) {
        return not_ready("stopping\n");
    }
    match ask(&hub, Input::Probe).await {
        Answer::Yes => "ready\n".into_response(),
        Answer::Late => not_ready("the store did not write within 2 seconds\n"),
        Answer::Gone => not_ready("the store has failed\n"),
    }
}

enum Answer {
    Yes,
    Late,
    Gone,
}

async fn ask(hub: &Hub, question: impl FnOnce(oneshot::Sender<()>) -> Input) -> Answer {
    let (answer, answered) = oneshot::channel();
    let asking = async {
        if hub.inbox.send(question(answer)).await.is_err() {
            return Answer::Gone;
        }
        if answered.await.is_ok() { Answer::Yes } else { Answer::Gone }
    };
    timeout(READY_WITHIN, asking).await.unwrap_or(Answer::Late)
}

async fn metrics(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let forwarded = headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for");
    let allowed = match hub.config.metrics {
        MetricsFor::Loopback => peer.ip().to_canonical().is_loopback() && !forwarded,
        MetricsFor::Anybody => true,
        MetricsFor::Nobody => false,
    };
    if !allowed {
        return StatusCode::NOT_FOUND.into_response();
    }
    // Counters are worth showing also while the store is busy.
    let _ = ask(&hub, Input::Count).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], hub.meters.render()).into_response()
}

async fn info(State(hub): State<Arc<Hub>>) -> Response {
    let text = serde_json::json!({
        "relay": hub.key.to_string(),
        "region": hub.config.region,
        "url": hub.config.url,
        "protocol": { "newest": VERSION, "oldest": VERSION_MIN },
        "version": env!("CARGO_PKG_VERSION"),
    });
    ([(header::CONTENT_TYPE, "application/json")], text.to_string() + "\n").into_response()
}
