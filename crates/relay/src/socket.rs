//! One WebSocket: frames in to the owner thread, frames out of its queue, and the limits that hold per frame.
//!
//! Reading stops while the sender is over its rate or the owner thread is behind; TCP carries that back to the sender.
//! Not here: what frames mean (`proto`), the owner thread (`owner.rs`), what lies beneath (`guard.rs`).

use crate::admission::Guest;
use crate::chance::Chance;
use crate::hub::Hub;
use crate::outbox::{Outbox, Parcel, Parcels, SLOW_READER, SLOW_READER_WORDS, bye, outbox};
use crate::owner::Input;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite;
use tombolo_model::Malformed;
use tombolo_proto::Fault;
use tombolo_proto::limit::FRAME_BYTES_MAX;
use tombolo_replica::ConnId;

/// How long the last words of a connection may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// **Bytes** after which frames that wait together are pushed to the socket.
pub(crate) const WRITE_BUFFER_BYTES: usize = 128 * 1024;
/// **Bytes** read from the socket at once. Every connection has this from the start, also those that never speak.
pub(crate) const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Frames that wait for their time when they are delayed on purpose.
const DELAYED_MAX: usize = 256;

/// Runs one connection to its end.
pub(crate) async fn run(socket: WebSocket, guest: Arc<Guest>, hub: Arc<Hub>, binding: Vec<u8>) {
    let conn = ConnId(guest.number);
    let delay = Duration::from_millis(hub.config.faults.delay_ms);
    let limits = &hub.config.limits;
    let (outgoing, parcels) = outbox(limits.queue_bytes, Arc::clone(&hub.queued_bytes), limits.queues_bytes, delay);
    let (sink, stream) = socket.split();
    let (ended, writer_ended) = oneshot::channel::<()>();
    let writing = {
        let (hub, guest) = (Arc::clone(&hub), Arc::clone(&guest));
        tokio::spawn(async move {
            write(sink, parcels, &hub, &guest).await;
            drop(ended);
        })
    };
    guest.unread_bytes.store(0, Ordering::Relaxed);
    if connect(conn, &guest, &hub, outgoing, binding).await {
        // Frames that are late on purpose take a path of their own, so that they are late without being slow.
        let (path, delayed) = if delay.is_zero() {
            (hub.inbox.clone(), None)
        } else {
            let (path, waiting) = mpsc::channel(DELAYED_MAX);
            (path, Some(tokio::spawn(be_late(waiting, hub.inbox.clone(), delay))))
        };
        let last = tokio::select! {
            last = read(stream, conn, &guest, &hub, path) => last,
            _ = writer_ended => Input::Gone { conn },
        };
        if let Some(delayed) = delayed {
            // What was received before counts; the task ends since nobody feeds it any more.
            let _ = delayed.await;
        }
        // An owner thread that is gone needs no word.
        let _ = hub.inbox.send(last).await;
    }
    let _ = writing.await;
}

async fn connect(conn: ConnId, guest: &Arc<Guest>, hub: &Hub, outgoing: Outbox, binding: Vec<u8>) -> bool {
    let Ok(nonce) = crate::place::random() else { return false };
    let guest = Arc::clone(guest);
    hub.inbox.send(Input::Connect { conn, guest, outbox: outgoing, nonce, binding }).await.is_ok()
}

/// Reads until there is nothing more to read; what it returns is the connection's last word to the owner thread.
async fn read(
    mut stream: SplitStream<WebSocket>,
    conn: ConnId,
    guest: &Guest,
    hub: &Hub,
    path: mpsc::Sender<Input>,
) -> Input {
    let opening = tokio::time::Instant::now() + Duration::from_millis(hub.config.limits.opening_ms);
    let mut chance = Chance::new(hub.config.faults.drop_permille);
    loop {
        let next = if guest.is_authenticated() {
            stream.next().await
        } else {
            match timeout_at(opening, stream.next()).await {
                Ok(next) => next,
                // It may have authenticated while this waited.
                Err(_) if guest.is_authenticated() => continue,
                Err(_) => return Input::Fail { conn, fault: Fault::OpeningTimeout },
            }
        };
        let message = match next {
            Some(Ok(message)) => message,
            Some(Err(error)) => return broken(conn, error),
            None => return Input::Gone { conn },
        };
        guest.unread_bytes.store(0, Ordering::Relaxed);
        if chance.strikes() {
            guest.cut();
            return Input::Gone { conn };
        }
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(_) => {
                return Input::Fail { conn, fault: Fault::Malformed(Malformed::Unknown("text message")) };
            }
            Message::Close(_) => return Input::Gone { conn },
            Message::Ping(_) | Message::Pong(_) => Bytes::new(),
        };
        let (wait, whose) = guest.charge(bytes.len() as u64);
        if !wait.is_zero() {
            hub.meters.slowed(whose);
            sleep(wait).await;
        }
        if bytes.is_empty() {
            continue;
        }
        hub.meters.frames_in.increment(1);
        // What waits for the owner thread is bounded in bytes, whoever sent it.
        let room = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&hub.inbox_room).acquire_many_owned(room).await else {
            return Input::Gone { conn };
        };
        if path.send(Input::Frame { conn, bytes, room, at: Instant::now() }).await.is_err() {
            return Input::Gone { conn };
        }
    }
}

fn broken(conn: ConnId, error: axum::Error) -> Input {
    let error = error.into_inner();
    let cause = error.downcast_ref::<tungstenite::Error>();
    if let Some(tungstenite::Error::Capacity(tungstenite::error::CapacityError::MessageTooLong { size, .. })) = cause {
        return Input::Fail { conn, fault: Fault::FrameTooLarge { bytes: *size, max: FRAME_BYTES_MAX } };
    }
    tracing::debug!(conn = conn.0, error = %error, source = ?error.source(), "the connection broke");
    Input::Gone { conn }
}

/// Passes inputs on, each `delay` after it came.
async fn be_late(mut waiting: mpsc::Receiver<Input>, inbox: mpsc::Sender<Input>, delay: Duration) {
    while let Some(input) = waiting.recv().await {
        if let Input::Frame { at, .. } = &input {
            sleep_until((*at + delay).into()).await;
        }
        if inbox.send(input).await.is_err() {
            return;
        }
    }
}

type Sink = SplitSink<WebSocket, Message>;

/// Writes until the queue ends, the socket breaks or the reader is given up.
async fn write(mut sink: Sink, mut parcels: Parcels, hub: &Hub, guest: &Guest) {
    let given_up = parcels.watch();
    let ended = tokio::select! {
        biased;
        () = given_up.wait() => {
            guest.farewell.store(true, Ordering::Release);
            let _ = timeout(LAST_WORDS, sink.send(Message::Binary(bye(SLOW_READER, SLOW_READER_WORDS).into()))).await;
            true
        }
        ended = write_all(&mut sink, &mut parcels, hub, guest) => ended,
    };
    if ended {
        guest.farewell.store(true, Ordering::Release);
        let close = CloseFrame { code: axum::extract::ws::close_code::NORMAL, reason: "".into() };
        // Where the other side closed first, only the answer is left to be flushed.
        let _ = timeout(LAST_WORDS, sink.send(Message::Close(Some(close)))).await;
        let _ = timeout(LAST_WORDS, sink.flush()).await;
    }
    // The reading half may wait for a peer that never says anything again.
    if !ended {
        guest.cut();
    }
}

/// Says whether everything up to the end was written.
async fn write_all(sink: &mut Sink, parcels: &mut Parcels, hub: &Hub, guest: &Guest) -> bool {
    let patience = Duration::from_millis(hub.config.limits.write_timeout_ms);
    let mut chance = Chance::new(hub.config.faults.drop_permille);
    while let Some(first) = parcels.next().await {
        let mut next = Some(first);
        // Frames that wait together travel together.
        while let Some(parcel) = next {
            let Parcel::Frame { bytes, due } = parcel else {
                return matches!(timeout(patience, sink.flush()).await, Ok(Ok(())));
            };
            if due > Instant::now() {
                sleep_until(due.into()).await;
            }
            if chance.strikes() {
                guest.cut();
                return false;
            }
            let len = bytes.len();
            let fed = timeout(patience, sink.feed(Message::Binary(bytes.into()))).await;
            parcels.sent(len);
            if !matches!(fed, Ok(Ok(()))) {
                return false;
            }
            hub.meters.frames_out.increment(1);
            next = parcels.try_next();
        }
        if !matches!(timeout(patience, sink.flush()).await, Ok(Ok(()))) {
            return false;
        }
    }
    // The owner thread has let go: the other side left first, or is being left.
    true
}
