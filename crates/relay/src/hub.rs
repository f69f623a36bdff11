//! What all connections of one relay share.

use crate::Config;
use crate::admission::Admission;
use crate::blobs::Depot;
use crate::meters::Meters;
use crate::owner::Input;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use tokio::sync::{Semaphore, mpsc};
use tombolo_model::DeviceId;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: Config,
    /// The relay.
    pub(crate) key: DeviceId,
    pub(crate) admission: Arc<Admission>,
    pub(crate) meters: Arc<Meters>,
    /// To the owner thread.
    pub(crate) inbox: mpsc::Sender<Input>,
    /// **Bytes** that may still be on the way to the owner thread.
    pub(crate) inbox_room: Arc<Semaphore>,
    /// **Bytes** that wait to be sent, over all connections.
    pub(crate) queued_bytes: Arc<AtomicUsize>,
    /// Blobs.
    pub(crate) depot: Arc<Depot>,
    /// Requests about blobs that may still be taken on.
    pub(crate) transfers: Arc<Semaphore>,
    /// Nobody is let in any more.
    pub(crate) stopping: AtomicBool,
}
