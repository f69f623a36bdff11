//! The interface in a browser tab: its files and one WebSocket, on loopback, for whoever was given the link.
//!
//! Who may in: the page must be asked for by the very address that is served (another name for it, as a rebound DNS name
//! gives, is refused), the one-time token of the link buys a key for this tab, and the socket is opened only from our own
//! page with that key. A page of another origin can neither read nor call anything. Nothing is loaded from elsewhere: the
//! policy that goes with every page forbids it.
//!
//! Not here: what calls mean (`app`), how it looks (`ui/`), TLS (the server listens on loopback only).

mod assets;
mod files;
mod keys;
mod socket;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use keys::Keys;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tombolo_app::App;

/// Longest message of an interface, **bytes**: a text of the greatest length with what JSON adds.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// What a page may do: nothing but what came with it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
    links: watch::Receiver<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Shared {
    app: Arc<App>,
    address: SocketAddr,
    keys: Mutex<Keys>,
    links: watch::Sender<String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether a query carries the key of a tab.
    pub(crate) fn knows(&self, query: Option<&str>) -> bool {
        let key = query.and_then(|query| query.strip_prefix("key=")).unwrap_or_default();
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).knows(key)
    }
}

impl Server {
    /// Listens on loopback; port 0 = any free one.
    ///
    /// # Errors
    /// Those of the socket and of the system's randomness.
    pub async fn start(app: Arc<App>, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let keys = Keys::new()?;
        let (links, told) = watch::channel(link(address, keys.token()));
        let shared = Arc::new(Shared { app, address, keys: Mutex::new(keys), links });
        let router = Router::new()
            .route("/v1/session", post(session))
            .route("/v1/interface", get(interface))
            .route("/v1/files", post(files::put).layer(DefaultBodyLimit::disable()))
            .route("/v1/files/{message}/{n}", get(files::get))
            .fallback(assets::serve)
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, task, links: told })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The link that opens the interface once; another one stands here as soon as it was used.
    #[must_use]
    pub fn links(&self) -> watch::Receiver<String> {
        self.links.clone()
    }
}

fn link(address: SocketAddr, token: &str) -> String {
    format!("http://{address}/#token={token}")
}

/// Refuses whoever names us otherwise than we are reached, and puts the policy around every answer.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let ours =
        |host: &str| host == shared.address.to_string() || host == format!("localhost:{}", shared.address.port());
    let mut response = if host.is_some_and(ours) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "This address belongs to another name.").into_response()
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a request comes from our own page. Browsers always name the origin for what a script sends with `POST` and for
/// sockets.
fn from_our_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin == format!("http://{host}"),
        _ => false,
    }
}

/// Takes the one-time token of the link and gives a key for this tab.
async fn session(State(shared): State<Arc<Shared>>, headers: HeaderMap, token: String) -> Response {
    if !from_our_page(&headers) {
        return (StatusCode::FORBIDDEN, "Only the page that came from here may ask.").into_response();
    }
    let mut keys = shared.keys.lock().unwrap_or_else(PoisonError::into_inner);
    match keys.trade(token.trim()) {
        Ok(Some(key)) => {
            let next = link(shared.address, keys.token());
            drop(keys);
            let _ = shared.links.send(next);
            ([(header::CACHE_CONTROL, "no-store")], key).into_response()
        }
        Ok(None) => (StatusCode::UNAUTHORIZED, "This link was used already.").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The socket of an interface; its key stands in the query.
async fn interface(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    request: axum::extract::RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !from_our_page(&headers) {
        return (StatusCode::FORBIDDEN, "Only the page that came from here may ask.").into_response();
    }
    if !shared.knows(request.0.as_deref()) {
        return (StatusCode::UNAUTHORIZED, "Open the link that the program shows.").into_response();
    }
    let app = Arc::clone(&shared.app);
    upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| socket::run(app, socket))
}
