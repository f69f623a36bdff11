//! One connection: a transport whose frames go to the node and come from it, until either side ends it.

use crate::Error;
use crate::actor::{Actor, Inlet, Outgoing};
use crate::transport::{Bytes, Counters, Transport};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tombolo_replica::{ConnId, Link};

/// A connection that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its name.
    pub(crate) conn: ConnId,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Running {
    /// Bytes on the socket so far.
    pub(crate) fn bytes(&self) -> Bytes {
        self.counters.bytes()
    }

    /// Waits until the transport is closed.
    pub(crate) async fn finished(&mut self) {
        let _ = (&mut self.task).await;
    }
}

/// Hands a transport to the node.
pub(crate) async fn run(actor: &Actor, transport: Transport, link: Link) -> Result<Running, Error> {
    let conn = actor.next_conn();
    let counters = transport.counters();
    let (outbox, outgoing) = mpsc::unbounded_channel();
    actor.connect(conn, link, outbox).await?;
    let task = actor.sockets().spawn(carry(actor.inlet(conn), transport, outgoing));
    Ok(Running { conn, counters, task })
}

async fn carry(inlet: Inlet, transport: Transport, mut outgoing: mpsc::UnboundedReceiver<Outgoing>) {
    let (mut sender, mut receiver) = transport.split();
    let read = async {
        loop {
            match receiver.receive().await {
                Ok(Some(frame)) => {
                    if inlet.frame(frame).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "A connection broke.");
                    break;
                }
            }
        }
    };
    let write = async {
        while let Some(Outgoing::Frame(frame)) = outgoing.recv().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
        let _ = sender.close().await;
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    inlet.disconnected().await;
}
