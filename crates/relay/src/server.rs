//! A relay from start to stop: listener, owner thread, and what ends them.
//!
//! Everything here can run several times in one process, which is how tests use it.

use crate::admission::Admission;
use crate::blobs::Depot;
use crate::config::Tls;
use crate::guard::{Door, TlsDoor};
use crate::hub::Hub;
use crate::meters::Meters;
use crate::owner::{Input, Owner};
use crate::{Config, Place, RelayError, http, tls};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tombolo_model::DeviceId;

/// Inputs that may wait for the owner thread.
const INBOX: usize = 4_096;
/// Connections that the system may hold until they are taken in.
const BACKLOG: u32 = 1_024;
/// Files that are not connections: database, log, listener, certificates, with room to spare.
const OTHER_FILES: usize = 64;
/// Parts of a stop; together below five seconds.
const STOP_STORE: Duration = Duration::from_millis(2_500);
const STOP_SOCKETS: Duration = Duration::from_millis(1_500);

/// A running relay. Dropping it cuts everybody off and closes the store a moment later; [`Relay::stop`] does it in order.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    listening: String,
    hub: Arc<Hub>,
    handle: Handle<SocketAddr>,
    outcome: oneshot::Receiver<Result<(), RelayError>>,
    /// What `outcome` said, until it is told: it answers only once.
    failure: Option<RelayError>,
    tls: Option<(Tls, RustlsConfig)>,
    tasks: Vec<AbortHandle>,
}

impl Relay {
    /// Starts on a data folder, making what is missing there. Runs on the current tokio runtime, which needs time and
    /// I/O, plus one thread that owns the store.
    ///
    /// # Errors
    /// [`RelayError`]: nothing runs.
    pub async fn start(place: &Place, mut config: Config) -> Result<Self, RelayError> {
        config.check()?;
        fit_open_files(&mut config);
        let wanted = config.address()?;
        let tls = match &config.tls {
            Some(files) => Some((files.clone(), RustlsConfig::from_config(tls::load(files)?))),
            None => None,
        };
        place.make()?;
        let mut held = place.hold()?;
        let key = place.key_or_new()?;
        let log = place.open()?;
        let depot = Depot::open(&place.blobs(), config.limits, Box::new(log.reader()?), wall_ms())?;
        depot.follow(&log)?;
        let listener = listen(wanted).map_err(|source| RelayError::Listen { address: wanted.to_string(), source })?;
        let address =
            listener.local_addr().map_err(|source| RelayError::Listen { address: wanted.to_string(), source })?;
        let listening = format!("{}://{address}", if tls.is_some() { "wss" } else { "ws" });
        if let Err(error) = held.say(&listening) {
            // Only `status` reads it.
            tracing::debug!(%error, "the address could not be noted");
        }

        let meters = Arc::new(Meters::new());
        let admission = Arc::new(Admission::new(config.limits, Arc::clone(&meters)));
        let (inbox, waiting) = mpsc::channel(INBOX);
        let hub = Arc::new(Hub {
            key: key.id(),
            admission: Arc::clone(&admission),
            meters: Arc::clone(&meters),
            inbox,
            inbox_room: Arc::new(Semaphore::new(config.limits.inbox_bytes)),
            queued_bytes: Arc::new(AtomicUsize::new(0)),
            depot: Arc::clone(&depot),
            transfers: Arc::new(Semaphore::new(config.limits.blob_transfers)),
            stopping: AtomicBool::new(false),
            config,
        });

        let (ended, outcome) = oneshot::channel();
        let (opened, is_open) = oneshot::channel();
        let (limits, door) = (hub.config.limits, Arc::clone(&admission));
        let owner_meters = Arc::clone(&meters);
        let thread = std::thread::Builder::new().name("owner".into()).spawn(move || {
            let result = own(|| Owner::new(log, key, &limits, door, owner_meters, depot), opened, waiting);
            // The store is closed by now; only then may another relay take the folder.
            drop(held);
            // Nobody may be waiting.
            let _ = ended.send(result);
        });
        // Its end is told by `outcome`.
        drop(thread.map_err(|error| RelayError::System(format!("no thread: {error}")))?);
        if is_open.await.is_err() {
            return Err(outcome
                .await
                .map_or(RelayError::OwnerLost, |result| result.err().unwrap_or(RelayError::OwnerLost)));
        }

        let handle = Handle::new();
        let opening = Duration::from_millis(hub.config.limits.opening_ms);
        let door = Door { admission: Arc::clone(&admission), meters, opening };
        let server = axum_server::Server::<SocketAddr>::from_listener(listener).handle(handle.clone());
        let service = http::router(Arc::clone(&hub)).into_make_service_with_connect_info::<SocketAddr>();
        let mut tasks = Vec::new();
        match &tls {
            None => drop(tokio::spawn(server.acceptor(door).serve(service))),
            Some((files, live)) => {
                let door = TlsDoor(RustlsAcceptor::new(live.clone()).acceptor(door));
                drop(tokio::spawn(server.acceptor(door).serve(service)));
                tasks.push(tokio::spawn(tls::watch(files.clone(), live.clone(), tls::LOOK_EVERY)).abort_handle());
            }
        }
        if hub.config.faults.cut_s > 0 {
            let every = Duration::from_secs(hub.config.faults.cut_s);
            let cutting = async move {
                loop {
                    sleep(every).await;
                    admission.cut_all();
                }
            };
            tasks.push(tokio::spawn(cutting).abort_handle());
        }
        tracing::info!(relay = %hub.key, listening, region = hub.config.region, "the relay runs");
        Ok(Self { address, listening, hub, handle, outcome, failure: None, tls, tasks })
    }

    /// The address listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `ws://HOST:PORT` or `wss://HOST:PORT`.
    #[must_use]
    pub fn listening(&self) -> &str {
        &self.listening
    }

    /// Who this relay is.
    #[must_use]
    pub fn key(&self) -> DeviceId {
        self.hub.key
    }

    /// Cuts all connections without a word, as a broken network would.
    pub fn cut_all(&self) {
        self.hub.admission.cut_all();
    }

    /// Reads the certificate files again.
    pub fn reload_certificate(&self) {
        if let Some((files, live)) = &self.tls {
            tls::reload(files, live);
        }
    }

    /// Waits until the relay ends by itself, which it does only because it cannot go on; everybody has been told then.
    pub async fn failed(&mut self) -> RelayError {
        if self.failure.is_none() {
            let outcome = (&mut self.outcome).await;
            self.hub.stopping.store(true, Ordering::Release);
            self.failure = Some(match outcome {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => RelayError::OwnerLost,
            });
        }
        self.drained().await;
        // It was set above.
        self.failure.take().unwrap_or(RelayError::OwnerLost)
    }

    /// Gives everybody a moment to read the last words and to hang up.
    async fn drained(&self) {
        let empty = async {
            while !self.hub.admission.is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(STOP_SOCKETS, empty).await.is_err() {
            tracing::debug!("somebody did not hang up in time");
        }
    }

    /// Lets nobody in any more, says goodbye to everybody, closes the store in order. Takes less than five seconds.
    ///
    /// # Errors
    /// [`RelayError`] when the store could not be closed in order; what was acknowledged is safe all the same.
    pub async fn stop(mut self) -> Result<(), RelayError> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.hub.stopping.store(true, Ordering::Release);
        self.handle.graceful_shutdown(Some(Duration::from_secs(1)));
        let stopping = async {
            // An owner thread that has ended has told its outcome.
            let _ = self.hub.inbox.send(Input::Stop).await;
            (&mut self.outcome).await
        };
        let result = match timeout(STOP_STORE, stopping).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(RelayError::OwnerLost),
        };
        self.drained().await;
        tracing::info!("the relay has stopped");
        result
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.hub.stopping.store(true, Ordering::Release);
        self.handle.shutdown();
        self.hub.admission.cut_all();
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A relay that comes back takes its address again at once. (On Windows this would let others take it.)
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Every connection is an open file. Where this process may open fewer than there may be connections, the bound is
/// lowered: it is kept by making room, which the system's own bound is not.
fn fit_open_files(config: &mut Config) {
    // Only Linux says it in a file; elsewhere the bound stays as configured.
    let Ok(text) = std::fs::read_to_string("/proc/self/limits") else { return };
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let Some(Ok(files)) = line.and_then(|rest| rest.split_whitespace().next()).map(str::parse::<usize>) else { return };
    let room = files.saturating_sub(OTHER_FILES).max(1);
    if config.limits.connections > room {
        let wanted = config.limits.connections;
        tracing::warn!(wanted, possible = room, "this user may open too few files (ulimit -n): fewer connections");
        config.limits.connections = room;
    }
}

/// The owner thread's whole life.
fn own(
    make: impl FnOnce() -> Result<Owner, tombolo_oplog::LogError>,
    opened: oneshot::Sender<()>,
    inbox: mpsc::Receiver<Input>,
) -> Result<(), RelayError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| RelayError::System(format!("no runtime: {error}")))?;
    let owner = make()?;
    // Whoever started this relay may have been cancelled; then the inbox is closed too.
    let _ = opened.send(());
    Ok(runtime.block_on(owner.run(inbox))?)
}
