//! Somebody who speaks the protocol as far as it suits him: authenticates with any key, then sends whatever frames.

use crate::world::PATIENCE;
use futures_util::{SinkExt as _, StreamExt as _};
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tombolo_identity::{DeviceKey, Strict};
use tombolo_model::digest::Chain;
use tombolo_model::{ConversationId, DeviceId, Fingerprint, Key, LogId, Op};
use tombolo_proto::reconcile::estimator::Estimator;
use tombolo_proto::reconcile::ranges::RangeSource;
use tombolo_proto::reconcile::sketch::Sketch;
use tombolo_proto::session::{Config, Context, Input, Now, Output, Session};
use tombolo_proto::source::{Arrivals, Cursor, Height, Run, Source, Summary};
use tombolo_proto::{Fault, Frame};
use tombolo_relay::Relay;
use tombolo_replica::Zstd;

/// A log with nothing in it.
pub(crate) struct Nothing;

impl Source for Nothing {
    type Error = Infallible;
    type Ranges<'a> = Nothing;

    fn cursor(&self) -> Result<Cursor, Infallible> {
        Ok(Cursor { incarnation: 1, position: 0, chain: Chain::start(1) })
    }
    fn chain_at(&self, _: u64) -> Result<Option<Chain>, Infallible> {
        Ok(None)
    }
    fn peer_cursor(&self, _: &DeviceId) -> Result<Option<Cursor>, Infallible> {
        Ok(None)
    }
    fn shared(&self, _: &DeviceId) -> Result<Vec<(ConversationId, u64)>, Infallible> {
        Ok(Vec::new())
    }
    fn summary(&self, _: &ConversationId) -> Result<Summary, Infallible> {
        Ok(Summary::default())
    }
    fn arrivals(&self, _: &DeviceId, _: u64, through: u64, _: usize) -> Result<Arrivals, Infallible> {
        Ok(Arrivals { ops: Vec::new(), through })
    }
    fn acked(&self, _: &DeviceId) -> Result<u64, Infallible> {
        Ok(0)
    }
    fn everything(
        &self,
        _: &ConversationId,
        _: u64,
        _: u64,
        _: Option<&DeviceId>,
        _: usize,
    ) -> Result<Arrivals, Infallible> {
        Ok(Arrivals::default())
    }
    fn heights(&self, _: &ConversationId) -> Result<Vec<Height>, Infallible> {
        Ok(Vec::new())
    }
    fn run(&self, _: &ConversationId, _: &Run, _: usize) -> Result<Vec<Op>, Infallible> {
        Ok(Vec::new())
    }
    fn by_prefix(&self, _: &ConversationId, _: &[u64]) -> Result<Vec<Op>, Infallible> {
        Ok(Vec::new())
    }
    fn voucher(&self, _: &ConversationId, _: &DeviceId, _: &LogId, _: u64) -> Result<Vec<Op>, Infallible> {
        Ok(Vec::new())
    }
    fn sketch(&self, _: &ConversationId, cells: usize) -> Result<Sketch, Infallible> {
        Ok(Sketch::new(cells))
    }
    fn estimator(&self, _: &ConversationId) -> Result<Estimator, Infallible> {
        Ok(Estimator::new())
    }
    fn ranges(&self, _: &ConversationId) -> Nothing {
        Nothing
    }
}

impl RangeSource for Nothing {
    type Error = Infallible;

    fn count(&self, _: Key, _: Key) -> Result<u64, Infallible> {
        Ok(0)
    }
    fn fingerprint(&self, _: Key, _: Key) -> Result<Fingerprint, Infallible> {
        Ok(tombolo_model::Sum::default().fingerprint())
    }
    fn key_at(&self, _: Key, _: u64) -> Result<Option<Key>, Infallible> {
        Ok(None)
    }
    fn items(&self, _: Key, _: Key, _: usize) -> Result<Vec<(Key, u64)>, Infallible> {
        Ok(Vec::new())
    }
}

/// See the head of this file.
pub(crate) struct Probe<S = MaybeTlsStream<TcpStream>> {
    pub(crate) socket: WebSocketStream<S>,
    session: Session,
    key: DeviceKey,
}

impl Probe {
    /// Connects and authenticates with the key of a seed.
    pub(crate) async fn authenticated(relay: &Relay, seed: u8, change: impl FnOnce(&mut Config)) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(relay.listening()).await.unwrap();
        let mut probe = Self::over(socket, seed, change);
        assert_eq!(probe.open().await, None);
        assert_eq!(probe.session.peer(), Some(relay.key()));
        probe
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Probe<S> {
    /// A session that has said nothing yet.
    pub(crate) fn over(socket: WebSocketStream<S>, seed: u8, change: impl FnOnce(&mut Config)) -> Self {
        let mut nonce = [seed; 32];
        nonce[..16].copy_from_slice(&std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos().to_be_bytes());
        let mut config = Config::new(true, nonce);
        change(&mut config);
        Self { socket, session: Session::new(config), key: DeviceKey::from_seed([seed; 32]) }
    }

    /// Runs the opening; the fault that ended it, if one did.
    pub(crate) async fn open(&mut self) -> Option<Fault> {
        let mut input = Some(Input::Connected);
        let mut frame;
        while self.session.peer().is_none() {
            if let Some(input) = input.take()
                && let Some(fault) = self.step(input).await
            {
                return Some(fault);
            }
            if self.session.peer().is_some() {
                break;
            }
            frame = self.hear(PATIENCE).await?;
            input = Some(Input::Frame(&frame));
        }
        None
    }

    async fn step(&mut self, input: Input<'_>) -> Option<Fault> {
        let now = Now { mono_ms: 1, wall_ms: std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 };
        let ctx = Context { source: &Nothing, signer: &self.key, verifier: &Strict, compression: &Zstd, now };
        self.session.handle(input, &ctx);
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(frame) => self.socket.send(Message::Binary(frame.into())).await.unwrap(),
                Output::Close(fault) => return Some(fault),
                _ => {}
            }
        }
        None
    }

    pub(crate) async fn say(&mut self, frame: &Frame) {
        self.socket.send(Message::Binary(frame.to_bytes().into())).await.unwrap();
    }

    /// The next frame; `None` when none comes in time or the connection is closed.
    pub(crate) async fn hear(&mut self, within: Duration) -> Option<Vec<u8>> {
        loop {
            match timeout(within, self.socket.next()).await {
                Ok(Some(Ok(Message::Binary(frame)))) => return Some(frame.to_vec()),
                Ok(Some(Ok(_))) => {}
                Ok(None | Some(Err(_))) | Err(_) => return None,
            }
        }
    }

    /// Everything that comes until a ping is answered.
    pub(crate) async fn hear_until_pong(&mut self, mark: u64) -> Vec<Frame> {
        self.say(&Frame::Ping(mark)).await;
        let mut heard = Vec::new();
        loop {
            let frame = self.hear(PATIENCE).await.expect("the relay hung up");
            match Frame::from_bytes(&frame).unwrap() {
                Frame::Pong(answered) if answered == mark => return heard,
                frame => heard.push(frame),
            }
        }
    }
}
